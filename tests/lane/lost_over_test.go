package lane_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What HoldLane has lost, another row of the same table, and one of another table.
const (
	sameRow    = "UPDATE hold SET v = 2 WHERE k = 1"
	otherRow   = "UPDATE hold SET v = 1 WHERE k = 2"
	otherTable = "UPDATE hold_too SET v = 1 WHERE k = 1"
)

// wait returns how long the statement of a transaction of one statement takes, with all that it waits for.
func wait(t *testing.T, r *kit.Rig, statement string, args ...any) time.Duration {
	t.Helper()
	tx, began := r.Begin(t), time.Now()
	_, err := tx.Exec(statement, args...)
	require.NoError(t, err)
	took := time.Since(began)
	require.NoError(t, tx.Commit())
	return took
}

const laneWait = 5 * time.Second

// On PostgreSQL those that have lost the same row take turns, by whichever statement. On CockroachDB all do.
func TestLane_LostAnotherRow_DoesNotWaitOnPostgreSQL(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		assert.Zero(t, wait(t, r, otherRow))
		assert.Zero(t, wait(t, r, otherTable))
		assert.Zero(t, wait(t, r, "UPDATE hold SET v = 1"), "it is not known which row that has lost")
		assert.Equal(t, laneWait, wait(t, r, sameRow))
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		assert.Equal(t, laneWait, wait(t, r, otherRow))
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	})
}

// A row is told by its arguments too, and by any statement that reads or writes it.
func TestLane_LostRowOfAnArgument_TakesTurns(t *testing.T) {
	t.Parallel()
	const (
		update = "UPDATE kv SET v = 1 WHERE k = $1"
		lock   = "SELECT v FROM kv WHERE k = $1 FOR UPDATE"
		share  = "SELECT v FROM kv WHERE k = $1 AND v > 0 FOR SHARE"
		del    = "DELETE FROM kv WHERE k = $1"
	)
	lost := []fakepg.Reply{kit.Conflict, kit.OK}
	script := kit.Script{update: lost, lock: lost, share: lost, del: lost}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		holder := r.Begin(t)
		_, err := holder.Exec(update, "1")
		require.NoError(t, err)
		assert.Zero(t, wait(t, r, share, "2"))
		assert.Equal(t, laneWait, wait(t, r, lock, "1"))
		assert.Zero(t, wait(t, r, del, "1"), "the holder has been put out, and the one after it has gone")
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
}

var deadlock = []fakepg.Reply{kit.Fails("40P01", "deadlock detected"), kit.OK}

// Those that have lost take turns over all rows that they write or lock, lest they deadlock.
func TestLane_LostARow_TakesTurnsOverItsOtherRowsToo(t *testing.T) {
	t.Parallel()
	const second, first = "UPDATE kv SET v = 1 WHERE k = 2", "UPDATE hold_too SET v = 3 WHERE k = 7"
	script := kit.Script{
		second: deadlock, "SELECT v FROM hold_too WHERE k = 8": {kit.Ints(1)},
		"UPDATE kv SET v = 2 WHERE k = 2": {kit.Conflict, kit.OK},
	}
	for statement, waits := range map[string]time.Duration{
		"UPDATE hold_too SET v = 1 WHERE k = 7": laneWait, // as the first statement of the one that has lost
		"UPDATE kv SET v = 2 WHERE k = 2":       laneWait, // as the second
		"UPDATE hold_too SET v = 1 WHERE k = 8": 0,        // which it has read
		"UPDATE hold_too SET v = 1 WHERE k = 9": 0,
	} {
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			holder := r.Begin(t)
			require.NoError(t, kit.ExecAll(holder, first, "SELECT v FROM hold_too WHERE k = 8", second))
			assert.Equal(t, waits, wait(t, r, statement), statement)
			require.NoError(t, holder.Commit())
			r.WantUsable(t)
		}, fakepg.PlainPostgreSQL())
	}
}

// Those that deadlock over rows which nobody knows take turns over the table.
func TestLane_DeadlockOverAnUnknownRow_TurnsAreOverTheTable(t *testing.T) {
	t.Parallel()
	const deadlocked = "UPDATE kv SET v = 1"
	script := kit.Script{
		deadlocked: deadlock, "UPDATE kv SET v = 2": deadlock, "UPDATE kv SET v = 3": {kit.Conflict, kit.OK},
	}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		holder := r.Begin(t)
		require.NoError(t, kit.ExecAll(holder, deadlocked))
		assert.Zero(t, wait(t, r, otherTable))
		assert.Zero(t, wait(t, r, "UPDATE kv SET v = 3"), "no deadlock")
		assert.Equal(t, laneWait, wait(t, r, "UPDATE kv SET v = 2"))
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
}

// A commit that is lost on PostgreSQL was not over a row that is known.
func TestLane_CommitLostOnPostgreSQL_DoesNotWait(t *testing.T) {
	t.Parallel()
	script := kit.Script{"COMMIT": {kit.Conflict, kit.OK}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		holder, loser := r.HoldLane(t), r.Begin(t)
		require.NoError(t, kit.ExecAll(loser, "UPDATE a SET v = 1 WHERE k = 1"))
		began := time.Now()
		require.NoError(t, loser.Commit())
		assert.Zero(t, time.Since(began))
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
}

// A transaction that retries, and loses what is not known, leaves its turn to the next.
func TestLane_LosesSomethingElseInTheLane_LeavesItsTurn(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		require.NoError(t, kit.ExecAll(holder, "UPDATE hold SET v = 4"))
		assert.Zero(t, wait(t, r, sameRow))
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
}

// One that loses another row takes its turn over both.
func TestLane_LosesAnotherRowInTheLane_TakesTurnsOverBoth(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{sameRow, "UPDATE hold SET v = 3 WHERE k = 2"} {
		kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
			holder := r.HoldLane(t)
			require.NoError(t, kit.ExecAll(holder, otherRow))
			assert.Zero(t, time.Since(r.Started))
			assert.Equal(t, laneWait, wait(t, r, statement), statement)
			require.NoError(t, holder.Commit())
			r.WantUsable(t)
		}, fakepg.PlainPostgreSQL())
	}
}

// RunTx, whose function is called again without a replay, takes turns over the row all the same.
func TestLane_RunTxLostARow_TakesTurns(t *testing.T) {
	t.Parallel()
	const read = "SELECT v FROM hold WHERE k = 1"
	script := kit.Script{read: {kit.Ints(7)}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		run := func(write string) time.Duration {
			var waited time.Duration // before the latest call
			calls, began := 0, time.Now()
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				waited = time.Since(began)
				if err := tx.QueryRow(read).Scan(new(int)); err != nil {
					return err
				}
				return kit.ExecAll(tx, write)
			}))
			assert.Equal(t, 2, calls)
			return waited
		}
		assert.Zero(t, run(otherRow))
		time.Sleep(time.Second) // else it would wait before it loses
		assert.Equal(t, laneWait, run(sameRow))
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
}
