package cost_test

import (
	"context"
	"database/sql"
	"net"
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

const (
	scaleConns = 1000
	scaleDelay = 50 * time.Millisecond
	scaleOne   = 4 * scaleDelay // what one transaction takes, on a connection that is open
)

// runAtOnce runs n transactions at once, and returns the time that they take.
func runAtOnce(t *testing.T, db *sql.DB, n int) time.Duration {
	t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			assert.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
				return kit.ExecAll(tx, kit.Update(1), kit.Update(2))
			}))
		})
	}
	wg.Wait()
	return time.Since(began)
}

// slowDials makes each dial take a moment.
func slowDials(cfg *cockroachdb.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		time.Sleep(scaleDelay)
		return dial(ctx, network, addr)
	}
}

// A thousand connections are as fast as one, and ten thousand transactions take ten times as long as a thousand. Time
// is virtual: a dial and each statement take a moment, and nothing else takes any. It goes on only while every
// goroutine waits for something that is not a mutex: the test hangs if a lock of the driver's is held while a
// connection is dialled, or waited for.
func TestScale_ThousandsOfTransactionsAtOnce_WaitForTheServerAlone(t *testing.T) {
	t.Parallel()
	slow := fakepg.Reply{Delay: scaleDelay}
	script := kit.Script{"BEGIN": {slow}, kit.Update(1): {slow}, kit.Update(2): {slow}, "COMMIT": {slow}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		r.SetMaxOpenConns(scaleConns)
		r.SetMaxIdleConns(scaleConns)
		assert.Equal(t, scaleDelay+scaleOne, runAtOnce(t, r.DB, 1))
		storm := runAtOnce(t, r.DB, scaleConns)
		assert.Equal(t, scaleConns, r.Stats().OpenConnections)
		const atOnce, perSecond = 100, 100
		dials := (scaleConns - atOnce) * time.Second / perSecond
		assert.InDelta(t, dials+scaleDelay+scaleOne, storm, float64(time.Second), "dials_per_second")
		assert.Equal(t, scaleOne, runAtOnce(t, r.DB, scaleConns))
		assert.Equal(t, scaleInFlight/scaleConns*scaleOne, runAtOnce(t, r.DB, scaleInFlight))
		counts := r.Counts(t)
		assert.EqualValues(t, 1+2*scaleConns+scaleInFlight, counts["transactions_total committed"])
		assert.Zero(t, counts["history_bytes"])
	}, fakepg.Quiet(), slowDials, func(cfg *cockroachdb.Config) { cfg.PingAfter = 0 })
}

// slowWire is a connection on which each call takes a moment.
type slowWire struct{ net.Conn }

func (c slowWire) Read(b []byte) (int, error) {
	time.Sleep(scaleDelay)
	return c.Conn.Read(b)
}

func (c slowWire) Write(b []byte) (int, error) {
	time.Sleep(scaleDelay)
	return c.Conn.Write(b)
}

func (c slowWire) Close() error {
	time.Sleep(scaleDelay)
	return c.Conn.Close()
}

func slowCalls(cfg *cockroachdb.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return slowWire{conn}, err
	}
}

// Many transactions at once take as long as one, each on a connection of its own, where dialling, reading, writing and
// closing take time. The test hangs if a lock of the driver's is held across any of them.
func TestScale_SlowWire_ManyTakeAsLongAsOne(t *testing.T) {
	t.Parallel()
	const many = 100
	took := map[int]time.Duration{}
	for _, n := range []int{1, many} {
		script := kit.Script{kit.Update(2): {kit.Conflict}}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			r.SetMaxIdleConns(0) // a connection ends with its transaction
			took[n] = runAtOnce(t, r.DB, n)
			assert.Equal(t, n, r.Connections())
		}, fakepg.Quiet(), slowDials, slowCalls)
	}
	assert.Equal(t, took[1], took[many])
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
