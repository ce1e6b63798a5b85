package restart_test

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
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// The connection that a test's first transaction is on, and the second one's where the first has not ended.
const (
	first  = 1
	second = 2
	third  = 3
)

func TestRestart_LaneFree_GoesBackToTheSavepoint(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b", "UPDATE c"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a",
			"UPDATE b",
			"ROLLBACK TO; UPDATE a; UPDATE b",
			"UPDATE c",
			"RELEASE; COMMIT",
		}, r.Trips(first))
		assert.Equal(t, []string{
			"Parse name= sql=ROLLBACK TO SAVEPOINT cockroach_restart", "Bind stmt= params=[]", "Describe P", "Execute",
			"Parse name= sql=UPDATE a", "Bind stmt= params=[]", "Describe P", "Execute",
			"Parse name= sql=UPDATE b", "Bind stmt= params=[]", "Describe P", "Execute",
			"Sync",
		}, r.OfConn(first)[2])
		assert.Zero(t, time.Since(r.Started), "at once")
	})
}

func TestRestart_AtTheCommit_GoesBackToTheSavepoint(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"RELEASE SAVEPOINT cockroach_restart": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "RELEASE; COMMIT",
			"ROLLBACK TO; UPDATE a; UPDATE b; RELEASE; COMMIT",
		}, r.Trips(first))
	})
}

func TestRestart_AtTheFirstStatement_SendsItAgain(t *testing.T) {
	t.Parallel()
	t.Run("executed", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "RELEASE; COMMIT"}, r.Trips(first))
		})
	})
	t.Run("with arguments", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a SET v = $1": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			_, err := tx.Exec("UPDATE a SET v = $1", "x")
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{
				"BEGIN; SAVEPOINT; Describe UPDATE a SET v = $1", "Parse UPDATE a SET v = $1; UPDATE a SET v = $1",
				"ROLLBACK TO; UPDATE a SET v = $1", "RELEASE; COMMIT",
			}, r.Trips(first))
		})
	})
}

func TestRestart_LaneHeld_WaitsWithoutLocks(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		tx := r.Begin(t)
		done := make(chan error, 1)
		go func() { done <- kit.ExecAll(tx, "UPDATE a", "UPDATE b") }()
		time.Sleep(time.Second)
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK"}, r.Trips(second),
			"the locks went before the wait")
		assert.Equal(t, 1.0, r.Counts(t)["retry_lane_waiting"])
		require.NoError(t, holder.Commit())
		require.NoError(t, <-done)
		assert.Equal(t, time.Second, time.Since(r.Started), "as soon as the lane was left")
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK",
			"BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.Trips(second))
		r.WantUsable(t)
	})
}

func TestRestart_AtTheCommitWithTheLaneHeld_Waits(t *testing.T) {
	t.Parallel()
	script := kit.Script{"RELEASE SAVEPOINT cockroach_restart": {kit.Conflict, kit.OK}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
		time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
		require.NoError(t, tx.Commit())
		synctest.Wait() // for the holder, which leaves the lane before its Commit returns
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "RELEASE; COMMIT", "ROLLBACK",
			"BEGIN; SAVEPOINT; UPDATE a", "RELEASE; COMMIT",
		}, r.Trips(second))
	})
}

func TestRestart_LaneWaitOver_GoesWithoutIt(t *testing.T) {
	t.Parallel()
	// Two wait, so that the second of them does not take the lane over when its time is up.
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}, "UPDATE c": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		go func() {
			tx := r.Begin(t)
			assert.NoError(t, kit.ExecAll(tx, "UPDATE c"))
			time.Sleep(10 * time.Second)
			assert.NoError(t, tx.Commit())
		}()
		synctest.Wait()
		tx := r.Begin(t)
		time.Sleep(time.Second) // the holder has the lane since before
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
		assert.Equal(t, 6*time.Second, time.Since(r.Started), "a second, and LaneWait")
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK",
			"BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.Trips(3))
		require.NoError(t, holder.Commit())
		time.Sleep(time.Minute)
		r.WantUsable(t)
	})
}

func TestRestart_AgainInTheLane_KeepsIt(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict, kit.Conflict, kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b",
			"ROLLBACK TO; UPDATE a; UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			"RELEASE; COMMIT",
		}, r.Trips(first))
		assert.InDelta(t, r.Counts(t)["backoff_seconds_total backoff"], time.Since(r.Started).Seconds(), 1e-9,
			"the waits between are the backoff")
		assert.Less(t, time.Since(r.Started), 60*time.Millisecond, "20 ms and 40 ms at most")
	})
}

