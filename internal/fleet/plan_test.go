package fleet

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlan_WithoutBalance_IsTheOrderGiven(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{}, three...)
		s.pool(5)
		assert.Equal(t, three, s.fleet.Plan(three, ""))
		assert.Equal(t, []string{three[1], three[2], three[0]}, s.fleet.Plan(three, three[0]))
	})
}

func TestPlan_WithBalance_FewestConnectionsFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(96)
		assert.Equal(t, map[string]int{three[0]: 32, three[1]: 32, three[2]: 32}, p.byHost())

		for _, m := range p.sessions {
			if m.host == three[1] {
				m.Closed()
			}
		}
		assert.Equal(t, three[1], s.fleet.Plan(three, "")[0])
	})
}

func TestPlan_WithBalance_CountsThoseBeingDialled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{Balance: true})
		for range 2 {
			d, _, err := f.Dial(t.Context(), f.Plan(three, "")[0], false)
			require.NoError(t, err)
			defer d.Cancelled()
		}
		plan := f.Plan(three, "")
		assert.Equal(t, 1, f.hosts[plan[1]].dialing)
		assert.Equal(t, 0, f.hosts[plan[0]].dialing)
	})
}

func TestPlan_WithBalance_TiesAreRandom(t *testing.T) {
	t.Parallel()
	f := New(Config{Balance: true})
	first := map[string]bool{}
	for range 200 { // all of one kind: once in 10^34
		first[f.Plan(three, "")[0]] = true
	}
	assert.Len(t, first, 3)
}

func TestPlan_HostInDoubt_IsLastAndNotLeftOut(t *testing.T) {
	for _, balance := range []bool{false, true} {
		inBubble := func(t *testing.T) { inBubble(t, func(t *testing.T) { hostInDoubtIsLast(t, balance) }) }
		t.Run(map[bool]string{false: "as given", true: "balanced"}[balance], inBubble)
	}
}

func hostInDoubtIsLast(t *testing.T, balance bool) {
	s := newSim(t, Config{Balance: balance}, three...)
	s.pool(9)
	s.fail(three[0])
	for range 20 {
		plan := s.fleet.Plan(three, "")
		assert.Equal(t, three[0], plan[2])
		assert.ElementsMatch(t, three, plan)
		avoiding := s.fleet.Plan(three, three[1])
		assert.Equal(t, []string{three[2], three[1], three[0]}, avoiding, "it is last of the good ones")
	}
}

func TestPlan_AllInDoubt_AreAllPlanned(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		for _, h := range three {
			s.fail(h)
		}
		plan := s.fleet.Plan(three, three[2])
		assert.ElementsMatch(t, three, plan)
		assert.Equal(t, three[2], plan[2])
	})
}

func TestPlan_DoubtIsOver_ProbedByANewConnectionButNotByAFailover(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		s.pool(9)
		s.fleet.mu.Lock()
		s.fleet.hosts[three[0]].open -= 3 // as if they had left: it is the one with the fewest
		s.fleet.mu.Unlock()
		defer func() { s.fleet.hosts[three[0]].open += 3 }()
		s.fail(three[0])
		assert.Equal(t, three[0], s.fleet.Plan(three, "")[2])

		time.Sleep(2 * believed)
		require.Equal(t, Due, s.state(three[0]))
		assert.Equal(t, three[0], s.fleet.Plan(three, "")[0])
		assert.Equal(t, []string{three[2], three[1], three[0]}, s.fleet.Plan(three, three[1]))

		probe, _, err := s.fleet.Dial(t.Context(), three[0], false)
		require.NoError(t, err)
		assert.Equal(t, three[0], s.fleet.Plan(three, "")[2], "the others needn't wait for the probe's end")
		probe.Cancelled()
	})
}

func TestPlan_ForgetsHostsThatNobodyNeeds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		kept := s.mustConnect("")
		others := slices.DeleteFunc(slices.Clone(three), func(h string) bool { return h == kept.host })
		time.Sleep(forgetAfter - time.Second)
		s.fleet.Plan([]string{"new:1"}, "")
		assert.Len(t, s.fleet.Snapshot().Hosts, 4, "not yet")
		time.Sleep(2 * time.Second)
		s.fleet.Plan([]string{others[0]}, "")

		var names []string
		for _, h := range s.fleet.Snapshot().Hosts {
			names = append(names, h.Name)
		}
		assert.ElementsMatch(t, []string{kept.host, others[0], "new:1"}, names)
	})
}

// fail has a dial to the host fail.
func (s *sim) fail(host string) {
	d, skip, err := s.fleet.Dial(s.t.Context(), host, true)
	require.NoError(s.t, err)
	require.False(s.t, skip)
	d.Failed(Unreachable, errDead)
}
