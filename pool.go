package cockroachdb

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/fleet"
	"github.com/reprise-go/cockroachdb/internal/lane"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// pool is what the connections of a connector share.
type pool struct {
	policy       RetryPolicy
	restart      RestartMode
	pingAfter    time.Duration // how long a connection may be idle before it is pinged; 0 for ever
	deadPeer     time.Duration // how long the answer to a ping may take; 0 for ever
	resetSession func(context.Context, *pgx.Conn) error
	onRetry      func(context.Context, RetryEvent)
	onSettled    func(context.Context, OutcomeEvent)
	onAsked      func(context.Context, CommitEvent)
	marks        *markTable // nil where commits are not marked
	onLock       func(context.Context, LockEvent)
	pins         *pinTexts // nil where nothing is pinned
	locks        learnedLocks

	lane       *lane.Lane
	calm       calm
	throttle   *throttle
	savepoints avoidance
	contested  contested
	ledger     *ledger

	descriptions *wire.Descriptions

	well moment // when a connection was seen to be well

	fleet   *fleet.Fleet                                          // the servers
	connect func(ctx context.Context, avoid string) (link, error) // makes a new session

	all    *Metrics
	counts atomic.Pointer[poolMetrics] // nil until the db_name is known, and where nothing is counted

	mu     sync.Mutex
	dbName string // under which the pool counts
	conns  int    // how many connections are open
	closed bool
	unused func() // if set, called when the last connection has been closed
}

func newPool(cfg *Config) *pool {
	return &pool{
		policy: cfg.RetryPolicy, restart: cfg.Restart, pingAfter: cfg.PingAfter, deadPeer: cfg.deadPeer,
		resetSession: cfg.ResetSession,
		onRetry:      cfg.OnRetry, onSettled: cfg.OnSettled, onAsked: cfg.OnCommitAsked,
		onLock: cfg.OnLockChanged,
		marks:  newMarkTable(cfg), pins: newPinTexts(cfg), locks: newLearnedLocks(cfg.LearnLocks),
		lane: lane.New(), throttle: newThrottle(cfg.RetryThrottle), all: cfg.Metrics,
		ledger:       newLedger(),
		descriptions: wire.NewDescriptions(sharedBytes),
		fleet: fleet.New(fleet.Config{
			Balance: cfg.BalanceHosts, Groups: cfg.HostGroups, Lifetime: cfg.ConnLifetime, DialRate: cfg.DialRate,
		}),
	}
}

// metrics returns the counts of the pool; nil, which counts nothing, where there are none.
func (p *pool) metrics() *poolMetrics { return p.counts.Load() }

// reset calls Config.ResetSession, if that is set. The transactions that it begins are its own.
func (p *pool) reset(ctx context.Context, s *wire.Session) error {
	if p.resetSession == nil {
		return nil
	}
	return p.resetSession(withoutRunner(ctx), s.Pgx)
}

// moment is when something last happened, in nanoseconds since 1970; 0 if it never has. It may be used by any number of
// goroutines.
type moment struct{ at atomic.Int64 }

func (m *moment) note(now time.Time) { m.at.Store(now.UnixNano()) }

// within reports whether it happened within the last d.
func (m *moment) within(d time.Duration) bool {
	at := m.at.Load()
	return at != 0 && time.Since(time.Unix(0, at)) < d
}

// open makes the pool's series appear under a db_name, unless they are there already.
func (p *pool) open(dbName string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts.Load() == nil && p.all != nil {
		p.dbName = dbName
		p.counts.Store(p.all.acquire(dbName))
	}
}

// close gives the series up once no connection is open. Another sql.DB may go on using the connector.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.dropUnused()
}

// dropUnused drops the series of a pool that is closed and has no connection. The caller holds mu.
func (p *pool) dropUnused() {
	if p.closed && p.conns == 0 && p.counts.Swap(nil) != nil {
		p.all.release(p.dbName)
	}
}

// acquired counts a connection.
func (p *pool) acquired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns++
	p.closed = false // somebody uses it
}

// released counts a connection that has been closed.
func (p *pool) released() {
	p.mu.Lock()
	p.conns--
	p.dropUnused()
	last := p.conns == 0
	p.mu.Unlock()
	if last && p.unused != nil {
		p.unused()
	}
}

// inUse reports whether a connection is open.
func (p *pool) inUse() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns > 0
}

// avoidance is how long something is avoided that has just failed.
type avoidance struct{ until atomic.Int64 }

// savepointAvoided is for how long restarts do without the savepoint after the server could not go back to it. The
// faults of CockroachDB that are known depend on what a node has cached, and pass.
const savepointAvoided = time.Minute

func (a *avoidance) avoid() { a.until.Store(time.Now().Add(savepointAvoided).UnixNano()) }

func (a *avoidance) avoided() bool {
	until := a.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}
