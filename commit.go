package cockroachdb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// Commit commits. A conflict is absorbed like any other. See [AmbiguousCommitError] for when the outcome is unknown.
func (t *tx) Commit() error {
	if t.c.tx != t {
		return cmp.Or(t.failure, t.ctx.Err(), sql.ErrTxDone)
	}
	defer t.end()
	if t.state == stateCommitted {
		return nil
	}
	err := t.commit(t.ctx)
	if err != nil {
		// The application has no other way to do it now, and the locks must not wait for the connection's next use.
		t.rollback()
		t.noteFailure(err)
	}
	return err
}

// commit is Commit without the end of the driver's transaction.
func (t *tx) commit(ctx context.Context) error {
	if err := t.refuse(); err != nil {
		if t.state == stateFailed {
			// With the cause in it: the application may not have looked at the error of the statement, or of Rows.Close.
			return fmt.Errorf("%w: %w", pgx.ErrTxCommitRollback, t.failure)
		}
		return err
	}
	if t.state == stateDetached {
		return t.commitDetached(ctx)
	}
	switch t.phase() {
	case phaseGone:
		if !t.canMove() {
			return t.cantMove(fault{err: wire.ErrClosed}, site{at: PlaceCommit})
		}
		if len(t.history.records) == 0 { // nothing was done
			t.committed()
			return nil
		}
	case phaseEnded:
		t.detach(endedByText, true)
		return t.commitDetached(ctx)
	case phasePending: // no statement is left to be committed
		if t.opening.begun {
			t.rollback()
		}
		t.committed()
		return nil
	case phaseFailed:
		t.notCommitted(OutcomeFailed)
		return pgx.ErrTxCommitRollback
	}
	c := &t.committing
	*c = commitStep{t: t}
	if err := t.carryOn(ctx, c, c.send(ctx)); err != nil {
		return err
	}
	return c.told
}

// commitStep is the commit, which may take several attempts.
type commitStep struct {
	t    *tx
	told error // what the application is told where the commit was answered, and not by a conflict
}

// settled ends the step once the commit is known to have been carried out although its answer was lost.
func (c *commitStep) settled(fault) error {
	c.t.committed()
	return nil
}

func (c *commitStep) site() site             { return site{at: PlaceCommit} }
func (c *commitStep) mayRunAgainAlone() bool { return false }
func (c *commitStep) renew(fault) bool       { return false }

func (c *commitStep) resume(ctx context.Context) fault {
	if c.t.mayCommitUnread() {
		return c.replayAndSend(ctx)
	}
	if _, f := c.t.replay(ctx, nil); f.err != nil {
		return f
	}
	return c.send(ctx)
}

var (
	commitPlain       = []string{sqlCommit}
	commitWithRelease = []string{sqlRelease, sqlCommit}
)

// statements returns what commits.
func (c *commitStep) statements() []string {
	if c.t.opening.savepoint && !c.t.history.passive {
		return commitWithRelease
	}
	return commitPlain
}

// send sends RELEASE and COMMIT, or COMMIT alone, in one round trip. Once that is sent, only an answer that says so
// means that nothing was committed. It returns what may be retried: a conflict, and what came before anything was
// sent.
func (c *commitStep) send(ctx context.Context) fault {
	t := c.t
	if !t.history.passive {
		if err := t.session().Check(ctx); err != nil {
			return fault{err: err, reach: wire.Unsent}
		}
	}
	statements := c.statements()
	var marker []wire.Extra
	if t.history.wrote && t.marks() {
		var err error
		if marker, err = t.place(ctx, true); err != nil {
			t.notCommitted(OutcomeFailed)
			c.told = err
			return fault{}
		}
	}
	t.shield.atRisk = marker == nil && !t.wroteNothing()
	if t.attempt.haunted {
		t.session().AnswerBy(ctx, time.Time{}) // the record has run: there is no lock to wait for, and the outcome matters
	}
	rt := t.session().NewRoundTrip(ctx, nil)
	rt.AddExtras(marker)
	rt.Control(statements)
	if reach, err := rt.Send(); err != nil && reach == wire.Unsent {
		return c.notSent(err)
	} else if err != nil {
		return c.unknown(err)
	}
	t.yieldLane()
	if err := rt.ReadExtras(marker); err != nil {
		return c.unmarked(rt.Fail(err))
	}
	return c.answered(&rt, statements)
}

// commitMet is the fault of a commit that was sent and met err.
func commitMet(err error) fault {
	return fault{err: err, reach: wire.InStatement, class: sqltext.Class{Commit: sqltext.CommitEnds}}
}

