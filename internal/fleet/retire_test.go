package fleet

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRetire_HostReturns_SpreadIsEvenWithinAMinute(t *testing.T) {
	for name, answer := range map[string]login{"refused": dead, "silent": silent, "draining": drains} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newSim(t, Config{Balance: true}, three...)
				p := s.pool(96)
				s.set(answer, three[0])
				p.loseHost(three[0])
				p.settle()
				p.rest(time.Minute)
				spreadWithin(t, p.byHost(), 2, 3)

				s.set(up, three[0])
				p.rest(30 * time.Second)
				spreadWithin(t, p.byHost(), 3, 3)
				moved := p.moved
				p.rest(time.Minute)
				assert.Equal(t, moved, p.moved, "and then nothing moves")
			})
		})
	}
}

func TestRetire_RollingRestart_SpreadIsEvenAfterwards(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(96)
		for _, h := range three {
			s.set(dead, h)
			p.loseHost(h)
			p.settle()
			p.rest(20 * time.Second)
			s.set(up, h)
			p.rest(20 * time.Second)
		}
		p.rest(40 * time.Second)
		spreadWithin(t, p.byHost(), 3, 3)
	})
}

func TestRetire_NodeBehindABalancerReturns_SpreadIsEvenWithinAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newBalanced(t, inTurn())
		p := s.pool(96)
		spreadWithin(t, p.byNode(), 3, 0)
		b.nodes[2] = dead
		p.loseNode(2)
		p.settle()
		p.rest(30 * time.Second)
		spreadWithin(t, p.byNode(), 2, 3)

		b.nodes[2] = up
		p.rest(time.Minute)
		spreadWithin(t, p.byNode(), 3, 3)
		moved := p.moved
		p.rest(time.Minute)
		assert.Equal(t, moved, p.moved, "and then nothing moves")
	})
}

func TestRetire_BalancerChoosesAtRandom_SpreadGetsEven(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newBalanced(t, func(there []uint32) uint32 { return there[rand.IntN(len(there))] })
		p := s.pool(96)
		b.nodes[2] = dead
		p.loseNode(2)
		p.settle()
		b.nodes[2] = up
		p.rest(5 * time.Minute) // about 40 s; chance may have it otherwise
		spreadWithin(t, p.byNode(), 3, 3)
	})
}

func TestRetire_BalancerWithRulesOfItsOwn_IsNotPesteredForLong(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newBalanced(t, inTurn())
		p := s.pool(20)
		b.choose = func([]uint32) uint32 { return 1 }
		p.sessions = append(p.sessions, s.pool(76).sessions...)
		p.rest(10 * time.Minute)
		assert.Less(t, p.moved, 60, "first in earnest, then ever more rarely")
		assert.Positive(t, p.moved)

		b.choose = inTurn()
		s.pool(3) // one goes where there are few: the balancer has changed its mind
		p.rest(40 * time.Second)
		spreadWithin(t, p.byNode(), 3, 4)
	})
}

func TestRetire_NodeGoneForGood_IsForgottenAfterTenMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newBalanced(t, inTurn())
		p := s.pool(96)
		b.nodes[3] = dead
		p.loseNode(3)
		p.settle()
		assert.Equal(t, 0, s.fleet.Snapshot().Nodes[3])
		assert.Contains(t, s.fleet.Snapshot().Nodes, uint32(3))
		p.rest(forgetAfter)
		assert.Less(t, p.moved, 90, "one in some seconds, and ever more rarely")
		assert.Greater(t, p.moved, 20)

		moved := p.moved
		p.rest(forgetAfter)
		assert.Equal(t, moved, p.moved)
		assert.NotContains(t, s.fleet.Snapshot().Nodes, uint32(3))
	})
}

func TestRetire_HostDeadForGood_IsTriedOnceAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(96)
		s.set(silent, three[2])
		p.loseHost(three[2])
		p.settle()
		p.rest(30 * time.Minute)
		moved := p.moved
		p.rest(30 * time.Minute)
		assert.LessOrEqual(t, p.moved-moved, 40)
		assert.Greater(t, p.moved-moved, 15)
	})
}

func TestRetire_FewConnections_AreNotMovedForANodeThatIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newBalanced(t, inTurn())
		p := s.pool(6)
		b.nodes[3] = dead
		p.loseNode(3)
		p.settle()
		p.rest(5 * time.Minute)
		assert.Zero(t, p.moved, "3, 3, 0: one more than its share is nothing to move for")
	})
}

func newBalanced(t *testing.T, choose func([]uint32) uint32) (*sim, *balancer) {
	s := newSim(t, Config{Balance: true}, "lb:26257")
	b := &balancer{nodes: map[uint32]login{1: up, 2: up, 3: up}, choose: choose}
	s.nodeOf = b.nodeOf
	return s, b
}

func TestRetire_WithoutBalance_ConnectionsStay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{}, three...)
		p := s.pool(96)
		p.rest(10 * time.Minute)
		assert.Zero(t, p.moved)
		assert.Equal(t, map[string]int{three[0]: 96}, p.byHost())
	})
}

func TestRetire_HostIsAdded_GetsItsShare(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three[:2]...)
		p := s.pool(96)
		s.hosts = three
		s.fleet.Plan(three, "")
		p.rest(time.Second)
		assert.LessOrEqual(t, p.moved, 2*spreadPerSecond, "some a second")
		p.rest(30 * time.Second)
		spreadWithin(t, p.byHost(), 3, 3)
	})
}

