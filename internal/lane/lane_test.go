package lane

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waiting returns the length of the queue.
func (l *Lane) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.others.queue)
}

const laneBound = 5 * time.Second

// narrowLane is a lane for one, and stays so.
func narrowLane() *Lane {
	l := New()
	l.ConnectedTo(true)
	return l
}

// postgresLane is a lane in which there is a place for each thing that is fought over.
func postgresLane() *Lane {
	l := New()
	l.ConnectedTo(false)
	return l
}

func TestLaneHoldsOne(t *testing.T) {
	l := narrowLane()
	p := l.TryEnter()
	require.NotNil(t, p)
	assert.True(t, p.Holds())
	assert.Nil(t, l.TryEnter(), "taken")

	p.Leave()
	assert.False(t, p.Holds())
	q := l.TryEnter()
	require.NotNil(t, q, "free again")

	p.Leave() // once more: must not take the lane from q
	assert.True(t, q.Holds())
	q.Leave()
	assert.Zero(t, l.waiting())
}

func TestLaneNilPass(t *testing.T) {
	var p *Pass
	p.Leave()
	assert.False(t, p.Holds())
}

func TestLaneTryEnterAllocatesThePassOnly(t *testing.T) {
	l := narrowLane()
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { l.TryEnter().Leave() }), 1.0)
	p := l.TryEnter()
	defer p.Leave()
	assert.Zero(t, testing.AllocsPerRun(100, func() { l.TryEnter() }))
}

func TestLaneServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		held := l.TryEnter()
		var order []int
		for i := range 64 {
			go func() {
				p, err := l.Enter(ctx, ctx, laneBound, nil)
				assert.NoError(t, err)
				assert.True(t, p.Holds())
				order = append(order, i) // the lane is the lock: -race would tell
				time.Sleep(time.Millisecond)
				p.Leave()
			}()
			synctest.Wait()
			require.Equal(t, i+1, l.waiting())
		}
		held.Leave()
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range 64 {
			require.Equal(t, i, order[i])
		}
		assert.Len(t, order, 64)
		assert.NotNil(t, l.TryEnter(), "free in the end")
	})
}

func TestLaneEnterWhenFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p, err := narrowLane().Enter(t.Context(), t.Context(), laneBound, nil)
		require.NoError(t, err)
		assert.True(t, p.Holds())
		assert.Zero(t, time.Since(start))
	})
}

func TestLaneWithoutWait(t *testing.T) {
	l := narrowLane()
	p, err := l.Enter(t.Context(), t.Context(), 0, nil)
	require.NoError(t, err)
	require.True(t, p.Holds())

	q, err := l.Enter(t.Context(), t.Context(), 0, nil)
	require.NoError(t, err)
	assert.Nil(t, q)
	assert.Zero(t, l.waiting())
}

func TestLaneTryEnterDoesNotBarge(t *testing.T) {
	l := narrowLane()
	held := l.TryEnter()
	waiter := l.join(nil, nil)
	held.Leave()
	assert.Nil(t, l.TryEnter(), "it is the waiter's, though the waiter has not woken up yet")
	assert.True(t, waiter.Holds())
}

// A live lane, in which the holder changes, is not taken over: who has waited enough goes without.
func TestLaneBoundElapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		first := l.TryEnter()
		var second *Pass
		go func() { second, _ = l.Enter(ctx, ctx, laneBound, nil) }()
		synctest.Wait()
		time.AfterFunc(laneBound/2, first.Leave)

		start := time.Now()
		p, err := l.Enter(ctx, ctx, laneBound, nil)
		require.NoError(t, err)
		assert.Nil(t, p)
		assert.Equal(t, laneBound, time.Since(start))
		synctest.Wait()
		assert.True(t, second.Holds())
		assert.Zero(t, l.waiting())
	})
}

// An application that opens a transaction inside a transaction waits for itself, once, and for the bound.
func TestLaneNestedTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		outer := l.TryEnter()
		start := time.Now()
		inner, err := l.Enter(ctx, ctx, laneBound, nil)
		require.NoError(t, err)
		assert.Equal(t, laneBound, time.Since(start))
		assert.True(t, inner.Holds())
		assert.False(t, outer.Holds(), "void")

		outer.Leave()
		assert.True(t, inner.Holds(), "a void pass frees nothing")
		inner.Leave()
		assert.NotNil(t, l.TryEnter())
	})
}

