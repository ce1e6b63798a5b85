package kinds

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// cutting is a pool on a server that cuts the connection at the first run of "UPDATE lost", and for which any other
// text is answered by reply, if that is set.
func cutting(t *testing.T, reply func(fakepg.Statement) fakepg.Reply) (*fakepg.Server, *sql.DB) {
	t.Helper()
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		switch {
		case s.SQL == "UPDATE lost" && s.Nth == 1:
			return fakepg.Reply{Cut: fakepg.CutBefore}
		case reply != nil:
			return reply(s)
		}
		return fakepg.Reply{}
	}))
	db := newPool(t, "cockroachdb", srv.DSN())
	db.SetMaxOpenConns(1)
	return srv, db
}

func runs(srv *fakepg.Server, text string) (n int) {
	for _, trip := range srv.Statements() {
		for _, sql := range trip {
			if sql == text {
				n++
			}
		}
	}
	return n
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func TestConnectionLost_UnderWhatMayCommit_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	var payments atomic.Int64
	_, db := cutting(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "CALL pay()" || s.Describing {
			return fakepg.Reply{}
		}
		payments.Add(1)
		return fakepg.Reply{Cut: fakepg.CutAfter}
	})
	tx := begin(t, db)
	exec(t, tx, "UPDATE a")
	_, err := tx.ExecContext(t.Context(), "CALL pay()")
	require.Error(t, err)
	require.Error(t, tx.Commit())
	assert.EqualValues(t, 1, payments.Load())
}

func TestConnectionLost_SettingsAreMadeAgain(t *testing.T) {
	t.Parallel()
	srv, db := cutting(t, nil)
	exec(t, db, "SET search_path = a")
	tx := begin(t, db)
	exec(t, tx, "UPDATE a")
	exec(t, tx, "UPDATE lost")
	require.NoError(t, tx.Commit())
	assert.Equal(t, 2, runs(srv, "SET search_path = a"))
}

func TestConnectionLost_TemporaryTable_EndsTheTransaction(t *testing.T) {
	t.Parallel()
	srv, db := cutting(t, nil)
	exec(t, db, "CREATE TEMP TABLE t (v INT)")
	tx := begin(t, db)
	exec(t, tx, "UPDATE a")
	_, err := tx.ExecContext(t.Context(), "UPDATE lost")
	var lost *cockroachdb.ConnectionLostError
	require.ErrorAs(t, err, &lost)
	assert.Equal(t, cockroachdb.CauseSession, lost.Cause)
	assert.Equal(t, 1, runs(srv, "UPDATE a"))
}

func TestConnectionLost_RowHasChanged_Diverges(t *testing.T) {
	t.Parallel()
	_, db := cutting(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "SELECT v" {
			return fakepg.Reply{}
		}
		return fakepg.Reply{Columns: []fakepg.Column{{Name: "v"}}, Values: [][]any{{string(rune('a' + s.Nth))}}}
	})
	tx := begin(t, db)
	var v string
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v").Scan(&v))
	_, err := tx.ExecContext(t.Context(), "UPDATE lost")
	var diverged *cockroachdb.DivergenceError
	require.ErrorAs(t, err, &diverged)
}

func TestConnectionLost_Cancelled_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	srv, db := cutting(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == "UPDATE slow" && s.Nth == 1 {
			return fakepg.Reply{Delay: time.Hour}
		}
		return fakepg.Reply{}
	})
	tx := begin(t, db)
	exec(t, tx, "UPDATE a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := tx.ExecContext(ctx, "UPDATE slow")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Error(t, tx.Commit())
	assert.Equal(t, 1, runs(srv, "UPDATE a"))
	assert.Equal(t, 1, srv.Connections())
}

// What the application has read to its end must end there in a replay, too.
func TestEndOfRowsSeen_MoreInTheReplay_Diverges(t *testing.T) {
	t.Parallel()
	_, db := cutting(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "SELECT v" {
			return fakepg.Reply{}
		}
		rows := [][]any{{"a"}}
		if s.Nth > 1 {
			rows = append(rows, []any{"b"})
		}
		return fakepg.Reply{Columns: []fakepg.Column{{Name: "v"}}, Values: rows}
	})
	tx := begin(t, db)
	rows, err := tx.QueryContext(t.Context(), "SELECT v")
	require.NoError(t, err)
	for rows.Next() {
		var v string
		require.NoError(t, rows.Scan(&v))
	}
	require.NoError(t, rows.Err())
	_, err = tx.ExecContext(t.Context(), "UPDATE lost")
	var diverged *cockroachdb.DivergenceError
	require.ErrorAs(t, err, &diverged)
	assert.Equal(t, cockroachdb.DivergedEndOfRows, diverged.Kind)
}
