package lane_test

import (
	"context"
	"database/sql"
	"testing"
	"testing/synctest"
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
		"SELECT fails":                      {kit.Fails("42601", "syntax error")},
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
		release(t, r, holder)
	}, options...)
}

// release ends the holder, unless the test has, and wants the rig usable after that.
func release(t *testing.T, r *kit.Rig, holder *sql.Tx) {
	t.Helper()
	_ = holder.Commit()
	synctest.Wait() // for who ends it at this moment
	r.WantUsable(t)
}

// What would wait on the server for one that takes turns waits in the pool, with nothing sent, so as not to lose.
func TestLane_FirstStatementOfAContestedRow_WaitsForItsTurn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		statement string
		waits     time.Duration
	}{
		"an update":              {"UPDATE kv SET v = 3 WHERE k = 1", time.Second},
		"a delete":               {"DELETE FROM kv WHERE k = 1", time.Second},
		"a locking read":         {"SELECT v FROM kv WHERE k = 1 FOR UPDATE", time.Second},
		"another locking read":   {"SELECT v FROM kv WHERE k = 1 FOR NO KEY UPDATE", time.Second},
		"a read":                 {"SELECT v FROM kv WHERE k = 1", 0},
		"a read that shares":     {"SELECT v FROM kv WHERE k = 1 FOR SHARE", 0},
		"one that does not wait": {"SELECT v FROM kv WHERE k = 1 FOR UPDATE NOWAIT", 0},
		"one that skips":         {"SELECT v FROM kv WHERE k = 1 FOR UPDATE SKIP LOCKED", 0},
		"another row":            {"UPDATE kv SET v = 3 WHERE k = 2", 0},
		"no row that is known":   {"UPDATE kv SET v = 3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
				time.AfterFunc(time.Second-1, func() { assert.Equal(t, test.waits == 0, len(r.Server.Sent()) > 0) })
				time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
				assert.Equal(t, test.waits, wait(t, r, test.statement))
				time.Sleep(2 * time.Second)
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// A later statement would wait there with other rows locked, and those that have the row may come to want them. The
// transaction gives them up, and begins anew when it is its turn over all its rows.
func TestLane_LaterStatementOfAContestedRow_BeginsAnewInItsTurn(t *testing.T) {
	t.Parallel()
	const first, second = "UPDATE kv SET v = 1 WHERE k = 2", "UPDATE kv SET v = 3 WHERE k = 1"
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		before := r.Counts(t)
		tx := r.Begin(t)
		kit.Exec(t, tx, first)
		time.AfterFunc(time.Second, func() {
			assert.Equal(t, []string{"BEGIN", first, "ROLLBACK"}, r.Server.Sent())
			assert.NoError(t, holder.Commit())
		})
		kit.Exec(t, tx, second)
		assert.Equal(t, time.Second, time.Since(r.Started))
		assert.Equal(t, []string{"BEGIN", first, "ROLLBACK", "COMMIT", "BEGIN", first, second}, r.Server.Sent())
		for _, row := range []string{first, second} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/4)
			defer cancel()
			other := r.Begin(t)
			_, err := other.ExecContext(ctx, row)
			assert.ErrorIs(t, err, context.DeadlineExceeded, "it has both rows")
			require.NoError(t, other.Rollback())
		}
		require.NoError(t, tx.Commit())
		assert.NotContains(t, r.Moved(t, before), "transaction_retries_total")
	}, fakepg.PlainPostgreSQL())
}