// A holder that never leaves costs one waiter the bound, not all of them.
func TestLaneLeakedHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		require.NotNil(t, l.TryEnter())
		var waited [8]time.Duration
		for i := range waited {
			time.Sleep(10 * time.Millisecond)
			go func() {
				begin := time.Now()
				p, err := l.Enter(ctx, ctx, laneBound, nil)
				assert.NoError(t, err)
				assert.True(t, p.Holds())
				waited[i] = time.Since(begin)
				time.Sleep(time.Millisecond)
				p.Leave()
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range waited {
			assert.LessOrEqual(t, waited[i], laneBound)
		}
		start := time.Now()
		p, err := l.Enter(ctx, ctx, laneBound, nil)
		require.NoError(t, err)
		assert.True(t, p.Holds())
		assert.Zero(t, time.Since(start), "those who come later do not wait at all")
	})
}

// Only the first in the queue takes over: one with a short bound does not overtake, nor empty the lane.
func TestLaneTakeoverIsTheFirstWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		held := l.TryEnter()
		var first *Pass
		go func() { first, _ = l.Enter(ctx, ctx, laneBound, nil) }()
		synctest.Wait()

		p, err := l.Enter(ctx, ctx, time.Millisecond, nil)
		require.NoError(t, err)
		assert.Nil(t, p)
		assert.True(t, held.Holds())
		held.Leave()
		synctest.Wait()
		assert.True(t, first.Holds())
	})
}

// A pass that was handed the lane and taken over before its goroutine ran is void, and its time-out does no harm.
func TestLaneTakenOverBeforeWakingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := narrowLane()
		held, slow, next := l.TryEnter(), l.join(nil, nil), l.join(nil, nil)
		held.Leave()
		time.Sleep(laneBound)
		assert.True(t, l.timeUp(next, laneBound))
		assert.False(t, l.timeUp(slow, laneBound))
		assert.True(t, next.Holds())
		next.Leave()
		assert.False(t, l.timeUp(slow, laneBound))
		assert.NotNil(t, l.TryEnter())
	})
}

func TestLaneTimeUpAtItsTurn(t *testing.T) {
	l := narrowLane()
	held, waiter := l.TryEnter(), l.join(nil, nil)
	held.Leave()
	assert.True(t, l.timeUp(waiter, time.Hour), "its turn came just before")
}

func TestLaneContextDone(t *testing.T) {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for name, contexts := range map[string]func(ctx context.Context) (context.Context, context.Context){
		"statement":   func(ctx context.Context) (context.Context, context.Context) { return ctx, context.Background() },
		"transaction": func(ctx context.Context) (context.Context, context.Context) { return context.Background(), ctx },
	} {
		t.Run(name, func(t *testing.T) {
			l := narrowLane()
			ctx, ctx2 := contexts(done)
			p, err := l.Enter(ctx, ctx2, laneBound, nil)
			assert.Equal(t, context.Canceled, err)
			assert.Nil(t, p)
			assert.NotNil(t, l.TryEnter(), "not entered")
		})
		t.Run(name+" while waiting", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := narrowLane()
				held := l.TryEnter()
				soon, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				ctx, ctx2 := contexts(soon)
				start := time.Now()
				p, err := l.Enter(ctx, ctx2, laneBound, nil)
				assert.Equal(t, context.DeadlineExceeded, err)
				assert.Nil(t, p)
				assert.Equal(t, time.Second, time.Since(start))
				assert.Zero(t, l.waiting())
				assert.True(t, held.Holds())
			})
		})
	}
}

// A waiter that is cancelled at the moment it is handed the lane either has it or hands it on; it is never lost.
func TestLaneCancelledAtItsTurn(t *testing.T) {
	for range 500 {
		l := narrowLane()
		held := l.TryEnter()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			p, err := l.Enter(ctx, t.Context(), time.Hour, nil)
			assert.Equal(t, err == nil, p != nil)
			p.Leave()
		})
		for l.waiting() < 1 {
			time.Sleep(time.Microsecond)
		}
		next := l.join(nil, nil)
		wg.Go(held.Leave)
		wg.Go(cancel)
		wg.Wait()
		<-next.turn
		require.True(t, next.Holds())
		next.Leave()
		require.NotNil(t, l.TryEnter())
	}
}

