package cockroachdb_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A panicking is an argument that panics. (A Scanner that does leaves database/sql in a deadlock with itself, whatever the driver.)
type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("in the middle of an encode") }

// A panic in the application's code while a statement is made leaves no half of it on record, and the connection good: who recovers
// goes on, and a replay runs what ran.
func TestPanicLeavesTheRecordWhole(t *testing.T) {
	t.Parallel()
	for _, mode := range queryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{
				"UPDATE c": {lost, won},
			}, "default_query_exec_mode="+mode, "statement_cache_capacity=1")
			tx := st.begin(t)
			mustExec(t, tx, "UPDATE a SET v = $1", "first")
			assert.Panics(t, func() { _, _ = tx.Exec("UPDATE b SET v = $1, w = $2", "half", panicking{}) })
			mustExec(t, tx, "UPDATE a SET v = $1", "second")
			mustExec(t, tx, "UPDATE c")
			require.NoError(t, tx.Commit())
			attempt := st.lastAttempt()
			require.Len(t, attempt, 3)
			assert.Equal(t, "UPDATE c", attempt[2])
			st.mustBeUsable(t)
		})
	}
}

// An application may raise 40001 itself, in a function of its own, and go on doing so: it is a conflict like any other, within the
// bounds, and nothing is committed.
func TestConflictThatTheApplicationRaises(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	mustExec(t, a.rival, `CREATE FUNCTION again() RETURNS INT LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'run me again' USING ERRCODE = '40001'; END $$`)
	ctx := cockroachdb.WithRetryPolicy(t.Context(), func() cockroachdb.RetryPolicy {
		p := cockroachdb.DefaultRetryPolicy()
		p.MaxAttempts, p.InitialBackoff, p.MaxBackoff = 4, 0, 0
		return p
	}())
	tx, err := a.BeginTx(ctx, nil)
	require.NoError(t, err)
	mustExec(t, tx, "UPDATE kv SET v = 0 WHERE k = 1")
	_, err = tx.ExecContext(ctx, "SELECT again()")
	exhausted := isA[*cockroachdb.RetriesExhaustedError](t, err)
	assert.Equal(t, 4, exhausted.Attempts)
	require.Error(t, tx.Commit())
	assert.Equal(t, 10, a.value(t, 1))
}

// What a rollback does not undo, PREPARE for instance, can't be replayed. Nothing is committed.
func TestSessionStateThatOutlivesARollback(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	mustExec(t, tx, "PREPARE p AS SELECT 1")
	err := a.provoke(t, tx)
	assert.Equal(t, cockroachdb.CauseSession, isA[*cockroachdb.NotReplayableError](t, err).Cause)
	a.mustEnd(t, tx)
}

// What it does undo is made again: cursors, temporary tables, session variables.
func TestSessionStateIsMadeAgain(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	for _, sql := range []string{
		"SET application_name = 'replayed'", "SET LOCAL statement_timeout = '9s'", "CREATE TEMPORARY TABLE tmp (v INT)",
		"INSERT INTO tmp SELECT v FROM kv WHERE k < 3", "DECLARE cur CURSOR FOR SELECT v FROM tmp ORDER BY v",
	} {
		mustExec(t, tx, sql)
	}
	assert.Equal(t, int64(10), scanned[int64](t, tx, "FETCH cur"))
	require.NoError(t, a.provoke(t, tx))
	assert.Equal(t, int64(20), scanned[int64](t, tx, "FETCH cur"), "behind the row that was fetched before")
	assert.Equal(t, "replayed", scanned[string](t, tx, "SHOW application_name"))
	assert.Equal(t, "9s", scanned[string](t, tx, "SHOW statement_timeout"))
	a.mustCommit(t, tx)
}

// The context of BeginTx ends while the commit is under way: its outcome is the server's word, or ambiguous.
func TestContextEndsInTheCommit(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == releaseSQL && !s.Describing {
			cancel()
		}
		return won
	}))
	tx, err := openFake(t, srv).BeginTx(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, execAll(tx, "UPDATE a"))
	err = tx.Commit()
	var ambiguous *cockroachdb.AmbiguousCommitError
	if err != nil && !errors.As(err, &ambiguous) {
		t.Errorf("%T: %v", err, err)
	}
	assert.Equal(t, 1, times(srv, "UPDATE a"))
}
