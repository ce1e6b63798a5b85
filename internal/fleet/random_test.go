package fleet

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A monkey does to a fleet whatever its bytes say, and keeps its own books.
type monkey struct {
	t       *testing.T
	bytes   []byte
	fleet   *Fleet
	hosts   []string
	dials   []*Dial
	members []*Member
	opened  uint64
	closed  uint64
}

// next returns a number below n.
func (m *monkey) next(n int) int {
	if len(m.bytes) == 0 {
		return 0
	}
	b := m.bytes[0]
	m.bytes = m.bytes[1:]
	return int(b) % n
}

func (m *monkey) run() {
	for len(m.bytes) > 0 {
		m.step()
		m.check()
	}
	for _, d := range m.dials {
		d.Cancelled()
	}
	for _, member := range m.members {
		member.Closed()
	}
	for _, h := range m.fleet.Snapshot().Hosts {
		assert.Zero(m.t, h.Open, h.Name)
		assert.Zero(m.t, h.Dialing, h.Name)
		assert.NotEqual(m.t, Probing, h.State, h.Name)
	}
}

func (m *monkey) step() {
	switch m.next(8) {
	case 0, 1:
		m.dial()
	case 2, 3, 4:
		m.settle()
	case 5:
		m.endMember()
	case 6:
		m.retire()
	case 7:
		time.Sleep(time.Duration(m.next(256)*m.next(256)) * time.Millisecond)
	}
}

// dial goes through a plan, as long as nobody has to wait for another dial of the monkey's: for the budget at most.
func (m *monkey) dial() {
	hosts := m.hosts[:1+m.next(len(m.hosts))]
	avoid := append([]string{""}, hosts...)[m.next(len(hosts)+1)]
	plan := m.fleet.Plan(hosts, avoid)
	sorted := slices.Sorted(slices.Values(plan))
	require.Equal(m.t, slices.Sorted(slices.Values(hosts)), sorted, "a plan is a permutation")
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
	defer cancel()
	for i, host := range plan {
		d, skip, err := m.fleet.Dial(ctx, host, i == len(plan)-1)
		if d != nil {
			require.NoError(m.t, err)
			require.False(m.t, skip)
			m.dials = append(m.dials, d)
			return
		}
		require.Error(m.t, err)
		require.Equal(m.t, !skip, ctx.Err() != nil)
	}
}

func (m *monkey) settle() {
	if len(m.dials) == 0 {
		return
	}
	i := m.next(len(m.dials))
	d := m.dials[i]
	m.dials = slices.Delete(m.dials, i, i+1)
	switch kind := m.next(8); kind {
	case 0, 1, 2, 3:
		m.members = append(m.members, d.Opened(uint32(m.next(4))))
		m.opened++
	case 4:
		d.Cancelled()
	default:
		d.Failed(Failure(kind-4), nil)
	}
}

func (m *monkey) endMember() {
	if len(m.members) == 0 {
		return
	}
	i := m.next(len(m.members))
	member := m.members[i]
	if m.next(8) == 0 { // and then it is ended once more
		defer m.members[i].Lost()
	}
	m.members = slices.Delete(m.members, i, i+1)
	if m.next(2) == 0 {
		member.Lost()
	} else {
		member.Closed()
	}
	m.closed++
}

func (m *monkey) retire() {
	if len(m.members) == 0 {
		return
	}
	i := m.next(len(m.members))
	if m.members[i].Retire(time.Now()) {
		m.members[i].Closed()
		m.members = slices.Delete(m.members, i, i+1)
		m.closed++
	}
}

func (m *monkey) check() {
	checkCounts(m.t, m.fleet)
	snap := m.fleet.Snapshot()
	require.Equal(m.t, m.opened, snap.Dials.Opened)
	require.Equal(m.t, m.closed, snap.Closed)
	probing := map[string]int{}
	for _, d := range m.dials {
		if d.probing() {
			probing[d.host.name]++
		}
	}
	dialing := 0
	for _, h := range snap.Hosts {
		dialing += h.Dialing
		assert.LessOrEqual(m.t, probing[h.Name], 1, h.Name)
		if h.State == Probing {
			assert.Equal(m.t, 1, probing[h.Name], h.Name)
		}
	}
	require.Equal(m.t, len(m.dials), dialing)
}

func newMonkey(t *testing.T, bytes []byte) *monkey {
	m := &monkey{t: t, bytes: bytes, hosts: append([]string{"db4:1"}, three...)}
	m.fleet = New(Config{
		Balance:  m.next(2) == 0,
		Groups:   [][]int{nil, {2, 2}, {1, 1}}[m.next(3)],
		Lifetime: time.Duration(m.next(3)) * time.Minute,
		DialRate: m.next(3) * 5,
	})
	return m
}

func FuzzFleet(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0, 3, 1, 2, 0, 1, 1, 5, 0, 0, 0, 7, 200, 200, 6, 0})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		bytes = bytes[:min(len(bytes), 4096)] // each step looks at all the books
		synctest.Test(t, func(t *testing.T) { newMonkey(t, bytes).run() })
	})
}

func TestFleet_RandomOperations_BooksAreRight(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		bytes := make([]byte, 1500)
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		synctest.Test(t, func(t *testing.T) { newMonkey(t, bytes).run() })
	}
}

func TestFleet_ManyGoroutines_BooksAreRight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true, Lifetime: time.Minute, DialRate: 100}, three...)
		for range 50 {
			go func() {
				for range 20 {
					s.mayhem(t.Context())
				}
			}()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, h := range s.fleet.Snapshot().Hosts {
			assert.Zero(t, h.Open, h.Name)
			assert.Zero(t, h.Dialing, h.Name)
		}
	})
}

// mayhem opens a connection, uses it for some time, and ends it in some way, while a server changes its mind.
func (s *sim) mayhem(ctx context.Context) {
	s.set(login(rand.IntN(5)), three[rand.IntN(3)])
	ctx, cancel := context.WithTimeout(ctx, time.Duration(1+rand.IntN(2000))*time.Millisecond)
	defer cancel()
	made, err := s.connect(ctx, three[rand.IntN(3)])
	if err != nil {
		return
	}
	for range rand.IntN(5) {
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Millisecond)
		if made.Retire(time.Now()) {
			made.Closed()
		}
	}
	if rand.IntN(2) == 0 {
		made.Lost()
	}
	made.Closed()
}
