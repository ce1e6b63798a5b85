package cockroachdb

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// state is where a transaction stands between the application and the driver. Nothing outside this file changes it.
type state uint8

const (
	stateOpen       state = iota // statements are sent and recorded
	stateRestarting              // an attempt has lost, and the next one has not come as far yet: nothing else is let in
	stateFailed                  // the application was told of a failure; statements are refused until it rolls back
	stateDetached                // the server's transaction was ended, or committed, by something other than the driver
	stateCommitted               // the commit was confirmed
	stateClosed                  // there is no connection any more, or the outcome of the commit is not known
)

var stateNames = [...]string{"open", "restarting", "failed", "detached", "committed", "closed"}

func (s state) String() string { return stateNames[s] }

// steps are the states that may follow each state. RunTx reopens what has failed. A detached transaction is committed
// where the application's own RELEASE, or DDL, has committed it and Commit only ends it.
var steps = [...][]state{
	stateOpen:       {stateRestarting, stateFailed, stateDetached, stateCommitted, stateClosed},
	stateRestarting: {stateOpen, stateFailed, stateDetached, stateCommitted, stateClosed},
	stateFailed:     {stateOpen, stateClosed},
	stateDetached:   {stateCommitted, stateClosed},
	stateCommitted:  {},
	stateClosed:     {},
}

// ending is how the server's transaction came to its end without the driver.
type ending uint8

const (
	endedByDriver  ending = iota
	endedByText           // the application's own COMMIT or ROLLBACK, or a text or procedure that has done the like
	endedByDDL            // a schema change, which committed what was open before it
	endedByRelease        // a statement that commits and leaves the block open until COMMIT
)

// verdict is what became of a transaction, as far as it is known.
type verdict struct {
	state   state
	outcome Outcome // for the metrics; "" while there is none
	failure error   // what the application was told when the state became failed or closed
	unread  bool    // the failure was only returned by Rows.Close, whose error few look at: the next statement returns it
	ending  ending
	kept    bool // something of the transaction may be committed, though it was not the driver that committed it
}

// settle is the only way in which the state changes. Another step than those in the table is a mistake of the driver's.
func (v *verdict) settle(next state) {
	if !slices.Contains(steps[v.state], next) {
		panic(fmt.Sprintf("BUG: a transaction that is %v can't become %v", v.state, next))
	}
	v.state = next
}

// phase is what the server has of the transaction.
type phase uint8

const (
	phasePending phase = iota // an opening is still to be sent, with the next statement
	phaseBlock                // a transaction block is open
	phaseFailed               // it is open, and has failed
	phaseEnded                // it was ended, by something other than the driver
	phaseGone                 // the connection is closed
)

func (t *tx) phase() phase {
	status := t.session().Status()
	switch {
	case t.early == earlyDone:
		return phaseFailed
	case t.session().Closed():
		return phaseGone
	case t.opening.pending != nil, !t.opening.begun: // nothing is begun for a statement outside a transaction
		return phasePending
	case status == wire.Idle:
		return phaseEnded
	case status == wire.Failed:
		return phaseFailed
	}
	return phaseBlock
}

// refuse returns why nothing can be sent for the application; nil if it can.
func (t *tx) refuse() error {
	switch {
	case t.rows != nil:
		t.rows.revealMore()
		return wire.ErrBusy
	case t.state == stateClosed:
		return t.failure
	case t.state == stateFailed && t.unread:
		t.unread = false
		return t.failure
	case t.state == stateFailed:
		return errTxAborted
	case t.state == stateRestarting:
		return errRestarting
	case t.state == stateCommitted:
		return sql.ErrTxDone
	}
	return nil
}

// restarts lets nothing in until the next attempt has come as far as the latest one.
func (t *tx) restarts() {
	if t.state == stateOpen {
		t.settle(stateRestarting)
	}
}

// restarted lets statements in again.
func (t *tx) restarted() {
	if t.state == stateRestarting {
		t.settle(stateOpen)
	}
}

// fail ends the transaction for the application, which is told err. RunTx may reopen it.
func (t *tx) fail(err error) error {
	if t.state != stateFailed {
		t.settle(stateFailed)
	}
	t.outcome, t.failure = outcomeOf(err), err
	t.forget()
	if t.runner == nil && !t.mustStep() {
		t.leave() // all that the application can do is to roll back
	}
	if t.outcome != OutcomeDiverged && !t.attempt.owesCall { // RunTx goes on then, in its place or before others
		t.leaveLane()
	}
	return err
}

// reopen begins the transaction anew for RunTx's function.
func (t *tx) reopen() {
	if t.state == stateFailed {
		t.settle(stateOpen)
	}
	t.outcome, t.failure, t.unread = "", nil, false
}

// committed ends the transaction with its commit confirmed.
func (t *tx) committed() {
	ddl := t.state == stateDetached && t.ending == endedByDDL
	t.settle(stateCommitted)
	if !ddl {
		t.outcome = OutcomeCommitted
	}
	t.pool.calm.committed()
	t.noteMark()
}

// noteFailure keeps what Commit has told the application, for the event of the transaction's end.
func (t *tx) noteFailure(err error) { t.failure = cmp.Or(t.failure, err) }

// close ends the transaction for good: whatever is asked of it from now on, it answers err.
func (t *tx) close(o Outcome, err error) error {
	t.settle(stateClosed)
	t.outcome, t.failure = o, err
	t.forget()
	t.leaveLane()
	return err
}

// abandon ends a transaction of which nobody will hear any more: its connection is being closed.
func (t *tx) abandon() {
	if t.state != stateCommitted && t.state != stateClosed {
		t.notCommitted(OutcomeRolledBack)
		_ = t.close(t.outcome, wire.ErrClosed)
	}
	t.end()
}

