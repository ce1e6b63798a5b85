package commit_test

import (
	"context"
	"database/sql"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const commits = "RELEASE; COMMIT"

// releaseLoses is a script in which the first commit loses.
func releaseLoses(s kit.Script) kit.Script {
	all := kit.Script{kit.Release: {kit.Conflict, kit.OK}}
	maps.Copy(all, s)
	return all
}

func execs(texts ...string) func(*testing.T, *sql.Tx) {
	return func(t *testing.T, tx *sql.Tx) { require.NoError(t, kit.ExecAll(tx, texts...)) }
}

// Where the application has seen nothing but successes, and the locks are held, the replay and the commit are one round
// trip; else the commit waits until the replay has been compared.
func TestCommit_LosesAConflict_RoundTripsDependOnWhatWasSeen(t *testing.T) {
	t.Parallel()
	rows := kit.Script{"SELECT v": {kit.Texts("x", "y")}, "SELECT none": {kit.Texts()}}
	for name, c := range map[string]struct {
		script  kit.Script
		options []any
		run     func(*testing.T, *sql.Tx)
		last    []string // the round trips after the commit that lost
	}{
		"writes": {run: execs("UPDATE a", "UPDATE b"), last: []string{"ROLLBACK TO; UPDATE a; UPDATE b; " + commits}},
		"writes, by BEGIN": {
			script: kit.Script{"COMMIT": {kit.Conflict, kit.OK}}, options: []any{"retry_restart=begin"},
			run: execs("UPDATE a", "UPDATE b"), last: []string{"BEGIN; UPDATE a; UPDATE b", "COMMIT"},
		},
		"writes, on PostgreSQL": {
			script: kit.Script{"COMMIT": {kit.Conflict, kit.OK}}, options: []any{fakepg.PlainPostgreSQL()},
			run: execs("UPDATE a", "UPDATE b"), last: []string{"BEGIN; UPDATE a; UPDATE b", "COMMIT"},
		},
		"aborted": {
			script: kit.Script{kit.Release: {kit.Aborted, kit.OK}}, options: []any{""},
			run:  execs("UPDATE a", "UPDATE b"),
			last: []string{"ROLLBACK; BEGIN PRIORITY HIGH; SAVEPOINT; UPDATE a; UPDATE b", commits},
		},
		"rows that nobody can read": {
			script: rows, run: execs("SELECT v", "UPDATE b"), last: []string{"ROLLBACK TO; SELECT v; UPDATE b; " + commits},
		},
		"its own savepoint": {
			run:  execs("SAVEPOINT x", "UPDATE a", "RELEASE SAVEPOINT x"),
			last: []string{"ROLLBACK TO; SAVEPOINT x; UPDATE a; RELEASE SAVEPOINT x; " + commits},
		},
		"a count asked for": {
			run: func(t *testing.T, tx *sql.Tx) {
				kit.Exec(t, tx, "UPDATE a")
				kit.Affected(t, tx, "UPDATE b")
			},
			last: []string{"ROLLBACK TO; UPDATE a; UPDATE b", commits},
		},
		"a row read": {
			script: rows, run: func(t *testing.T, tx *sql.Tx) { kit.Scan[string](t, tx, "SELECT v") },
			last: []string{"ROLLBACK TO; SELECT v", commits},
		},
		"the columns seen": {
			script: rows,
			run: func(t *testing.T, tx *sql.Tx) {
				r, err := tx.QueryContext(t.Context(), "SELECT v")
				require.NoError(t, err)
				require.NoError(t, r.Close())
				require.NoError(t, r.Err())
			},
			last: []string{"ROLLBACK TO; SELECT v", commits},
		},
		"the end of nothing seen": {
			script: rows,
			run: func(t *testing.T, tx *sql.Tx) {
				assert.ErrorIs(t, tx.QueryRowContext(t.Context(), "SELECT none").Scan(new(string)), sql.ErrNoRows)
			},
			last: []string{"ROLLBACK TO; SELECT none", commits},
		},
		"an error survived": {
			script: kit.Script{"UPDATE b": kit.Always(kit.Fails("23505", "there already"))},
			run: func(t *testing.T, tx *sql.Tx) {
				kit.Exec(t, tx, "SAVEPOINT x")
				require.Error(t, kit.ExecAll(tx, "UPDATE b"))
				kit.Exec(t, tx, "ROLLBACK TO x")
			},
			last: []string{"ROLLBACK TO; SAVEPOINT x; UPDATE b", "ROLLBACK TO x", commits},
		},
		"several statements in one text": {
			run:  execs("UPDATE a", "UPDATE b; UPDATE c"),
			last: []string{"ROLLBACK TO; UPDATE a", "Query UPDATE b; UPDATE c", commits},
		},
		"DDL": {
			run: execs("UPDATE a", "CREATE TABLE t"), last: []string{"ROLLBACK TO; UPDATE a", "CREATE TABLE t", commits},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.script
			if c.options == nil {
				s = releaseLoses(s)
			}
			st := kit.New(t, s, c.options...)
			tx := st.Begin(t)
			c.run(t, tx)
			before := len(st.Trips(1))
			require.NoError(t, tx.Commit())
			assert.Equal(t, c.last, st.Trips(1)[before+1:])
			st.WantKept(t)
		})
	}
}

