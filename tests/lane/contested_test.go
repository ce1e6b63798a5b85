package lane_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	contesting = "UPDATE kv SET v = 0 WHERE k = 1" // loses once
	writing    = "UPDATE kv SET v = 1 WHERE k = 1"
)

// inContest has a transaction lose a row and commit, and another one write that row first, which stays open.
func inContest(t *testing.T, test func(t *testing.T, r *kit.Rig, holder *sql.Tx), options ...any) {
	t.Helper()
	script := kit.Script{
		contesting:                          {kit.Conflict, kit.OK},
		"UPDATE kv SET v = 0 WHERE k = 3":   {kit.Conflict, kit.OK},
		"SELECT v FROM kv WHERE k = 1":      {kit.Ints(1)},
		"UPDATE kv SET v = 1/v WHERE k = 1": {kit.Fails("22012", "division by zero")},
		"UPDATE kv SET v = 2 WHERE k = 1":   {kit.Conflict, kit.OK},
	}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		loser := r.Begin(t)
		kit.Exec(t, loser, contesting)
		require.NoError(t, loser.Commit())
		holder := r.Begin(t)
		kit.Exec(t, holder, writing)
		require.Zero(t, time.Since(r.Started))
		r.Server.Forget()
		test(t, r, holder)
		_ = holder.Commit() // unless the test has ended it
		r.WantUsable(t)
	}, options...)
}

// after has the statement come first, or not, in a transaction that does no more, and returns how long that took.
func after(t *testing.T, r *kit.Rig, statements ...string) time.Duration {
	t.Helper()
	tx, began := r.Begin(t), time.Now()
	require.NoError(t, kit.ExecAll(tx, statements...))
	took := time.Since(began)
	require.NoError(t, tx.Commit())
	return took
}

// What would wait on the server for one that takes turns waits in the pool, with nothing sent, so as not to lose.
func TestLane_FirstStatementOfAContestedRow_WaitsForItsTurn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statements []string
		waits      time.Duration
	}{
		"an update":                {[]string{"UPDATE kv SET v = 3 WHERE k = 1"}, time.Second},
		"a delete":                 {[]string{"DELETE FROM kv WHERE k = 1"}, time.Second},
		"a locking read":           {[]string{"SELECT v FROM kv WHERE k = 1 FOR UPDATE"}, time.Second},
		"another locking read":     {[]string{"SELECT v FROM kv WHERE k = 1 FOR NO KEY UPDATE"}, time.Second},
		"a read":                   {[]string{"SELECT v FROM kv WHERE k = 1"}, 0},
		"a read that shares":       {[]string{"SELECT v FROM kv WHERE k = 1 FOR SHARE"}, 0},
		"one that does not wait":   {[]string{"SELECT v FROM kv WHERE k = 1 FOR UPDATE NOWAIT"}, 0},
		"one that skips":           {[]string{"SELECT v FROM kv WHERE k = 1 FOR UPDATE SKIP LOCKED"}, 0},
		"another row":              {[]string{"UPDATE kv SET v = 3 WHERE k = 2"}, 0},
		"no row that is known":     {[]string{"UPDATE kv SET v = 3"}, 0},
		"the second statement":     {[]string{"SELECT v FROM kv WHERE k = 1", writing}, 0},
		"after the caller's BEGIN": {[]string{"SAVEPOINT a", writing}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
				time.AfterFunc(time.Second-1, func() { assert.Equal(t, test.waits == 0, len(r.Server.Sent()) > 0) })
				time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
				assert.Equal(t, test.waits, after(t, r, test.statements...))
				time.Sleep(2 * time.Second)
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// Whatever ends the transaction whose turn it is, or only its locks, the next one goes on.
func TestLane_TurnFromTheStartEnds_TheNextGoesOn(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, tx *sql.Tx){
		"commit":   func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Commit()) },
		"rollback": func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Rollback()) },
		"its error": func(t *testing.T, tx *sql.Tx) {
			kit.WantCode(t, kit.ExecAll(tx, "UPDATE kv SET v = 1/v WHERE k = 1"), "22012")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
				time.AfterFunc(time.Second, func() { end(t, holder) })
				assert.Equal(t, time.Second, after(t, r, writing))
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// One that never ends, as that of an application which waits for itself, is waited for as long as in the lane.
func TestLane_TurnFromTheStartNeverEnds_GoesAfterLaneWait(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		assert.Equal(t, laneWait, after(t, r, writing))
		assert.Zero(t, after(t, r, writing), "the place was taken over, and is free")
	}, fakepg.PlainPostgreSQL())
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		assert.Zero(t, after(t, r, writing))
	}, fakepg.PlainPostgreSQL(), kit.Policy(func(p *cockroachdb.RetryPolicy) { p.LaneWait = 0 }))
}

