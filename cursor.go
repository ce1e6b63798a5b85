package cockroachdb

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/digest"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// cursor reads the answer to one statement, over as many attempts as it takes. What it reads has not been observed: the
// application sees a row when [rows] hands it over.
type cursor struct {
	t   *tx
	ctx context.Context
	rec *record

	ans     wire.Answer
	row     [][]byte                  // the row that read came to; valid until the next call
	size    int                       // how many bytes its values have
	fields  []pgconn.FieldDescription // the columns, as the server described them; valid as long
	tag     pgconn.CommandTag
	err     error
	over    bool  // the answer has been read to its end
	marked  bool  // outside a transaction: it is committed with a marker
	lost    error // it is committed, and this lost its answer
	renewed bool  // its prepared statement was found out of date once, and it is not renewed again

	buffer   [][][]byte // of a write outside a transaction: rows that were read before they may be handed over
	buffered int        // how many bytes they have

	trace traced
}

// open sends the statement and reads as far as its first row. locked is what it was made a locking one of, if it was.
func (cu *cursor) open(s *wire.Statement, locked *lockedRead) {
	cu.rec = cu.t.record(s)
	cu.t.keepLock(cu.rec, locked)
	if cu.t.mustUnpin(cu.rec) {
		cu.carryOn(fault{err: errUnpinned})
		return
	}
	if err := cu.t.awaitTurn(cu.ctx, cu.rec); err != nil {
		cu.carryOn(fault{err: err, reach: wire.Unsent})
		return
	}
	if f := cu.send(cu.ctx); f.err != nil {
		cu.carryOn(f)
	}
}

// send sends the statement, with a marker where it is to commit.
func (cu *cursor) send(ctx context.Context) fault {
	t := cu.t
	var reach wire.Reach
	var err error
	if cu.marked = t.marksAlone(&cu.rec.Statement); !cu.marked {
		cu.ans, reach, err = t.send(ctx, &cu.rec.Statement)
		unmarked := reach == wire.InOpening && t.marking.sent != nil && t.isUnmarked(err)
		return fault{err: err, reach: reach, class: cu.rec.Class, unmarked: unmarked}
	}
	if cu.rec.Form == wire.Simple { // nothing can go with a Query message
		cu.rec.Form = wire.Unnamed
	}
	with := wire.Around{Commit: true, Later: cu != &t.c.executing}
	refused := false
	if with.After, err = t.place(ctx, true); err == nil {
		cu.ans, reach, err = t.session().SendAround(ctx, beginAlone, &cu.rec.Statement, with)
		refused = cu.tidy(err)
	}
	return fault{err: err, reach: reach, class: cu.rec.Class, refused: refused}
}

var beginAlone = []string{"BEGIN"}

// send sends a statement after the opening. One that commits the transaction has a marker before it.
func (t *tx) send(ctx context.Context, s *wire.Statement) (a wire.Answer, reach wire.Reach, err error) {
	var marker []wire.Extra
	if t.marksBefore(s) {
		if marker, err = t.place(ctx, s.Class.Commits()); err != nil {
			return a, wire.Unsent, err
		}
	}
	if marker == nil {
		a, reach, err = t.session().Send(ctx, t.opening.pending, s)
	} else {
		a, reach, err = t.session().SendAround(ctx, t.opening.pending, s, wire.Around{Before: marker})
	}
	t.opening.note(reach, t.session().Status())
	return a, reach, err
}

// tidy ends the server's transaction of a marked statement that has met err, if that is not nil: nothing waits with its
// locks held. It reports whether the connection is lost, or the node, and nothing is committed: because the server's
// answer to the statement itself says so, or that to what came after it.
func (cu *cursor) tidy(err error) (refused bool) {
	if !cu.marked || cu.ans.Open() {
		return false
	}
	t, s := cu.t, cu.t.session()
	undone := pgerr.Answer(err) != nil && !commitIsUnknown(err, !t.c.crdb)
	if !s.Closed() && s.Status() != wire.Idle {
		if !cu.ans.Whole() {
			undone, t.marking.sent = true, nil
		}
		t.rollback()
	}
	return undone && (s.Closed() || pgerr.EndsNode(err, false))
}

