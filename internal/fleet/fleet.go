package fleet

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a fleet is made with. The zero Config balances nothing and bounds nothing.
type Config struct {
	// Balance plans the hosts with the fewest connections first, ties at random, and evens the connections out afterwards.
	// Without it hosts are tried in the order given, and connections stay where they are.
	Balance bool

	// Groups are the sizes of the groups that hosts are divided into, in the order of the hosts. A later group is for when
	// no host of an earlier one works. Hosts beyond their sum are in the last group. Nil means one group. It needs
	// Balance.
	Groups []int

	// Lifetime is how long a connection lives, give or take ten percent, drawn when it is opened. Zero means no limit.
	Lifetime time.Duration

	// DialRate is how many dials a second are begun on average over all hosts, and how many at once. Zero means no bound.
	DialRate int
}

// groupOf returns the group of the host at index i, from 0.
func (c *Config) groupOf(i int) int {
	for group, size := range c.Groups {
		if i -= size; i < 0 {
			return group
		}
	}
	return max(0, len(c.Groups)-1)
}

// forgetAfter is how long a host that is not planned any more, or a node without connections, is remembered.
const forgetAfter = 10 * time.Minute

// A Fleet is what one connector knows of its servers. [New] makes one.
type Fleet struct {
	cfg   Config
	made  time.Time
	quiet atomic.Int64 // the instant up to which Retire needn't look at more than the lifetime

	mu      sync.Mutex
	hosts   map[string]*host
	planned []*host // those of the latest plan, which are all that there are now
	nodes   map[uint32]*node
	dials   bucket
	leaving bucket // for what leaves because of its lifetime, or a drain
	spread  spreading
	counts  Counts
}

// New returns a fleet that knows no host yet.
func New(cfg Config) *Fleet {
	return &Fleet{
		cfg:     cfg,
		made:    time.Now(),
		hosts:   make(map[string]*host),
		nodes:   make(map[uint32]*node),
		dials:   perSecond(cfg.DialRate),
		leaving: perSecond(leavePerSecond),
		spread:  spreading{pace: perSecond(spreadPerSecond)},
	}
}

// Plan returns the hosts ("host:port") in the order in which they should be tried. Those in doubt come last, and are
// never left out. If the fleet balances, those of an earlier group come first, and of each group those with the fewest
// connections, counting those that are being dialled.
//
// A plan with a host to avoid, "" for none, is for a transaction that has just lost its connection there and is in a
// hurry: that host comes after all that are as good, and a host that has yet to prove itself counts as in doubt.
//
// The hosts of the latest plan are the ones over which connections are spread.
func (f *Fleet) Plan(hosts []string, avoid string) []string {
	if f == nil {
		return slices.Clone(hosts)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now()
	f.setPlanned(hosts, at)
	plan := slices.Clone(hosts)
	if f.cfg.Balance {
		rand.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	}
	slices.SortStableFunc(plan, func(a, b string) int {
		return cmp.Or(cmp.Compare(f.rank(a, avoid, at), f.rank(b, avoid, at)), f.comparePlace(a, b))
	})
	return plan
}

// rank says how late a host comes in a plan, before its place counts.
func (f *Fleet) rank(name, avoid string, at instant) (rank int) {
	h := f.hosts[name]
	if h.doubted(at) || avoid != "" && !h.healthy() {
		rank += 2
	}
	if name == avoid {
		rank++
	}
	return rank
}

// comparePlace compares hosts of one rank: by group, then by load.
func (f *Fleet) comparePlace(a, b string) int {
	if !f.cfg.Balance {
		return 0
	}
	return f.hosts[a].place().compare(f.hosts[b].place())
}

// setPlanned takes note of the hosts that there are now, and forgets others which nobody has needed for long.
func (f *Fleet) setPlanned(names []string, at instant) {
	f.planned = f.planned[:0]
	for i, name := range names {
		h := f.host(name)
		h.planned = at
		if !slices.Contains(f.planned, h) {
			h.group = f.cfg.groupOf(i)
			f.planned = append(f.planned, h)
		}
	}
	for name, h := range f.hosts {
		if h.load() == 0 && at-h.planned > forgetAfter {
			delete(f.hosts, name)
		}
	}
}

// host returns what is known of a host, which may be new.
func (f *Fleet) host(name string) *host {
	h := f.hosts[name]
	if h == nil {
		h = &host{name: name, planned: f.now()}
		f.hosts[name] = h
	}
	return h
}
