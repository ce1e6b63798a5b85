package restart_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// noDDL is what a real server says to DDL in a transaction of high priority.
var noDDL = kit.Fails("0A000", "unimplemented: schema change statement cannot follow a statement that has written in the same transaction, PRIORITY HIGH")

func TestRestart_DDLInTheRecord_HasNoPriority(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict, kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "CREATE TABLE x ()", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; CREATE TABLE x ()", "UPDATE b",
			"ROLLBACK TO; CREATE TABLE x ()", "UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; CREATE TABLE x ()", "UPDATE b",
			"RELEASE; COMMIT",
		}, r.Trips(first))
	})
}

func TestRestart_DDLRefusedForThePriority_LowersIt(t *testing.T) {
	t.Parallel()
	const ddl = "ALTER TABLE x ADD y INT"
	high := []string{
		"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK; BEGIN PRIORITY HIGH; SAVEPOINT; UPDATE a",
		"ROLLBACK", "BEGIN PRIORITY HIGH; SAVEPOINT; UPDATE a",
	}
	t.Run("alone", func(t *testing.T) {
		script := kit.Script{"UPDATE a": {kit.Aborted, kit.Aborted, kit.OK}, ddl: {noDDL, kit.OK}}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", ddl))
			require.NoError(t, tx.Commit())
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a", ddl, "RELEASE; COMMIT"), r.Trips(first))
			r.WantUsable(t)
		})
	})
	t.Run("never again", func(t *testing.T) {
		script := kit.Script{"UPDATE a": {kit.Aborted, kit.Aborted, kit.OK}, ddl: {noDDL, kit.OK}, "UPDATE b": {kit.Aborted}}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", ddl, "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a", ddl, "UPDATE b",
				"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a", ddl, "UPDATE b", "RELEASE; COMMIT"), r.Trips(first))
		})
	})
	t.Run("and then loses", func(t *testing.T) {
		script := kit.Script{"UPDATE a": {kit.Aborted, kit.Aborted, kit.OK, kit.Aborted, kit.OK}, ddl: {noDDL, kit.OK}}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", ddl))
			require.NoError(t, tx.Commit())
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a",
				"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a", ddl, "RELEASE; COMMIT"), r.Trips(first))
		})
	})
	t.Run("refused for itself", func(t *testing.T) {
		script := kit.Script{"UPDATE a": {kit.Aborted, kit.Aborted, kit.OK}, ddl: {noDDL, noDDL}}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			err := kit.ExecAll(tx, "UPDATE a", ddl)
			assert.IsType(t, (*pgconn.PgError)(nil), err)
			assert.Equal(t, "0A000", kit.StateOf(err))
			require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a", ddl, "ROLLBACK"), r.Trips(first))
			r.WantUsable(t)
		})
	})
	t.Run("not in the lane", func(t *testing.T) {
		kit.InBubble(t, kit.Script{ddl: {noDDL}}, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			assert.Equal(t, "0A000", kit.StateOf(kit.ExecAll(tx, "UPDATE a", ddl)))
			require.NoError(t, tx.Rollback())
			assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", ddl, "ROLLBACK"}, r.Trips(first))
		})
	})
	t.Run("and diverges", func(t *testing.T) {
		kit.InBubble(t, kit.Script{
			"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Aborted, kit.Aborted, kit.OK}, ddl: {noDDL},
		},
			func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				var v int
				require.NoError(t, tx.QueryRow("SELECT v").Scan(&v))
				before := r.Counts(t)
				err := kit.ExecAll(tx, ddl)
				var diverged *cockroachdb.DivergenceError
				require.ErrorAs(t, err, &diverged)
				assert.Same(t, diverged, err, "the error itself, not one of an aborted connection")
				assert.Equal(t, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 3},
					publicPart(diverged))
				assert.Equal(t, "40001", kit.StateOf(err))
				require.NoError(t, tx.Rollback())
				assert.Equal(t, 1.0, r.Moved(t, before)["replay_divergences_total row"])
				assert.Equal(t, 1, r.Connections(), "the connection is as good as ever")
				r.WantUsable(t)
			})
	})
}

// publicPart leaves what Error and Unwrap are made of.
func publicPart(e *cockroachdb.DivergenceError) cockroachdb.DivergenceError {
	return cockroachdb.DivergenceError{Statement: e.Statement, Kind: e.Kind, Row: e.Row, Attempts: e.Attempts}
}

// committedPart checks that err says that something may be committed, and is no conflict to loops.
func committedPart(t *testing.T, err error) {
	t.Helper()
	kit.As[*cockroachdb.AmbiguousCommitError](t, err)
	assert.Empty(t, kit.StateOf(err), "a loop would run again what is committed")
}

