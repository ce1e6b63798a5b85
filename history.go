package cockroachdb

import (
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
)

// history is the record of a transaction: what it ran, by value, and what of the answers the application has seen.
type history struct {
	records []*record
	bytes   int
	room    room
}

// record is one statement of the transaction with its observation.
type record struct {
	statement
	observation
	answer int    // how many bytes of rows its answer had, as far as it was read
	is     traits // what may commit the transaction must not run before all that is on record has been compared
}

// recordSize is that of a record and of its entry in the history.
const recordSize = int(unsafe.Sizeof(record{}) + unsafe.Sizeof(&record{}))

func (r *record) size() int { return recordSize + r.statement.size() }

// observation is what the application has seen of a statement's answer. What it has not seen may be different in a replay.
type observation struct {
	shown   bool   // it has seen the columns,
	columns uint64 // which have this digest
	rows    int64  // it was handed this many rows,
	digest  uint64 // which have this digest
	marks   []uint32
	live    *digest // the digest while rows are still being handed over
	end     bool    // it has seen that there are no more rows, be it that an error came in their place

	affected int64 // rows affected in the latest attempt, whether seen or not
	asked    bool  // it has asked how many rows were affected

	code string // it was given an error with this SQLSTATE; "" for success
	said uint64 // the digest of what else that error says
}

// fail notes the error that the application is given.
func (o *observation) fail(err *pgconn.PgError) { o.code, o.said = err.Code, digestOfError(err) }

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

// hasDDL says whether the schema was changed.
func (h *history) hasDDL() bool {
	for _, r := range h.records {
		if r.is.ddl {
			return true
		}
	}
	return false
}

// record puts a statement on record before it is sent. It gives the record in any case, for what is observed of the answer.
func (t *tx) record(s *statement) *record {
	is := s.traits()
	if !t.explicit {
		t.aside = t.aside || is.commitsPart
		t.c.forceSavepoint = t.c.forceSavepoint || is.watched && setsForceSavepointRestart(s.sql)
		r := &t.c.lone
		*r = record{statement: *s, is: is}
		t.history.add(r)
		return r
	}
	r := t.history.room.record()
	r.statement, r.is = *s, is
	if is.watched {
		t.watch(s.sql)
	}
	t.put(r)
	return r
}

// put puts r on record, if there still is one.
func (t *tx) put(r *record) {
	t.ran++
	switch {
	case !t.restartable():
	case !t.explicit:
		t.history.add(r)
	case len(t.history.records) >= t.policy.MaxStatements:
		t.unreplayable(causeStatements)
	case t.history.bytes+r.size() > t.policy.MaxBytes:
		t.unreplayable(causeBytes)
	default:
		t.history.add(r)
		t.c.connector.metrics.historyBytes(r.size())
	}
}

// unrecord takes r, the latest statement, off the record again: it is not to be replayed.
func (t *tx) unrecord(r *record) {
	t.ran = max(t.ran-1, 0)
	if !t.history.drop(r) || !t.explicit {
		return
	}
	t.c.connector.metrics.historyBytes(-r.size())
}

// unreplayable makes a conflict from now on the application's.
func (t *tx) unreplayable(cause notReplayableCause) {
	if t.cause != "" || t.aside || t.state != txLive {
		return
	}
	t.cause = cause
	t.c.connector.metrics.notReplayable(cause)
	t.forget()
}

func (t *tx) forget() {
	if !t.explicit {
		return
	}
	t.c.connector.metrics.historyBytes(-t.history.bytes)
	t.history.clear()
}

// mayCommit says whether a statement of the application can commit the transaction that it runs in.
func mayCommit(sql string) bool { return mayCommitPart(sql) || isDDL(sql) || mayBeDDL(sql) }

// mayCommitPart says whether a statement may have committed a part of what it does when it fails: of a text with several statements,
// and of a procedure, it can.
func mayCommitPart(sql string) bool { return !isSingleStatement(sql) || !mayRunAgain(sql) }

// seen is the digest of the rows that the application was handed.
func (o *observation) seen() (uint64, []uint32) {
	if o.live != nil {
		return o.live.sum()
	}
	return o.digest, o.marks
}

// settle ends the handing over of rows.
func (o *observation) settle() {
	if o.live == nil {
		return
	}
	sum, marks := o.live.sum()
	o.digest, o.live = sum, nil
	if len(marks) > 1 { // a single row needs no mark to be found
		o.marks = append([]uint32(nil), marks...)
	}
}
