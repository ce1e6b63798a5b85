package cockroachdb_test

import (
	"context"
	"database/sql"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// The connection that a test's first transaction is on, and the second one's where the first has not ended.
const (
	first  = 1
	second = 2
	third  = 3
)

func TestRestartBySavepointWhereTheLaneIsFree(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b", "UPDATE c"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a",
			"UPDATE b",
			"ROLLBACK TO; UPDATE a; UPDATE b",
			"UPDATE c",
			"RELEASE; COMMIT",
		}, r.trips(first))
		assert.Equal(t, []string{
			"Parse name= sql=ROLLBACK TO SAVEPOINT cockroach_restart", "Bind stmt= params=[]", "Describe P", "Execute",
			"Parse name= sql=UPDATE a", "Bind stmt= params=[]", "Describe P", "Execute",
			"Parse name= sql=UPDATE b", "Bind stmt= params=[]", "Describe P", "Execute",
			"Sync",
		}, r.OfConn(first)[2])
		assert.Zero(t, time.Since(r.started), "at once")
	})
}

func TestRestartAtTheCommitBySavepoint(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"RELEASE SAVEPOINT cockroach_restart": {lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "RELEASE; COMMIT",
			"ROLLBACK TO; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.trips(first))
	})
}

func TestRestartOfTheFirstStatement(t *testing.T) {
	t.Parallel()
	t.Run("executed", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {lost}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "RELEASE; COMMIT"}, r.trips(first))
		})
	})
	t.Run("with arguments", func(t *testing.T) {
		inBubble(t, script{"UPDATE a SET v = $1": {lost}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			_, err := tx.Exec("UPDATE a SET v = $1", "x")
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{
				"BEGIN; SAVEPOINT; Describe UPDATE a SET v = $1", "Parse UPDATE a SET v = $1; UPDATE a SET v = $1",
				"ROLLBACK TO; UPDATE a SET v = $1", "RELEASE; COMMIT",
			}, r.trips(first))
		})
	})
}

func TestRestartWaitsWithoutLocksForTheLane(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
		holder := r.holdLane(t)
		tx := r.begin(t, t.Context())
		done := make(chan error, 1)
		go func() { done <- execAll(tx, "UPDATE a", "UPDATE b") }()
		time.Sleep(time.Second)
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK"}, r.trips(second), "the locks went before the wait")
		assert.Equal(t, 1.0, r.counts(t)["retry_lane_waiting"])
		require.NoError(t, holder.Commit())
		require.NoError(t, <-done)
		assert.Equal(t, time.Second, time.Since(r.started), "as soon as the lane was left")
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK",
			"BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.trips(second))
		r.usable(t)
	})
}

func TestRestartAtTheCommitWaitsForTheLane(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"RELEASE SAVEPOINT cockroach_restart": {lost, success}}, func(t *testing.T, r *rig) {
		holder := r.holdLane(t)
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a"))
		time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "RELEASE; COMMIT", "ROLLBACK",
			"BEGIN; SAVEPOINT; UPDATE a", "RELEASE; COMMIT",
		}, r.trips(second))
	})
}

func TestRestartWithoutTheLaneOnceTheWaitIsOver(t *testing.T) {
	t.Parallel()
	// Two wait, so that the second of them does not take the lane over when its time is up.
	inBubble(t, script{"UPDATE b": {lost}, "UPDATE c": {lost}}, func(t *testing.T, r *rig) {
		holder := r.holdLane(t)
		go func() {
			tx := r.begin(t, t.Context())
			assert.NoError(t, execAll(tx, "UPDATE c"))
			time.Sleep(10 * time.Second)
			assert.NoError(t, tx.Commit())
		}()
		synctest.Wait()
		tx := r.begin(t, t.Context())
		time.Sleep(time.Second) // the holder has the lane since before
		require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
		assert.Equal(t, 6*time.Second, time.Since(r.started), "a second, and LaneWait")
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK",
			"BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.trips(3))
		require.NoError(t, holder.Commit())
		time.Sleep(time.Minute)
		r.usable(t)
	})
}

func TestRestartAgainInTheLane(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE b": {lost, lost, lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b",
			"ROLLBACK TO; UPDATE a; UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.trips(first))
		assert.InDelta(t, r.counts(t)["backoff_seconds_total backoff"], time.Since(r.started).Seconds(), 1e-9, "the waits between are the backoff")
		assert.Less(t, time.Since(r.started), 60*time.Millisecond, "20 ms and 40 ms at most")
	})
}

