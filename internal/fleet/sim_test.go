package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var three = []string{"db1:26257", "db2:26257", "db3:26257"}

// A login is how a simulated server answers.
type login uint8

const (
	up      login = iota
	dead          // the port is closed
	silent        // nothing ever comes back
	drains        // 57P01
	rejects       // a wrong password
)

const (
	loginTakes     = 2 * time.Millisecond
	connectTimeout = 5 * time.Second
)

var errDead = errors.New("connection refused")

// A sim is a fleet and the servers that it knows, in a synctest bubble.
type sim struct {
	t     *testing.T
	fleet *Fleet
	hosts []string

	mu      sync.Mutex
	servers map[string]login
	nodeOf  func(host string) (node uint32, answer login) // what a balancer does; nil without one
	dialled map[string]int
}

func newSim(t *testing.T, cfg Config, hosts ...string) *sim {
	s := &sim{t: t, fleet: New(cfg), hosts: hosts, servers: map[string]login{}, dialled: map[string]int{}}
	t.Cleanup(func() { s.checkCounts() })
	return s
}

// A session is a connection of the pool that the sim plays.
type session struct {
	*Member
	host string
	node uint32
}

// connect does what a connector does: it goes through one plan.
func (s *sim) connect(ctx context.Context, avoid string) (*session, error) {
	var last error
	plan := s.fleet.Plan(s.hosts, avoid)
	for i, host := range plan {
		d, skip, err := s.fleet.Dial(ctx, host, i == len(plan)-1)
		switch {
		case skip:
			last = err
			continue
		case err != nil:
			return nil, err
		}
		made, err := s.dial(ctx, d, host)
		if made != nil || ctx.Err() != nil {
			return made, err
		}
		last = err
	}
	return nil, last
}

// mustConnect goes through plans until there is a connection.
func (s *sim) mustConnect(avoid string) *session {
	for {
		made, err := s.connect(s.t.Context(), avoid)
		if made != nil {
			return made
		}
		require.NoError(s.t, s.t.Context().Err(), err)
	}
}

func (s *sim) dial(ctx context.Context, d *Dial, host string) (*session, error) {
	defer d.Cancelled()
	node, answer := s.answer(host)
	takes := loginTakes
	if answer == silent {
		takes = connectTimeout
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch answer {
	case up:
		return &session{Member: d.Opened(node), host: host, node: node}, nil
	case drains:
		d.Failed(Refused, errDead)
	case rejects:
		d.Failed(Rejected, errDead)
	default:
		d.Failed(Unreachable, errDead)
	}
	return nil, errDead
}

// answer counts a dial, and returns what it meets.
func (s *sim) answer(host string) (node uint32, answer login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled[host]++
	if s.nodeOf != nil {
		return s.nodeOf(host)
	}
	return 0, s.servers[host]
}

// set says how a server answers from now on; without hosts, how all do.
func (s *sim) set(answer login, hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(hosts) == 0 {
		hosts = s.hosts
	}
	for _, h := range hosts {
		s.servers[h] = answer
	}
}

// dials returns how often the host has been dialled so far.
func (s *sim) dials(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialled[host]
}

// A pool is a number of idle connections, each of which is replaced when the fleet says so.
type pool struct {
	*sim
	sessions []*session
	moved    int
}

func (s *sim) pool(n int) *pool {
	p := &pool{sim: s}
	for range n {
		p.sessions = append(p.sessions, s.mustConnect(""))
	}
	return p
}

// rest lets time pass. Once a second each connection is asked whether it should be replaced.
func (p *pool) rest(d time.Duration) {
	for range int(d / time.Second) {
		time.Sleep(time.Second)
		for i, m := range p.sessions {
			if m.Retire(time.Now()) {
				m.Closed()
				p.moved++
				p.sessions[i] = p.mustConnect("")
			}
		}
	}
}

// lose breaks the connections that are chosen, all at once, and replaces each on a goroutine of its own.
func (p *pool) lose(chosen func(*session) bool) {
	var lost []int
	for i, m := range p.sessions {
		if chosen(m) {
			m.Lost()
			lost = append(lost, i)
		}
	}
	for _, i := range lost {
		go func() { p.sessions[i] = p.mustConnect(p.sessions[i].host) }()
	}
	synctest.Wait()
}

func (p *pool) loseHost(host string) {
	p.lose(func(m *session) bool { return m.host == host })
}

func (p *pool) loseNode(node uint32) {
	p.lose(func(m *session) bool { return m.node == node })
}

// settle waits for the replacements that lose has begun.
func (p *pool) settle() {
	time.Sleep(connectTimeout)
	synctest.Wait()
	for _, h := range p.fleet.Snapshot().Hosts {
		require.Zero(p.t, h.Dialing, h.Name)
	}
}

func (p *pool) byHost() map[string]int {
	n := map[string]int{}
	for _, m := range p.sessions {
		n[m.host]++
	}
	return n
}

func (p *pool) byNode() map[uint32]int {
	n := map[uint32]int{}
	for _, m := range p.sessions {
		n[m.node]++
	}
	return n
}

// checkCounts holds the fleet's counts against each other.
func (s *sim) checkCounts() { checkCounts(s.t, s.fleet) }

func checkCounts(t *testing.T, f *Fleet) {
	snap := f.Snapshot()
	var open, nodes int
	for _, h := range snap.Hosts {
		assert.GreaterOrEqual(t, h.Open, 0, h.Name)
		assert.GreaterOrEqual(t, h.Dialing, 0, h.Name)
		open += h.Open
	}
	for id, n := range snap.Nodes {
		assert.GreaterOrEqual(t, n, 0, id)
		nodes += n
	}
	assert.EqualValues(t, open, snap.Dials.Opened-snap.Closed)
	assert.LessOrEqual(t, nodes, open)
	assert.LessOrEqual(t, snap.Lost, snap.Closed)
}

// state returns what the fleet believes of a host.
func (s *sim) state(host string) State {
	for _, h := range s.fleet.Snapshot().Hosts {
		if h.Name == host {
			return h.State
		}
	}
	return Healthy
}

// A balancer sends connections to the nodes that are there, in turn or as it likes.
type balancer struct {
	nodes  map[uint32]login
	choose func(there []uint32) uint32
}

func (b *balancer) nodeOf(string) (uint32, login) {
	var there []uint32
	for id := uint32(1); int(id) <= len(b.nodes); id++ {
		if b.nodes[id] == up {
			there = append(there, id)
		}
	}
	if len(there) == 0 {
		return 0, dead
	}
	id := b.choose(there)
	return id, b.nodes[id]
}

func inTurn() func([]uint32) uint32 {
	n := 0
	return func(there []uint32) uint32 {
		n++
		return there[n%len(there)]
	}
}

func spreadWithin[K comparable](t *testing.T, by map[K]int, places, most int) {
	t.Helper()
	require.Len(t, by, places, fmt.Sprint(by))
	lowest, highest := 1<<30, 0
	for _, n := range by {
		lowest, highest = min(lowest, n), max(highest, n)
	}
	assert.LessOrEqual(t, highest-lowest, most, fmt.Sprint(by))
}

func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}
