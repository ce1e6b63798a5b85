package outage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// An Outage is one node's, in a plan of several.
type Outage struct {
	Node  int // its id
	Way   Way
	After int // so many transactions have ended since the node before was back
	For   time.Duration
}

func (o Outage) String() string {
	return fmt.Sprintf("%s of node %d for %v after %d more have ended", o.Way, o.Node, o.For, o.After)
}

// Bounds of how long a node is away.
const (
	leastFor = 5 * time.Millisecond
	mostFor  = 50 * time.Millisecond
)

// Plan returns random outages of a cluster with so many nodes: each node goes once in each way. Each begins after at
// most so many transactions.
func Plan(rnd *rand.Rand, nodes, mostAfter int) (plan []Outage) {
	for _, way := range []Way{Drain, Kill, Silence} {
		for node := range nodes {
			away := leastFor + time.Duration(rnd.Int64N(int64(mostFor-leastFor)))
			plan = append(plan, Outage{Node: node + 1, Way: way, After: 1 + rnd.IntN(mostAfter), For: away})
		}
	}
	rnd.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan
}

// A Roll is the outages of a plan under way: in order, over and over, one at a time.
type Roll struct {
	cluster *crdbsim.Cluster
	plan    []Outage
	stop    context.CancelFunc
	over    sync.WaitGroup
	gone    map[Way]int
	err     error

	ended atomic.Int64
	news  chan struct{} // that one more has ended
}

// Start begins. Stop must be called.
func Start(c *crdbsim.Cluster, plan []Outage) *Roll {
	ctx, stop := context.WithCancel(context.Background())
	r := &Roll{cluster: c, plan: plan, stop: stop, gone: make(map[Way]int), news: make(chan struct{}, 1)}
	r.over.Go(func() { r.err = r.run(ctx) })
	return r
}

// Ended says that one more transaction has ended.
func (r *Roll) Ended() {
	r.ended.Add(1)
	select {
	case r.news <- struct{}{}:
	default: // it has yet to hear of the one before, and will look then
	}
}

// Stop ends it. It returns how many nodes have gone in each way; all are back then, unless there is an error.
func (r *Roll) Stop() (map[Way]int, error) {
	r.stop()
	r.over.Wait()
	return r.gone, r.err
}

func (r *Roll) run(ctx context.Context) error {
	for i := 0; len(r.plan) > 0; i++ {
		o := r.plan[i%len(r.plan)]
		if !r.wait(ctx, int64(o.After)) {
			break
		}
		r.gone[o.Way]++
		n := r.cluster.Node(o.Node)
		if err := errors.Join(TakeAway(ctx, n, o.Way, o.For), n.Return()); err != nil {
			return fmt.Errorf("%v: %w", o, err)
		}
	}
	return nil
}

// wait reports whether so many more have ended before ctx was done.
func (r *Roll) wait(ctx context.Context, more int64) bool {
	for until := r.ended.Load() + more; r.ended.Load() < until; {
		select {
		case <-r.news:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