func TestRestartOnPostgreSQL(t *testing.T) {
	t.Parallel()
	t.Run("lane free", func(t *testing.T) {
		inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "ROLLBACK; BEGIN; UPDATE a; UPDATE b", "COMMIT"}, r.trips(first))
		}, plainPostgreSQL)
	})
	t.Run("lane taken", func(t *testing.T) {
		inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
			holder := r.holdLane(t)
			tx := r.begin(t, t.Context())
			time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
			require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "ROLLBACK", "BEGIN; UPDATE a; UPDATE b", "COMMIT"}, r.trips(second))
		}, plainPostgreSQL)
	})
	t.Run("again in the lane", func(t *testing.T) {
		inBubble(t, script{"UPDATE b": {lost, lost}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{
				"BEGIN; UPDATE a", "UPDATE b", "ROLLBACK; BEGIN; UPDATE a; UPDATE b",
				"ROLLBACK", "BEGIN; UPDATE a; UPDATE b", "COMMIT",
			}, r.trips(first))
		}, plainPostgreSQL)
	})
	t.Run("at the commit", func(t *testing.T) {
		inBubble(t, script{"COMMIT": {lost, success}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "COMMIT", "BEGIN; UPDATE a; UPDATE b", "COMMIT"}, r.trips(first))
		}, plainPostgreSQL)
	})
	t.Run("deadlock", func(t *testing.T) {
		inBubble(t, script{"UPDATE b": {refused("40P01", "deadlock detected")}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Contains(t, r.trips(first), "ROLLBACK; BEGIN; UPDATE a; UPDATE b")
		}, plainPostgreSQL)
	})
}

func TestRestartKeepsTheModes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts sql.TxOptions
		want string
	}{
		"read only":       {sql.TxOptions{ReadOnly: true}, "BEGIN READ ONLY"},
		"serializable":    {sql.TxOptions{Isolation: sql.LevelSerializable}, "BEGIN ISOLATION LEVEL SERIALIZABLE"},
		"read committed":  {sql.TxOptions{Isolation: sql.LevelReadCommitted}, "BEGIN ISOLATION LEVEL READ COMMITTED"},
		"both":            {sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
		"snapshot":        {sql.TxOptions{Isolation: sql.LevelSnapshot}, "BEGIN ISOLATION LEVEL REPEATABLE READ"},
		"read uncommited": {sql.TxOptions{Isolation: sql.LevelReadUncommitted}, "BEGIN ISOLATION LEVEL READ UNCOMMITTED"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, script{"SELECT a": {aborted, aborted, success}}, func(t *testing.T, r *rig) {
				tx, err := r.db.BeginTx(t.Context(), &tc.opts)
				require.NoError(t, err)
				require.NoError(t, execAll(tx, "SELECT a"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{
					tc.want + "; SAVEPOINT; SELECT a", "ROLLBACK TO; SELECT a",
					"ROLLBACK", tc.want + " PRIORITY HIGH; SAVEPOINT; SELECT a", "RELEASE; COMMIT",
				}, r.trips(first))
			})
			inBubble(t, script{"SELECT a": {lost, lost, success}}, func(t *testing.T, r *rig) {
				tx, err := r.db.BeginTx(t.Context(), &tc.opts)
				require.NoError(t, err)
				require.NoError(t, execAll(tx, "SELECT a"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{
					tc.want + "; SELECT a", "ROLLBACK; " + tc.want + "; SELECT a", "ROLLBACK", tc.want + "; SELECT a", "COMMIT",
				}, r.trips(first))
			}, plainPostgreSQL)
		})
	}
}

// A transaction that fails to begin anew is over: nothing of the application's may run outside of it.
func TestRestartWhoseBeginFails(t *testing.T) {
	t.Parallel()
	tooMany := refused("53300", "sorry, too many clients already")
	for name, tc := range map[string]struct {
		script  script
		options []any
		want    []string
	}{
		"after a wait": {
			script{"UPDATE a": {lost, lost}, "BEGIN": {success, tooMany}},
			nil,
			[]string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a"},
		},
		"at once": {
			script{"UPDATE a": {lost}, "BEGIN": {success, tooMany}},
			[]any{plainPostgreSQL},
			[]string{"BEGIN; UPDATE a", "ROLLBACK; BEGIN; UPDATE a"},
		},
		"the savepoint": {
			script{"UPDATE a": {lost, lost}, "SAVEPOINT cockroach_restart": {success, tooMany}},
			nil,
			[]string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK"},
		},
		"with nothing on record": {
			script{"UPDATE a SET v = $1": {}, "BEGIN": {tooMany}},
			nil,
			[]string{"BEGIN; SAVEPOINT; UPDATE a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tc.script, func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				err := execAll(tx, "UPDATE a")
				assert.Equal(t, "53300", stateOf(err))
				assert.Error(t, execAll(tx, "UPDATE outside"), "there is no transaction for it to be in")
				require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
				assert.Equal(t, tc.want, r.trips(first))
				assert.Zero(t, r.times("UPDATE outside"))
				r.usable(t)
			}, tc.options...)
		})
	}
}

