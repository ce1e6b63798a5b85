package crdbmodel

import (
	"slices"
)

// A txn is a transaction as the server has it. It has a read timestamp, at which it sees everything, and a write
// timestamp, at which it commits; under SERIALIZABLE it commits only when both are one [docs: "Transactional model"].
type txn struct {
	session *session
	level   level
	high    bool
	chance  float64 // the random part of its priority

	started         bool
	readAt, writeAt int64
	reads           map[*row]struct{}
	spans           []span
	locks           []*row
	writes          []write // in order, so that they can be undone

	aborted    bool
	committing bool
	unbuffered bool // it does not buffer writes any more
	waiting    *waiter
}

type level int

const (
	serializable level = iota
	readCommitted
)

// A write says what was there before.
type write struct {
	row    *row
	before *intent
}

func (e *engine) newTxn(s *session, m modes) *txn {
	t := &txn{session: s, level: m.level, high: m.high, reads: map[*row]struct{}{}}
	t.draw()
	return t
}

// draw draws the random part of the priority. It does not fall; see [engine.breakDeadlock].
func (t *txn) draw() {
	t.session.draws++
	t.chance = max(t.chance, chance(t.session.e.cfg.Seed, t.session.id, t.session.draws))
}

// start fixes the timestamps, at the first statement [docs]. Under READ COMMITTED each statement has a read timestamp
// of its own [docs: "Read Committed Transactions"].
func (e *engine) start(t *txn) {
	if t.level == readCommitted {
		t.forgetReads()
	}
	if !t.started {
		t.started = true
		t.readAt = e.timestamp()
		t.writeAt = max(t.writeAt, t.readAt)
	}
}

func (t *txn) forgetReads() {
	t.started = false
	clear(t.reads)
	t.spans = nil
}

// blocks reports whether t has to wait before it can read r without a lock.
//
// It waits for a lock or an intent at or below its read timestamp, and reads below one that is above without waiting
// [docs: "Reading"]. Where writes are buffered a lock alone does not stop it. (In doubt: no version's documentation
// says so. It matters only with Config.Buffered.)
func (e *engine) blocks(r *row, t *txn) bool {
	switch {
	case r.holder == nil || r.holder == t:
		return false
	case r.intent != nil && !r.intent.buffered:
		return r.intent.at <= t.readAt
	}
	return !e.cfg.Buffered && r.locked <= t.readAt
}

