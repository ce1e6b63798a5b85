package crdbmodel

import (
	"slices"
	"time"
)

// A waiter is a transaction that waits for a row: for its lock, or until it may read it.
type waiter struct {
	txn  *txn
	row  *row
	told chan struct{} // closed when the wait is over
	err  error
}

func (w *waiter) isOver() bool {
	select {
	case <-w.told:
		return true
	default:
		return false
	}
}

func (w *waiter) finish(err error) {
	w.err = err
	close(w.told)
}

// lock takes the exclusive lock of a row.
//
// Locks are by key, and are given in the order of arrival [docs: "Concurrency control", lock table wait-queues].
//
// A transaction of PRIORITY HIGH does not wait for one that has it not: it aborts it. One that is committing can't be
// aborted any more [docs: "Transaction conflicts"]. Among those of one priority the random part does not count: it
// decides deadlocks only.
func (e *engine) lock(t *txn, r *row) error {
	for {
		switch h := r.holder; {
		case t.aborted:
			return e.abortedError()
		case h == t:
			return nil
		case h == nil && len(r.writers) == 0:
			e.acquire(t, r)
			return nil
		case h != nil && t.overrides(h):
			e.counts.Overridden++
			e.abort(h)
			continue
		}
		w := &waiter{txn: t, row: r, told: make(chan struct{})}
		r.writers = append(r.writers, w)
		if err := e.wait(w); err != nil {
			return err
		}
	}
}

func (t *txn) overrides(other *txn) bool { return t.high && !other.high && !other.committing }

func (e *engine) acquire(t *txn, r *row) {
	r.holder, r.locked = t, t.writeAt
	t.locks = append(t.locks, r)
}

// wait waits until the waiter is told, without the mutex.
//
// A transaction that has waited for some time looks for a deadlock that it is part of, and again after as long
// [docs: deadlock_timeout; recorded: 100 ms].
func (e *engine) wait(w *waiter) error {
	w.txn.waiting = w
	e.counts.Waits++
	session := w.txn.session
	look := time.Now()
	for !w.isOver() {
		look = own(session.id, look.Add(max(tick, e.cfg.Deadlock)))
		e.mu.Unlock()
		gone := session.waitUntil(look, w.told)
		e.mu.Lock()
		switch {
		case w.isOver():
		case gone:
			w.forget()
			w.finish(errGone)
		default:
			e.breakDeadlock(w.txn)
		}
	}
	w.txn.waiting = nil
	e.mu.Unlock()
	sleepUntil(session.id, time.Now()) // who has told it goes on at this instant
	e.mu.Lock()
	return w.err
}

// waitUntil waits for told at most until an instant. It reports whether the client has gone.
func (s *session) waitUntil(t time.Time, told <-chan struct{}) (gone bool) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-told:
	case <-timer.C:
	case <-s.gone:
		return true
	}
	return false
}

func (w *waiter) forget() {
	isThis := func(x *waiter) bool { return x == w }
	w.row.writers = slices.DeleteFunc(w.row.writers, isThis)
	w.row.readers = slices.DeleteFunc(w.row.readers, isThis)
}

// breakDeadlock aborts one of those who wait for each other in a circle that t is in.
//
// It is the one of lowest priority: first by what BEGIN asked for, then by the random part, which is drawn anew at each
// restart and never falls within a transaction [source: txnwait.Queue, Transaction.Restart].
func (e *engine) breakDeadlock(t *txn) {
	circle := []*txn{t}
	for x := t.waitsFor(); x != t; x = x.waitsFor() {
		if x == nil || slices.Contains(circle, x) {
			return // none, or one for others to find
		}
		circle = append(circle, x)
	}
	victim := slices.MinFunc(circle, func(a, b *txn) int {
		switch {
		case a.high != b.high && b.high, a.high == b.high && a.chance < b.chance:
			return -1
		}
		return 1
	})
	e.counts.Deadlocks++
	e.abort(victim)
}

func (t *txn) waitsFor() *txn {
	if t.waiting == nil || t.waiting.isOver() {
		return nil
	}
	return t.waiting.row.holder
}

// abort takes away what a transaction has locked and written. It hears of that from the statement in which it waits, or
// the next one.
//
// [recorded: after TransactionAbortedError the locks are gone at once, before the client has answered]
func (e *engine) abort(t *txn) {
	t.aborted = true
	if w := t.waiting; w != nil && !w.isOver() {
		w.forget()
		w.finish(e.abortedError())
	}
	e.release(t)
}

// release drops the intents that are left, and the locks.
func (e *engine) release(t *txn) {
	locks := t.locks
	t.locks, t.writes = nil, nil
	for _, r := range locks {
		e.unlock(r)
	}
}

func (e *engine) unlock(r *row) {
	r.holder, r.intent = nil, nil
	for _, w := range r.readers {
		w.finish(nil)
	}
	r.readers = nil
	e.grant(r)
}

// grant gives a free lock to the first in its queue. If one of PRIORITY HIGH waits after it, that aborts it at once,
// as in [engine.lock].
func (e *engine) grant(r *row) {
	for r.holder == nil && len(r.writers) > 0 {
		w := r.writers[0]
		r.writers = r.writers[1:]
		e.acquire(w.txn, r)
		w.finish(nil)
		if slices.ContainsFunc(r.writers, func(x *waiter) bool { return x.txn.overrides(w.txn) }) {
			e.counts.Overridden++
			e.abort(w.txn)
		}
	}
}
