package replay_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// The record's bound exceeded → pass-through; a later 40001 surfaces with the reason.
func TestHistory_BoundExceeded_LaterConflictIsNotReplayable(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO docs VALUES ($1)"
	big := strings.Repeat("b", 2000)
	for cause, set := range map[string]func(*cockroachdb.RetryPolicy){
		"statements": func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 2 },
		"bytes":      func(p *cockroachdb.RetryPolicy) { p.MaxBytes = 2000 },
	} {
		for name, at := range map[string]string{
			"no conflict": "", "at a statement": kit.Update(9), "at the commit": kit.Release, "between": "SELECT v FROM kv",
		} {
			t.Run(cause+", "+name, func(t *testing.T) {
				t.Parallel()
				p := kit.Script{insert: {{ParamOIDs: []uint32{pgtype.TextOID}}}, "SELECT v FROM kv": {kit.Ints(1)}}
				if at != "" {
					loses := p.Reply(fakepg.Statement{SQL: at, Nth: 1})
					loses.Err = fakepg.Conflict()
					p[at] = append([]fakepg.Reply{loses}, p[at]...)
				}
				r := kit.New(t, p, func(cfg *cockroachdb.Config) { set(&cfg.RetryPolicy) })
				tx := r.Begin(t)
				err := func() error {
					kit.Exec(t, tx, kit.Update(1))
					kit.Exec(t, tx, kit.Update(2))
					kit.Exec(t, tx, insert, big)
					var v int64
					if err := tx.QueryRowContext(t.Context(), "SELECT v FROM kv").Scan(&v); err != nil {
						return err
					}
					if _, err := tx.ExecContext(t.Context(), kit.Update(9)); err != nil {
						return err
					}
					return tx.Commit()
				}()
				assert.EqualValues(t, 1, r.Count(t, "not_replayable_total", cause))
				assert.Zero(t, r.Count(t, "history_bytes", ""))
				assert.Equal(t, 1, r.Times(kit.Update(1)))
				if at == "" {
					require.NoError(t, err)
					assert.EqualValues(t, 1, r.Count(t, "transactions_total", "committed"))
				} else {
					n := kit.As[*cockroachdb.NotReplayableError](t, err)
					assert.EqualValues(t, cause, n.Cause)
					kit.WantCodeWithin(t, err, "40001")
					assert.NotContains(t, err.Error(), big[:20])
					assert.NotContains(t, err.Error(), "INSERT")
					assert.NotContains(t, err.Error(), "docs")
					assert.Contains(t, strings.ToLower(err.Error()), "max"+cause)
					assert.LessOrEqual(t, r.Times(kit.Release), 1)
					_ = tx.Rollback()
					assert.EqualValues(t, 1, r.Count(t, "transactions_total", "not_replayable"))
				}
				kit.WantUsable(t, r.DB)
			})
		}
	}
	t.Run("up to the bound it is replayed", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Release: kit.ConflictOn(1)}, "retry_max_statements=2")
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, r.Times(kit.Update(2)))
	})
	t.Run("the next transaction is recorded again", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Update(3): kit.ConflictOn(1)}, "retry_max_statements=1")
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		tx = r.Begin(t)
		kit.Exec(t, tx, kit.Update(3))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, r.Times(kit.Update(3)))
	})
}

// A panicking is an argument that panics. (A Scanner that does leaves database/sql in a deadlock with itself, whatever
// the driver.)
type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("in the middle of an encode") }

// A panic in the application's code while a statement is made leaves no half of it on record, and the connection good:
// who recovers goes on, and a replay runs what ran.
func TestHistory_PanicInAValuer_LeavesTheRecordWhole(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"UPDATE c": {kit.Conflict, kit.OK},
			}, "default_query_exec_mode="+mode, "statement_cache_capacity=1")
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a SET v = $1", "first")
			assert.Panics(t, func() { _, _ = tx.Exec("UPDATE b SET v = $1, w = $2", "half", panicking{}) })
			kit.Exec(t, tx, "UPDATE a SET v = $1", "second")
			kit.Exec(t, tx, "UPDATE c")
			require.NoError(t, tx.Commit())
			attempt := st.LastAttempt()
			require.Len(t, attempt, 3)
			assert.Equal(t, "UPDATE c", attempt[2])
			st.WantKept(t)
		})
	}
}

// An application may raise 40001 itself, in a function of its own, and go on doing so: it is a conflict like any
// other, within the bounds, and nothing is committed.
func TestHistory_ConflictThatTheApplicationRaises(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	kit.Exec(t, a.Rival, `CREATE FUNCTION again() RETURNS INT LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'run me again' USING ERRCODE = '40001'; END $$`)
	ctx := cockroachdb.WithRetryPolicy(t.Context(), func() cockroachdb.RetryPolicy {
		p := cockroachdb.DefaultRetryPolicy()
		p.MaxAttempts, p.InitialBackoff, p.MaxBackoff = 4, 0, 0
		return p
	}())
	tx, err := a.BeginTx(ctx, nil)
	require.NoError(t, err)
	kit.Exec(t, tx, "UPDATE kv SET v = 0 WHERE k = 1")
	_, err = tx.ExecContext(ctx, "SELECT again()")
	exhausted := kit.As[*cockroachdb.RetriesExhaustedError](t, err)
	assert.Equal(t, 4, exhausted.Attempts)
	require.Error(t, tx.Commit())
	assert.Equal(t, 10, a.Value(t, 1))
}

// What a rollback does not undo, PREPARE for instance, can't be replayed. Nothing is committed.
func TestHistory_SessionStateThatOutlivesARollback(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	kit.Exec(t, tx, "PREPARE p AS SELECT 1")
	err := a.Provoke(t, tx)
	assert.Equal(t, cockroachdb.CauseSession, kit.As[*cockroachdb.NotReplayableError](t, err).Cause)
	a.WantEnded(t, tx)
}

// What it does undo is made again: cursors, temporary tables, session variables.
func TestHistory_SessionState_IsMadeAgain(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	for _, sql := range []string{
		"SET application_name = 'replayed'", "SET LOCAL statement_timeout = '9s'", "CREATE TEMPORARY TABLE tmp (v INT)",
		"INSERT INTO tmp SELECT v FROM kv WHERE k < 3", "DECLARE cur CURSOR FOR SELECT v FROM tmp ORDER BY v",
	} {
		kit.Exec(t, tx, sql)
	}
	assert.Equal(t, int64(10), kit.Scan[int64](t, tx, "FETCH cur"))
	require.NoError(t, a.Provoke(t, tx))
	assert.Equal(t, int64(20), kit.Scan[int64](t, tx, "FETCH cur"), "the row after the one that was fetched before")
	assert.Equal(t, "replayed", kit.Scan[string](t, tx, "SHOW application_name"))
	assert.Equal(t, "9s", kit.Scan[string](t, tx, "SHOW statement_timeout"))
	a.MustCommit(t, tx)
}

// The context of BeginTx ends while the commit is under way: its outcome is the server's word, or ambiguous.
func TestHistory_ContextEndsInTheCommit(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == kit.Release && !s.Describing {
			cancel()
		}
		return kit.OK
	})
	tx, err := r.BeginTx(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
	err = tx.Commit()
	var ambiguous *cockroachdb.AmbiguousCommitError
	if err != nil && !errors.As(err, &ambiguous) {
		t.Errorf("%T: %v", err, err)
	}
	assert.Equal(t, 1, r.Times("UPDATE a"))
}