// A row is contested for a second after it was last lost or waited for.
func TestLane_RowIsNotContestedAnyMore_NobodyTakesTurns(t *testing.T) {
	t.Parallel()
	for pause, waits := range map[time.Duration]time.Duration{time.Second - 1: laneWait, time.Second: 0} {
		inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
			time.Sleep(pause)
			assert.Equal(t, waits, after(t, r, writing), "%s after the row was lost", pause)
		}, fakepg.PlainPostgreSQL())
	}
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		time.Sleep(time.Second)
		assert.Zero(t, after(t, r, "UPDATE kv SET v = 0 WHERE k = 3"))
		assert.Zero(t, after(t, r, writing), "another row was lost")
	}, fakepg.PlainPostgreSQL())
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		time.Sleep(time.Second - 1)
		time.AfterFunc(time.Second/2, func() { assert.NoError(t, holder.Commit()) })
		assert.Equal(t, time.Second/2, after(t, r, writing))
		next := r.Begin(t)
		kit.Exec(t, next, writing)
		time.AfterFunc(time.Second/4, func() { assert.NoError(t, next.Commit()) })
		assert.Equal(t, time.Second/4, after(t, r, writing), "somebody has waited for it")
	}, fakepg.PlainPostgreSQL())
}

// On CockroachDB a statement that waits on the server goes on afterwards, and so it waits there.
func TestLane_FirstStatementOfAContestedRow_DoesNotWaitOnCockroachDB(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) { assert.Zero(t, after(t, r, writing)) })
}

// A transaction that is not retried does nothing that pgx would not do.
func TestLane_ContestedRowWithoutRetries_DoesNotWait(t *testing.T) {
	t.Parallel()
	once := cockroachdb.DefaultRetryPolicy()
	once.MaxAttempts = 1
	for _, without := range []func(context.Context) context.Context{
		cockroachdb.WithoutRetries,
		func(ctx context.Context) context.Context { return cockroachdb.WithRetryPolicy(ctx, once) },
	} {
		inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
			began := time.Now()
			require.NoError(t, kit.InTx(without(t.Context()), r.DB, nil, func(tx *sql.Tx) error {
				return kit.ExecAll(tx, writing)
			}))
			assert.Zero(t, time.Since(began))
		}, fakepg.PlainPostgreSQL())
	}
}

// A context that ends meanwhile ends the statement alone, of which nothing has been sent.
func TestLane_CancelledBeforeItsTurn_TheTransactionGoesOn(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		tx := r.Begin(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		const cancelled = "UPDATE kv SET v = 4 WHERE k = 1"
		_, err := tx.ExecContext(ctx, cancelled)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Empty(t, r.Server.Sent())
		require.NoError(t, holder.Commit())
		kit.Exec(t, tx, "UPDATE kv SET v = 5 WHERE k = 1")
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, r.Server.Ran("UPDATE kv SET v = 5 WHERE k = 1"))
		assert.Zero(t, r.Server.Ran(cancelled))
	}, fakepg.PlainPostgreSQL())
}

// One that loses in its turn, to somebody who takes none, begins anew at once and keeps its turn.
func TestLane_LosesInItsTurnFromTheStart_BeginsAtOnce(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		require.NoError(t, holder.Commit())
		tx := r.Begin(t)
		kit.Exec(t, tx, "UPDATE kv SET v = 2 WHERE k = 1")
		assert.Zero(t, time.Since(r.Started))
		assert.Equal(t, laneWait, after(t, r, writing))
		require.NoError(t, tx.Commit())
	}, fakepg.PlainPostgreSQL())
}