// detach takes note that the server's transaction was ended by something other than the driver. kept says that
// something of it may be committed.
func (t *tx) detach(by ending, kept bool) {
	if t.state != stateDetached {
		t.settle(stateDetached)
	}
	t.outcome, t.ending, t.kept = OutcomeOver, by, t.kept || kept
	t.forget()
	t.leaveLane()
}

// keeps takes note that something of a transaction that was ended by something else is committed.
func (t *tx) keeps() { t.kept = true }

// notCommitted takes note of how a transaction ends in which nothing was committed. The first such outcome counts.
func (t *tx) notCommitted(o Outcome) {
	if t.outcome == "" {
		t.outcome = o
	}
}

// keepUnread has the next statement return the failure, of which only Rows.Close has told.
func (t *tx) keepUnread() { t.unread = t.state == stateFailed }

// ambiguous ends the transaction with an outcome that is not known. err is what went wrong; if it is a conflict, it is
// left out, since those who look for conflicts would run the transaction again.
func (t *tx) ambiguous(err error) error {
	if pgerr.IsConflict(err) {
		err = errConflictAfterCommit
	}
	err = &AmbiguousCommitError{err: err}
	t.rollback()
	return t.close(OutcomeAmbiguous, err)
}

// A fault is an error, and what is known of the message that met it.
type fault struct {
	err   error
	reach wire.Reach
	class sqltext.Class // of the statement that met it

	earlier  bool // it was met by a statement that was run again, before the one that the application waits for
	partly   bool // a part of the text that met it may be committed
	refused  bool // it has ended the connection, and what met it is not committed and can't be any more
	unmarked bool // it was met by the marker of a commit, in a transaction that takes no writes
	parsing  bool // it was met by a Parse, after which nothing is executed
}

// report turns a fault that is not retried into what the application is told, and the state into what follows from it.
func (t *tx) report(f fault) error {
	if !t.explicit {
		return t.reportAlone(f)
	}
	restarting := t.state == stateRestarting
	switch {
	case f.err == nil:
		return nil
	case t.session().Closed():
		return t.connectionLost(f)
	case f.reach != wire.Unsent && pgerr.Answer(f.err) == nil:
		t.session().Die() // it is not the server's answer: nobody knows what the connection is good for
		return t.connectionLost(f)
	case f.reach == wire.Unsent && !restarting:
		return f.err
	case t.goesBackAtRelease(f):
		return tellAtRelease(f)
	case f.reach == wire.Unsent, f.reach == wire.InOpening, f.earlier:
		return t.fail(f.err) // the server's transaction is not, or not any more, the one that the application is in
	case t.committedBefore(f):
		return t.ambiguous(f.err)
	}
	t.restarted()
	if t.state == stateOpen && t.phase() == phaseEnded {
		if f.class.Commits() || pgerr.IsConflict(f.err) {
			return t.fail(f.err)
		}
		t.detach(endingOf(&f.class), !t.isFirstDDL(f))
	}
	t.rollbackEarly()
	return f.err
}

// committedBefore reports whether a statement's error leaves open whether something of the transaction is committed, in
// a way that the application must not take for "nothing": a conflict after a commit, at which a loop would run again
// what is committed; or an error of a commit that does not say that it has failed.
func (t *tx) committedBefore(f fault) bool {
	conflict := pgerr.IsConflict(f.err)
	switch {
	case t.state == stateDetached:
		return conflict && t.kept
	case f.class.Commit == sqltext.CommitEnds && t.phase() == phaseFailed:
		return false // it was not carried out: the transaction is still there
	case f.class.Commits():
		return !conflict && commitIsUnknown(f.err, !t.c.crdb)
	}
	return conflict && t.phase() == phaseEnded && !t.isFirstDDL(f)
}

// commitIsUnknown reports whether a transaction may be committed by a statement of the application's that answers err.
func commitIsUnknown(err error, postgres bool) bool {
	return pgerr.OutcomeOfCommit(err, postgres) == pgerr.CommitAmbiguous && !pgerr.IsRefusal(err)
}

// connectionLost ends a transaction whose connection is closed. Nothing was committed, unless the statement that was
// under way may have done so.
func (t *tx) connectionLost(f fault) error {
	inStatement := f.reach == wire.InStatement
	switch {
	case t.state == stateDetached && t.kept && (t.ending == endedByDDL || pgerr.IsConflict(f.err)):
		return t.ambiguous(f.err)
	case t.state == stateDetached && t.ending == endedByRelease:
		return t.close(OutcomeCommitted, f.err)
	case inStatement && f.class.Commit == sqltext.MayCommit && !t.lostBeforeCommit(f),
		inStatement && f.class.Commits() && !pgerr.IsConflict(f.err):
		return t.ambiguous(f.err)
	case t.state == stateDetached:
		return t.close(OutcomeOver, f.err)
	case pgerr.IsCancellation(f.err):
		return t.close(OutcomeCancelled, f.err) // the caller's own doing, and no network failure
	}
	return t.close(OutcomeConnectionLost, &ConnectionLostError{err: lostAfter(t.unsolved(), f.err)})
}

// endingOf returns how a statement has ended the server's transaction.
func endingOf(c *sqltext.Class) ending {
	switch {
	case c.Commit == sqltext.CommitStays:
		return endedByRelease
	case c.DDL && !c.Several, c.Commit == sqltext.MayCommit && !c.Once: // what may hold DDL
		return endedByDDL
	}
	return endedByText
}