// read moves to the next row. It returns false at the end and after an error.
func (cu *cursor) read() bool {
	for !cu.over {
		if cu.ans.Next() {
			cu.row = cu.ans.Row()
			cu.size = digest.Size(cu.row)
			cu.rec.answer += cu.size
			return true
		}
		if cu.ans.Open() {
			cu.fields = cu.ans.Fields()
			if cu.marked { // the marker's columns come next
				cu.fields = slices.Clone(cu.fields)
			}
		}
		tag, err := cu.t.session().Conclude(&cu.rec.Statement, &cu.ans)
		cu.noteSeveral()
		switch {
		case err == nil && cu.isDoubtful(tag.RowsAffected()):
			cu.runUnlocked()
			continue
		case err == nil:
			cu.succeed(tag)
			return false
		}
		refused := cu.tidy(err)
		unmarked := cu.marked && cu.t.marking.sent != nil && cu.ans.Whole() && cu.t.isUnmarked(err)
		cu.carryOn(fault{
			err: err, reach: wire.InStatement, class: cu.rec.Class, refused: refused, unmarked: unmarked,
		})
	}
	return false
}

// noteSeveral takes note of a text of several statements that has ended the transaction, even if it fails after that.
func (cu *cursor) noteSeveral() {
	class := &cu.rec.Class
	if cu.t.explicit && class.Several && (cu.ans.Commits || cu.ans.Begins) {
		cu.t.detach(endedByText, cu.ans.Commits || class.DDL)
	}
}

// drain reads what is left without showing it to anyone.
func (cu *cursor) drain() {
	for cu.read() {
		cu.row = nil
	}
}

// carryOn deals with a fault in place of the answer, or in its middle.
func (cu *cursor) carryOn(f fault) {
	f.partly = f.reach == wire.InStatement && cu.partlyCommitted()
	if cu.t.unlocks(cu.ctx, cu.rec, f) {
		f = fault{err: errUnlocked}
	}
	if err := cu.t.carryOn(cu.ctx, cu, f); err != nil {
		cu.fail(err, f)
		return
	}
	if cu.rec.shown {
		cu.t.nothingToLose()
	}
}

// resume runs the record again. The statement's answer comes back after the rows that the application has seen.
func (cu *cursor) resume(ctx context.Context) (f fault) {
	cu.buffer, cu.buffered = nil, 0 // nothing of that was shown
	if cu.marked || cu.t.history.passive {
		return cu.send(ctx)
	}
	cu.ans, f = cu.t.replay(ctx, cu.rec)
	return f
}

// settled ends a statement that is committed although its answer, or what came after it, was lost.
func (cu *cursor) settled(f fault) error {
	t := cu.t
	switch class := &cu.rec.Class; {
	case cu.marked && cu.ans.Whole():
		cu.succeed(cu.ans.Tag())
	case cu.marked && cu == &t.c.executing:
		cu.lost = f.err
		cu.succeed(noTag)
	case cu.marked:
		return &ResultLostError{err: f.err}
	case class.Commit == sqltext.CommitEnds && !class.Several:
		t.committed()
		cu.succeed(pgconn.NewCommandTag(sqlCommit))
	case class.Releases && t.loop.savepoint != "":
		t.settleRelease()
		cu.succeed(pgconn.NewCommandTag(sqlCommit))
	default:
		return t.unresolved(f.err, t.c.spent) // a part may have come after the commit
	}
	return nil
}

func (cu *cursor) site() site {
	s := atStatement(max(cu.t.attempt.statements, 1))
	if cu.rec.rows > 0 {
		s.at = PlaceRows
	}
	return s
}

// mayRunAgainAlone reports whether the statement may be repeated outside a transaction. What may write may not once it
// has shown something: it would be committed before it could be compared.
func (cu *cursor) mayRunAgainAlone() bool { return !cu.rec.shown || cu.rec.Class.Reads }

