// Package lane lets the transactions of a connector that have lost a conflict try again one after the other.
package lane

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// A Lane is the retry lane of a connector: of the transactions that have lost a conflict over the same thing, only one
// at a time tries again in it, until it ends. The others wait their turn, first come, first served. One that has lost
// over several things has its turn once all of them are free; until then it is in nobody's way.
//
// Of those that don't say what it was over, one does, or on PostgreSQL as many as [abreast].
//
// It exists for throughput, not for correctness. A transaction that has waited long enough runs without the lane, so
// nobody waits for ever, whatever the holders do; see [Lane.Enter].
//
// A Lane may be used by any number of goroutines.
type Lane struct {
	mu     sync.Mutex
	others turns             // of those that don't say what their conflict was over
	over   map[string]*turns // of those that do; nothing is kept of what nobody is in the lane for
}

// abreast is how many of those who don't say what their conflict was over may try again at a time on PostgreSQL. Their
// conflicts are mostly with transactions that have ended, and so with nobody who is in the lane.
const abreast = 16

// turns are the turns of those who have lost over the same thing.
type turns struct {
	places  int
	holders []*Pass // those that retry, the first to enter at the front
	queue   []*Pass // those that wait, the first to come at the front
}

// A Pass is one transaction's place in the lane or in its queue, from the call that made it to leave. The nil pass is
// that of a transaction that goes without.
type Pass struct {
	lane    *Lane
	over    []string      // what the conflict was over; none if that is not known
	turns   []*turns      // over each of them
	only    [1]*turns     // memory for turns, where there is one
	since   time.Time     // when it got its place in the lane
	turn    chan struct{} // closed when it gets its place; nil if it did not have to wait
	yielded bool          // it has left before its transaction has ended
}

// New makes a lane for a server that is not known yet: of those that don't say what they have lost over, one has a
// place. See [Lane.ConnectedTo].
func New() *Lane { return &Lane{others: turns{places: 1}, over: make(map[string]*turns)} }

// ConnectedTo says what kind of server a new connection of the connector has come to. All of them should be of one
// kind; if they are not, the latest counts.
func (l *Lane) ConnectedTo(cockroachDB bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.others.places = abreast
	if cockroachDB {
		l.others.places = 1
	}
	l.others.advance()
}

// TryEnter enters the lane if there is a place, and returns nil if there is none. over says what the conflict was over,
// each thing in any words that others use for the same, and none twice; nothing if that is not known.
func (l *Lane) TryEnter(over ...string) *Pass {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isFree(over) {
		return nil
	}
	p := l.newPass(over)
	p.enter()
	return p
}

// IsFree reports whether there is a place for one that has lost over this.
func (l *Lane) IsFree(over ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isFree(over)
}