// unknown is for a commit of which err leaves open whether it was carried out. A marked one can be asked for, and one
// that has changed nothing can be repeated.
func (c *commitStep) unknown(err error) fault {
	if c.t.neverArrived(err) {
		return fault{err: err, reach: wire.Unsent}
	}
	if c.t.marking.sent != nil || c.t.wroteNothing() {
		return commitMet(err)
	}
	c.told = c.t.ambiguous(err)
	return fault{}
}

// unmarked is for a commit whose marker met err. If that is the server's answer, the commit after it was not carried
// out.
func (c *commitStep) unmarked(err error) fault {
	t := c.t
	if pgerr.Answer(err) == nil || t.session().Closed() {
		return c.unknown(err)
	}
	if t.isUnmarked(err) {
		return fault{err: err, reach: wire.InStatement, unmarked: true}
	}
	t.marking.sent = nil
	if pgerr.Conflict(err) != nil {
		return commitMet(err)
	}
	t.notCommitted(OutcomeFailed)
	c.told = fmt.Errorf("cockroachdb: the commit marker can't be placed in the table %s, and nothing was committed: %w", t.pool.marks.name, err)
	return fault{}
}

// notSent is for a commit of which nothing was sent: the context was done already. The application can't go on with it.
func (c *commitStep) notSent(err error) fault {
	if c.t.session().Closed() {
		return fault{err: err, reach: wire.Unsent}
	}
	c.told = c.t.fail(err)
	return fault{}
}

// answered reads the answers to RELEASE and COMMIT. RELEASE is the commit: whatever becomes of the COMMIT after it, it
// only ends the server's transaction block.
func (c *commitStep) answered(rt *wire.RoundTrip, statements []string) fault {
	t := c.t
	tag, err := rt.NextControl(statements[0])
	if err == nil && len(statements) > 1 {
		if tag.String() == sqlCommit {
			t.committed()
		}
		tag, err = rt.NextControl(sqlCommit)
	}
	finishErr := rt.Finish()
	if errors.Is(err, wire.ErrProtocol) {
		t.session().Die()
	}
	if t.state == stateCommitted {
		if t.session().Status() != wire.Idle {
			t.session().Die()
		}
		return fault{}
	}
	if err == nil {
		err = finishErr
	}
	conflict := pgerr.Conflict(err)
	if conflict != nil && pgerr.OutcomeOfCommit(conflict, !t.c.crdb) == pgerr.CommitConflict {
		return commitMet(conflict)
	}
	switch {
	case err != nil:
		return c.refused(err)
	case tag.String() == sqlRollback:
		t.notCommitted(OutcomeFailed)
		c.told = pgx.ErrTxCommitRollback
	case tag.String() != sqlCommit:
		t.session().Die()
		return c.unknown(wire.ErrProtocol)
	default:
		t.committed()
	}
	return fault{}
}

// refused is for the answer err to RELEASE, or to a COMMIT alone, which is no conflict that the connection survives.
func (c *commitStep) refused(err error) fault {
	t := c.t
	answer, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return c.unknown(err)
	}
	switch pgerr.OutcomeOfCommit(answer, !t.c.crdb) {
	case pgerr.CommitConflict: // that ends the connection
		c.told = t.connectionLost(fault{err: answer})
	case pgerr.CommitSchemaFailed:
		t.rollback() // which only ends the block
		t.committed()
		c.told = answer
	case pgerr.CommitRefused:
		t.notCommitted(OutcomeFailed)
		c.told = answer
	default:
		return c.unknown(err)
	}
	return fault{}
}

// commitDetached commits a transaction that was ended by something other than the driver. A schema change has left
// nothing to commit; after a RELEASE of the application's, COMMIT only ends the block; and what the application has
// ended and begun as text is its own to commit.
func (t *tx) commitDetached(ctx context.Context) error {
	idle := t.session().Status() == wire.Idle
	if idle && t.ending == endedByDDL {
		t.committed()
		return nil
	}
	reach, err := t.session().Control(ctx, sqlCommit)
	switch {
	case t.ending == endedByRelease:
		t.committed()
		return nil
	case err == nil, reach == wire.Unsent, t.neverArrived(err):
	case pgerr.IsConflict(err), !idle && commitIsUnknown(err, !t.c.crdb):
		return t.ambiguous(err)
	}
	return err
}

// end is the end of the transaction for the application, whatever the way.
func (t *tx) end() {
	if t.c.tx != t {
		return
	}
	t.c.tx = nil
	t.leaveLane()
	t.keepSets()
	if t.opening.sent {
		t.learnReads()
		t.account()
	}
	t.c.keepForNext(t.history.records)
	t.forget()
	if t.outcome == OutcomeCommitted && t.opening.begun {
		t.pool.throttle.committed()
	}
	if t.opening.sent {
		t.pool.metrics().transactionEnded(t.outcome, t.attempt.number, time.Since(t.attempt.started))
	}
	t.accountLocks()
	t.announceEnd(t.ctx, t.outcome, t.failure)
}
