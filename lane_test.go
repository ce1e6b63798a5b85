package cockroachdb

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
func (l *lane) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

const laneBound = 5 * time.Second

// narrowLane is a lane for one, and stays so.
func narrowLane() *lane {
	l := newLane()
	l.connectedTo(true)
	return l
}

// postgresLane is a lane that finds its width by itself.
func postgresLane() *lane {
	l := newLane()
	l.connectedTo(false)
	return l
}

func TestLaneHoldsOne(t *testing.T) {
	l := narrowLane()
	p := l.tryEnter()
	require.NotNil(t, p)
	assert.True(t, p.holds())
	assert.Nil(t, l.tryEnter(), "taken")

	p.leave()
	assert.False(t, p.holds())
	q := l.tryEnter()
	require.NotNil(t, q, "free again")

	p.leave() // once more: must not take the lane from q
	assert.True(t, q.holds())
	q.leave()
	assert.Zero(t, l.waiting())
}

func TestLaneNilPass(t *testing.T) {
	var p *pass
	p.leave()
	assert.False(t, p.holds())
}

func TestLaneTryEnterAllocatesThePassOnly(t *testing.T) {
	l := narrowLane()
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { l.tryEnter().leave() }), 1.0)
	p := l.tryEnter()
	defer p.leave()
	assert.Zero(t, testing.AllocsPerRun(100, func() { l.tryEnter() }))
}

func TestLaneServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		held := l.tryEnter()
		var order []int
		for i := range 64 {
			go func() {
				p, err := l.enter(ctx, ctx, laneBound)
				assert.NoError(t, err)
				assert.True(t, p.holds())
				order = append(order, i) // the lane is the lock: -race would tell
				time.Sleep(time.Millisecond)
				p.leave()
			}()
			synctest.Wait()
			require.Equal(t, i+1, l.waiting())
		}
		held.leave()
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range 64 {
			require.Equal(t, i, order[i])
		}
		assert.Len(t, order, 64)
		assert.NotNil(t, l.tryEnter(), "free in the end")
	})
}

func TestLaneEnterWhenFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p, err := narrowLane().enter(t.Context(), t.Context(), laneBound)
		require.NoError(t, err)
		assert.True(t, p.holds())
		assert.Zero(t, time.Since(start))
	})
}

func TestLaneWithoutWait(t *testing.T) {
	l := narrowLane()
	p, err := l.enter(t.Context(), t.Context(), 0)
	require.NoError(t, err)
	require.True(t, p.holds())

	q, err := l.enter(t.Context(), t.Context(), 0)
	require.NoError(t, err)
	assert.Nil(t, q)
	assert.Zero(t, l.waiting())
}

func TestLaneTryEnterDoesNotBarge(t *testing.T) {
	l := narrowLane()
	held := l.tryEnter()
	waiter := l.join()
	held.leave()
	assert.Nil(t, l.tryEnter(), "it is the waiter's, though the waiter has not woken up yet")
	assert.True(t, waiter.holds())
}

// A live lane, in which the holder changes, is not taken over: who has waited enough goes without.
func TestLaneBoundElapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		first := l.tryEnter()
		var second *pass
		go func() { second, _ = l.enter(ctx, ctx, laneBound) }()
		synctest.Wait()
		time.AfterFunc(laneBound/2, first.leave)

		start := time.Now()
		p, err := l.enter(ctx, ctx, laneBound)
		require.NoError(t, err)
		assert.Nil(t, p)
		assert.Equal(t, laneBound, time.Since(start))
		synctest.Wait()
		assert.True(t, second.holds())
		assert.Zero(t, l.waiting())
	})
}

// An application that opens a transaction inside a transaction waits for itself, once, and for the bound.
func TestLaneNestedTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		outer := l.tryEnter()
		start := time.Now()
		inner, err := l.enter(ctx, ctx, laneBound)
		require.NoError(t, err)
		assert.Equal(t, laneBound, time.Since(start))
		assert.True(t, inner.holds())
		assert.False(t, outer.holds(), "void")

		outer.leave()
		assert.True(t, inner.holds(), "a void pass frees nothing")
		inner.leave()
		assert.NotNil(t, l.tryEnter())
	})
}