// Whatever happens, the lane never has two holders while no bound elapses, and is free in the end.
func TestLaneManyGoroutines(t *testing.T) {
	l := narrowLane()
	var inside, entered atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(200))*time.Microsecond)
				p, err := l.Enter(ctx, t.Context(), time.Hour, nil)
				if err == nil {
					entered.Add(1)
					assert.EqualValues(t, 1, inside.Add(1))
					inside.Add(-1)
				} else {
					assert.True(t, errors.Is(err, context.DeadlineExceeded))
				}
				p.Leave()
				cancel()
			}
		})
	}
	wg.Wait()
	assert.Positive(t, entered.Load())
	assert.Zero(t, l.waiting())
	assert.NotNil(t, l.TryEnter())
}

// With bounds that elapse all the time, and passes that are never given back, somebody still gets through.
func TestLaneManyTakeovers(t *testing.T) {
	l := narrowLane()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				p, err := l.Enter(t.Context(), t.Context(), time.Duration(1+rand.IntN(50))*time.Microsecond, nil)
				assert.NoError(t, err)
				if rand.IntN(4) > 0 {
					p.Leave()
				}
			}
		})
	}
	wg.Wait()
	assert.Zero(t, l.waiting())
	p, err := l.Enter(t.Context(), t.Context(), time.Millisecond, nil)
	require.NoError(t, err)
	assert.True(t, p.Holds())
}

func TestPass_Yielded_TheNextEntersAndItComesBackBeforeTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := narrowLane()
		ctx := t.Context()
		loser := l.TryEnter()
		entered := make(chan string, 3)
		wait := func(name string, before *Pass) {
			go func() {
				p, err := l.Enter(ctx, ctx, laneBound, before)
				assert.NoError(t, err)
				entered <- name
				p.Leave()
			}()
			synctest.Wait()
		}
		wait("second", nil)
		loser.Yield()
		assert.False(t, loser.Holds())
		assert.Equal(t, "second", <-entered)
		third := l.TryEnter()
		wait("fourth", nil)
		wait("the one that has yielded", loser)
		third.Leave()
		assert.Equal(t, "the one that has yielded", <-entered)
		assert.Equal(t, "fourth", <-entered)
	})
}

func TestPass_YieldedWithoutAPlace_GoesToTheEnd(t *testing.T) {
	t.Parallel()
	l := narrowLane()
	holder := l.TryEnter()
	void := l.join(nil, nil)
	void.Leave()
	void.Yield()
	first, last := l.join(nil, nil), l.join(void, nil)
	holder.Leave()
	assert.True(t, first.Holds())
	assert.False(t, last.Holds())
	(*Pass)(nil).Yield()
}

// Those who have lost over the same thing take turns; those who have lost over something else are not in their way.
func TestLane_LostOverTheSame_TakeTurns(t *testing.T) {
	t.Parallel()
	l := postgresLane()
	a, b := l.TryEnter("a"), l.TryEnter("b")
	require.NotNil(t, a)
	require.NotNil(t, b)
	assert.Nil(t, l.TryEnter("a"))
	assert.True(t, a.IsOver([]string{"a"}))
	assert.False(t, a.IsOver([]string{"b"}))
	second, third := l.join(nil, []string{"a"}), l.join(nil, []string{"a"})
	b.Leave()
	assert.False(t, second.Holds())
	a.Leave()
	assert.True(t, second.Holds())
	assert.False(t, third.Holds())
	a.Leave() // once more: must not take the place from the second
	assert.True(t, second.Holds())
	third.Leave()
	second.Leave()
	assert.Empty(t, l.over, "nothing is kept of what nobody fights over")
}

// A pass that was left stays without effect on those who fight over the same thing later.
func TestLane_LostOverWhatIsOver_DoesNoHarm(t *testing.T) {
	t.Parallel()
	l := postgresLane()
	before := l.TryEnter("a")
	before.Leave()
	holder, waiter := l.TryEnter("a"), l.join(nil, []string{"a"})
	before.Leave()
	assert.False(t, before.Holds())
	assert.True(t, holder.Holds())
	assert.Nil(t, l.TryEnter("a"))
	assert.False(t, waiter.Holds())
	holder.Leave()
	assert.True(t, waiter.Holds())
}