func TestRestart_OnPostgreSQL_RollsBackAndBegins(t *testing.T) {
	t.Parallel()
	const again = "BEGIN; UPDATE a; UPDATE b"
	deadlock := kit.Fails("40P01", "deadlock detected")
	for name, tc := range map[string]struct {
		script kit.Script
		trips  []string
	}{
		"lane free": {kit.Script{"UPDATE b": {kit.Conflict}}, []string{"UPDATE b", "ROLLBACK; " + again, "COMMIT"}},
		"deadlock":  {kit.Script{"UPDATE b": {deadlock}}, []string{"UPDATE b", "ROLLBACK; " + again, "COMMIT"}},
		"again in the lane": {
			kit.Script{"UPDATE b": {kit.Conflict, kit.Conflict}},
			[]string{"UPDATE b", "ROLLBACK; " + again, "ROLLBACK", again, "COMMIT"},
		},
		"at the commit": {kit.Script{"COMMIT": {kit.Conflict, kit.OK}}, []string{"UPDATE b", "COMMIT", again, "COMMIT"}},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, tc.script, func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, append([]string{"BEGIN; UPDATE a"}, tc.trips...), r.Trips(first))
			}, fakepg.PlainPostgreSQL())
		})
	}
	t.Run("lane taken", func(t *testing.T) {
		const held = "UPDATE hold SET v = 2 WHERE k = 1"
		kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
			holder := r.HoldLane(t)
			time.Sleep(time.Second) // else it would wait before it loses
			tx := r.Begin(t)
			time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", held))
			require.NoError(t, tx.Commit())
			synctest.Wait() // for the holder
			trips := []string{"BEGIN; UPDATE a", held, "ROLLBACK", "BEGIN; UPDATE a; " + held, "COMMIT"}
			assert.Equal(t, trips, r.Trips(second))
		}, fakepg.PlainPostgreSQL())
	})
}

func TestRestart_WithModes_KeepsThem(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts sql.TxOptions
		want string
	}{
		"read only":      {sql.TxOptions{ReadOnly: true}, "BEGIN READ ONLY"},
		"serializable":   {sql.TxOptions{Isolation: sql.LevelSerializable}, "BEGIN ISOLATION LEVEL SERIALIZABLE"},
		"read committed": {sql.TxOptions{Isolation: sql.LevelReadCommitted}, "BEGIN ISOLATION LEVEL READ COMMITTED"},
		"both": {
			sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		},
		"snapshot":        {sql.TxOptions{Isolation: sql.LevelSnapshot}, "BEGIN ISOLATION LEVEL REPEATABLE READ"},
		"read uncommited": {sql.TxOptions{Isolation: sql.LevelReadUncommitted}, "BEGIN ISOLATION LEVEL READ UNCOMMITTED"},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, kit.Script{"SELECT a": {kit.Aborted, kit.Aborted, kit.OK}}, func(t *testing.T, r *kit.Rig) {
				tx, err := r.DB.BeginTx(t.Context(), &tc.opts)
				require.NoError(t, err)
				require.NoError(t, kit.ExecAll(tx, "SELECT a"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{
					tc.want + "; SAVEPOINT; SELECT a", "ROLLBACK; " + tc.want + " PRIORITY HIGH; SAVEPOINT; SELECT a",
					"ROLLBACK", tc.want + " PRIORITY HIGH; SAVEPOINT; SELECT a", "RELEASE; COMMIT",
				}, r.Trips(first))
			})
			kit.InBubble(t, kit.Script{"SELECT a": {kit.Conflict, kit.Conflict, kit.OK}}, func(t *testing.T, r *kit.Rig) {
				tx, err := r.DB.BeginTx(t.Context(), &tc.opts)
				require.NoError(t, err)
				require.NoError(t, kit.ExecAll(tx, "SELECT a"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{
					tc.want + "; SELECT a", "ROLLBACK; " + tc.want + "; SELECT a", "ROLLBACK", tc.want + "; SELECT a", "COMMIT",
				}, r.Trips(first))
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// A transaction that fails to begin anew is over: nothing of the application's may run outside of it.
func TestRestart_BeginFails_IsOver(t *testing.T) {
	t.Parallel()
	tooMany := kit.Fails("53300", "sorry, too many clients already")
	for name, tc := range map[string]struct {
		script  kit.Script
		options []any
		want    []string
	}{
		"after a wait": {
			kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict}, "BEGIN": {kit.OK, tooMany}},
			nil,
			[]string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a"},
		},
		"at once": {
			kit.Script{"UPDATE a": {kit.Conflict}, "BEGIN": {kit.OK, tooMany}},
			[]any{fakepg.PlainPostgreSQL()},
			[]string{"BEGIN; UPDATE a", "ROLLBACK; BEGIN; UPDATE a"},
		},
		"the savepoint": {
			kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict}, "SAVEPOINT cockroach_restart": {kit.OK, tooMany}},
			nil,
			[]string{
				"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK",
			},
		},
		"with nothing on record": {
			kit.Script{"UPDATE a SET v = $1": {}, "BEGIN": {tooMany}},
			nil,
			[]string{"BEGIN; SAVEPOINT; UPDATE a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, tc.script, func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				err := kit.ExecAll(tx, "UPDATE a")
				assert.Equal(t, "53300", kit.StateOf(err))
				assert.Error(t, kit.ExecAll(tx, "UPDATE outside"), "there is no transaction for it to be in")
				require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
				assert.Equal(t, tc.want, r.Trips(first))
				assert.Zero(t, r.Ran("UPDATE outside"))
				r.WantUsable(t)
			}, tc.options...)
		})
	}
}

