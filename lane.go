package cockroachdb

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A lane is the retry lane of a connector: of the transactions that have lost a conflict, at most one at a time tries
// again in it, until that transaction ends. The others wait their turn, first come, first served.
//
// It exists for throughput, not for correctness. A transaction that has waited long enough runs without the lane, so
// nobody waits for ever, whatever the holder does; see [lane.enter].
//
// A lane may be used by any number of goroutines.
type lane struct {
	mu     sync.Mutex
	holder *pass   // nil when the lane is free, and then queue is empty
	queue  []*pass // those that wait, the first to come at the front
}

// A pass is one transaction's place in the lane or in its queue, from the call that made it to leave. The nil pass is
// that of a transaction that goes without.
type pass struct {
	lane  *lane
	since time.Time     // when the lane became this pass's
	turn  chan struct{} // closed at that moment; nil if it did not have to wait
}

func newLane() *lane { return new(lane) }

// tryEnter enters the lane if it is free, and returns nil if it is not.
func (l *lane) tryEnter() *pass {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != nil {
		return nil
	}
	p := &pass{lane: l}
	l.give(p)
	return p
}

// enter waits for its turn in the lane. It returns
//   - the pass, once the lane is free and all that came before have had it;
//   - a context's error, once ctx or ctx2 is done;
//   - nil and no error once it has waited for bound: go without. A bound of zero or less does not wait at all.
//
// There is one more way in. A holder may never leave: the application forgot its transaction, or opened another one
// inside it and so waits for itself. The first in the queue, when its bound is over and the holder has had the lane for
// at least as long, takes the lane over, and the old pass is void. That waiter would run now in any case, so the
// takeover makes nothing run that would not have run without it; what it changes is that those behind it wait for a
// transaction that ends instead of each paying the full bound.
func (l *lane) enter(ctx, ctx2 context.Context, bound time.Duration) (*pass, error) {
	if err := firstErr(ctx, ctx2); err != nil {
		return nil, err
	}
	if bound <= 0 {
		return l.tryEnter(), nil
	}
	p := l.join()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-p.turn:
		return p, nil
	case <-timer.C:
		if l.timeUp(p, bound) {
			return p, nil
		}
		return nil, nil
	case <-ctx.Done():
		p.leave()
		return nil, ctx.Err()
	case <-ctx2.Done():
		p.leave()
		return nil, ctx2.Err()
	}
}

// leave gives the pass up: it hands the lane to the first in the queue if it was this pass's, and leaves the queue if
// it was still in it. It may be called more than once, on a void pass and on nil, and does nothing then.
func (p *pass) leave() {
	if p == nil {
		return
	}
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == p {
		l.advance()
		return
	}
	l.drop(p)
}

// holds reports whether the lane is this pass's: false for nil, after leave, and once another has taken it over.
func (p *pass) holds() bool {
	if p == nil {
		return false
	}
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	return p.lane.holder == p
}

// join returns a pass that either has the lane, if it was free, or is the last in the queue.
func (l *lane) join() *pass {
	p := &pass{lane: l, turn: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == nil {
		l.give(p)
	} else {
		l.queue = append(l.queue, p)
	}
	return p
}

// timeUp ends the wait of p, which has lasted for bound, and reports whether p has the lane: because its turn came at
// the same moment, or because it takes the lane over.
func (l *lane) timeUp(p *pass, bound time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 && l.queue[0] == p && time.Since(l.holder.since) >= bound {
		l.advance()
	}
	l.drop(p)
	return l.holder == p
}

// give makes the lane p's. The caller holds mu.
func (l *lane) give(p *pass) {
	p.since = time.Now()
	l.holder = p
	if p.turn != nil {
		close(p.turn)
	}
}

// advance makes the lane the first waiter's, or free. The caller holds mu.
func (l *lane) advance() {
	if len(l.queue) == 0 {
		l.holder = nil
		return
	}
	first := l.queue[0]
	l.drop(first)
	l.give(first)
}

// drop takes p out of the queue, if it is in it. The caller holds mu.
func (l *lane) drop(p *pass) {
	if i := slices.Index(l.queue, p); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}
