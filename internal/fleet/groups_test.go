package fleet

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// Two hosts are preferred to the third.
var twoAndOne = Config{Balance: true, Groups: []int{2, 1}}

func TestPlan_Groups_EarlierFirst_FewestConnectionsWithin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, twoAndOne, three...)
		first := map[string]bool{}
		for range 200 { // all of one kind: once in 10^60
			plan := s.fleet.Plan(three, "")
			first[plan[0]] = true
			assert.Equal(t, three[2], plan[2])
		}
		assert.Len(t, first, 2, "ties are random")
		p := s.pool(10)
		assert.Equal(t, map[string]int{three[0]: 5, three[1]: 5}, p.byHost())
	})
}

func TestPlan_Groups_LaterOneIsForWhenAllOfTheEarlierAreInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, twoAndOne, three...)
		s.fail(three[0])
		for range 20 {
			assert.Equal(t, []string{three[1], three[2], three[0]}, s.fleet.Plan(three, ""))
		}
		assert.Equal(t, []string{three[2], three[1], three[0]}, s.fleet.Plan(three, three[1]),
			"a failover avoids the host that it has just lost")
		s.fail(three[1])
		plan := s.fleet.Plan(three, "")
		assert.Equal(t, three[2], plan[0])
		assert.ElementsMatch(t, three, plan, "none is left out")
		s.fail(three[2])
		plan = s.fleet.Plan(three, "")
		assert.Equal(t, three[2], plan[2], "where all are in doubt, the groups count again")
		assert.ElementsMatch(t, three, plan)

		time.Sleep(2 * believed)
		assert.Equal(t, three[2], s.fleet.Plan(three, "")[2])
	})
}

func TestPlan_Groups_HostsBeyondThem_AreInTheLast(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true, Groups: []int{1, 1}}, "a:1", "b:1", "c:1", "d:1")
		p := s.pool(4)
		assert.Equal(t, map[string]int{"a:1": 4}, p.byHost())
		s.set(dead, "a:1")
		p.loseHost("a:1")
		p.settle()
		spreadWithin(t, p.byHost(), 3, 1)
	})
}

func TestDial_Groups_AllInDoubt_GetThroughWhicheverIsBack(t *testing.T) {
	for _, back := range three {
		t.Run(back, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newSim(t, twoAndOne, three...)
				p := s.pool(30)
				s.set(dead)
				p.lose(func(*session) bool { return true })
				time.Sleep(20 * time.Second)
				s.set(up, back)
				time.Sleep(3 * longestGap)
				synctest.Wait()
				assert.Equal(t, map[string]int{back: 30}, p.byHost())
				p.settle()
			})
		})
	}
}

func TestRetire_Groups_FirstGoesAndReturns_ConnectionsReturnAtThePaceOfTheSpread(t *testing.T) {
	for name, answer := range map[string]login{"refused": dead, "silent": silent, "draining": drains} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newSim(t, twoAndOne, three...)
				p := s.pool(60)
				s.set(answer, three[:2]...)
				p.lose(func(*session) bool { return true })
				p.settle()
				p.settle() // if they are silent, one after the other
				began := time.Now()
				p.rest(time.Minute)
				assert.Equal(t, map[string]int{three[2]: 60}, p.byHost())
				assert.LessOrEqual(t, p.moved, 1+int(time.Since(began)/(absentGap*8/10)), "to probe")

				s.set(up, three[0])
				p.rest(10 * time.Second)
				s.set(up, three[1])
				for second := range 30 {
					moved := p.moved
					p.rest(time.Second)
					assert.LessOrEqual(t, p.moved-moved, 2*spreadPerSecond, second)
				}
				assert.NotContains(t, p.byHost(), three[2])
				spreadWithin(t, p.byHost(), 2, 3)
				moved := p.moved
				p.rest(time.Minute)
				assert.Equal(t, moved, p.moved, "and then nothing moves")
			})
		})
	}
}

func TestRetire_Groups_OneOfTheFirstGoes_TheOtherHasAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, twoAndOne, three...)
		p := s.pool(60)
		s.set(dead, three[0])
		p.loseHost(three[0])
		p.settle()
		p.rest(30 * time.Minute)
		assert.Equal(t, map[string]int{three[1]: 60}, p.byHost())
		s.set(up, three[0])
		p.rest(2 * time.Minute)
		spreadWithin(t, p.byHost(), 2, 3)
	})
}

func TestRetire_Groups_OneConnection_ReturnsToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true, Groups: []int{1, 2}}, three...)
		p := s.pool(1)
		s.set(dead, three[0])
		p.loseHost(three[0])
		p.settle()
		p.rest(30 * time.Minute)
		assert.Zero(t, p.byHost()[three[0]])
		moved := p.moved
		p.rest(30 * time.Minute)
		assert.LessOrEqual(t, p.moved-moved, 40, "it is given up once a minute to see whether the first is back")
		assert.Greater(t, p.moved-moved, 15)

		s.set(up, three[0])
		p.rest(2 * time.Minute)
		assert.Equal(t, map[string]int{three[0]: 1}, p.byHost())
	})
}

func TestRetire_Groups_LaterOneReturns_NothingMoves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, twoAndOne, three...)
		p := s.pool(60)
		s.fail(three[2])
		p.rest(time.Minute)
		assert.Equal(t, Due, s.state(three[2]))
		s.fleet.quiet.Store(0)
		p.rest(time.Second)
		assert.Zero(t, p.moved)
		assert.Positive(t, s.fleet.quiet.Load(), "there is nothing to look for")
	})
}

func TestSurvey_NotTooManyAtTheWorstPlace_NorAnywhere(t *testing.T) {
	t.Parallel()
	for range 10_000 {
		var s survey
		var places []place
		for group := range 3 {
			for range rand.IntN(3) {
				p := place{group, rand.IntN(6)}
				places = append(places, p)
				s.add(p, rand.IntN(2) == 0, rand.IntN(2) == 0, 0)
			}
		}
		assert.Equal(t, slices.ContainsFunc(places, s.wanting), s.wanting(s.worst), "%v: %+v", places, s)
		for _, p := range places {
			assert.True(t, !s.uneven(p) || s.wanting(p), "what is too much now is so with more places, too")
		}
	}
}