func TestRetire_DrainingHost_ConnectionsLeaveAtRestSomeASecond(t *testing.T) {
	for _, balance := range []bool{false, true} {
		t.Run(map[bool]string{false: "as given", true: "balanced"}[balance], func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newSim(t, Config{Balance: balance}, three...)
				p := s.pool(96)
				had := p.byHost()[three[0]]
				s.set(drains, three[0])
				require.NoError(t, s.refusal(three[0]))
				require.Equal(t, Draining, s.state(three[0]))
				p.rest(time.Second)
				assert.LessOrEqual(t, p.moved, 2*leavePerSecond)
				p.rest(time.Duration(had/leavePerSecond+1) * time.Second)
				assert.Zero(t, p.byHost()[three[0]])
				assert.EqualValues(t, had, s.fleet.Snapshot().Retired.Draining)
			})
		})
	}
}

// refusal has one login to the host refused.
func (s *sim) refusal(host string) error {
	d, _, err := s.fleet.Dial(s.t.Context(), host, true)
	if err == nil {
		d.Failed(Refused, errDead)
	}
	return err
}

func TestRetire_OnlyHostRefusesLogins_NobodyLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, b := newBalanced(t, inTurn())
		p := s.pool(96)
		b.nodes[1] = drains
		require.NoError(t, s.refusal("lb:26257"))
		p.rest(time.Minute)
		assert.Zero(t, p.moved)
	})
}

func TestRetire_AllOthersInDoubt_NobodyLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(96)
		for _, h := range three {
			require.NoError(t, s.refusal(h))
		}
		p.rest(believed / 2)
		assert.Zero(t, p.moved)
	})
}

func TestRetire_LoginSucceedsAgain_NobodyLeavesAnyMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(96)
		require.NoError(t, s.refusal(three[0]))
		d, _, err := s.fleet.Dial(t.Context(), three[0], true)
		require.NoError(t, err)
		d.Opened(0).Closed()
		p.rest(time.Minute)
		assert.Zero(t, p.moved)

		p.sessions[0].Lost()
		p.loseHost(three[0])
		assert.Equal(t, Doubted, s.state(three[0]), "not draining: that was before")
		p.settle()
	})
}

func TestRetire_Lifetime_JitteredFixedAtBirthAndSomeASecond(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const lifetime = 5 * time.Minute
		s := newSim(t, Config{Balance: true, Lifetime: lifetime}, three...)
		p := s.pool(96)
		earliest, latest := never, instant(0)
		for _, m := range p.sessions {
			earliest, latest = min(earliest, m.expires-m.born), max(latest, m.expires-m.born)
			assert.False(t, m.Retire(time.Now().Add(m.expires-m.fleet.now()-1)), "not a moment before")
		}
		assert.GreaterOrEqual(t, earliest, lifetime*9/10)
		assert.LessOrEqual(t, latest, lifetime*11/10)
		assert.Greater(t, latest-earliest, lifetime/20, "not all at once")

		p.rest(lifetime * 85 / 100)
		assert.Zero(t, p.moved)
		p.rest(lifetime * 30 / 100)
		assert.Equal(t, 96, p.moved)
		assert.EqualValues(t, 96, s.fleet.Snapshot().Retired.Lifetime)
	})
}

func TestRetire_ClosedConnection_IsNotRetired(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Lifetime: time.Minute}, three...)
		p := s.pool(2)
		time.Sleep(2 * time.Minute)
		assert.True(t, p.sessions[0].Retire(time.Now()))
		p.sessions[0].Closed()
		p.sessions[1].Lost()
		assert.False(t, p.sessions[0].Retire(time.Now()))
		assert.False(t, p.sessions[1].Retire(time.Now()))
	})
}

func TestRetire_ManyLifetimesOverAtOnce_TenLeaveASecond(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Lifetime: time.Minute}, three...)
		p := s.pool(300)
		time.Sleep(2 * time.Minute)
		for second := range 10 {
			moved := p.moved
			p.rest(time.Second)
			assert.LessOrEqual(t, p.moved-moved, 2*leavePerSecond, second)
		}
		assert.LessOrEqual(t, p.moved, 11*leavePerSecond)
		assert.GreaterOrEqual(t, p.moved, 10*leavePerSecond)
	})
}

func TestRetire_AllocatesNothing(t *testing.T) {
	f := New(Config{Balance: true, Lifetime: time.Hour})
	var members []*Member
	for _, h := range f.Plan(three, "") {
		d, _, err := f.Dial(t.Context(), h, true)
		require.NoError(t, err)
		members = append(members, d.Opened(0))
	}
	for name, quiet := range map[string]bool{"nothing to look at": true, "all looked at": false} {
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			if !quiet {
				f.quiet.Store(0)
			}
			members[0].Retire(time.Now())
		}), name)
	}
}

func BenchmarkRetire(b *testing.B) {
	f := New(Config{Balance: true, Lifetime: time.Hour})
	var members []*Member
	for _, h := range f.Plan(three, "") {
		d, _, err := f.Dial(b.Context(), h, true)
		require.NoError(b, err)
		members = append(members, d.Opened(0))
	}
	b.Run("quiet", func(b *testing.B) {
		now := time.Now()
		for b.Loop() {
			members[0].Retire(now)
		}
	})
	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			f.quiet.Store(0)
			members[0].Retire(time.Now())
		}
	})
}
