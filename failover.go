package cockroachdb

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/internal/fleet"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A failover is a restart on another connection: the session behind the conn is replaced by a new one, preferably to
// another node, which is told what the application has set; the record is replayed and compared as ever.

// hasLost reports whether f means that the connection is lost, and that nobody wanted that.
func (t *tx) hasLost(ctx context.Context, f fault) bool {
	switch {
	case ctx.Err() != nil, t.ctx.Err() != nil, pgerr.IsCancellation(f.err):
		return false
	case f.refused:
		return true
	case errors.Is(f.err, wire.ErrProtocol), wire.IsChanged(f.err):
		return false
	case pgerr.Answer(f.err) == nil:
		return t.session().Closed() || f.reach != wire.Unsent
	}
	closed := t.session().Closed()
	return pgerr.EndsNode(f.err, closed) || t.explicit && closed && pgerr.IsOfStatement(f.err)
}

// mayMove reports whether a transaction that has lost its connection with f may go on, on another one; and why not,
// where that is its own doing.
func (t *tx) mayMove(f fault) (bool, Cause) {
	switch {
	case t.state > stateRestarting, t.isAfterCommit(), t.policy.MaxFailovers == 0:
		return false, ""
	case t.mayHaveCommitted(f):
		return false, ""
	case !t.canRunAgain(f):
		return false, t.loop.cause()
	case !t.explicit && f.refused && t.hasShown() && !f.class.EndsWithSession():
		return false, ""
	case !t.explicit && !f.refused && (f.reach != wire.InStatement || !f.class.EndsWithSession()):
		return false, ""
	case t.history.cause != "":
		return false, t.history.cause
	case t.c.journal.pinned:
		return false, CauseSession
	}
	return true, ""
}

// canRunAgain reports whether what was run can be run again, or only what met f, which was not run, has to be.
func (t *tx) canRunAgain(f fault) bool {
	return !t.history.passive || t.standsAtLoop(&f.class) || t.isStillToRun(f)
}

// mayHaveCommitted reports whether the statement that met f may have committed.
func (t *tx) mayHaveCommitted(f fault) bool {
	return f.reach == wire.InStatement && f.class.Commit != sqltext.NoCommit && !t.lostBeforeCommit(f)
}

// canMove reports whether t may go on, on another connection, although its own is closed. Nothing is under way.
func (t *tx) canMove() bool {
	may, _ := t.mayMove(fault{})
	return may && t.explicit
}

// cantMove is for a transaction that has lost its connection with f, and can't go on, on another one. It returns what
// the application is told.
func (t *tx) cantMove(f fault, at site) error {
	_, cause := t.mayMove(f)
	if t.leavesToLoop(f, at) {
		may, why := t.mayMove(fault{class: goingBack})
		if may {
			return t.tellLoop(f)
		}
		cause = why
	}
	if cause == "" {
		return t.report(f)
	}
	t.session().Die()
	t.pool.metrics().failedOver(failoverRefused, 0)
	return t.stranded(f, cause, nil)
}

// failOver replaces the connection and sets the opening. It returns what the application is told if it can't.
func (t *tx) failOver(ctx context.Context, f fault, at site) error {
	t.session().Die()
	t.c.member.Lost()
	if pgerr.IsTimeout(f.err) { // pgconn has asked it to cancel what it may still be doing, with its locks held
		t.attempt.haunted = t.explicit
		t.pool.metrics().sessionAbandoned()
	}
	if may, _ := t.mayMove(f); !may {
		return t.cantMove(f, at)
	}
	t.restarts()
	return t.move(ctx, f, at)
}

// move replaces the connection that was lost with f, and sets the opening. It returns what the application is told if
// it can't.
func (t *tx) move(ctx context.Context, f fault, at site) error {
	if t.history.passive && t.explicit { // nothing is replayed that would set it again
		t.goesBack()
	}
	began := time.Now()
	err := t.reconnect(ctx, t.noteLoss(f))
	took := time.Since(began)
	if err != nil {
		if err := cmp.Or(ctx.Err(), t.ctx.Err()); err != nil {
			return t.report(fault{err: err, reach: wire.Unsent})
		}
		t.pool.metrics().failedOver(failoverFailed, took)
		return t.stranded(f, "", err)
	}
	t.pool.metrics().failedOver(failoverDone, took)
	t.attempt.waited += took
	t.newAttempt(ctx, ReasonConnection, at, took, f.err)
	t.openFresh(false)
	return nil
}

// noteLoss counts the connection that was lost with f, and returns for how long to wait before another is dialled. A
// pooler that says at once that it has no server has lost nothing; it is given more time with each try.
func (t *tx) noteLoss(f fault) (pause time.Duration) {
	if !pgerr.RefusesAtOnce(f.err) {
		t.attempt.losses++
		return 0
	}
	t.attempt.turnedAway++
	return t.policy.redialAfter(t.attempt.turnedAway)
}

