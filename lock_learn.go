package cockroachdb

import (
	"bytes"
	"slices"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// locking is what a transaction has to do with texts that lock, or may learn to.
type locking struct {
	uses  []lockUse
	modes bool // a statement may have changed the transaction's isolation level, or made it one that only reads
	lost  bool // something has diverged, or RunTx calls its function again
}

// mostLockUses bounds the texts that are counted for one transaction.
const mostLockUses = 16

// noteUse notes that a text runs in the transaction.
func (t *tx) noteUse(text *lockText, locked bool) {
	for i := range t.locking.uses {
		if u := &t.locking.uses[i]; u.text == text {
			u.locked = u.locked || locked
			return
		}
	}
	if len(t.locking.uses) < mostLockUses {
		t.locking.uses = append(t.locking.uses, lockUse{text: text, locked: locked})
	}
}

// noteForLocks takes note of what a statement means for the texts that lock.
func (t *tx) noteForLocks(s *wire.Statement) {
	if t.lockTexts() == nil {
		return
	}
	l := &t.locking
	l.modes = l.modes || s.Class.Several || s.Class.Session != sqltext.SessionKept || sqltext.SetsModes(s.SQL)
	if len(l.uses) == 0 || s.Class.Reads || s.Form == wire.Parse {
		return
	}
	table := sqltext.WrittenTable(s.SQL)
	for i := range l.uses {
		l.uses[i].written = l.uses[i].written || table == "" || table == l.uses[i].text.read.Table
	}
}

// learnLock takes note of a divergence, if it is that of a read by key of one row, which the transaction then wrote.
func (t *tx) learnLock(d *DivergenceError) {
	if t.lockTexts() == nil {
		return
	}
	t.locking.lost = true
	n := d.Statement - 1
	if n < 0 || n >= len(t.history.records) || !t.mightLock() {
		return
	}
	r := t.history.records[n]
	read := r.lockable(d.Kind)
	writes := func(w *record) bool { return writesRow(w, r, read) }
	if read == nil || !slices.ContainsFunc(t.history.records[n+1:], writes) {
		return
	}
	t.noteLost(r, read)
}

// learnLockOfCall takes note of a conflict for which RunTx calls its function again, if it is that others have written
// a row before the transaction did, which had read it by key.
func (t *tx) learnLockOfCall(f fault) {
	if t.lockTexts() == nil {
		return
	}
	t.locking.lost = true
	last := len(t.history.records) - 1
	if !isLostWrite(f) || last < 0 || !t.mightLock() {
		return
	}
	for _, r := range t.history.records[:last] {
		if read := r.lockable(DivergedRow); read != nil && writesRow(t.history.records[last], r, read) {
			t.noteLost(r, read)
		}
	}
}

// isLostWrite reports whether a statement has lost to others who have written before it. On PostgreSQL it may have lost
// otherwise.
func isLostWrite(f fault) bool {
	reason := reasonOf(f.err)
	return !f.earlier && (reason == ReasonWriteTooOld || reason == ReasonSerializationFailure)
}

// noteLost notes that the row that r has read was written by others before the transaction wrote it.
func (t *tx) noteLost(r *record, read *sqltext.KeyRead) {
	if key, ok := t.c.sharedKey(t, r.SQL); ok {
		text := t.lockTexts().noteLost(key, read)
		t.noteUse(text, false)
		t.markWritten(text)
	}
}

// lockable returns what a record that has diverged reads, if a lock could have spared it that; else nil.
func (r *record) lockable(kind DivergenceKind) *sqltext.KeyRead {
	isOfRow := kind == DivergedRow || kind == DivergedEndOfRows
	if !isOfRow || r.rows != 1 || r.locked != nil || r.Form == wire.Simple || !r.Class.Reads {
		return nil
	}
	return sqltext.ParseKeyRead(r.SQL)
}

func (t *tx) markWritten(text *lockText) {
	for i := range t.locking.uses {
		if t.locking.uses[i].text == text {
			t.locking.uses[i].written = true
		}
	}
}

// writesRow reports whether w writes no other rows than those that r has read.
func writesRow(w, r *record, read *sqltext.KeyRead) bool {
	write := sqltext.ParseKeyWrite(w.SQL)
	if write == nil || write.Table != read.Table {
		return false
	}
	for _, e := range read.Where {
		if !slices.ContainsFunc(write.Where, func(o sqltext.Equality) bool { return sameValue(w, o, r, e) }) {
			return false
		}
	}
	return true
}

// sameValue reports whether two conditions are the same, with the same value.
func sameValue(w *record, o sqltext.Equality, r *record, e sqltext.Equality) bool {
	switch {
	case o.Column != e.Column || (o.Parameter == 0) != (e.Parameter == 0):
		return false
	case o.Parameter == 0:
		return o.Value == e.Value
	case o.Parameter > len(w.Values) || e.Parameter > len(r.Values):
		return false
	}
	a, b := o.Parameter-1, e.Parameter-1
	return w.Values[a] != nil && w.ParamOID(a) == r.ParamOID(b) && w.ParamFormat(a) == r.ParamFormat(b) &&
		bytes.Equal(w.Values[a], r.Values[b])
}

// accountLocks counts the transaction for the texts that it has run, and asks the server for those that are to lock.
func (t *tx) accountLocks() {
	if len(t.locking.uses) == 0 {
		return
	}
	took := time.Since(t.attempt.started)
	for i := range t.locking.uses {
		u := &t.locking.uses[i]
		ask, change := u.text.of.noteEnd(u, t.outcome == OutcomeCommitted, t.locking.lost, took)
		if change != "" {
			t.lockChanged(t.ctx, u.text, change, nil)
		}
		if ask {
			t.askForKey(u.text)
		}
	}
	t.locking.uses = nil
}
