package commit_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// showTimestamp commits the open transaction as RELEASE of the restart savepoint does: its tag is COMMIT, and the block
// stays open until COMMIT.
const showTimestamp = "SHOW COMMIT TIMESTAMP"

// A timestampBank is a server with one balance, which another client raises from 100 to 110 after it was first read.
// What commits loses as often as losing says.
type timestampBank struct {
	mu        sync.Mutex
	losing    int
	cut       bool // the connection is cut after showTimestamp has committed
	reads     int
	open      []string // the writes of the open transaction
	waits     bool     // it is committed, and waits for COMMIT
	committed []string
}

func (b *timestampBank) answer(s fakepg.Statement) fakepg.Reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s.SQL == "SELECT balance" && s.Describing:
		return kit.Texts("")
	case s.SQL == "SELECT balance":
		if b.reads++; b.reads == 1 {
			return kit.Texts("100")
		}
		return kit.Texts("110")
	case strings.Contains(strings.ToUpper(s.SQL), showTimestamp):
		return b.show(s)
	case s.Describing:
		return kit.OK
	case b.waits && s.SQL != "COMMIT" && s.SQL != "ROLLBACK":
		return kit.Fails("25000", "refused")
	case s.SQL == "COMMIT", s.SQL == kit.Release:
		return b.commit()
	case strings.HasPrefix(s.SQL, "ROLLBACK"), strings.HasPrefix(s.SQL, "BEGIN"):
		b.open, b.waits = nil, false
	case s.SQL != kit.Savepoint:
		b.open = append(b.open, s.SQL)
	}
	return kit.OK
}

func (b *timestampBank) show(s fakepg.Statement) fakepg.Reply {
	r := fakepg.Reply{Columns: []fakepg.Column{{Name: "commit_timestamp", OID: pgtype.NumericOID}}}
	if s.Describing {
		return r
	}
	if lost := b.commit(); lost.Err != nil {
		return fakepg.Reply{Columns: r.Columns, Err: lost.Err}
	}
	b.waits = true
	if b.cut {
		return fakepg.Reply{Columns: r.Columns, Cut: fakepg.CutUnsent}
	}
	r.Values, r.Tag = [][]any{{"1.0"}}, "COMMIT"
	return r
}

func (b *timestampBank) commit() fakepg.Reply {
	if b.losing > 0 {
		b.losing--
		b.open = nil
		return kit.Conflict
	}
	b.committed = append(b.committed, b.open...)
	b.open, b.waits = nil, false
	return kit.OK
}

// writes are those that are committed.
func (b *timestampBank) writes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.committed
}

// asking are the ways to ask for the timestamp.
var asking = map[string]func(context.Context, *sql.Tx) error{
	"QueryRow": func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, showTimestamp).Scan(new(string))
	},
	"Exec": func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, showTimestamp)
		return err
	},
	"in small letters, after a comment": func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "/* when? */ show commit timestamp -- now").Scan(new(string))
	},
	"prepared": func(ctx context.Context, tx *sql.Tx) error {
		stmt, err := tx.PrepareContext(ctx, showTimestamp)
		if err != nil {
			return err
		}
		defer stmt.Close()
		return stmt.QueryRowContext(ctx).Scan(new(string))
	},
	"rows left open": func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, showTimestamp)
		if err != nil {
			return err
		}
		rows.Next()
		return rows.Close()
	},
}

// payOut takes 50 from the balance that it has read.
func payOut(ctx context.Context, tx *sql.Tx, ask func(context.Context, *sql.Tx) error) error {
	var balance string
	if err := tx.QueryRowContext(ctx, "SELECT balance").Scan(&balance); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE balance TO "+balance+" LESS 50"); err != nil {
		return err
	}
	return ask(ctx, tx)
}

// In a replay it must not go under one Sync with statements whose answers have not been compared yet.
func TestShowCommitTimestamp_ReplayDiverges_NothingIsCommitted(t *testing.T) {
	t.Parallel()
	for name, ask := range asking {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &timestampBank{losing: 1}
			st := kit.Answering(t, b.answer)
			tx := st.Begin(t)
			err := payOut(t.Context(), tx, ask)
			_ = tx.Rollback()
			kit.As[*cockroachdb.DivergenceError](t, err)
			assert.Empty(t, b.writes(), "%q", st.Sent())
		})
	}
}

func TestShowCommitTimestamp_InRunTx_CommitsOnce(t *testing.T) {
	t.Parallel()
	for name, ask := range asking {
		for losing := range 3 {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := &timestampBank{losing: losing}
				st := kit.Answering(t, b.answer)
				err := cockroachdb.RunTx(t.Context(), st.DB, nil, func(tx *sql.Tx) error { return payOut(t.Context(), tx, ask) })
				want := []string{"UPDATE balance TO 110 LESS 50"}
				if losing == 0 {
					want = []string{"UPDATE balance TO 100 LESS 50"}
				}
				assert.Equal(t, want, b.writes(), "%v; %q", err, st.Sent())
			})
		}
	}
}

func TestShowCommitTimestamp_ConnectionLost_IsAmbiguous(t *testing.T) {
	t.Parallel()
	for name, ask := range asking {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &timestampBank{cut: true}
			st := kit.Answering(t, b.answer)
			tx := st.Begin(t)
			err := payOut(t.Context(), tx, ask)
			_ = tx.Rollback()
			require.Len(t, b.writes(), 1)
			kit.As[*cockroachdb.AmbiguousCommitError](t, err)
			assert.Empty(t, kit.StateOf(err))
		})
	}
}

// After it there is nothing left to be lost: neither by what still comes, nor by Rollback.
func TestShowCommitTimestamp_ThenMore_IsNoConflict(t *testing.T) {
	t.Parallel()
	for name, ask := range asking {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &timestampBank{}
			st := kit.Answering(t, b.answer)
			tx := st.Begin(t)
			require.NoError(t, payOut(t.Context(), tx, ask))
			_, err := tx.ExecContext(t.Context(), "UPDATE more")
			require.Error(t, err)
			assert.NotEqual(t, "40001", kit.StateOf(err))
			require.Error(t, tx.Rollback(), "it is committed")
			assert.Len(t, b.writes(), 1)
			st.WantKept(t)
		})
	}
}

func TestShowCommitTimestamp_ThenCommit_IsCommitted(t *testing.T) {
	t.Parallel()
	for name, ask := range asking {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &timestampBank{}
			st := kit.Answering(t, b.answer)
			tx := st.Begin(t)
			require.NoError(t, payOut(t.Context(), tx, ask))
			require.NoError(t, tx.Commit())
			assert.Len(t, b.writes(), 1)
			st.WantKept(t)
		})
	}
}
