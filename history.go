package cockroachdb

import (
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/digest"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// history is the record of a transaction: what it ran, by value, and what of the answers the application has seen.
type history struct {
	records []*record
	bytes   int
	arena   arena

	passive bool  // the application restarts the transaction, or doesn't want retries: nothing is recorded
	cause   Cause // why the record is not complete; "" if it is
	touched bool  // a statement other than SET has run
	wrote   bool  // a statement has run that may have written something
}

// record is one statement of the transaction with its observation.
type record struct {
	wire.Statement
	observation
	answer int         // how many bytes of rows its answer had, as far as it was read
	pins   *pins       // the generated values that were shown, if they can be pinned: pin.go
	locked *lockedRead // what it was before a lock was added; nil if none was: lock.go
}

// recordSize is that of a record and of its entry in the history.
const recordSize = int(unsafe.Sizeof(record{}) + unsafe.Sizeof(&record{}))

func (r *record) size() int {
	size := recordSize + r.Statement.Size()
	if r.pins != nil {
		size += r.pins.size
	}
	if r.locked != nil {
		size += lockedSize
	}
	return size
}

// alone reports whether the statement must not share a Sync with others in a replay: because it can't, or because it
// may commit, which has to wait until all that is on record before it has been compared.
func (r *record) alone() bool {
	return r.Form == wire.Simple || r.Class.Commit != sqltext.NoCommit
}

// observation is what the application has seen of a statement's answer. What it has not seen may be different in a
// replay. What can no longer be served from a new attempt counts as seen.
type observation struct {
	shown   bool   // it has seen the columns,
	columns uint64 // which have this digest
	rows    int64  // it was handed this many rows,
	sum     uint64 // which have this digest
	marks   []uint32
	live    *digest.Rows // the digest while rows are still being handed over
	more    bool         // it has learnt that there is one row more
	end     bool         // it has seen that there are no more rows, even if an error came in their place

	affected int64 // rows affected in the latest attempt, whether seen or not
	asked    bool  // it has asked how many rows were affected

	code string // it was given an error with this SQLSTATE; "" for success
	said uint64 // the digest of what else that error says
}

// fail notes the error that the application is given.
func (o *observation) fail(err *pgconn.PgError) { o.code, o.said = err.Code, digest.OfError(err) }

// seen returns the digest of the rows that the application was handed.
func (o *observation) seen() (uint64, []uint32) {
	if o.live != nil {
		return o.live.Sum()
	}
	return o.sum, o.marks
}

// settle ends the handing over of rows.
func (o *observation) settle() {
	if o.live == nil {
		return
	}
	sum, marks := o.live.Sum()
	o.sum, o.live = sum, nil
	if len(marks) > 1 { // a single row needs no mark to be found
		o.marks = append([]uint32(nil), marks...)
	}
}

// add puts r at the end of the record.
func (h *history) add(r *record) {
	h.records = append(h.records, r)
	h.bytes += r.size()
}

// drop takes r out again if it is the latest.
func (h *history) drop(r *record) bool {
	last := len(h.records) - 1
	if last < 0 || h.records[last] != r {
		return false
	}
	h.bytes -= r.size()
	h.records[last] = nil
	h.records = h.records[:last]
	return true
}

func (h *history) clear() { h.records, h.bytes = nil, 0 }

// reset begins a record anew, of a transaction that goes back to its start.
func (h *history) reset() { h.passive, h.cause, h.touched = false, "", false }

// hasDDL reports whether the schema was changed.
func (h *history) hasDDL() bool {
	for _, r := range h.records {
		if r.Class.DDL {
			return true
		}
	}
	return false
}

// record puts a statement on record before it is sent. It returns a record in any case, for what is observed of the
// answer.
func (t *tx) record(s *wire.Statement) *record {
	if !t.explicit {
		return t.recordAlone(s)
	}
	r := t.history.arena.record()
	r.Statement = *s
	if r.Class.Watched() {
		t.watch(&r.Class)
	}
	t.history.touched = t.history.touched || !r.Class.SetsOnly
	t.noteForLocks(&r.Statement)
	t.put(r)
	return r
}

// put puts r on record, if there still is one.
func (t *tx) put(r *record) {
	t.attempt.statements++
	if r.Form == wire.Parse {
		t.attempt.prepared++
	}
	switch {
	case !t.restartable():
	case len(t.history.records) >= t.policy.MaxStatements:
		t.unreplayable(CauseStatements)
	case t.history.bytes+r.size() > t.policy.MaxBytes:
		t.unreplayable(CauseBytes)
	default:
		t.history.add(r)
		t.pool.metrics().historyBytes(r.size())
	}
	t.inspect(&r.Statement)
}

// unrecord takes r, the latest statement, off the record again: it has not reached the server, and must not in a
// replay.
func (t *tx) unrecord(r *record) {
	t.attempt.statements = max(t.attempt.statements-1, 0)
	if t.history.drop(r) && t.explicit {
		t.pool.metrics().historyBytes(-r.size())
	}
}

// watch deals with the few statements that change how the transaction is to be treated.
func (t *tx) watch(c *sqltext.Class) {
	t.nested = t.nested || c.Savepoint != sqltext.NoSavepoint
	if t.unset == nil && (c.Session != sqltext.SessionKept || c.SetsLocally) {
		t.unset = reportedBy(t.session())
	}
	switch {
	case c.Savepoint == sqltext.RestartSavepoint,
		c.Savepoint != sqltext.NoSavepoint && (t.c.forceSavepoint || t.opening.forced):
		t.becomePassive()
	case c.ReadsPast:
		t.unreplayable(CauseAsOfSystemTime)
	case c.Session == sqltext.SessionLasts, t.c.crdb && t.outlivesRollback(c):
		t.unreplayable(CauseSession)
	}
}

// outlivesRollback reports whether a statement leaves the session such that what ran before it can't be run again as it
// ran: CockroachDB does not undo a SET when the transaction is rolled back. A SET before all other statements does no
// harm.
func (t *tx) outlivesRollback(c *sqltext.Class) bool {
	return c.Session == sqltext.SessionSetMid || c.Session == sqltext.SessionSet && t.history.touched
}

// becomePassive leaves the restarts of this transaction to the application.
func (t *tx) becomePassive() {
	if t.history.passive {
		return
	}
	t.pool.metrics().notReplayable(CauseApplicationSavepoint)
	t.history.passive, t.loop.own = true, true
	t.forget()
	if !t.opening.begun {
		t.opening.savepoint = false
		t.openFresh(false)
	}
}

// unreplayable makes a conflict from now on the application's.
func (t *tx) unreplayable(cause Cause) {
	if !t.restartable() {
		return
	}
	t.history.cause = cause
	t.pool.metrics().notReplayable(cause)
	t.forget()
}

func (t *tx) forget() {
	if !t.explicit {
		return
	}
	t.pool.metrics().historyBytes(-t.history.bytes)
	t.history.clear()
}

// hasShownRows reports whether the application was handed rows of the answer, or told that there are no more.
func (r *record) hasShownRows() bool { return r.rows > 0 || r.end }
