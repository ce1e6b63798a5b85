package cockroachdb

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// cursor reads the answer to one statement, over as many attempts as it takes. What it reads has not been observed: the
// application sees a row when [rows] hands it over.
type cursor struct {
	t   *tx
	ctx context.Context
	rec *record

	ans     answer
	row     [][]byte                  // the row that next came to; valid until the next call
	size    int                       // how many bytes its values have
	fields  []pgconn.FieldDescription // the columns, as the server described them; valid as long
	tag     pgconn.CommandTag
	err     error
	over    bool // the answer has been read to its end
	renewed bool // its prepared statement was prepared again once, and is not again
	trace   traceEnd
}

// open sends the statement and reads as far as its first row.
func (cu *cursor) open(s *statement) {
	t := cu.t
	cu.rec = t.record(s)
	cu.send()
}

func (cu *cursor) send() {
	t := cu.t
	for {
		var sent bool
		var err error
		cu.ans, sent, err = t.c.send(cu.ctx, t.opening, &cu.rec.statement)
		if t.opened(sent, err) {
			continue
		}
		if err != nil {
			cu.recover(t.lostBegin(err))
		}
		return
	}
}

// next moves to the next row. It says false at the end and after an error.
func (cu *cursor) next() bool {
	t := cu.t
	for !cu.over {
		if cu.ans.next() {
			cu.row = cu.ans.result.Values()
			cu.size = sizeOf(cu.row)
			cu.rec.answer += cu.size
			return true
		}
		if cu.ans.result != nil {
			cu.fields = cu.ans.result.FieldDescriptions()
		}
		tag, err := t.c.concluded(&cu.rec.statement, &cu.ans)
		if cu.ans.control && t.state == txLive && t.explicit {
			t.overUnasked() // the text held a COMMIT or BEGIN of its own: a part of the record is committed
		}
		if err == nil {
			cu.finish(tag, nil)
			return false
		}
		cu.recover(err)
	}
	return false
}

func sizeOf(row [][]byte) (n int) {
	for _, value := range row {
		n += len(value)
	}
	return n
}

// drain reads what is left without showing it to anyone.
func (cu *cursor) drain() {
	for cu.next() {
		cu.row = nil
	}
}

// recover deals with an error in place of the answer: where it is a conflict, the transaction starts again and the new
// attempt's answer is read from where the old one's broke off.
func (cu *cursor) recover(err error) {
	t := cu.t
	for err != nil {
		switch {
		case !t.explicit && cu.rec.shown && !onlyReads(cu.rec.sql):
			// Run again it would be committed before it could be compared.
			cu.finish(pgconn.CommandTag{}, err)
			return
		case t.absorbs(err), t.retries(err) && isCommit(cu.rec.sql): // a COMMIT that loses has committed nothing
			cu.ans, err = t.restart(cu.ctx, err, cu.strike(), cu.rec)
		case cu.renewable(err):
			cu.renewed = true
			cu.ans, err = t.renew(cu.ctx, cu.rec, err)
		case t.mustLowerPriority(err):
			t.normal = true
			t.opening = t.beginning(false)
			cu.ans, err = t.rerun(cu.ctx, cu.rec)
			err = t.outcomeOfReplay(err, t.conflict)
		default:
			cu.finish(pgconn.CommandTag{}, err)
			return
		}
	}
}

func (cu *cursor) strike() strike {
	s := strike{placeStatement, max(cu.t.ran, 1)}
	if cu.rec.rows > 0 {
		s.at = placeRows
	}
	return s
}

// renewable says whether the server has only lost or outgrown the prepared statement.
func (cu *cursor) renewable(err error) bool {
	s := &cu.rec.statement
	if s.prepared == nil || !stalePlan(err) {
		return false
	}
	cu.t.c.invalidate(s.prepared, err)
	if s.shape != s.prepared.shape {
		return false // the application chose formats for the columns as they were
	}
	return !cu.renewed && cu.rec.rows == 0 && !cu.rec.shown && cu.t.restartable() && !cu.t.endedUnasked()
}

func (cu *cursor) finish(tag pgconn.CommandTag, err error) {
	t := cu.t
	cu.over = true
	if _, unsent := asUnsent(err); unsent {
		t.unrecord(cu.rec) // it has not reached the server, and must not in a replay
	}
	if t.lostBehindCommit(err, cu.rec.sql) {
		err = t.ambiguous(errLostInCommit)
	}
	if p := cu.rec.prepared; err != nil && p != nil && p.name == "" {
		t.c.descriptions.forget(p) // it may be out of date in a way that no SQLSTATE tells
	}
	if err != nil && t.endedUnasked() && isCommit(cu.rec.sql) && outcomeOfCommit(err, !t.c.crdb) == commitAmbiguous {
		err = &AmbiguousCommitError{err: err} // a COMMIT of the application's is none the less one
	}
	t.answered(cu.rec, tag, err)
	cu.tag, cu.err = tag, t.told(err, cu.rec.sql)
	if !t.explicit {
		t.leaveLane()
		if err == nil && t.conflict != nil {
			t.c.connector.throttle.committed()
		}
		t.endedOutside(cu.ctx, cu.err)
	}
	cu.trace(t.c.pc, cu.tag, cu.err)
}
