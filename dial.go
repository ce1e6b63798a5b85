package cockroachdb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/dialer"
	"github.com/reprise-go/cockroachdb/internal/fleet"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A link is a session and its place in the fleet.
type link struct {
	*wire.Session
	host   string        // where it leads to; "" if that is not known
	member *fleet.Member // nil if it is not known to the fleet
}

// mostChecked is how many connections are made where each is lost while the table of markers is tried out on it.
const mostChecked = 3

// connect makes a new session, if it can to another host than avoid, and prepares it.
func (c *Connector) connect(ctx context.Context, avoid string) (link, error) {
	ctx = withoutRunner(ctx)
	for n := 1; ; n++ {
		l, err := c.prepared(ctx, avoid)
		if err != nil || c.pool.marks == nil {
			return l, err
		}
		if err = c.pool.marks.check(ctx, l.Session); err == nil {
			return l, nil
		}
		lost := l.Closed()
		if lost {
			l.member.Lost()
		}
		l.hangUp(ctx)
		if !lost || n == mostChecked || ctx.Err() != nil {
			return link{}, err
		}
	}
}

// prepared makes a new session, and calls the hook for it.
func (c *Connector) prepared(ctx context.Context, avoid string) (link, error) {
	l, err := c.dial(ctx, avoid)
	if err != nil || c.cfg.AfterConnect == nil {
		return l, err
	}
	if err := c.cfg.AfterConnect(ctx, l.Pgx); err != nil {
		l.hangUp(ctx)
		return link{}, err
	}
	return l, nil
}

// hangUp closes the link, of which nothing will come.
func (l link) hangUp(ctx context.Context) {
	hangUp(ctx, l.Pgx)
	l.member.Closed()
}

// dialPatience is for how long servers are dialled again that are going away or coming up, since a balancer may not
// have noticed; and those that can't be reached, also by a pooler, but were well within that time, since another may
// take their place.
const dialPatience = 30 * time.Second

// dial makes the bare connection.
func (c *Connector) dial(ctx context.Context, avoid string) (link, error) {
	if c.registered != nil {
		pc, err := dialRegistered(ctx, c.registered, c.cfg.registered)
		if err != nil {
			return link{}, err
		}
		return link{Session: wire.NewSession(pc, nil)}, nil
	}
	var l link
	began := time.Now()
	err, before := keepTrying(ctx, func() (err error) {
		l, err = c.dialAny(ctx, avoid)
		return err
	}, func(_ int, err error) bool {
		return c.mayComeBack(err) && time.Since(began) <= dialPatience
	})
	if before != nil {
		err = errors.Join(err, before)
	}
	return l, err
}

// keepTrying calls try until it succeeds, or again says that the n-th error is to be returned. If ctx is done, err says
// no more than that: before is then the error of the try before, why there was no connection while there was time.
func keepTrying(ctx context.Context, try func() error, again func(n int, err error) bool) (err, before error) {
	for n := 1; ; n++ {
		latest := try()
		switch {
		case latest == nil:
			return nil, nil
		case ctx.Err() != nil:
			return latest, err
		case !again(n, latest):
			return latest, nil
		}
		err = latest
	}
}

// mayComeBack reports whether a dial that failed with err may succeed soon.
func (c *Connector) mayComeBack(err error) bool {
	switch failureOf(err) {
	case fleet.Refused:
		return true
	case fleet.Unreachable:
		return c.pool.well.within(dialPatience)
	}
	return false
}

// dialAny tries the hosts in turn. What may differ from dial to dial, such as a password, is read anew.
func (c *Connector) dialAny(ctx context.Context, avoid string) (link, error) {
	cc, err := c.connConfig()
	if err != nil {
		return link{}, err
	}
	if c.cfg.BeforeConnect != nil {
		if err := c.cfg.BeforeConnect(ctx, cc); err != nil {
			return link{}, err
		}
	}
	if c.cfg.BalanceHosts {
		cc.LookupFunc = dialer.Shuffled(cc.LookupFunc)
	}
	r := round{c: c, cc: cc, plan: c.pool.fleet.Plan(hostsOf(cc), avoid)}
	return r.run(ctx)
}

// A round dials each host of a plan, until one lets the connection in.
type round struct {
	c        *Connector
	cc       *pgx.ConnConfig
	plan     []string
	second   string // the first host that is good enough, where another kind of server is preferred
	failures []error
}

func (r *round) run(ctx context.Context) (link, error) {
	for i, host := range r.plan {
		l, err := r.dial(ctx, host, i == len(r.plan)-1)
		if err == nil {
			return l, nil
		}
		r.failures = append(r.failures, err)
		if ctx.Err() != nil || failureOf(err) == fleet.Rejected { // and so will any other host
			break
		}
	}
	if r.second != "" && ctx.Err() == nil {
		r.cc.ValidateConnect = nil
		return r.dial(ctx, r.second, true)
	}
	if len(r.failures) == 1 {
		return link{}, r.failures[0]
	}
	return link{}, errors.Join(r.failures...)
}

// dial dials one host, once the fleet lets it.
func (r *round) dial(ctx context.Context, host string, last bool) (link, error) {
	metrics := r.c.pool.metrics()
	d, _, err := r.c.pool.fleet.Dial(ctx, host, last)
	if err != nil {
		metrics.dialed(dialSkipped)
		return link{}, err
	}
	defer d.Cancelled()
	cc := onHost(r.cc, host)
	cc.ConnectTimeout = cmp.Or(cc.ConnectTimeout, r.c.cfg.deadPeer)
	lastErr := wire.Watch(cc)
	pc, err := pgx.ConnectConfig(ctx, cc)
	if err == nil {
		metrics.dialed(dialOpened)
		s := wire.NewSession(pc, lastErr)
		return link{Session: s, host: host, member: d.Opened(nodeOf(s))}, nil
	}
	if ctx.Err() != nil {
		metrics.dialed(dialCancelled)
		return link{}, err
	}
	if _, ok := errors.AsType[*pgconn.NotPreferredError](err); ok && r.second == "" {
		r.second = host
	}
	failure := failureOf(err)
	d.Failed(failure, err)
	metrics.dialed(dialOutcomes[failure])
	return link{}, err
}

// failureOf tells the failures of a dial apart.
func failureOf(err error) fleet.Failure {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return fleet.Unreachable
	case pgerr.IsComingOrGoing(answer.Code):
		return fleet.Refused
	case pgerr.IsFull(answer.Code):
		return fleet.Full
	case pgerr.MayLetInLater(answer.Code):
		return fleet.Unreachable
	}
	return fleet.Rejected
}

// nodeOf returns the CockroachDB node of a connection; 0 if it is not known.
func nodeOf(s *wire.Session) uint32 {
	if !isCockroachDB(s) {
		return 0
	}
	return fleet.NodeOf(s.PG.PID())
}

// onHost returns the configuration of connections to one host alone. It may have several ways to connect to it, which
// differ in their TLS.
func onHost(cc *pgx.ConnConfig, host string) *pgx.ConnConfig {
	first := &pgconn.FallbackConfig{Host: cc.Host, Port: cc.Port, TLSConfig: cc.TLSConfig}
	ways := append([]*pgconn.FallbackConfig{first}, cc.Fallbacks...)
	ways = slices.DeleteFunc(ways, func(f *pgconn.FallbackConfig) bool { return hostPort(f.Host, f.Port) != host })
	one := cc.Copy()
	one.Host, one.Port, one.TLSConfig, one.Fallbacks = ways[0].Host, ways[0].Port, ways[0].TLSConfig, ways[1:]
	return one
}