func TestRestartBeginsAnewWhereTheSavepointIsNoHelp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct{ code, message string }{
		"0A000": {"0A000", "cannot rollback to savepoint after error"},
		"3B001": {"3B001", `savepoint "cockroach_restart" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			no := refused(answer.code, answer.message)
			want := []string{
				"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b",
				"ROLLBACK TO; UPDATE a; UPDATE b",
				"ROLLBACK; BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			}
			inBubble(t, script{"UPDATE b": {lost}, "ROLLBACK TO SAVEPOINT cockroach_restart": {no}}, func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, append(want, "RELEASE; COMMIT"), r.trips(first))
			})
			t.Run("at the first statement's Parse", func(t *testing.T) {
				const text = "UPDATE a SET v = $1"
				inBubble(t, script{text: {lost}, "ROLLBACK TO SAVEPOINT cockroach_restart": {no}}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					_, err := tx.Exec(text, "x")
					require.NoError(t, err)
					require.NoError(t, tx.Commit())
					assert.Equal(t, []string{
						"BEGIN; SAVEPOINT; Describe " + text, "Parse " + text + "; " + text, "ROLLBACK TO; " + text, "ROLLBACK; BEGIN; SAVEPOINT; " + text, "RELEASE; COMMIT",
					}, r.trips(first))
				})
			})
			t.Run("then no begin either", func(t *testing.T) {
				inBubble(t, script{
					"UPDATE b": {lost}, "ROLLBACK TO SAVEPOINT cockroach_restart": {no}, "BEGIN": {success, refused("53300", "no")},
				}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					assert.Equal(t, "53300", stateOf(execAll(tx, "UPDATE a", "UPDATE b")))
					require.Error(t, execAll(tx, "UPDATE outside"))
					require.NoError(t, tx.Rollback())
					assert.Equal(t, want, r.trips(first))
					r.usable(t)
				})
			})
		})
	}
}

func TestRestartWhoseRollbackToConflicts(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE b": {lost}, "ROLLBACK TO SAVEPOINT cockroach_restart": {lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK TO; UPDATE a; UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b", "RELEASE; COMMIT",
		}, r.trips(first))
	})
}

func TestRestartInTheMiddleOfRows(t *testing.T) {
	t.Parallel()
	half := numbers(1, 2, 3)
	half.Err, half.ErrAfterRows = lost.Err, 1
	inBubble(t, script{"SELECT v": {half, numbers(1, 5)}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		rows, err := tx.Query("SELECT v")
		require.NoError(t, err)
		var got []int
		for rows.Next() {
			var v int
			require.NoError(t, rows.Scan(&v))
			got = append(got, v)
		}
		require.NoError(t, rows.Err())
		assert.Equal(t, []int{1, 5}, got)
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; Describe SELECT v", "Parse SELECT v; SELECT v", "ROLLBACK TO; SELECT v", "RELEASE; COMMIT"}, r.trips(first))
	})
}

// A context that is done sends nothing more, but the ROLLBACK.
func TestRestartNotForACancelledCaller(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := script{}
	inBubble(t, s, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		holder := r.holdLane(t)
		s["UPDATE b"] = nil
		_, err := tx.ExecContext(ctx, "UPDATE a")
		require.NoError(t, err)
		cancel()
		_, err = tx.ExecContext(ctx, "UPDATE b")
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, execAll(tx, "UPDATE c"), "nothing of b was sent, so the transaction goes on")
		require.NoError(t, tx.Commit())
		require.NoError(t, holder.Commit())
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "UPDATE c", "RELEASE; COMMIT"}, r.trips(first))
	})
}

func TestRestartNotWithoutRetries(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, cockroachdb.WithoutRetries(t.Context()))
		bareConflict(t, execAll(tx, "UPDATE a", "UPDATE b"))
		assert.Equal(t, "25P02", stateOf(execAll(tx, "UPDATE c")), "the server's own answer")
		require.NoError(t, tx.Rollback())
		assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "UPDATE c", "ROLLBACK"}, r.trips(first))
	})
}