// A conflict that leaves the server idle has come after a commit that was not the driver's.
func TestRestart_ConflictAfterACommit_IsAmbiguous(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]any{"CockroachDB": nil, "PostgreSQL": {fakepg.PlainPostgreSQL()}} {
		t.Run(name, func(t *testing.T) {
			t.Run("but a COMMIT as text that loses has committed nothing", func(t *testing.T) {
				kit.InBubble(t, kit.Script{"COMMIT": {kit.Conflict, kit.OK}}, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					before := r.Counts(t)
					require.NoError(t, kit.ExecAll(tx, "UPDATE a", "COMMIT"))
					_ = tx.Rollback()
					assert.Equal(t, 2, r.Ran("UPDATE a"))
					assert.Equal(t, 2, r.Ran("BEGIN"))
					assert.Equal(t, 1.0, r.Moved(t, before)["transactions_total ended_by_application"])
					r.WantUsable(t)
				}, options...)
			})
			t.Run("COMMIT and BEGIN in one text", func(t *testing.T) {
				kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					require.NoError(t, kit.ExecAll(tx, "UPDATE a", "COMMIT; BEGIN"))
					err := kit.ExecAll(tx, "UPDATE b")
					committedPart(t, err)
					assert.Equal(t, err, kit.ExecAll(tx, "UPDATE c"))
					require.Error(t, tx.Rollback(), "a part is committed")
					assert.Equal(t, 1, r.Ran("UPDATE a"))
					assert.Equal(t, []string{"Query COMMIT; BEGIN", "UPDATE b", "ROLLBACK"}, r.Trips(first)[1:])
					r.WantUsable(t)
				}, options...)
			})
			t.Run("COMMIT and BEGIN in one text, committed", func(t *testing.T) {
				kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					require.NoError(t, kit.ExecAll(tx, "UPDATE a", "COMMIT; BEGIN", "UPDATE b"))
					require.NoError(t, tx.Commit())
					assert.Equal(t, []string{"Query COMMIT; BEGIN", "UPDATE b", "COMMIT"}, r.Trips(first)[1:])
					r.WantUsable(t)
				}, options...)
			})
			t.Run("a conflict after COMMIT in one text", func(t *testing.T) {
				kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					committedPart(t, kit.ExecAll(tx, "UPDATE a", "COMMIT; BEGIN; UPDATE b"))
					require.Error(t, tx.Rollback(), "a part is committed")
					assert.Equal(t, 1, r.Ran("UPDATE a"))
					assert.Equal(t, 1, r.Ran("UPDATE b"))
					r.WantUsable(t)
				}, options...)
			})
			t.Run("a conflict after COMMIT, outside", func(t *testing.T) {
				kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
					_, err := r.DB.Exec("BEGIN; UPDATE a; COMMIT; UPDATE b")
					committedPart(t, err)
					assert.Equal(t, 1, r.Ran("UPDATE a"))
					r.WantUsable(t)
				}, options...)
			})
			t.Run("a conflict in a text before its COMMIT", func(t *testing.T) {
				kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b; COMMIT; BEGIN"),
						"nothing was committed, so all can be run again")
					require.Error(t, tx.Rollback(), "a part is committed")
					assert.Equal(t, 2, r.Ran("UPDATE a"))
					assert.Equal(t, 2, r.Ran("UPDATE b"))
					r.WantUsable(t)
				}, options...)
			})
		})
	}
}

// With autocommit_before_ddl, DDL commits what is open before it runs, and may then lose.
func TestRestart_ConflictAfterDDLThatCommits_IsAmbiguous(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	for name, reply := range map[string]fakepg.Reply{
		"and succeeds": {EndsTx: true},
		"and fails":    {Err: fakepg.Error("42P07", "it exists"), EndsTx: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := kit.New(t, kit.Script{ddl: {reply}})
			tx, err := r.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			err = kit.ExecAll(tx, "UPDATE a", ddl)
			assert.Equal(t, reply.Err == nil, err == nil, "%v", err)
			require.NoError(t, kit.ExecAll(tx, "UPDATE b"), "it runs outside, as through pgx")
			require.Error(t, tx.Rollback(), "it is committed")
			assert.Len(t, r.Statements(), 3)
			assert.Equal(t, []string{"UPDATE b"}, r.Statements()[2])
		})
	}
}

// To a loop around the transaction a 40001 would say that nothing was committed.
func TestRestart_DDLThatCommitsAndThenLoses_IsAmbiguous(t *testing.T) {
	t.Parallel()
	for name, ctx := range map[string]context.Context{
		"": t.Context(), "without retries": cockroachdb.WithoutRetries(t.Context()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{"CREATE TABLE x ()": {{Err: fakepg.Conflict(), EndsTx: true}}})
			tx, err := r.BeginTx(ctx, nil)
			require.NoError(t, err)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			connections := r.Connections()
			kit.As[*cockroachdb.AmbiguousCommitError](t, kit.ExecAll(tx, "CREATE TABLE x ()"))
			kit.As[*cockroachdb.AmbiguousCommitError](t, kit.ExecAll(tx, "UPDATE b"))
			kit.As[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
			assert.Len(t, r.Statements(), 2, "nothing else was sent")
			kit.Exec(t, r, "UPDATE c") // the connection is good
			assert.Equal(t, connections, r.Connections())
		})
	}
}

