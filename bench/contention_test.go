package bench

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// latencies are one way; a round trip takes two.
var latencies = []time.Duration{0, time.Millisecond, 5 * time.Millisecond}

// workers is how many transactions are under way at a time, each on a connection of its own.
func workers(tb testing.TB) int {
	text, ok := os.LookupEnv("BENCH_WORKERS")
	if !ok {
		return 16
	}
	n, err := strconv.Atoi(text)
	require.True(tb, err == nil && n > 0, "BENCH_WORKERS is %q: use a number above zero, or unset it for 16", text)
	return n
}

// BenchmarkContention has peers innermost, so that those to be compared run one after the other.
func BenchmarkContention(b *testing.B) {
	for _, w := range workloads {
		for _, latency := range latencies {
			for _, p := range contenders() {
				b.Run("workload="+w.name+"/peer="+p.name+"/latency="+latency.String(), func(b *testing.B) {
					measure(b, newArena(b, newGround(b, p.manners), w, p, 1, workers(b)), latency)
				})
			}
		}
	}
}

// measure runs the workload for as long as the benchmark wants it, and reports what that was like for one transaction.
func measure(b *testing.B, a *arena, latency time.Duration) {
	a.contend(b, times(4*a.workers)) // connections are open then, and statements prepared
	a.network.SetLatency(latency)
	before := a.tally()
	b.ReportAllocs()
	took, perSecond := a.contend(b, b.Loop)
	b.StopTimer()
	after := a.tally()
	a.network.SetLatency(0)
	a.check(b)

	commits := float64(after.commits - before.commits)
	b.ReportMetric(0, "ns/op") // commits/s says the same
	b.ReportMetric(perSecond, "commits/s")
	b.ReportMetric(float64(after.calls-before.calls)/commits-1, "seen/commit")
	b.ReportMetric(float64(after.attempts-before.attempts)/commits-1, "retries/commit")
	b.ReportMetric(float64(after.most), "most-attempts")
	b.ReportMetric(float64(after.trips-before.trips)/commits, "trips/commit")
	reportQuantiles(b, took)
}

// TestWorkloads keeps the benchmarks alive: each workload, by each peer, loses nothing.
func TestWorkloads(t *testing.T) {
	grounds := make(map[manners]ground)
	for _, m := range []manners{likePostgreSQL, likeCockroachDB} {
		grounds[m] = newGround(t, m)
	}
	for _, w := range workloads {
		for _, p := range slices.Concat(peers, oracles) {
			t.Run("workload="+w.name+"/peer="+p.name, func(t *testing.T) {
				a := newArena(t, grounds[p.manners], w, p, 1, 4)
				took, _ := a.contend(t, times(50))
				require.EqualValues(t, 50, took.TotalCount())
				got := a.tally()
				require.EqualValues(t, 50, got.commits)
				require.GreaterOrEqual(t, got.calls, got.commits)
				require.GreaterOrEqual(t, got.attempts, got.calls)
				a.check(t)
			})
		}
	}
}

// times is a loop of n rounds.
func times(n int) func() bool {
	return func() bool { n--; return n >= 0 }
}

// A ground is a database for arenas, one after the other.
type ground struct {
	dsn     string
	network network
	dial    dialFunc
}

// manners are whose answers a ground gives, where PostgreSQL is the database.
type manners bool

const (
	likePostgreSQL  manners = false
	likeCockroachDB manners = true // for who needs SAVEPOINT cockroach_restart
)

// newGround makes a ground. BENCH_DEADLOCK_TIMEOUT is how long PostgreSQL takes to find a deadlock there, in place of
// the 50 ms of the engine.
func newGround(tb testing.TB, m manners) ground {
	if enginetest.Get(tb).IsCockroach() {
		w := &wire{}
		return ground{enginetest.NewDB(tb), w, w.dial}
	}
	sim, dsn := enginetest.NewSim(tb, crdbsim.Config{PostgreSQL: m == likePostgreSQL})
	if timeout, ok := os.LookupEnv("BENCH_DEADLOCK_TIMEOUT"); ok {
		dsn = kit.WithParams(dsn, "deadlock_timeout="+timeout)
	}
	return ground{dsn, sim, (&net.Dialer{}).DialContext}
}

// An arena is a database in which the workers of one peer contend. They take turns in belonging to one of its pools.
type arena struct {
	workload
	pools   []*client
	network network
	workers int

	mu                  sync.Mutex
	commits, calls, sum int64 // calls of bodies
	most                int64 // of the calls, for one transaction
}

func newArena(tb testing.TB, g ground, w workload, p peer, pools, workers int) *arena {
	a := &arena{workload: w, network: g.network, workers: workers}
	for range pools {
		c := p.open(tb, g)
		tb.Cleanup(func() { require.NoError(tb, c.db.Close()) })
		c.db.SetMaxOpenConns(workers)
		c.db.SetMaxIdleConns(workers)
		a.pools = append(a.pools, c)
	}
	for _, stmt := range append([]string{dropTables}, w.schema...) {
		_, err := a.db().ExecContext(tb.Context(), stmt)
		require.NoError(tb, err, stmt)
	}
	return a
}

func (a *arena) db() *sql.DB { return a.pools[0].db }

// contend runs as many transactions as there are rounds of the loop. It returns how long each of them took, and how
// many committed in a second while there were enough for all workers: the last few, which have nobody to contend with,
// would count for too much.
func (a *arena) contend(tb testing.TB, loop func() bool) (took *hdrhistogram.Histogram, perSecond float64) {
	ctx, cancel := context.WithCancelCause(tb.Context())
	defer cancel(nil)
	took = newHistogram()
	next := make(chan struct{})
	var wg sync.WaitGroup
	for n := range a.workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 0)) // the same for every peer
			mine := newHistogram()
			for range next {
				if ctx.Err() != nil {
					continue
				}
				began := time.Now()
				if err := a.transaction(ctx, a.pools[n%len(a.pools)], a.draw(r)); err != nil {
					cancel(err)
				}
				_ = mine.RecordValue(time.Since(began).Microseconds())
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			took.Merge(mine)
		})
	}
	began, before := time.Now(), a.committed()
	for loop() {
		next <- struct{}{}
	}
	perSecond = float64(a.committed()-before) / time.Since(began).Seconds()
	close(next)
	wg.Wait()
	require.NoError(tb, context.Cause(ctx), "every transaction commits in the end")
	return took, perSecond
}

func (a *arena) committed() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.commits
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
}

func (a *arena) transaction(ctx context.Context, c *client, run body) error {
	if c.enter != nil {
		leave, err := c.enter(ctx, run)
		if err != nil {
			return err
		}
		defer leave()
	}
	var calls, added int64
	err := c.untilCommitted(ctx, func(tx *sql.Tx) (err error) {
		calls++
		added, err = run(ctx, tx)
		return err
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls += calls
	a.most = max(a.most, calls)
	if err == nil {
		a.commits++
		a.sum += added
	}
	return err
}

// A tally is what has happened so far.
type tally struct{ commits, calls, attempts, most, trips int64 }

func (a *arena) tally() tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := tally{commits: a.commits, calls: a.calls, attempts: a.calls, most: a.most, trips: a.network.RoundTrips()}
	if a.pools[0].attempts != nil {
		t.attempts = 0
		for _, c := range a.pools {
			attempts, most := c.attempts()
			t.attempts += attempts
			t.most = max(t.most, most)
		}
	}
	return t
}

func (a *arena) check(tb testing.TB) {
	tb.Helper()
	a.workload.check(tb, a.db(), a.commits, a.sum)
}