func TestRestart_SavepointIsNoHelp_BeginsAnew(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct{ code, message string }{
		"0A000": {"0A000", "cannot rollback to savepoint after error"},
		"3B001": {"3B001", `savepoint "cockroach_restart" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			no := kit.Fails(answer.code, answer.message)
			want := []string{
				"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b",
				"ROLLBACK TO; UPDATE a; UPDATE b",
				"ROLLBACK; BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
			}
			script := kit.Script{"UPDATE b": {kit.Conflict}, "ROLLBACK TO SAVEPOINT cockroach_restart": {no}}
			kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, append(want, "RELEASE; COMMIT"), r.Trips(first))
			})
			t.Run("at the first statement's Parse", func(t *testing.T) {
				const text = "UPDATE a SET v = $1"
				script := kit.Script{text: {kit.Conflict}, "ROLLBACK TO SAVEPOINT cockroach_restart": {no}}
				kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					_, err := tx.Exec(text, "x")
					require.NoError(t, err)
					require.NoError(t, tx.Commit())
					assert.Equal(t, []string{
						"BEGIN; SAVEPOINT; Describe " + text, "Parse " + text + "; " + text,
						"ROLLBACK TO; " + text, "ROLLBACK; BEGIN; SAVEPOINT; " + text, "RELEASE; COMMIT",
					}, r.Trips(first))
				})
			})
			t.Run("then no begin either", func(t *testing.T) {
				kit.InBubble(t, kit.Script{
					"UPDATE b": {kit.Conflict}, "ROLLBACK TO SAVEPOINT cockroach_restart": {no},
					"BEGIN": {kit.OK, kit.Fails("53300", "no")},
				}, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					assert.Equal(t, "53300", kit.StateOf(kit.ExecAll(tx, "UPDATE a", "UPDATE b")))
					require.Error(t, kit.ExecAll(tx, "UPDATE outside"))
					require.NoError(t, tx.Rollback())
					assert.Equal(t, want, r.Trips(first))
					r.WantUsable(t)
				})
			})
		})
	}
}

// It is refused in the midst of rows, of which some have been handed over.
func TestRestartBeginsAnew_InTheMiddleOfRows(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"0A000", "3B001", "XX000"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			rows := kit.Texts("a", "b")
			fails := kit.Fails(code, "the transaction can't go on")
			r := kit.New(t, kit.Script{"SELECT v": {kit.BreakOff(rows, 1), fails, rows}})
			tx := r.Begin(t)
			require.Equal(t, []string{"a", "b"}, kit.Query(t, tx, "SELECT v").MustRest())
			require.NoError(t, tx.Commit())
			assert.Equal(t, 3, r.Ran("SELECT v"))
		})
	}
}

func TestRestart_RollbackToConflicts_TriesAgain(t *testing.T) {
	t.Parallel()
	script := kit.Script{"UPDATE b": {kit.Conflict}, "ROLLBACK TO SAVEPOINT cockroach_restart": {kit.Conflict}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK TO; UPDATE a; UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a; UPDATE b", "RELEASE; COMMIT",
		}, r.Trips(first))
	})
}

func TestRestart_InTheMiddleOfRows_GoesOn(t *testing.T) {
	t.Parallel()
	half := kit.Ints(1, 2, 3)
	half.Err, half.ErrAfterRows = kit.Conflict.Err, 1
	kit.InBubble(t, kit.Script{"SELECT v": {half, kit.Ints(1, 5)}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
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
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; Describe SELECT v", "Parse SELECT v; SELECT v", "ROLLBACK TO; SELECT v", "RELEASE; COMMIT",
		}, r.Trips(first))
	})
}

// A context that is done sends nothing more, but the ROLLBACK.
func TestRestart_CallerCancelled_OnlyRollsBack(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := kit.Script{}
	kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		holder := r.HoldLane(t)
		s["UPDATE b"] = nil
		_, err := tx.ExecContext(ctx, "UPDATE a")
		require.NoError(t, err)
		cancel()
		_, err = tx.ExecContext(ctx, "UPDATE b")
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, kit.ExecAll(tx, "UPDATE c"), "nothing of b was sent, so the transaction goes on")
		require.NoError(t, tx.Commit())
		require.NoError(t, holder.Commit())
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "UPDATE c", "RELEASE; COMMIT"}, r.Trips(first))
	})
}

func TestRestart_WithoutRetries_ReturnsTheConflict(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.BeginIn(t, cockroachdb.WithoutRetries(t.Context()))
		kit.WantCode(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"), "40001")
		assert.Equal(t, "25P02", kit.StateOf(kit.ExecAll(tx, "UPDATE c")), "the server's own answer")
		require.NoError(t, tx.Rollback())
		assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "UPDATE c", "ROLLBACK"}, r.Trips(first))
	})
}