func TestRestart_ApplicationRolledBack_RollbackSendsNothing(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "ROLLBACK"))
		require.NoError(t, tx.Rollback())
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK"}, r.Trips(first),
			"there is nothing to roll back any more")
		r.WantUsable(t)
	})
}

// The stale statement can't be run again in the replay either: all of the record is prepared anew.
func TestRestart_SeveralStalePlans_AreAllPreparedAgain(t *testing.T) {
	t.Parallel()
	stale := kit.Fails("0A000", "cached plan must not change result type")
	kit.InBubble(t, kit.Script{
		"SELECT a": {kit.Ints(1), kit.Ints(1), stale, kit.Ints(1)}, "SELECT b": {kit.Ints(2), stale, kit.Ints(2)},
	},
		func(t *testing.T, r *kit.Rig) {
			var v int
			for _, text := range []string{"SELECT a", "SELECT b"} {
				require.NoError(t, r.DB.QueryRow(text).Scan(&v))
			}
			tx := r.Begin(t)
			require.NoError(t, tx.QueryRow("SELECT a").Scan(&v))
			require.NoError(t, tx.QueryRow("SELECT b").Scan(&v))
			require.NoError(t, tx.Commit())
			assert.Equal(t, 2, v)
			assert.Equal(t, 1, r.Connections())
			assert.Zero(t, time.Since(r.Started), "nothing was lost, nothing is waited for")
			r.WantUsable(t)
		})
}

// A renewal replays, and so may diverge without a conflict.
func TestRestart_ReplayForAStalePlanDiverges_IsTold(t *testing.T) {
	t.Parallel()
	stale := kit.Fails("26000", "prepared statement does not exist")
	s := kit.Script{"SELECT a": {kit.Ints(1), kit.Ints(2)}, "SELECT b": {kit.Ints(2), stale, kit.Ints(2)}}
	kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
		var v int
		require.NoError(t, r.DB.QueryRow("SELECT b").Scan(&v))
		before := r.Counts(t)
		tx := r.Begin(t)
		require.NoError(t, tx.QueryRow("SELECT a").Scan(&v))
		err := tx.QueryRow("SELECT b").Scan(&v)
		require.IsType(t, (*cockroachdb.DivergenceError)(nil), err)
		assert.Equal(t, "26000", kit.StateOf(err))
		require.NoError(t, tx.Rollback())
		assert.Equal(t, 1.0, r.Moved(t, before)["transactions_total diverged"])
		assert.Equal(t, 1.0, r.Moved(t, before)["replay_divergences_total row"])
		r.WantUsable(t)
	})
	kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
		var v, calls int
		require.NoError(t, r.DB.QueryRow("SELECT b").Scan(&v))
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			calls++
			if err := tx.QueryRow("SELECT a").Scan(&v); err != nil {
				return err
			}
			return tx.QueryRow("SELECT b").Scan(&v)
		}))
		assert.Equal(t, 2, calls)
		r.WantUsable(t)
	})
}

// A COMMIT that the application sends as text is a commit: an answer that leaves open whether it has committed is told
// as Commit would.
func TestRestart_AnswerToTheApplicationsCommitLost_IsAmbiguous(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code      string
		ambiguous bool
		option    any
	}{
		"statement timeout":                    {"57014", true, ""},
		"unknown to the server":                {"40003", true, ""},
		"shutdown":                             {"57P01", true, fakepg.PlainPostgreSQL()},
		"PostgreSQL's word is definite":        {"23505", false, fakepg.PlainPostgreSQL()},
		"PostgreSQL's, of a statement timeout": {"57014", false, fakepg.PlainPostgreSQL()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.InBubble(t, kit.Script{"COMMIT": {kit.Fails(tt.code, "injected")}}, func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				err := kit.ExecAll(tx, "UPDATE a", "COMMIT")
				assert.Equal(t, tt.code, kit.StateOf(err))
				var ambiguous *cockroachdb.AmbiguousCommitError
				assert.Equal(t, tt.ambiguous, errors.As(err, &ambiguous))
				assert.Equal(t, tt.ambiguous, tx.Rollback() != nil, "it is rolled back for certain, or it may be committed")
				assert.Equal(t, 1, r.Ran("COMMIT"))
				r.WantUsable(t)
			}, tt.option)
		})
	}
}
