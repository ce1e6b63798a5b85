// Package lane lets the transactions of a connector that have lost a conflict try again one after the other.
package lane

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Lane is the retry lane of a connector: of the transactions that have lost a conflict, only one at a time tries
// again in it, or on PostgreSQL a few, each until it ends; see [width]. The others wait their turn, first come, first
// served.
//
// It exists for throughput, not for correctness. A transaction that has waited long enough runs without the lane, so
// nobody waits for ever, whatever the holders do; see [Lane.Enter].
//
// A Lane may be used by any number of goroutines.
type Lane struct {
	mu      sync.Mutex
	width   width
	holders []*Pass // those that retry, the first to enter at the front
	queue   []*Pass // those that wait, the first to come at the front; empty while there is a place
}

// A Pass is one transaction's place in the lane or in its queue, from the call that made it to leave. The nil pass is
// that of a transaction that goes without.
type Pass struct {
	lane    *Lane
	since   time.Time     // when it got its place in the lane
	mark    time.Time     // and when its latest attempt there began
	turn    chan struct{} // closed when it gets its place; nil if it did not have to wait
	yielded bool          // it has left before its transaction has ended
}

// New makes a lane that is for one, until it is known that the server is PostgreSQL; see [Lane.ConnectedTo].
func New() *Lane { return &Lane{width: width{most: 1}} }

// ConnectedTo says what kind of server a new connection of the connector has come to. All of them should be of one
// kind; if they are not, the latest counts.
func (l *Lane) ConnectedTo(cockroachDB bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.width.most = widest
	if cockroachDB {
		l.width.most = 1
	}
	l.advance()
}

// TryEnter enters the lane if there is a place, and returns nil if there is none.
func (l *Lane) TryEnter() *Pass {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.holders) >= l.width.places() {
		return nil
	}
	p := &Pass{lane: l}
	l.give(p)
	return p
}

// Enter waits for its turn in the lane. before is the pass that the transaction had so far; nil is none. If that was
// yielded, it goes to the front of the queue. Enter returns
//   - the pass, once there is a place and all that came before have had theirs;
//   - a context's error, once ctx or ctx2 is done;
//   - nil and no error once it has waited for bound: go without. A bound of zero or less does not wait at all.
//
// There is one more way in. A holder may never leave: the application forgot its transaction, or opened another one
// inside it and so waits for itself. The first in the queue, when its bound is over and the oldest holder has been in
// the lane for at least as long, takes its place, and the old pass is void. That waiter would run now in any case, so
// the takeover makes nothing run that would not have run without it; what it changes is that those after it wait for
// a transaction that ends instead of each paying the full bound.
func (l *Lane) Enter(ctx, ctx2 context.Context, bound time.Duration, before *Pass) (*Pass, error) {
	if err := cmp.Or(ctx.Err(), ctx2.Err()); err != nil {
		return nil, err
	}
	if bound <= 0 {
		return l.TryEnter(), nil
	}
	p := l.join(before)
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
		p.Leave()
		return nil, ctx.Err()
	case <-ctx2.Done():
		p.Leave()
		return nil, ctx2.Err()
	}
}

// Leave gives the pass up: its place goes to the first in the queue, or it leaves the queue if it was still in it. It
// may be called more than once, on a void pass and on nil, and does nothing then.
func (p *Pass) Leave() {
	if p == nil {
		return
	}
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.holders, p); i >= 0 {
		l.holders = slices.Delete(l.holders, i, i+1)
		l.width.win(time.Since(p.mark), len(l.queue) > 0)
		l.advance()
		return
	}
	l.drop(p)
}

// Yield is Leave for a transaction that has not ended, but locks nothing any more: its commit is under way. If that
// loses, the transaction goes on before those who wait; see [Lane.Enter]. It reports whether there was a place to
// yield.
func (p *Pass) Yield() bool {
	held := p.Holds()
	if held {
		p.Leave()
		p.yielded = true
	}
	return held
}

// Lost says that the holder has lost the attempt that it has made since it entered or since it lost the one before, if
// it has made one there. What follows is the next.
func (p *Pass) Lost() {
	if p == nil {
		return
	}
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.holders, p) {
		l.width.lose(time.Since(p.mark))
		p.mark = time.Now()
	}
}

// Holds reports whether the pass has a place in the lane: false for nil, after leave, and once another has taken it
// over.
func (p *Pass) Holds() bool {
	if p == nil {
		return false
	}
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	return slices.Contains(p.lane.holders, p)
}

// TripTook says how long the server took to answer a message that gave it next to nothing to do.
func (l *Lane) TripTook(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.width.tripTook(took)
	l.advance()
}

// join returns a pass that either has a place in the lane, if there was one, or is in the queue: in front if before was
// yielded, else at the end.
func (l *Lane) join(before *Pass) *Pass {
	p := &Pass{lane: l, turn: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.queue)
	if before != nil && before.yielded {
		at = 0
	}
	l.queue = slices.Insert(l.queue, at, p)
	l.advance()
	return p
}

// timeUp ends the wait of p, which has lasted for bound, and reports whether p has a place: because its turn came at
// the same moment, or because it takes the oldest one over.
func (l *Lane) timeUp(p *Pass, bound time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 && l.queue[0] == p && time.Since(l.holders[0].since) >= bound {
		l.holders = slices.Delete(l.holders, 0, 1)
		l.give(p)
	}
	l.drop(p)
	return slices.Contains(l.holders, p)
}

// give gives p a place. The caller holds mu.
func (l *Lane) give(p *Pass) {
	p.since = time.Now()
	p.mark = p.since
	l.holders = append(l.holders, p)
	if p.turn != nil {
		close(p.turn)
	}
}

// advance gives the places that there are to the first in the queue. The caller holds mu.
func (l *Lane) advance() {
	for len(l.queue) > 0 && len(l.holders) < l.width.places() {
		first := l.queue[0]
		l.drop(first)
		l.give(first)
	}
}

// drop takes p out of the queue, if it is in it. The caller holds mu.
func (l *Lane) drop(p *Pass) {
	if i := slices.Index(l.queue, p); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}