// read is a plain read. It waits until nothing in the span blocks it, and then sees all of it at once.
func (e *engine) read(t *txn, s span) ([]*row, error) {
	rows := s.rows
	point, isPoint := s.point()
	if isPoint {
		rows = func() []*row { return []*row{point} }
	}
	for {
		if t.aborted {
			return nil, e.abortedError()
		}
		i := slices.IndexFunc(rows(), func(r *row) bool { return e.blocks(r, t) })
		if i < 0 {
			break
		}
		if r := rows()[i]; !e.push(t, r) {
			w := &waiter{txn: t, row: r, told: make(chan struct{})}
			r.readers = append(r.readers, w)
			if err := e.wait(w); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range rows() {
		r.read.note(t.readAt, t)
	}
	if isPoint {
		t.reads[point] = struct{}{}
	} else {
		s.table.read.note(t.readAt, t)
		t.spans = append(t.spans, s)
	}
	return rows(), nil
}

// push moves the write timestamp of the one that blocks a reader above it, so that the reader need not wait, if that is
// allowed: to PRIORITY HIGH against one that has it not [docs: "PushTxn"], and to everybody against READ COMMITTED,
// which does not mind [docs: "Read Committed Transactions"].
func (e *engine) push(t *txn, r *row) bool {
	h := r.holder
	if h.committing || !t.overrides(h) && h.level != readCommitted {
		return false
	}
	e.counts.Pushed++
	h.writeAt = max(h.writeAt, t.readAt+1)
	r.locked = h.writeAt
	if r.intent != nil {
		r.intent.at = h.writeAt
	}
	return true
}

// lockedRead locks a row and reads its newest version: what UPDATE does before it writes, and SELECT FOR UPDATE
// [docs: enable_implicit_select_for_update]. INSERT does it too, to see that there is none.
//
// Where that version is newer than the read timestamp, the transaction refreshes; if it can't, that is a 40001
// [docs: RETRY_WRITE_TOO_OLD]. The lock for which it came too late is then not kept; those that it had are
// [measured: with this one kept, the shares of failing attempts differ more].
func (e *engine) lockedRead(t *txn, r *row) ([]int64, error) {
	had := r.holder == t
	if err := e.lock(t, r); err != nil {
		return nil, err
	}
	if newest := r.newest(); newest >= t.readAt {
		t.writeAt = max(t.writeAt, newest+1)
		if err := e.refresh(t); err != nil {
			if !had && !t.aborted {
				t.locks = slices.DeleteFunc(t.locks, func(x *row) bool { return x == r })
				e.unlock(r)
			}
			return nil, e.tooOldError(err)
		}
	}
	if !had {
		r.locked = t.writeAt
	}
	r.read.note(t.readAt, t)
	t.reads[r] = struct{}{}
	return r.valueFor(t), nil
}

// write leaves an intent in a row that t has locked.
//
// With buffered writes it stays in the transaction until the commit, and only then meets what others have read
// [docs: "Buffered writes"]. A transaction that has gone back to its savepoint does not buffer any more
// [source: crdb#144295].
func (e *engine) write(t *txn, r *row, value []int64) {
	buffered := e.cfg.Buffered && !t.unbuffered && t.level == serializable
	if !buffered {
		t.pushAboveReads(r)
	}
	t.writes = append(t.writes, write{r, r.intent})
	r.intent = &intent{txn: t, at: t.writeAt, value: value, buffered: buffered}
}

// pushAboveReads moves the write timestamp above the latest read of r by others, which must not have missed the write
// [docs: "Timestamp cache"]. A row that is new may have been missed by reads of its span.
func (t *txn) pushAboveReads(r *row) {
	marks := []mark{r.read}
	if len(r.versions) == 0 {
		marks = append(marks, r.table.read)
	}
	for _, m := range marks {
		if m.by != t && m.at >= t.writeAt {
			t.writeAt = m.at + 1
		}
	}
}

// refresh moves the read timestamp up to the write timestamp, if nothing that t has read was written by others in
// between [docs: "Read refreshing"]. An intent of others in between is in its way as well [docs:
// "encountered recently written intent"].
func (e *engine) refresh(t *txn) error {
	if t.writeAt <= t.readAt {
		return nil
	}
	if len(t.spans) > 0 && e.cfg.Refresh > 0 {
		e.mu.Unlock()
		e.work(t.session.id, e.cfg.Refresh)
		e.mu.Lock()
	}
	if t.aborted {
		return e.abortedError()
	}
	if t.hasBeenOverwritten() {
		return errNotRefreshed
	}
	for r := range t.reads {
		r.read.note(t.writeAt, t)
	}
	for _, s := range t.spans {
		s.table.read.note(t.writeAt, t)
		for _, r := range s.rows() {
			r.read.note(t.writeAt, t)
		}
	}
	t.readAt = t.writeAt
	e.counts.Refreshed++
	return nil
}

func (t *txn) hasBeenOverwritten() bool {
	overwritten := func(r *row) bool {
		if i := r.intent; i != nil && i.txn != t && !i.buffered && i.at <= t.writeAt {
			return true
		}
		for _, v := range slices.Backward(r.versions) {
			if v.at <= t.writeAt {
				return v.at > t.readAt
			}
		}
		return false
	}
	for r := range t.reads {
		if overwritten(r) {
			return true
		}
	}
	return slices.ContainsFunc(t.spans, func(s span) bool { return slices.ContainsFunc(s.rows(), overwritten) })
}

// commit commits at the write timestamp, once the reads hold there too [docs: RETRY_SERIALIZABLE]. READ COMMITTED does
// not ask that of them. While it is replicated nobody can abort it.
func (e *engine) commit(t *txn) error {
	if t.aborted {
		return e.abortedError()
	}
	for _, w := range t.writes {
		if i := w.row.intent; i.buffered {
			t.pushAboveReads(w.row)
			i.at, i.buffered = t.writeAt, false
		}
	}
	if t.started && t.level == serializable {
		if err := e.refresh(t); err != nil {
			return e.serializableError(err)
		}
	}
	if len(t.writes) > 0 {
		t.committing = true
		t.session.replicate(t)
	}
	e.counts.Commits++
	for _, r := range t.locks {
		if r.intent != nil {
			r.versions = append(r.versions, version{t.writeAt, r.intent.value})
		}
	}
	e.release(t)
	return nil
}

// rollback gives everything up.
func (e *engine) rollback(t *txn) {
	if !t.aborted {
		t.aborted = true
		e.release(t)
	}
}

// undo takes back what was written after the first n writes. The locks stay [recorded].
func (t *txn) undo(n int) {
	for _, w := range slices.Backward(t.writes[n:]) {
		w.row.intent = w.before
	}
	t.writes = t.writes[:n]
}

// restart begins t anew: at ROLLBACK TO the restart savepoint, or as the server's own retry. The locks stay, unless it
// was aborted: then it is a new transaction, of the same priority [recorded, both].
func (e *engine) restart(t *txn, bySavepoint bool) *txn {
	if t.aborted {
		n := e.newTxn(t.session, modes{t.level, t.high})
		n.chance, n.unbuffered = max(n.chance, t.chance), t.unbuffered || bySavepoint
		return n
	}
	t.undo(0)
	t.forgetReads()
	t.draw()
	t.unbuffered = t.unbuffered || bySavepoint
	return t
}
