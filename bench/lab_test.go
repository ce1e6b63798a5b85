package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/chance"
	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

// The laboratory runs workloads on a model of CockroachDB's concurrency control, in virtual time. The same cell gives
// the same figures each time and everywhere: backoffs are drawn from the virtual time, and what happens at one instant
// of it happens to one worker only.
func init() {
	chance.Float64 = func() float64 {
		return rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano()))).Float64()
	}
}

// A cell is what is measured at once.
type cell struct {
	workload workload
	peer     peer
	latency  time.Duration // one way
	workers  int
	pools    int                     // each with its share of the workers; 0 is 1
	lasts    time.Duration           // of virtual time, after as long as warmUp
	change   func(*crdbmodel.Config) // of the model; nil for none
}

// warmUp is long enough for every worker to have connected, prepared and lost its first conflicts, and for locks to be
// learned, or unlearned.
const warmUp = 5 * time.Second

// figures are what a cell has come to. All but attempts, wait and counts are of what ended after the warm-up.
type figures struct {
	perSecond    float64
	p50, p99     time.Duration
	longest      time.Duration
	mostAttempts int64
	retries      float64 // attempts for a commit, beyond the first
	seen         float64 // calls of the application's code for a commit, beyond the first
	trips        float64 // for a commit
	counts       crdbmodel.Counts
}

// measured runs a cell in a bubble of its own.
func measured(t *testing.T, c cell) (f figures) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := crdbmodel.Defaults()
		if c.change != nil {
			c.change(&cfg)
		}
		server := crdbmodel.New(cfg)
		t.Cleanup(server.Close)
		a := newArena(t, ground{server.DSN(), server, server.Dial}, c.workload, c.peer, max(1, c.pools), c.workers)
		a.connect(t)
		server.SetLatency(c.latency)
		f = a.run(t, c.lasts)
		f.counts = server.Counts()
		server.SetLatency(0)
		a.check(t)
	})
	return f
}

// connect opens all connections one after the other: their order decides who comes first at one instant.
func (a *arena) connect(t *testing.T) {
	for _, c := range a.pools {
		for range a.workers / len(a.pools) {
			conn, err := c.db.Conn(t.Context())
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
		}
	}
}

// run has all workers run transactions for some time after the warm-up.
func (a *arena) run(t *testing.T, lasts time.Duration) figures {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var all sync.WaitGroup
	from := time.Now().Add(warmUp)
	until := from.Add(lasts)
	took := newHistogram()
	for n := range a.workers {
		r := rand.New(rand.NewPCG(uint64(n), 0)) // the same for every peer
		all.Go(func() {
			time.Sleep(time.Duration(n) * time.Microsecond) // so that they do not race for their connections
			for ctx.Err() == nil && time.Now().Before(until) {
				began := time.Now()
				if err := a.transaction(ctx, a.pools[n%len(a.pools)], a.draw(r)); err != nil {
					cancel(err)
				}
				a.note(took, began, from, until)
			}
		})
	}
	time.Sleep(time.Until(from))
	before := a.tally()
	time.Sleep(time.Until(until))
	after := a.tally()
	all.Wait()
	require.NoError(t, context.Cause(ctx), "every transaction commits in the end")
	return newFigures(before, after, a.tally().most, took, lasts)
}

// note notes how long a transaction took, if it ended within the time. Those that are still running at its end are
// noted too, with what they took in all: they are the longest.
func (a *arena) note(took *hdrhistogram.Histogram, began, from, until time.Time) {
	if time.Now().After(from) && began.Before(until) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = took.RecordValue(time.Since(began).Microseconds())
	}
}

func newFigures(before, after tally, most int64, took *hdrhistogram.Histogram, lasts time.Duration) figures {
	commits := float64(after.commits - before.commits)
	quantile := func(q float64) time.Duration { return time.Duration(took.ValueAtQuantile(q)) * time.Microsecond }
	return figures{
		perSecond: commits / lasts.Seconds(), p50: quantile(50), p99: quantile(99), longest: quantile(100),
		mostAttempts: most,
		retries:      float64(after.attempts-before.attempts)/commits - 1,
		seen:         float64(after.calls-before.calls)/commits - 1,
		trips:        float64(after.trips-before.trips) / commits,
	}
}

// TestLab_SameCell_SameFigures is why the others may fail on figures.
func TestLab_SameCell_SameFigures(t *testing.T) {
	t.Parallel()
	for _, w := range workloadsNamed(t, "transfer", "rmw") {
		for _, p := range labPeers {
			c := cell{workload: w, peer: peerNamed(t, p), latency: time.Millisecond, workers: 16, lasts: 2 * time.Second}
			require.Equal(t, measured(t, c), measured(t, c), "%s by %s", w.name, p)
		}
	}
}

// labPeers leaves out the one that differs from another only in what is beneath.
var labPeers = []string{"pgx-loop", "ExecuteTx", "transparent", "RunTx"}
