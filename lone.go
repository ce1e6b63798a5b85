package cockroachdb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A statement outside a transaction is a transaction of one statement: it is recorded, retried and verified as any
// other, but nothing begins or commits it. The same tx and record serve one such statement of a connection after the
// other.

// newLone makes a statement outside a transaction a transaction of one statement. within is the sql.Tx that it was run
// in, if that has ended on the server.
func (c *conn) newLone(ctx context.Context, within *tx) (*tx, error) {
	t := &c.lone
	if t.rows != nil {
		return nil, wire.ErrBusy
	}
	policy := c.pool.policy
	if within != nil {
		policy = within.policy
	}
	policy, err := retryPolicyFrom(ctx, policy)
	if err != nil {
		return nil, err
	}
	records := t.history.records[:0]
	*t = tx{} // and then what differs from that: a literal would be made elsewhere and copied
	t.c, t.pool, t.ctx, t.policy, t.within = c, c.pool, ctx, policy, within
	t.history.records, t.attempt.number, t.attempt.started = records, 1, time.Now()
	// In a transaction that the application began as text a statement can't be run again.
	t.inText = c.session.Status() != wire.Idle
	t.history.passive = !policy.enabled() || t.inText
	return t, nil
}

// recordAlone puts a statement outside a transaction on record.
func (t *tx) recordAlone(s *wire.Statement) *record {
	t.history.passive = t.history.passive || s.Class.Once
	r := &t.c.loneRecord
	*r = record{}
	r.Statement = *s
	t.attempt.statements++
	t.history.add(r)
	return r
}

// reportAlone turns a fault that is not retried into what the application is told of a statement outside a transaction.
func (t *tx) reportAlone(f fault) error {
	t.leaveLane()
	closed := t.session().Closed()
	switch {
	case f.err == nil:
		return nil
	case pgerr.IsConflict(f.err) && (f.partly || t.isAfterCommit()):
		return &AmbiguousCommitError{err: errConflictAfterCommit}
	case f.refused:
		return t.refused(f)
	case closed && t.leavesOpen(f):
		return &AmbiguousCommitError{err: f.err, alone: true}
	case f.reach == wire.Unsent && (closed || t.ctx.Err() == nil) && !t.hasShown() && t.within == nil:
		return driver.ErrBadConn // database/sql tries another connection
	}
	return f.err
}

// isAfterCommit reports whether the statement runs in an sql.Tx of which something is committed already.
func (t *tx) isAfterCommit() bool { return t.within != nil && t.within.kept }

// refused is for a statement that is not committed and can't be any more, and that was not run again. If that is due to
// this connection's session, database/sql runs it on another one, unless the application has asked for this one.
func (t *tx) refused(f fault) error {
	if t.isAfterCommit() { // what was before it must not be run again with it
		return &AmbiguousCommitError{err: f.err, alone: true}
	}
	if pgerr.IsCancellation(f.err) {
		return f.err
	}
	_, cause := t.mayMove(f)
	if cause == CauseSession {
		f.err = fmt.Errorf("%w; %w", f.err, driver.ErrBadConn)
	}
	return &ConnectionLostError{Cause: cause, err: f.err}
}

// isStillToRun reports whether a statement outside a transaction, which may not be run twice and is not retried for no
// other reason, was not run at all.
func (t *tx) isStillToRun(f fault) bool {
	once := !t.explicit && t.history.passive && t.policy.enabled() && !t.inText && t.within == nil
	return once && f.refused && f.reach != wire.InStatement
}

// isLostWith reports whether err, met by a Parse, means that the connection is lost, or its node.
func isLostWith(s *wire.Session, err error) bool {
	return s.Closed() && pgerr.Answer(err) == nil || pgerr.EndsNode(err, s.Closed())
}

// leavesOpen reports whether f, with which the connection has ended, has left open what is committed: by the statement,
// or by a schema change before it.
func (t *tx) leavesOpen(f fault) bool {
	if t.isAfterCommit() && t.within.ending == endedByDDL {
		return true
	}
	lost := pgerr.Answer(f.err) == nil || pgerr.EndsNode(f.err, true)
	ownDoing := pgerr.IsCancellation(f.err) && t.within == nil
	return lost && f.reach == wire.InStatement && !f.class.EndsWithSession() && !t.inText && !ownDoing
}

// hasShown reports whether the application has seen something of the statement's answer.
func (t *tx) hasShown() bool { return len(t.history.records) > 0 && t.history.records[0].shown }

// readsAlone reports whether the statement writes nothing, or none was run.
func (t *tx) readsAlone() bool {
	return len(t.history.records) == 0 || t.history.records[0].Class.Reads
}

// nothingToLose has a reader outside a transaction leave the lane once it reads its rows, which may take an hour.
func (t *tx) nothingToLose() {
	if !t.explicit {
		t.leaveLane()
	}
}

// endAlone ends a statement outside a transaction, of which the application is told err.
func (t *tx) endAlone(ctx context.Context, err error) {
	t.leaveLane()
	if err == nil && t.attempt.conflict != nil {
		t.pool.throttle.committed()
	}
	outcome := OutcomeCommitted
	if err != nil {
		outcome = outcomeOf(err)
	}
	if t.within != nil && (err == nil || outcome == OutcomeAmbiguous) && !t.readsAlone() {
		t.within.keeps()
	}
	t.announceEnd(ctx, outcome, err)
}
