package lane

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newWidth() width { return postgresLane().width }

// A crowd always waits for a place; in turn, each of wins attempts wins in a millisecond, and one loses in cost.
func crowd(w *width, rounds, wins int, cost time.Duration) {
	for range rounds {
		for range wins {
			w.win(time.Millisecond, true)
		}
		if cost > 0 {
			w.lose(cost)
		}
	}
}

func TestWidthAtFirst(t *testing.T) {
	w := newWidth()
	assert.Equal(t, 1, w.places())
}

func TestWidthFollowsTheTime(t *testing.T) {
	for name, c := range map[string]struct {
		wins     int
		cost     time.Duration
		min, max int
	}{
		"nobody loses":                       {10, 0, widest, widest},
		"one in ten loses, as cheaply":       {10, time.Millisecond, widest - 1, widest},
		"one in ten loses, a deadlock":       {10, 50 * time.Millisecond, 1, 1},
		"one in a hundred, a long deadlock":  {100, 500 * time.Millisecond, 1, 1}, // 250 of them count
		"one in three loses, as cheaply":     {2, time.Millisecond, widest - 1, widest},
		"one in three loses, at three times": {2, 3 * time.Millisecond, 1, 1},
		"two in three lose":                  {1, 2 * time.Millisecond, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWidth()
			crowd(&w, 3000/c.wins, c.wins, c.cost)
			assert.GreaterOrEqual(t, w.places(), c.min)
			assert.LessOrEqual(t, w.places(), c.max)
		})
	}
}

func TestWidthDoesNotGrowWhileNobodyWaits(t *testing.T) {
	w := newWidth()
	for range 1000 {
		w.win(time.Millisecond, false)
	}
	assert.Equal(t, 1, w.places())

	w.lose(10 * time.Millisecond)
	for range 20 {
		w.win(time.Millisecond, false)
	}
	assert.Zero(t, w.account, "but a debt is paid")
}

// After a fight the lane is narrow for as long as the fight has cost, and no longer than mostDebt.
func TestWidthPaysForAFight(t *testing.T) {
	w := newWidth()
	crowd(&w, 40, 1, 0)
	assert.Equal(t, widest, w.places())
	w.lose(115 * time.Millisecond)
	crowd(&w, 100, 1, 0)
	assert.Equal(t, 1, w.places())
	crowd(&w, 5, 1, 0)
	assert.Equal(t, 6, w.places())

	crowd(&w, 10, 0, time.Hour)
	crowd(&w, int(mostDebt/time.Millisecond), 1, 0)
	assert.Equal(t, 1, w.places())
	crowd(&w, 20, 1, 0)
	assert.Equal(t, widest, w.places())
}

// An attempt may take an hour because the application does: that does not decide for all that come after it.
func TestWidthOfALongAttempt(t *testing.T) {
	w := newWidth()
	w.lose(time.Hour)
	assert.Equal(t, -mostDebt, w.account)
	w.win(time.Hour, true)
	assert.Equal(t, longAttempt-mostDebt, w.account)
	assert.Equal(t, longAttempt, w.typical)
	crowd(&w, 200, 1, 0)
	assert.Less(t, w.typical, 2*time.Millisecond)
}

// A clock that does not move is no reason to divide by zero.
func TestWidthOfNoTime(t *testing.T) {
	w := newWidth()
	for range 100 {
		w.win(0, true)
	}
	w.lose(0)
	assert.Equal(t, widest, w.places())
}

// The queue moves up when the lane has become wider, and nobody is put out when it becomes narrower.
func TestLaneWidensForTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := postgresLane()
		var passes []*Pass
		for range 4 {
			passes = append(passes, l.join(nil))
		}
		time.Sleep(time.Millisecond)
		passes[0].Leave()
		assert.True(t, passes[1].Holds())
		time.Sleep(time.Millisecond)
		passes[1].Leave()
		l.width.account = l.width.typical
		passes = append(passes, l.join(nil))
		assert.True(t, passes[2].Holds())
		assert.True(t, passes[3].Holds())
		assert.False(t, passes[4].Holds())

		time.Sleep(time.Second)
		passes[3].Lost() // a thousand times as long as those before
		assert.Equal(t, 1, l.width.places())
		assert.True(t, passes[3].Holds(), "nobody is put out")
		passes[3].Leave()
		assert.False(t, passes[4].Holds(), "there is a place for one only, and it is taken")
		passes[2].Leave()
		assert.True(t, passes[4].Holds())
	})
}

func TestLaneLostWithoutAPlace(t *testing.T) {
	l := narrowLane()
	var none *Pass
	none.Lost()
	assert.False(t, none.Holds())
	held, waiter := l.join(nil), l.join(nil)
	waiter.Lost()
	held.Leave()
	held.Lost()
	assert.Equal(t, 1, l.width.places())
	assert.True(t, waiter.Holds())
}

// However often the lane changes its width, there are never more in it than it was ever wide, and it is empty in the
// end.
func TestLaneOfAnyWidth(t *testing.T) {
	l := postgresLane()
	var mu sync.Mutex
	inside, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		inside += n
		most = max(most, inside)
	}
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			for range 300 {
				p, err := l.Enter(t.Context(), t.Context(), time.Hour, nil)
				assert.NoError(t, err)
				count(1)
				if rand.IntN(3) == 0 {
					p.Lost()
				}
				count(-1)
				p.Leave()
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, most, widest)
	assert.Zero(t, l.waiting())
	assert.Empty(t, l.holders)
}