// It does not where the application might see that, or there is nothing to begin anew.
func TestLane_LaterStatementThatCannotBeginAnew_DoesNotWait(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(t *testing.T, r *kit.Rig, tx *sql.Tx)
		code   string
	}{
		"rows were shown": {before: func(t *testing.T, _ *kit.Rig, tx *sql.Tx) {
			assert.Equal(t, 1, kit.Scan[int](t, tx, "SELECT v FROM kv WHERE k = 1"))
		}},
		"it has failed": {func(t *testing.T, _ *kit.Rig, tx *sql.Tx) {
			kit.WantCode(t, kit.ExecAll(tx, "SELECT fails"), "42601")
		}, "25P02"},
		"it has its turn already": {before: func(t *testing.T, r *kit.Rig, tx *sql.Tx) {
			kit.Exec(t, tx, "UPDATE kv SET v = 1 WHERE k = 2")
			kit.Exec(t, tx, writing) // after LaneWait it goes without, and the holder's place is its own
			r.Started = time.Now()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
				tx := r.Begin(t)
				test.before(t, r, tx)
				r.Server.Forget()
				err := kit.ExecAll(tx, "UPDATE kv SET v = 3 WHERE k = 1")
				assert.Equal(t, test.code, kit.StateOf(err))
				assert.Zero(t, time.Since(r.Started))
				assert.Equal(t, []string{"UPDATE kv SET v = 3 WHERE k = 1"}, r.Server.Sent())
				require.NoError(t, tx.Rollback())
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// Nor does RunTx, which could call its function again: what it has read would have been read in vain, if the one that
// has the row is rolled back.
func TestLane_LaterStatementInRunTx_DoesNotBeginAnewAfterRows(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			assert.Equal(t, 1, kit.Scan[int](t, tx, "SELECT v FROM kv WHERE k = 1"))
			return kit.ExecAll(tx, writing)
		}))
		assert.Zero(t, time.Since(r.Started))
	}, fakepg.PlainPostgreSQL())
}

// Who waits to begin anew is in nobody's way: two that have the rows of each other don't wait for each other.
func TestLane_BeginsAnewWithATurn_GivesItUp(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		const other = "UPDATE kv SET v = 6 WHERE k = 3"
		assert.Zero(t, wait(t, r, "UPDATE kv SET v = 0 WHERE k = 3")) // which is lost, and contested
		tx := r.Begin(t)
		kit.Exec(t, tx, other)
		committed := make(chan struct{})
		time.AfterFunc(time.Second/2, func() {
			defer close(committed)
			assert.NoError(t, kit.ExecAll(holder, "UPDATE kv SET v = 7 WHERE k = 3"))
			assert.Equal(t, time.Second/2, time.Since(r.Started))
			assert.NoError(t, holder.Commit())
		})
		assert.NoError(t, kit.ExecAll(tx, writing))
		assert.Equal(t, time.Second/2, time.Since(r.Started))
		assert.NoError(t, tx.Commit())
		<-committed
	}, fakepg.PlainPostgreSQL())
}

// Where the replay diverges all the same, the application is told a conflict, as if it had lost, and RunTx calls its
// function again.
func TestLane_BeginsAnewAndDiverges_IsToldAConflict(t *testing.T) {
	t.Parallel()
	const counted = "UPDATE kv SET v = 8 WHERE k = 2"
	script := kit.Script{contesting: {kit.Conflict, kit.OK}, counted: {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 0")}}
	begin := func(t *testing.T, r *kit.Rig) {
		require.NoError(t, kit.InTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error { return kit.ExecAll(tx, contesting) }))
		holder := r.Begin(t)
		kit.Exec(t, holder, writing)
		time.AfterFunc(time.Second/2, func() { assert.NoError(t, holder.Commit()) })
	}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		begin(t, r)
		tx := r.Begin(t)
		assert.Equal(t, 1, kit.Affected(t, tx, counted))
		err := kit.ExecAll(tx, "UPDATE kv SET v = 9 WHERE k = 1")
		kit.As[*cockroachdb.DivergenceError](t, err)
		kit.WantCodeWithin(t, err, "40001")
		require.NoError(t, tx.Rollback())
		synctest.Wait() // for the holder
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		begin(t, r)
		var shown []int
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			shown = append(shown, kit.Affected(t, tx, counted))
			return kit.ExecAll(tx, "UPDATE kv SET v = 9 WHERE k = 1")
		}))
		assert.Equal(t, []int{1, 0}, shown)
		synctest.Wait() // for the holder
		r.WantUsable(t)
	}, fakepg.PlainPostgreSQL())
}