// Enter waits for its turn in the lane; for over see [Lane.TryEnter]. before is the pass that the transaction had so
// far; nil is none. If that was yielded, it goes to the front of the queue. Enter returns
//   - the pass, once there is a place and all that came before have had theirs;
//   - a context's error, once ctx or ctx2 is done;
//   - nil and no error once it has waited for bound: go without. A bound of zero or less does not wait at all.
//
// There is one more way in. A holder may never leave: the application forgot its transaction, or opened another one
// inside it and so waits for itself. The first in the queue, when its bound is over and the oldest holder has been in
// the lane for at least as long, takes its place, and the old pass is void. That waiter would run now in any case, so
// the takeover makes nothing run that would not have run without it; what it changes is that those after it wait for
// a transaction that ends instead of each paying the full bound.
func (l *Lane) Enter(
	ctx, ctx2 context.Context, bound time.Duration, before *Pass, over ...string,
) (*Pass, error) {
	if err := cmp.Or(ctx.Err(), ctx2.Err()); err != nil {
		return nil, err
	}
	if bound <= 0 {
		return l.TryEnter(over...), nil
	}
	p := l.join(before, over)
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
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	p.leave()
	p.lane.tidy(p)
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

// Holds reports whether the pass has a place in the lane: false for nil, after leave, and once another has taken it
// over.
func (p *Pass) Holds() bool {
	if p == nil {
		return false
	}
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	return p.holds()
}

// IsOver reports whether the pass is for those who have lost over all of this; or over what is not known, if that is
// so. It is not for nil.
func (p *Pass) IsOver(over []string) bool {
	if len(over) == 0 {
		return len(p.over) == 0
	}
	return !slices.ContainsFunc(over, func(o string) bool { return !slices.Contains(p.over, o) })
}

// join returns a pass that either has a place in the lane, if there was one, or is in the queue: in front if before was
// yielded, else at the end.
func (l *Lane) join(before *Pass, over []string) *Pass {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.newPass(over)
	p.turn = make(chan struct{})
	if p.fits() {
		p.enter()
		return p
	}
	for _, t := range p.turns {
		at := len(t.queue)
		if before != nil && before.yielded {
			at = 0
		}
		t.queue = slices.Insert(t.queue, at, p)
	}
	return p
}

// timeUp ends the wait of p, which has lasted for bound, and reports whether p has a place: because its turn came at
// the same moment, or because it takes those over that are in its way.
func (l *Lane) timeUp(p *Pass, bound time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(p.turns[0].queue, p) { // its turn has come, unless that was taken over already
		return p.holds()
	}
	for _, t := range p.turns {
		if !t.isFree() && (t.queue[0] != p || time.Since(t.holders[0].since) < bound) {
			p.leave()
			l.tidy(p)
			return false
		}
	}
	var void []*Pass
	for _, t := range p.turns {
		if !t.isFree() {
			void = append(void, t.holders[0])
			t.holders[0].drop()
		}
	}
	p.enter()
	for _, v := range void {
		v.advance()
		l.tidy(v)
	}
	return true
}

// The methods from here on are called with mu held.

// isFree reports whether there is a place for one that has lost over this.
func (l *Lane) isFree(over []string) bool {
	if len(over) == 0 {
		return l.others.isFree()
	}
	for _, o := range over {
		if t := l.over[o]; t != nil && !t.isFree() {
			return false
		}
	}
	return true
}

// newPass makes a pass that is nowhere yet.
func (l *Lane) newPass(over []string) *Pass {
	p := &Pass{lane: l, over: over}
	p.turns = p.only[:0]
	if len(over) == 0 {
		p.turns = append(p.turns, &l.others)
	}
	for _, o := range over {
		t := l.over[o]
		if t == nil {
			t = &turns{places: 1}
			l.over[o] = t
		}
		p.turns = append(p.turns, t)
	}
	return p
}

// tidy forgets what p was over, if nobody is in the lane for it any more.
func (l *Lane) tidy(p *Pass) {
	for i, o := range p.over {
		if t := p.turns[i]; l.over[o] == t && t.isEmpty() {
			delete(l.over, o)
		}
	}
}

func (p *Pass) holds() bool { return slices.Contains(p.turns[0].holders, p) }

// fits reports whether there is a place for p over each thing.
func (p *Pass) fits() bool {
	return !slices.ContainsFunc(p.turns, func(t *turns) bool { return !t.isFree() })
}

// enter gives p its place.
func (p *Pass) enter() {
	p.drop()
	p.since = time.Now()
	for _, t := range p.turns {
		t.holders = append(t.holders, p)
	}
	if p.turn != nil {
		close(p.turn)
	}
}

// leave takes p out, wherever it is, and lets in who can go on then.
func (p *Pass) leave() {
	held := p.holds()
	p.drop()
	if held {
		p.advance()
	}
}

// drop takes p out, wherever it is.
func (p *Pass) drop() {
	for _, t := range p.turns {
		t.queue = without(t.queue, p)
		t.holders = without(t.holders, p)
	}
}

// advance gives the places that p has left to those that come first, and fit.
func (p *Pass) advance() {
	for _, t := range p.turns {
		t.advance()
	}
}

// isFree reports whether there is a place.
func (t *turns) isFree() bool { return len(t.holders) < t.places }

// isEmpty reports whether nobody retries, and nobody waits.
func (t *turns) isEmpty() bool { return len(t.holders)+len(t.queue) == 0 }

// advance gives the places that there are to the first in the queue that fit.
func (t *turns) advance() {
	for i := 0; i < len(t.queue) && t.isFree(); {
		if first := t.queue[i]; first.fits() {
			first.enter()
		} else {
			i++
		}
	}
}

// without takes p out of a list, if it is there.
func without(list []*Pass, p *Pass) []*Pass {
	if i := slices.Index(list, p); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