// There is a place for each millisecond of the network's, and what the account has comes on top.
func TestWidthFollowsTheNetwork(t *testing.T) {
	for trip, places := range map[time.Duration]int{
		0: 1, 300 * time.Microsecond: 1, 1900 * time.Microsecond: 1,
		2400 * time.Microsecond: 2, 11 * time.Millisecond: 11, time.Second: widest,
	} {
		w := newWidth()
		w.tripTook(trip)
		assert.Equal(t, places, w.places(), trip)
		crowd(&w, 2, 1, 0)
		assert.Equal(t, min(widest, places+2), w.places(), trip)
		w.lose(2 * time.Millisecond)
		assert.Equal(t, places, w.places(), "%s: a loss takes from the account first", trip)
	}
}

// Messages that wait for others say nothing about the network, however many they are.
func TestWidth_OverloadedServer_StaysNarrow(t *testing.T) {
	w := newWidth()
	w.tripTook(300 * time.Microsecond)
	for n := range 100 {
		w.tripTook(25 * time.Millisecond)
		w.lose(25 * time.Millisecond)
		require.Equal(t, 1, w.places(), "after %d slow answers", n+1)
	}
}

// The same where no quick answer was ever seen, so that the server is taken for a slow network.
func TestWidth_EveryAttemptLoses_ClosesTheNetworksPlaces(t *testing.T) {
	w := newWidth()
	w.tripTook(25 * time.Millisecond)
	assert.Equal(t, widest, w.places())
	w.lose(25 * time.Millisecond)
	assert.Equal(t, 1, w.places(), "none has ever won")

	w = newWidth()
	w.tripTook(25 * time.Millisecond)
	crowd(&w, 20, 1, 0)
	crowd(&w, widest, 0, tolerance*time.Millisecond)
	assert.Equal(t, 1, w.places(), "each has closed one")
	crowd(&w, widest, 1, 0)
	assert.Zero(t, int(w.closed), "and one that wins opens one")
}

// Conflicts are dear on a slow network too, and it is still best to retry side by side.
func TestWidth_SlowNetworkWithConflicts_StaysWide(t *testing.T) {
	for lost, places := range map[time.Duration]int{
		3 * time.Millisecond:  11,
		7 * time.Millisecond:  11,
		10 * time.Millisecond: 1,
		time.Second:           1,
	} {
		w := newWidth()
		w.tripTook(11 * time.Millisecond)
		crowd(&w, 100, 1, lost)
		assert.InDelta(t, places, w.places(), 1, "%s are lost for each millisecond that is won", lost)
	}
}

func TestWidth_BadTimesAreForgotten(t *testing.T) {
	w := newWidth()
	w.tripTook(11 * time.Millisecond)
	crowd(&w, 1, 1, 0)
	crowd(&w, 1000, 0, time.Hour)
	assert.Equal(t, 1, w.places())
	crowd(&w, widest, 1, 0)
	assert.Equal(t, 11, w.places(), "each attempt that wins opens a place")
}

// The quickest answer counts at once, and for minutes.
func TestQuickest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const quick, middling, slow = time.Millisecond, 2 * time.Millisecond, 11 * time.Millisecond
		var q quickest
		assert.Zero(t, q.least())
		at := func(after, took, least time.Duration) {
			t.Helper()
			time.Sleep(after)
			q.note(took)
			assert.Equal(t, least, q.least())
		}
		at(0, slow, slow)
		at(time.Second, quick, quick)
		at(tripsLast-2*time.Second, slow, quick)
		at(time.Second, slow, quick) // the second part begins
		at(time.Second, middling, quick)
		at(tripsLast-2*time.Second, slow, quick)
		at(time.Second, slow, middling) // the third: the quick one was in the first
		at(tripsLast-time.Second, slow, middling)
		at(time.Second, slow, slow)
		at(0, quick, quick)
	})
}

// That nothing happens for long is no reason to take the first slow answer for the network's.
func TestQuickest_NothingNotedForLong_IsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q quickest
		q.note(time.Millisecond)
		time.Sleep(time.Hour)
		q.note(time.Second)
		assert.Equal(t, time.Millisecond, q.least())
		time.Sleep(tripsLast)
		q.note(time.Second)
		assert.Equal(t, time.Second, q.least(), "until one part has had only slow ones")
	})
}

func TestLaneWidensWhenTheNetworkIsKnown(t *testing.T) {
	l := postgresLane()
	holder, waiter, last := l.join(nil), l.join(nil), l.join(nil)
	l.TripTook(2 * time.Millisecond)
	assert.True(t, holder.Holds())
	assert.True(t, waiter.Holds())
	assert.False(t, last.Holds())
}

// The lane is for one, however slow the network is and however well it goes, until the server is known, and on
// CockroachDB.
func TestLaneIsForOneOnCockroachDB(t *testing.T) {
	for name, l := range map[string]*Lane{"not known": New(), "CockroachDB": narrowLane()} {
		l.TripTook(20 * time.Millisecond)
		crowd(&l.width, 100, 1, 0)
		assert.Equal(t, 1, l.width.places(), name)
		assert.NotNil(t, l.TryEnter(), name)
		assert.Nil(t, l.TryEnter(), name)
	}
}

// Who waits need not wait any longer when it turns out that the server is PostgreSQL, and who is in the lane stays
// there when it is CockroachDB after all.
func TestLaneWhenTheServerIsKnown(t *testing.T) {
	l := New()
	l.TripTook(2 * time.Millisecond)
	passes := []*Pass{l.join(nil), l.join(nil), l.join(nil)}
	assert.False(t, passes[1].Holds())
	l.ConnectedTo(false)
	assert.True(t, passes[1].Holds())
	l.ConnectedTo(true)
	assert.True(t, passes[0].Holds())
	assert.True(t, passes[1].Holds())
	passes[0].Leave()
	assert.False(t, passes[2].Holds())
	passes[1].Leave()
	assert.True(t, passes[2].Holds())
}