// renew has the statement go on after the server has lost what it had prepared, has it already, or has outgrown it.
func (cu *cursor) renew(f fault) bool {
	t, p := cu.t, cu.rec.Prepared
	if p == nil || f.earlier {
		return false
	}
	if changed, ok := f.err.(*wire.ChangedError); ok { //nolint:errorlint // made by package wire, and not wrapped
		return cu.relearn(changed)
	}
	outgrown := pgerr.Code(f.err) == pgerr.FeatureNotSupported
	if outgrown && !p.OnServer() { // it was to be prepared: a pooler has given us what it had prepared before
		p.RunsAsText()
	} else {
		t.c.unlearnPlan(p, f.err)
	}
	switch {
	case cu.renewed, cu.rec.rows > 0, cu.rec.shown, !t.restartable(), t.phase() == phaseEnded:
		return false
	case outgrown && cu.rec.Columns != p.Columns:
		return false // the application chose formats for the columns that were described
	case outgrown:
		cu.rec.AsText()
	}
	cu.renewed = true
	return true
}

// partlyCommitted reports whether a part of what the text has done may be committed although it has failed, outside a
// transaction.
func (cu *cursor) partlyCommitted() bool {
	class, c := &cu.rec.Class, cu.t.c
	switch {
	case !class.Several:
		return class.Partly
	case cu.ans.Commits:
		return true
	case !c.crdb:
		return false // PostgreSQL runs it as one transaction
	case class.DDL:
		return cu.ans.Statements > 0
	}
	if class.RowsOnly && c.textIsOneTx {
		return false
	}
	return cu.ans.Loose > 0
}

// succeed ends the statement.
func (cu *cursor) succeed(tag pgconn.CommandTag) {
	t := cu.t
	cu.over, cu.tag = true, tag
	cu.rec.settle()
	cu.rec.affected = tag.RowsAffected()
	t.rolledBackTo = tag.String() == sqlRollback
	if class := &cu.rec.Class; class.Deallocates {
		t.session().Statements.Deallocated()
	}
	t.history.noteWrite(&cu.rec.Class, tag)
	t.concludeMark(tag)
	t.c.noteSwitch(t, cu.rec.Class.ForceSavepoint)
	t.noteSession(&cu.rec.Statement, false)
	t.noteLoop(&cu.rec.Statement)
	t.noteTag(&cu.rec.Class, tag, &cu.ans.Several)
	cu.end()
}

// noteTag takes note of a statement that has ended the transaction, or committed it.
func (t *tx) noteTag(class *sqltext.Class, tag pgconn.CommandTag, several *wire.Several) {
	switch {
	case !t.explicit, t.state != stateOpen, t.session().Closed():
	case t.phase() == phaseEnded && class.Several:
		t.detach(endedByText, several.Commits || class.DDL)
	case t.phase() == phaseEnded:
		t.detach(endingOf(class), tag.String() != sqlRollback)
	case tag.String() != sqlCommit:
	case class.Commit == sqltext.CommitStays:
		t.detach(endedByRelease, true)
	default: // COMMIT AND CHAIN, or what nobody knows
		t.detach(endedByText, true)
	}
}

// fail ends the statement with what the application is told. first is the fault that it met first.
func (cu *cursor) fail(err error, first fault) {
	t := cu.t
	cu.over, cu.err = true, err
	cu.rec.settle()
	t.noteSession(&cu.rec.Statement, true)
	switch answer := pgerr.Answer(err); {
	case first.reach == wire.Unsent && t.state == stateOpen:
		t.unrecord(cu.rec)
	case answer != nil:
		cu.rec.fail(answer)
		if p := cu.rec.Prepared; p != nil && pgerr.MayBeStale(err) {
			t.c.unlearn(p)
		}
	}
	cu.end()
}

func (cu *cursor) end() {
	t := cu.t
	t.c.dropRequest(cu.rec.Prepared)
	if !t.explicit {
		cu.accountAlone()
		t.endAlone(cu.ctx, cu.err)
	}
	cu.trace.end(t.session().Pgx, cu.tag, cu.err)
}