// A context that ends while a transaction waits to begin anew ends it: it has been rolled back.
func TestLane_CancelledBeforeItBeginsAnew_HasEnded(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		tx := r.Begin(t)
		kit.Exec(t, tx, "UPDATE kv SET v = 1 WHERE k = 2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := tx.ExecContext(ctx, writing)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, tx.Commit(), context.DeadlineExceeded)
		assert.Equal(t, []string{"BEGIN", "UPDATE kv SET v = 1 WHERE k = 2", "ROLLBACK"}, r.Server.Sent())
	}, fakepg.PlainPostgreSQL())
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
				assert.Equal(t, time.Second, wait(t, r, writing))
			}, fakepg.PlainPostgreSQL())
		})
	}
}

// One that never ends, as that of an application which waits for itself, is waited for as long as in the lane.
func TestLane_TurnFromTheStartNeverEnds_GoesAfterLaneWait(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		assert.Equal(t, laneWait, wait(t, r, writing))
		assert.Zero(t, wait(t, r, writing), "the place was taken over, and is free")
	}, fakepg.PlainPostgreSQL())
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		assert.Zero(t, wait(t, r, writing))
		tx, began := r.Begin(t), time.Now()
		require.NoError(t, kit.ExecAll(tx, "UPDATE kv SET v = 3 WHERE k = 2", writing))
		assert.Zero(t, time.Since(began))
		require.NoError(t, tx.Commit())
		assert.NotContains(t, r.Server.Sent(), "ROLLBACK", "it begins anew, and does not wait for its turn")
	}, fakepg.PlainPostgreSQL(), kit.Policy(func(p *cockroachdb.RetryPolicy) { p.LaneWait = 0 }))
}

// A row is contested for a second after it was last lost or waited for.
func TestLane_RowIsNotContestedAnyMore_NobodyTakesTurns(t *testing.T) {
	t.Parallel()
	for pause, waits := range map[time.Duration]time.Duration{time.Second - 1: laneWait, time.Second: 0} {
		inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
			time.Sleep(pause)
			assert.Equal(t, waits, wait(t, r, writing), "%s after the row was lost", pause)
		}, fakepg.PlainPostgreSQL())
	}
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) {
		time.Sleep(time.Second)
		assert.Zero(t, wait(t, r, "UPDATE kv SET v = 0 WHERE k = 3"))
		assert.Zero(t, wait(t, r, writing), "another row was lost")
	}, fakepg.PlainPostgreSQL())
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		time.Sleep(time.Second / 2)
		waits := time.AfterFunc(time.Second/2, func() { assert.Equal(t, time.Second/2, wait(t, r, writing)) })
		defer waits.Stop()
		time.AfterFunc(time.Second, func() { assert.NoError(t, holder.Commit()) })
		assert.Equal(t, time.Second, wait(t, r, writing))
		time.Sleep(time.Second)
	}, fakepg.PlainPostgreSQL())
	inContest(t, func(t *testing.T, r *kit.Rig, holder *sql.Tx) {
		time.Sleep(time.Second - 1)
		time.AfterFunc(time.Second/2, func() { assert.NoError(t, holder.Commit()) })
		assert.Equal(t, time.Second/2, wait(t, r, writing))
		next := r.Begin(t)
		kit.Exec(t, next, writing)
		time.AfterFunc(time.Second/4, func() { assert.NoError(t, next.Commit()) })
		assert.Equal(t, time.Second/4, wait(t, r, writing), "somebody has waited for it")
	}, fakepg.PlainPostgreSQL())
}

// On CockroachDB a statement that waits on the server goes on afterwards, and so it waits there.
func TestLane_FirstStatementOfAContestedRow_DoesNotWaitOnCockroachDB(t *testing.T) {
	t.Parallel()
	inContest(t, func(t *testing.T, r *kit.Rig, _ *sql.Tx) { assert.Zero(t, wait(t, r, writing)) })
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
		assert.Equal(t, laneWait, wait(t, r, writing))
		require.NoError(t, tx.Commit())
	}, fakepg.PlainPostgreSQL())
}
