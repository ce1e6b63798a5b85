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
	fields  []pgconn.FieldDescription // the columns, as the server described them; valid as long
	tag     pgconn.CommandTag
	err     error
	over    bool
	renewed bool
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
			if t.endedUnasked(cu.rec.sql, err) {
				t.over()
			}
			cu.recover(err)
		}
		return
	}
}

// next moves to the next row. It says false at the end and after an error.
func (cu *cursor) next() bool {
	for !cu.over {
		if cu.ans.next() {
			cu.row = cu.ans.result.Values()
			return true
		}
		if cu.ans.result != nil {
			cu.fields = cu.ans.result.FieldDescriptions()
		}
		tag, err := cu.ans.close()
		if cu.ans.ended || cu.t.endedUnasked(cu.rec.sql, err) {
			cu.t.over()
		}
		if err == nil {
			cu.finish(tag, nil)
			return false
		}
		cu.recover(err)
	}
	return false
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
		case t.absorbs(err):
			cu.ans, err = t.restart(cu.ctx, err, cu.place(), cu.rec)
		case cu.renewable(err):
			cu.renewed = true
			cu.ans, err = t.renew(cu.ctx, cu.rec, err)
		case t.mustLowerPriority(err):
			t.normal = true
			t.opening = t.beginning(false)
			cu.ans, err = t.rerunFor(cu.ctx, t.lost, cu.rec)
		default:
			cu.finish(pgconn.CommandTag{}, err)
			return
		}
	}
}

func (cu *cursor) place() place {
	if cu.rec.rows > 0 {
		return placeRows
	}
	return placeStatement
}

// renewable says whether the server has only lost or outgrown the prepared statement.
func (cu *cursor) renewable(err error) bool {
	s := &cu.rec.statement
	if s.prepared == nil || !stalePlan(err) {
		return false
	}
	cu.t.c.invalidate(s.prepared)
	return !cu.renewed && cu.rec.rows == 0 && !cu.rec.shown && cu.t.restartable()
}

func (cu *cursor) finish(tag pgconn.CommandTag, err error) {
	t := cu.t
	cu.over = true
	t.answered(cu.rec, tag, err)
	cu.tag, cu.err = tag, t.told(err, cu.rec.sql)
	if !t.explicit {
		t.leaveLane()
	}
	cu.trace(t.c.pc, cu.tag, cu.err)
}