// There is one place for those who don't say what they have lost over, until the server is known and on CockroachDB; on
// PostgreSQL there are some.
func TestLane_NotSaidOverWhat_IsForOneOnCockroachDB(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lane   *Lane
		places int
	}{"not known": {New(), 1}, "CockroachDB": {narrowLane(), 1}, "PostgreSQL": {postgresLane(), abreast}} {
		for range c.places {
			assert.NotNil(t, c.lane.TryEnter(), name)
		}
		assert.Nil(t, c.lane.TryEnter(), name)
		assert.NotNil(t, c.lane.TryEnter("a"), name)
	}
}

// Who waits need not wait any longer when it turns out that the server is PostgreSQL, and who is in the lane stays
// there when it is CockroachDB after all.
func TestLane_ServerBecomesKnown_TheQueueMovesUp(t *testing.T) {
	t.Parallel()
	l := New()
	passes := []*Pass{l.join(nil, nil), l.join(nil, nil)}
	assert.False(t, passes[1].Holds())
	l.ConnectedTo(false)
	assert.True(t, passes[1].Holds())
	l.ConnectedTo(true)
	last := l.join(nil, nil)
	passes[0].Leave()
	assert.True(t, passes[1].Holds(), "nobody is put out")
	assert.False(t, last.Holds())
	passes[1].Leave()
	assert.True(t, last.Holds())
}

// One that takes turns over several things waits until all are free, and is in nobody's way until then.
func TestLane_OverSeveral_WaitsUntilAllAreFree(t *testing.T) {
	t.Parallel()
	l := postgresLane()
	a, b := l.TryEnter("a"), l.TryEnter("b")
	assert.Nil(t, l.TryEnter("c", "a"))
	both := l.join(nil, []string{"a", "b"})
	later := l.join(nil, []string{"b"})
	a.Leave()
	assert.False(t, both.Holds())
	assert.True(t, l.IsFree("a"))
	assert.False(t, l.IsFree("a", "b"))
	a = l.TryEnter("a")
	require.NotNil(t, a)
	b.Leave()
	assert.True(t, later.Holds(), "it goes before one that can't go yet")
	a.Leave()
	later.Leave()
	assert.True(t, both.Holds())
	assert.True(t, both.IsOver([]string{"b"}))
	assert.True(t, both.IsOver([]string{"b", "a"}))
	assert.False(t, both.IsOver([]string{"b", "c"}))
	assert.False(t, both.IsOver(nil))
	assert.Nil(t, l.TryEnter("a"))
	assert.Nil(t, l.TryEnter("b"))
	both.Leave()
	assert.Empty(t, l.over, "nothing is kept of what nobody fights over")
}

// It takes over all that is in its way, once all of that has been there for long enough.
func TestLane_OverSeveral_TakesOverAllThatIsInItsWay(t *testing.T) {
	t.Parallel()
	for _, takesOver := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			l, ctx := postgresLane(), t.Context()
			first, second, waiter := l.TryEnter("a", "c"), l.TryEnter("b"), l.join(nil, []string{"c"})
			if !takesOver { // somebody else enters meanwhile
				next := l.join(nil, []string{"b"})
				time.AfterFunc(time.Millisecond, second.Leave)
				second = next
			}
			p, err := l.Enter(ctx, ctx, laneBound, nil, "a", "b")
			require.NoError(t, err)
			synctest.Wait()
			assert.Equal(t, takesOver, p.Holds())
			assert.Equal(t, !takesOver, first.Holds())
			assert.Equal(t, !takesOver, second.Holds())
			assert.Equal(t, takesOver, waiter.Holds(), "what was taken over is in nobody's way any more")
			for _, p := range []*Pass{first, second, waiter, p} {
				p.Leave()
			}
			assert.Empty(t, l.over)
		})
	}
}

// Whatever many do, never are two in the lane over the same thing, nobody waits for ever, and it is empty in the end.
func TestLane_ManyOverFewThings_TwoNeverMeet(t *testing.T) {
	t.Parallel()
	l := postgresLane()
	var inside [3]atomic.Int32
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			for range 200 {
				over := rand.Perm(len(inside))[:1+rand.IntN(len(inside))]
				var things []string
				for _, o := range over {
					things = append(things, string(rune('a'+o)))
				}
				p, err := l.Enter(t.Context(), t.Context(), time.Hour, nil, things...)
				assert.NoError(t, err)
				for _, o := range over {
					assert.EqualValues(t, 1, inside[o].Add(1))
				}
				for _, o := range over {
					inside[o].Add(-1)
				}
				p.Leave()
			}
		})
	}
	all.Wait()
	assert.Empty(t, l.over)
}
