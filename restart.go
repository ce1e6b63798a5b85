package cockroachdb

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A step is what the application waits for: a statement, its next rows, a Prepare, the commit.
type step interface {
	// resume goes on with the step in an attempt that begins: it runs the record again, and then what the step
	// needs. It comes as far as the attempt before, or returns why not.
	resume(ctx context.Context) fault
	// site is where the step is.
	site() site
	// mayRunAgainAlone reports whether the step may be repeated outside a transaction.
	mayRunAgainAlone() bool
	// settled ends the step after f had left open what became of a commit, which is known now to have been carried out.
	settled(f fault) error
	// renew makes the step independent of a prepared statement that is out of date, and reports whether it can.
	renew(f fault) bool
}

// carryOn deals with a fault that s has met. As long as it can be retried it begins another attempt, in which s goes
// on. It is the one loop that retries. It returns what the application is told: nil once s is through.
func (t *tx) carryOn(ctx context.Context, s step, f fault) error {
	for f.err != nil {
		if told, over := t.restart(ctx, s, f); over {
			return told
		}
		f = t.resume(ctx, s)
	}
	t.restarted()
	return nil
}

// resume has s go on in the attempt that begins. A silent server may still hold the locks of the attempt before: s
// waits for those no longer than another attempt may begin.
func (t *tx) resume(ctx context.Context, s step) fault {
	if !t.attempt.haunted {
		return s.resume(ctx)
	}
	session := t.session()
	session.AnswerBy(ctx, time.Now().Add(t.timeLeft()))
	f := s.resume(ctx)
	session.AnswerBy(ctx, time.Time{})
	t.attempt.haunted = f.err != nil
	return f
}

// restart sets the opening of another attempt, if f can be retried: it decides, waits and gives up locks. If it can't
// be, over is true, and told is what the application is told.
func (t *tx) restart(ctx context.Context, s step, f fault) (told error, over bool) {
	t.heedReceipt(&f)
	t.heedConflict(&f)
	if t.isOpen(f) {
		if told, over := t.resolve(ctx, s, &f); over {
			return told, true
		}
	}
	f.heedPooler()
	diverged, differs := f.err.(*DivergenceError) //nolint:errorlint // made by the replay
	switch {
	case differs:
		return t.diverged(diverged), true
	case isOwn(f.err):
		if told := t.beginAnew(ctx, f.err); told != nil {
			return told, true
		}
	case t.hasLost(ctx, f):
		if told := t.failOver(ctx, f, t.siteOf(s, f)); told != nil {
			return told, true
		}
	case isStale(f.err) && s.renew(f):
		t.restarts()
		t.newAttempt(ctx, ReasonStalePlan, s.site(), 0, f.err)
		t.openAtOnce()
	case wire.IsChanged(f.err):
		return t.giveUp(t.c.unable(f.err)), true
	case t.savepointRefused(f), t.savepointFailed(f), t.highRefused(f), t.markRefused(f): // the opening is set
	case t.canRetry(s, f):
		if told, over := t.retry(ctx, s, f); over {
			return told, true
		}
	default:
		return t.report(f), true
	}
	t.restarts()
	return nil, false
}

// own are errors that the driver has made, and the server has not said.
var own = []error{errStaleInReplay, errUnpinned, errUnlocked, errAwaitsRow, errEndedInReplay}

func isOwn(err error) bool { return slices.Contains(own, err) }

// beginAnew sets the opening of a transaction for an error of the driver's own. It returns what the application is told
// if that can't be.
func (t *tx) beginAnew(ctx context.Context, why error) error {
	switch {
	case errors.Is(why, errEndedInReplay):
		return t.ambiguous(why)
	case errors.Is(why, errAwaitsRow):
		if err := t.beginInTurn(ctx); err != nil {
			return t.giveUp(err)
		}
	default:
		t.openAtOnce()
	}
	return nil
}

// retry sets the opening of another attempt after a conflict, or leaves that to RunTx.
func (t *tx) retry(ctx context.Context, s step, conflict fault) (told error, over bool) {
	at := t.siteOf(s, conflict)
	at.over = t.lostOver(conflict.err, at)
	if t.callsAtOnce(at.at, conflict) {
		t.attempt.lost(conflict.err, at)
		t.attempt.owesCall = true
		t.learnLockOfCall(conflict)
		return t.fail(conflict.err), true
	}
	t.restarts()
	if err := t.nextAttempt(ctx, conflict.err, at); err != nil {
		return t.giveUp(err), true
	}
	return nil, false
}

// heedPooler takes a pooler's word that what met f was never sent to a server.
func (f *fault) heedPooler() {
	if pgerr.NeverSent(f.err) {
		f.reach, f.refused = wire.InOpening, true
	}
}

// heedReceipt takes note that what met f never got to the server. What stands alone in an sql.Tx is run again by nobody
// else then.
func (t *tx) heedReceipt(f *fault) {
	switch {
	case f.reach != wire.Unsent && t.neverArrived(f.err):
		f.reach, f.refused = wire.Unsent, !t.explicit
	case f.reach == wire.Unsent && t.within != nil && t.session().Closed():
		f.refused = true
	}
}

// heedConflict takes note that a statement outside a transaction, which has lost a conflict and its connection with it,
// is not committed.
func (t *tx) heedConflict(f *fault) {
	if !t.explicit && !f.partly && t.session().Closed() && pgerr.Conflict(f.err) != nil {
		f.refused = true
	}
}

// neverArrived reports whether the latest request, which met err, was sent to a server that had ended the connection
// before. What the server has answered has arrived.
func (t *tx) neverArrived(err error) bool {
	answer := pgerr.Answer(err)
	ends := answer == nil || pgerr.IsFatal(answer) || pgerr.EndsNode(answer, false)
	return ends && t.session().Unreceived()
}

func (t *tx) siteOf(s step, f fault) site {
	if f.earlier {
		return atStatement(t.attempt.replayed)
	}
	return s.site()
}

// giveUp ends a transaction that is not retried any more.
func (t *tx) giveUp(err error) error {
	t.leaveLane() // whenever the application gets round to rolling back
	switch {
	case !t.explicit:
		return t.reportAlone(fault{err: err, reach: wire.InStatement})
	case t.state == stateClosed:
		return err
	}
	return t.fail(err)
}

// diverged tells the application of a replay that would have shown it something else, and of the conflict that made the
// replay necessary.
func (t *tx) diverged(d *DivergenceError) error {
	if t.explicit && (d.committed || t.phase() == phaseEnded) {
		return t.ambiguous(errEndedInReplay)
	}
	d.err, d.Attempts = t.attempt.why, t.attempt.number
	t.pool.metrics().diverged(d.Kind)
	t.learnLock(d)
	t.exposeDiverged(d)
	if !t.explicit {
		t.leaveLane()
		return d
	}
	return t.fail(d)
}

// errConflictAfterCommit stands for a conflict, by whose SQLSTATE somebody might run the transaction again.
var errConflictAfterCommit = errors.New("cockroachdb: a statement lost a conflict after something was, or may have been, committed")

// restartable reports whether the record is complete.
func (t *tx) restartable() bool {
	return t.state <= stateRestarting && !t.history.passive && t.history.cause == ""
}
