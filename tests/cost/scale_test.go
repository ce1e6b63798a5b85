package cost_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// In these tests time is virtual, and goes on only while every goroutine waits for something that is not a mutex. So
// they hang if a lock of the driver's is held across a dial, a write or a read for which another connection waits. The
// server takes a moment for each statement, and nothing else takes any time.

const (
	scaleConns = 1000
	scaleDelay = 50 * time.Millisecond
)

// scaled runs test with a pool of scaleConns connections, and the time that n transactions at once take.
func scaled(t *testing.T, test func(t *testing.T, r *kit.Rig, run func(n int) time.Duration)) {
	slow := fakepg.Reply{Delay: scaleDelay}
	script := kit.Script{"BEGIN": {slow}, kit.Update(1): {slow}, kit.Update(2): {slow}, "COMMIT": {slow}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		r.SetMaxOpenConns(scaleConns)
		r.SetMaxIdleConns(scaleConns)
		test(t, r, func(n int) time.Duration {
			began := time.Now()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					assert.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
						return kit.ExecAll(tx, kit.Update(1), kit.Update(2))
					}))
				})
			}
			wg.Wait()
			return time.Since(began)
		})
	}, fakepg.Quiet(), func(cfg *cockroachdb.Config) { cfg.PingAfter = 0 })
}

const scaleOne = 4 * scaleDelay // what one transaction takes

func TestScale_AThousandConnections_AreAsFastAsOne(t *testing.T) {
	t.Parallel()
	scaled(t, func(t *testing.T, r *kit.Rig, run func(int) time.Duration) {
		assert.Equal(t, scaleOne, run(1))
		storm := run(scaleConns)
		assert.Equal(t, scaleConns, r.Stats().OpenConnections)
		atOnce, perSecond := 100, 100
		dials := time.Duration(scaleConns-atOnce) * time.Second / time.Duration(perSecond)
		assert.InDelta(t, dials+scaleOne, storm, float64(time.Second), "a hundred dials at once, and a hundred a second")
		assert.Equal(t, scaleOne, run(scaleConns))
		assert.Equal(t, scaleConns, r.Stats().OpenConnections)
	})
}

func TestScale_TenThousandTransactionsInFlight_TakeTurnsWithoutLoss(t *testing.T) {
	t.Parallel()
	scaled(t, func(t *testing.T, r *kit.Rig, run func(int) time.Duration) {
		run(scaleConns)
		turns := time.Duration(scaleInFlight / scaleConns)
		assert.Equal(t, turns*scaleOne, run(scaleInFlight))
		counts := r.Counts(t)
		assert.EqualValues(t, scaleConns+scaleInFlight, counts["transactions_total committed"])
		assert.Zero(t, counts["history_bytes"])
	})
}

// What an idle connection and an open transaction take beyond what pgx's take. The server is in the same process, and
// its share is the same for both.
func TestScale_MemoryOfConnectionsAndTransactions_IsBounded(t *testing.T) {
	const conns = 200
	idle, open := map[string]int64{}, map[string]int64{}
	for _, driver := range []string{"pgx", "cockroachdb"} {
		srv := cannedpg.Start(t, cannedReplies)
		db, err := sql.Open(driver, srv.DSN())
		require.NoError(t, err)
		before := heapInUse()
		all := make([]*sql.Conn, conns)
		for i := range all {
			all[i], err = db.Conn(t.Context())
			require.NoError(t, err)
			queryRowOn(t, all[i])
		}
		rested := heapInUse()
		transactions := make([]*sql.Tx, conns)
		for i, conn := range all {
			transactions[i], err = conn.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			execOne(transactions[i], failTest(t))
		}
		begun := heapInUse()
		idle[driver], open[driver] = (rested-before)/conns, (begun-rested)/conns
		for i, tx := range transactions {
			require.NoError(t, tx.Commit())
			require.NoError(t, all[i].Close())
		}
		require.NoError(t, db.Close())
		srv.Close()
	}
	t.Logf("an idle connection: %d bytes, pgx %d; an open transaction: %d bytes, pgx %d",
		idle["cockroachdb"], idle["pgx"], open["cockroachdb"], open["pgx"])
	assert.Less(t, idle["cockroachdb"]-idle["pgx"], int64(16<<10))
	assert.Less(t, open["cockroachdb"]-open["pgx"], int64(8<<10))
}

func queryRowOn(t *testing.T, conn *sql.Conn) {
	t.Helper()
	var v int64
	require.NoError(t, conn.QueryRowContext(context.Background(), cannedOne, 5).Scan(&v))
}