// reconnect replaces the session after a pause, within the bounds of the policy.
func (t *tx) reconnect(ctx context.Context, pause time.Duration) error {
	if n, most := t.attempt.losses, t.policy.MaxFailovers; n > most {
		return fmt.Errorf("it has lost %d connections, and RetryPolicy.MaxFailovers is %d", n, most)
	}
	if bound := t.spent(); bound != "" {
		return fmt.Errorf("the bound %q of its policy is reached", bound)
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeLeft())
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	if err := sleep(ctx, ctx, pause); err != nil {
		return err
	}
	return t.c.replace(ctx, t.policy, t.unset)
}

// stranded ends a transaction whose connection is lost and that can't go on, on another one, because of cause or of
// err.
func (t *tx) stranded(f fault, cause Cause, err error) error {
	lost := &ConnectionLostError{Cause: cause, err: lostAfter(t.unsolved(), f.err)}
	if err != nil {
		lost.err, lost.because = errors.Join(lost.err, err), err
	}
	switch {
	case t.explicit:
		return t.close(OutcomeConnectionLost, lost)
	case f.refused && err != nil:
		t.leaveLane()
		return lost
	case cause == CauseSession && !t.hasShown(): // it only reads, or was refused
		f.refused = true
	}
	return t.reportAlone(f)
}

// revive replaces the session that is lost, and on which nothing is under way. It is for an sql.Conn: a connection of
// the pool's is not used again after that.
func (c *conn) revive(ctx context.Context) error {
	policy, err := retryPolicyFrom(ctx, c.pool.policy)
	if err != nil {
		return err
	}
	switch {
	case !policy.enabled(), policy.MaxFailovers == 0, c.lone.rows != nil:
		return driver.ErrBadConn
	case c.journal.pinned:
		return &ConnectionLostError{Cause: CauseSession, err: fmt.Errorf("%w; %w", wire.ErrClosed, driver.ErrBadConn)}
	}
	c.member.Closed()
	began := time.Now()
	trying, cancel := context.WithTimeout(ctx, policy.MaxElapsed)
	defer cancel()
	err = c.replace(trying, policy, nil)
	if err == nil {
		c.pool.metrics().failedOver(failoverDone, time.Since(began))
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.pool.metrics().failedOver(failoverFailed, time.Since(began))
	lost := &ConnectionLostError{err: errors.Join(wire.ErrClosed, err), because: err}
	if isHopeless(err) { // else the sql.Conn stays open for the next try
		lost.err = errors.Join(lost.err, driver.ErrBadConn)
	}
	return lost
}

// replace replaces the session by a new one that is told what the application had set. It tries until ctx is done,
// unless that is hopeless.
func (c *conn) replace(ctx context.Context, policy RetryPolicy, unset []string) error {
	err, before := keepTrying(ctx, func() error { return c.replaceOnce(ctx, unset) }, func(n int, err error) bool {
		return !isHopeless(err) && sleep(ctx, ctx, policy.redialAfter(n)) == nil
	})
	return cmp.Or(before, err)
}

func (c *conn) replaceOnce(ctx context.Context, unset []string) error {
	l, err := c.pool.connect(ctx, c.host)
	if err != nil {
		return err
	}
	if err := c.restore(ctx, l.Session, unset); err != nil {
		l.hangUp(ctx)
		return err
	}
	l.Inherit(c.session)
	c.use(l)
	return nil
}

// isHopeless reports whether it would be in vain to dial again after err: the server is there and does not want us, or
// the session is not the same.
func isHopeless(err error) bool {
	if other, ok := errors.AsType[*otherSessionError](err); ok {
		return other.err == nil || pgerr.RefusesSetting(other.err)
	}
	return failureOf(err) == fleet.Rejected
}

// otherSessionError says that a new session is not as the lost one was.
type otherSessionError struct {
	parameter string
	err       error
}

func (e *otherSessionError) Error() string {
	if e.err != nil {
		return fmt.Sprintf("the new session could not be given the settings of the lost one: %v", e.err)
	}
	return fmt.Sprintf("the new session has another %s than the lost one", e.parameter)
}

func (e *otherSessionError) Unwrap() error { return e.err }

// restore makes the new session s like the lost one, before a transaction that has set something.
func (c *conn) restore(ctx context.Context, s *wire.Session, unset []string) error {
	if err := c.pool.reset(ctx, s); err != nil {
		return err
	}
	if len(c.journal.sets) > 0 {
		if err := s.PG.Exec(ctx, strings.Join(c.journal.sets, "\n;\n")).Close(); err != nil {
			if pgerr.IsConnectionLost(err) || pgerr.EndsNode(err, s.Closed()) {
				return err
			}
			return &otherSessionError{err: err}
		}
	}
	if name := otherParameter(c.session, s, unset); name != "" {
		return &otherSessionError{parameter: name}
	}
	return nil
}
