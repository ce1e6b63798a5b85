package lane_test

import (
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	losing = "UPDATE kv SET v = 0 WHERE k = $1" // once
	read   = "SELECT v FROM kv WHERE k = $1"
	nowait = "SELECT v FROM kv WHERE k = $1 FOR UPDATE NOWAIT"
	write  = "UPDATE kv SET v = 1 WHERE k = $1"
)

// A use of a row by a statement.
type use struct{ statement, row string }

// afterLearning has a row lost, and then transactions run. After that another one has row 1, and is open.
func afterLearning(
	t *testing.T, transactions [][]use, test func(t *testing.T, r *kit.Rig, holder *sql.Tx), options ...any,
) {
	t.Helper()
	script := kit.Script{losing: {kit.Conflict, kit.OK}, read: {kit.Ints(1)}, nowait: {kit.Ints(1)}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		assert.Zero(t, wait(t, r, losing, "1"))
		learn(t, r, transactions)
		holder := r.Begin(t)
		runUses(t, holder, []use{{write, "1"}})
		require.Zero(t, time.Since(r.Started))
		test(t, r, holder)
		release(t, r, holder)
	}, options...)
}

func learn(t *testing.T, r *kit.Rig, transactions [][]use) {
	t.Helper()
	for _, uses := range transactions {
		tx := r.Begin(t)
		runUses(t, tx, uses)
		require.NoError(t, tx.Commit())
	}
}

func runUses(t *testing.T, tx *sql.Tx, uses []use) {
	t.Helper()
	for _, u := range uses {
		_, err := tx.Exec(u.statement, u.row)
		require.NoError(t, err)
	}
}

// A transaction that reads a row to write it would lose, if another one had written it in between. So its read waits
// for its turn where that text has been for a write nearly always.
func TestLane_ReadToWriteAContestedRow_WaitsForItsTurn(t *testing.T) {
	t.Parallel()
	times := func(n int, uses ...use) [][]use { return slices.Repeat([][]use{uses}, n) }
	both, alone := []use{{read, "2"}, {write, "2"}}, use{read, "2"}
	for name, test := range map[string]struct {
		learned [][]use
		then    use
		waits   time.Duration
	}{
		"the text was always for a write": {times(16, both...), use{read, "1"}, time.Second},
		"it was not often enough":         {times(15, both...), use{read, "1"}, 0},
		"the last time it was not":        {append(times(16, both...), times(1, alone)...), use{read, "1"}, 0},
		"it mostly was":                   {append(times(100, both...), times(5, alone)...), use{read, "1"}, time.Second},
		"it was, and is not any more":     {append(times(100, both...), times(6, alone)...), use{read, "1"}, 0},
		"it was not, and is":              {append(times(100, alone), times(16, both...)...), use{read, "1"}, time.Second},
		"it was read between others": {
			times(16, use{write, "3"}, use{read, "2"}, use{write, "4"}, use{write, "2"}), use{read, "1"}, time.Second,
		},
		"another row is read":        {times(16, both...), use{read, "2"}, 0},
		"the row was written before": {times(16, use{write, "2"}, use{read, "2"}), use{read, "1"}, 0},
		"another row was written":    {times(16, use{read, "2"}, use{write, "3"}), use{read, "1"}, 0},
		"the text does not wait":     {times(16, use{nowait, "2"}, use{write, "2"}), use{nowait, "1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			afterLearning(t, test.learned, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
				time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
				assert.Equal(t, test.waits, wait(t, r, test.then.statement, test.then.row))
				time.Sleep(2 * time.Second)
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// writtenAfterRead is as often as a text must have been for a write.
var writtenAfterRead = slices.Repeat([][]use{{{read, "2"}, {write, "2"}}}, 16)

// A transaction that only reads is not for a write, whatever its text.
func TestLane_ReadToWriteInOneThatOnlyReads_DoesNotWait(t *testing.T) {
	t.Parallel()
	afterLearning(t, writtenAfterRead, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		tx, err := r.DB.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		require.NoError(t, err)
		runUses(t, tx, []use{{read, "1"}, {read, "1"}, {read, "1"}})
		require.NoError(t, tx.Commit())
		assert.Zero(t, time.Since(r.Started))
		assert.Equal(t, laneWait, wait(t, r, read, "1"), "and nothing is learned of it")
	}, fakepg.PlainPostgreSQL())
}

// What is only prepared has read nothing.
func TestLane_ReadToWriteThatIsPrepared_IsLearnedWhenItRuns(t *testing.T) {
	t.Parallel()
	texts := [][]use{{{write, "2"}}} // so that the holder's is known, and it takes its turn
	afterLearning(t, texts, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		for range 16 {
			tx := r.Begin(t)
			stmt, err := tx.Prepare(read)
			require.NoError(t, err)
			_, err = stmt.Exec("2")
			require.NoError(t, err)
			runUses(t, tx, []use{{write, "2"}})
			require.NoError(t, tx.Commit())
		}
		assert.Equal(t, laneWait, wait(t, r, read, "1"))
	}, fakepg.PlainPostgreSQL())
}

// A later read begins anew in its turn, as the write would.
func TestLane_LaterReadToWriteAContestedRow_BeginsAnewInItsTurn(t *testing.T) {
	t.Parallel()
	afterLearning(t, writtenAfterRead, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		tx := r.Begin(t)
		runUses(t, tx, []use{{write, "2"}})
		r.Server.Forget()
		time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
		runUses(t, tx, []use{{read, "1"}})
		assert.Equal(t, time.Second, time.Since(r.Started))
		assert.Equal(t, []string{"ROLLBACK", "COMMIT", "BEGIN", write, read}, r.Server.Sent())
		require.NoError(t, tx.Commit())
	}, fakepg.PlainPostgreSQL())
}

// While nothing is contested nothing is learned, and on CockroachDB never.
func TestLane_ReadToWriteWithoutContest_IsNotLearned(t *testing.T) {
	t.Parallel()
	const losingToo = "UPDATE kv SET v = 5 WHERE k = $1"
	script := kit.Script{losing: {kit.Conflict, kit.OK}, losingToo: {kit.Conflict, kit.OK}}
	for pause, waits := range map[time.Duration]time.Duration{time.Second - 1: laneWait, time.Second: 0} {
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			assert.Zero(t, wait(t, r, losing, "1"))
			time.Sleep(pause)
			learn(t, r, writtenAfterRead)
			assert.Zero(t, wait(t, r, losingToo, "1"))
			holder := r.Begin(t)
			runUses(t, holder, []use{{write, "1"}})
			assert.Equal(t, waits, wait(t, r, read, "1"), pause)
			require.NoError(t, holder.Commit())
			r.WantUsable(t)
		}, fakepg.PlainPostgreSQL())
	}
	afterLearning(t, writtenAfterRead, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		assert.Zero(t, wait(t, r, read, "1"))
	})
}
