package bench

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	sums "github.com/reprise-go/cockroachdb/bench/internal/figures"
	"github.com/reprise-go/cockroachdb/bench/internal/transact"
)

const (
	churnRequests = 16 // that come at once
	churnEach     = 4  // transactions of each
)

// A churner is a pool with database/sql's own settings, of which each burst leaves two connections idle.
type churner struct {
	name    string
	db      *sql.DB
	network network
	dials   atomic.Int64
	trips   int64
	took    []float64 // seconds, of each burst
}

func newChurner(tb testing.TB, name string, g ground, connector func(ground) (driver.Connector, error)) *churner {
	c := &churner{name: name, network: g.network}
	dial := g.dial
	g.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.dials.Add(1)
		return dial(ctx, network, addr)
	}
	from, err := connector(g)
	require.NoError(tb, err)
	c.db = sql.OpenDB(from)
	tb.Cleanup(func() { require.NoError(tb, c.db.Close()) })
	return c
}

func ownConnector(g ground) (driver.Connector, error) {
	cfg, err := cockroachdb.ParseConfig(g.dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.DialFunc = pgconn.DialFunc(g.dial)
	return cockroachdb.NewConnector(cfg)
}

// burst runs the transactions of requests that come at once.
func (c *churner) burst(tb testing.TB) {
	began, before := time.Now(), c.network.RoundTrips()
	var wg sync.WaitGroup
	for request := range churnRequests {
		wg.Go(func() {
			for range churnEach {
				if err := churnTransaction(tb.Context(), c.db, request); err != nil {
					tb.Error(c.name, err)
				}
			}
		})
	}
	wg.Wait()
	c.took = append(c.took, time.Since(began).Seconds())
	c.trips += c.network.RoundTrips() - before
}

// churnTransaction runs three texts, on a table of the request's own.
func churnTransaction(ctx context.Context, db *sql.DB, request int) error {
	return transact.Once(ctx, db, func(tx *sql.Tx) error {
		var v int
		table := fmt.Sprint("kv_", request)
		if err := tx.QueryRowContext(ctx, "SELECT v FROM "+table+" WHERE k = $1", 1).Scan(&v); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE "+table+" SET v = v + $2 WHERE k = $1", 1, 2); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE "+table+" SET v = $2 WHERE k = $1", 1, v+1)
		return err
	})
}

// BenchmarkChurn is a pool that makes a new connection every few transactions, as database/sql does by default where
// requests come in bursts. The peers take turns, burst by burst, and so what else the machine does falls on both alike.
// Times are medians; ratio is the median of the ratios of neighbouring bursts, above one where this driver is faster.
func BenchmarkChurn(b *testing.B) {
	for _, latency := range latencies {
		b.Run("latency="+latency.String(), func(b *testing.B) {
			g := newGround(b, likeCockroachDB)
			pgx, own := newChurner(b, "pgx", g, pgxConnector), newChurner(b, "cockroachdb", g, ownConnector)
			for k := range churnRequests {
				_, err := pgx.db.ExecContext(b.Context(), fmt.Sprintf("CREATE TABLE kv_%d AS SELECT 1 AS k, 0 AS v", k))
				require.NoError(b, err)
			}
			both := [2]*churner{pgx, own}
			for _, c := range both {
				c.burst(b)
				c.took, c.trips = nil, 0
				c.dials.Store(0)
			}
			g.network.SetLatency(latency)
			bursts := 0
			for b.Loop() {
				for i := range both {
					both[(i+bursts)%2].burst(b) // who goes first changes
				}
				bursts++
			}
			g.network.SetLatency(0)
			transactions := float64(bursts * churnRequests * churnEach)
			b.ReportMetric(0, "ns/op")
			for _, c := range both {
				b.ReportMetric(churnRequests*churnEach/sums.Median(c.took), c.name+"-tx/s")
				b.ReportMetric(float64(c.dials.Load())/transactions, c.name+"-dials/tx")
				b.ReportMetric(float64(c.trips)/transactions, c.name+"-trips/tx")
			}
			ratios := make([]float64, bursts)
			for i := range ratios {
				ratios[i] = pgx.took[i] / own.took[i]
			}
			b.ReportMetric(sums.Median(ratios), "ratio")
		})
	}
}