// A holder that never leaves costs one waiter the bound, not all of them.
func TestLaneLeakedHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		require.NotNil(t, l.tryEnter())
		var waited [8]time.Duration
		for i := range waited {
			time.Sleep(10 * time.Millisecond)
			go func() {
				begin := time.Now()
				p, err := l.enter(ctx, ctx, laneBound)
				assert.NoError(t, err)
				assert.True(t, p.holds())
				waited[i] = time.Since(begin)
				time.Sleep(time.Millisecond)
				p.leave()
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range waited {
			assert.LessOrEqual(t, waited[i], laneBound)
		}
		start := time.Now()
		p, err := l.enter(ctx, ctx, laneBound)
		require.NoError(t, err)
		assert.True(t, p.holds())
		assert.Zero(t, time.Since(start), "those who come later do not wait at all")
	})
}

// Only the first in the queue takes over: one with a short bound does not overtake, nor empty the lane.
func TestLaneTakeoverIsTheFirstWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := narrowLane(), t.Context()
		held := l.tryEnter()
		var first *pass
		go func() { first, _ = l.enter(ctx, ctx, laneBound) }()
		synctest.Wait()

		p, err := l.enter(ctx, ctx, time.Millisecond)
		require.NoError(t, err)
		assert.Nil(t, p)
		assert.True(t, held.holds())
		held.leave()
		synctest.Wait()
		assert.True(t, first.holds())
	})
}

// A pass that was handed the lane and taken over before its goroutine ran is void, and its time-out does no harm.
func TestLaneTakenOverBeforeWakingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := narrowLane()
		held, slow, next := l.tryEnter(), l.join(), l.join()
		held.leave()
		time.Sleep(laneBound)
		assert.True(t, l.timeUp(next, laneBound))
		assert.False(t, l.timeUp(slow, laneBound))
		assert.True(t, next.holds())
		next.leave()
		assert.False(t, l.timeUp(slow, laneBound))
		assert.NotNil(t, l.tryEnter())
	})
}

func TestLaneTimeUpAtItsTurn(t *testing.T) {
	l := narrowLane()
	held, waiter := l.tryEnter(), l.join()
	held.leave()
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
			p, err := l.enter(ctx, ctx2, laneBound)
			assert.Equal(t, context.Canceled, err)
			assert.Nil(t, p)
			assert.NotNil(t, l.tryEnter(), "not entered")
		})
		t.Run(name+" while waiting", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := narrowLane()
				held := l.tryEnter()
				soon, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				ctx, ctx2 := contexts(soon)
				start := time.Now()
				p, err := l.enter(ctx, ctx2, laneBound)
				assert.Equal(t, context.DeadlineExceeded, err)
				assert.Nil(t, p)
				assert.Equal(t, time.Second, time.Since(start))
				assert.Zero(t, l.waiting())
				assert.True(t, held.holds())
			})
		})
	}
}

// A waiter that is cancelled at the moment it is handed the lane either has it or hands it on; it is never lost.
func TestLaneCancelledAtItsTurn(t *testing.T) {
	for range 500 {
		l := narrowLane()
		held := l.tryEnter()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			p, err := l.enter(ctx, t.Context(), time.Hour)
			assert.Equal(t, err == nil, p != nil)
			p.leave()
		})
		for l.waiting() < 1 {
			time.Sleep(time.Microsecond)
		}
		next := l.join()
		wg.Go(held.leave)
		wg.Go(cancel)
		wg.Wait()
		<-next.turn
		require.True(t, next.holds())
		next.leave()
		require.NotNil(t, l.tryEnter())
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
				p, err := l.enter(ctx, t.Context(), time.Hour)
				if err == nil {
					entered.Add(1)
					assert.EqualValues(t, 1, inside.Add(1))
					inside.Add(-1)
				} else {
					assert.True(t, errors.Is(err, context.DeadlineExceeded))
				}
				p.leave()
				cancel()
			}
		})
	}
	wg.Wait()
	assert.Positive(t, entered.Load())
	assert.Zero(t, l.waiting())
	assert.NotNil(t, l.tryEnter())
}

// With bounds that elapse all the time, and passes that are never given back, somebody still gets through.
func TestLaneManyTakeovers(t *testing.T) {
	l := narrowLane()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				p, err := l.enter(t.Context(), t.Context(), time.Duration(1+rand.IntN(50))*time.Microsecond)
				assert.NoError(t, err)
				if rand.IntN(4) > 0 {
					p.leave()
				}
			}
		})
	}
	wg.Wait()
	assert.Zero(t, l.waiting())
	p, err := l.enter(t.Context(), t.Context(), time.Millisecond)
	require.NoError(t, err)
	assert.True(t, p.holds())
}