// Who asks for the number of affected rows after the commit is told that of the attempt that committed.
func TestCommit_WithItsReplay_CountIsTheLatest(t *testing.T) {
	t.Parallel()
	st := kit.New(t, releaseLoses(kit.Script{"UPDATE a": {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 3")}}))
	tx := st.Begin(t)
	res, err := tx.ExecContext(t.Context(), "UPDATE a")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	n, err := res.RowsAffected()
	require.NoError(t, err)
	assert.Equal(t, int64(3), n)
}

// What does not succeed as it had is not committed: the server skips the commit.
func TestCommit_WithItsReplay_ReplayDiffers_IsNotCommitted(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"in the first": "UPDATE a", "in the last": "UPDATE b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, releaseLoses(kit.Script{first: {kit.OK, kit.Fails("23505", "there already")}}))
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
			err := tx.Commit()
			differs := kit.As[*cockroachdb.DivergenceError](t, err)
			assert.Equal(t, cockroachdb.DivergedSQLState, differs.Kind)
			kit.WantConflict(t, err)
			assert.Equal(t, 1, st.Ran(kit.Release), "the one that lost")
			assert.Zero(t, st.Ran("COMMIT"))
			st.WantKept(t)
		})
	}
}

// Whatever else the server answers to a statement before the commit, it has skipped the commit.
func TestCommit_WithItsReplay_ServerAnswersAStatement_IsKnown(t *testing.T) {
	t.Parallel()
	rest := "ROLLBACK TO; UPDATE a; UPDATE b; " + commits
	anew := "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a; UPDATE b"
	for name, c := range map[string]struct {
		reply fakepg.Reply
		code  string
		last  []string
	}{
		"it loses again": {
			kit.Conflict, "", []string{rest, "ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b", commits},
		},
		"it fails in passing": {kit.Fails("57014", "too late"), "57014", []string{rest, "ROLLBACK"}},
		"after the savepoint": {kit.Fails("XX000", "no"), "", []string{rest, anew, commits}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, releaseLoses(kit.Script{"UPDATE b": {kit.OK, c.reply}}))
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
			err := tx.Commit()
			if c.code == "" {
				require.NoError(t, err)
			} else {
				kit.WantCodeWithin(t, err, c.code)
				assert.False(t, kit.IsA[*cockroachdb.AmbiguousCommitError](err))
			}
			assert.Equal(t, c.last, st.Trips(1)[3:])
		})
	}
}

// A prepared statement that is out of date is no divergence.
func TestCommit_WithItsReplay_PlanIsStale_GoesOn(t *testing.T) {
	t.Parallel()
	st := kit.New(t, releaseLoses(kit.Script{"UPDATE a SET v = $1": {kit.OK, kit.OK, kit.Stale}}))
	kit.Exec(t, st, "UPDATE a SET v = $1", "x")
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a SET v = $1", "x")
	require.NoError(t, tx.Commit())
	assert.Equal(t, 2, st.Ran(kit.Release), "the one that lost, and the last")
	assert.Equal(t, 1, st.Ran("COMMIT"))
}

// Once the commit is on its way with the replay, the loss of the connection leaves the outcome open, whatever was
// answered before: it is never replayed then.
func TestCommit_WithItsReplay_AnswerIsLost_IsAmbiguous(t *testing.T) {
	t.Parallel()
	reset := kit.Script{
		"nothing is answered":         {kit.OK, {Cut: fakepg.CutUnsent}},
		"the opening is answered":     {kit.OK, {Cut: fakepg.CutBefore}},
		"the statement is answered":   {kit.OK, {Cut: fakepg.CutAfter}},
		"the node goes away":          {kit.OK, kit.Fatal("57P01", "server is shutting down")},
		"the connection is to end":    {kit.OK, kit.Fatal("57P05", "idle")},
		"half of its answer is there": {kit.OK, {Cut: fakepg.CutHalf}},
	}
	for name, replies := range reset {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, releaseLoses(kit.Script{"UPDATE a": replies}))
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
			kit.As[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
			assert.Equal(t, 2, st.Ran("UPDATE a"), "it is run again by nobody")
			kit.Exec(t, st, "UPDATE c")
		})
	}
	t.Run("a context ends", func(t *testing.T) {
		t.Parallel()
		kit.InBubble(t, releaseLoses(kit.Script{"UPDATE a": {kit.OK, kit.Slow}}), func(t *testing.T, r *kit.Rig) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			tx := r.BeginIn(t, ctx)
			kit.Exec(t, tx, "UPDATE a")
			err := tx.Commit()
			kit.As[*cockroachdb.AmbiguousCommitError](t, err)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
	})
}

// The server's word that the transaction has lost is one, also as its last.
func TestCommit_WithItsReplay_LostWithTheConnection_IsNotCommitted(t *testing.T) {
	t.Parallel()
	st := kit.New(t, releaseLoses(kit.Script{"UPDATE a": {kit.OK, kit.Fatal("40001", "restart transaction")}}))
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	err := tx.Commit()
	kit.As[*cockroachdb.ConnectionLostError](t, err)
	kit.WantConflict(t, err)
}

// A connection that is found closed before anything is sent is replaced as ever.
func TestCommit_WithItsReplay_ConnectionClosedBefore_GoesOn(t *testing.T) {
	t.Parallel()
	var st *kit.Rig
	st = kit.New(t, releaseLoses(nil), func(c *cockroachdb.Config) {
		c.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) {
			if e.Attempt == 2 {
				st.Disconnect()
			}
		}
	})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	require.NoError(t, tx.Commit())
	assert.Equal(t, 2, st.Connections())
	assert.Equal(t, 1, st.Ran("COMMIT"))
}
