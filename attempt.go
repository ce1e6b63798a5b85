package cockroachdb

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/reprise-go/cockroachdb/internal/chance"
	"github.com/reprise-go/cockroachdb/internal/lane"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// attempt is where a transaction stands in its attempts.
type attempt struct {
	number     int       // of the attempt, from 1
	started    time.Time // with the first statement of the first attempt
	statements int       // how many the application has run, or only prepared; each use of Raw is one
	prepared   int       // how many of them it has only prepared
	replayed   int       // the number of the statement that a replay has come to
	replaying  bool      // a replay is under way
	pinned     bool      // the latest replay has pinned something
	losses     int       // how many connections were lost
	turnedAway int       // how often a pooler had no server
	haunted    bool      // a silent server was left, which may still hold locks
	owesCall   bool      // RunTx is to call its function again at once

	why      error  // what made the latest attempt necessary: a conflict, or a statement that was out of date
	conflict error  // the latest conflict
	reason   Reason // why the attempt before the latest came to nothing,
	site     site   // and where

	pass   *lane.Pass // its place in the retry lane
	yields int        // how often it has yielded that
	waits  int        // in the lane
	waited time.Duration
}

// site is where an attempt came to nothing.
type site struct {
	at        Place
	statement int      // its number, from 1; 0 if it was none of the transaction's
	over      []string // what it has lost a conflict over; see [tx.lostOver]
}

// atStatement is the site of the n-th statement.
func atStatement(n int) site { return site{at: PlaceStatement, statement: n} }

// start notes when the transaction began to do something.
func (a *attempt) start() {
	if a.started.IsZero() {
		a.started = time.Now()
	}
}

// lost notes the conflict that an attempt has lost.
func (a *attempt) lost(conflict error, at site) {
	a.conflict, a.reason, a.site = conflict, reasonOf(conflict), at
}

// unsolved returns the conflict that the transaction is restarting for, or nil.
func (t *tx) unsolved() error {
	if t.state == stateRestarting {
		return t.attempt.conflict
	}
	return nil
}

// nextAttempt begins another attempt after a conflict, if there is to be one, and announces it.
func (t *tx) nextAttempt(ctx context.Context, conflict error, at site) error {
	before := t.attempt.waited
	if err := t.takeTurn(ctx, conflict, at); err != nil {
		return err
	}
	t.newAttempt(ctx, t.attempt.reason, at, t.attempt.waited-before, conflict)
	return nil
}

// newAttempt counts an attempt and announces it, when all that it had to wait for is over.
func (t *tx) newAttempt(ctx context.Context, reason Reason, at site, wait time.Duration, err error) {
	t.attempt.number++
	t.attempt.why, t.attempt.reason, t.attempt.site = err, reason, at
	t.pool.metrics().retried(reason, at.at)
	t.announceRetry(ctx, wait, err)
}

// takeTurn decides whether there is to be another attempt, waits if it must, and sets the opening.
func (t *tx) takeTurn(ctx context.Context, conflict error, at site) error {
	t.pool.calm.disturbed()
	t.attempt.lost(conflict, at)
	if cause := t.history.cause; cause != "" {
		return &NotReplayableError{Cause: cause, err: conflict}
	}
	if bound := t.spent(); bound != "" {
		return t.exhausted(bound)
	}
	if err := cmp.Or(ctx.Err(), t.ctx.Err()); err != nil {
		return err
	}
	return t.queue(ctx)
}

// spent returns the bound that is reached; "" if none is.
func (t *tx) spent() Bound {
	switch {
	case t.attempt.number >= t.policy.MaxAttempts, t.onStandby() && t.attempt.number >= maxStandbyAttempts:
		return BoundAttempts
	case t.timeLeft() <= 0:
		return BoundElapsed
	case !t.pool.throttle.take():
		t.pool.metrics().retryThrottled()
		return BoundThrottle
	}
	return ""
}

// maxStandbyAttempts bounds the attempts on a hot standby. There a conflict is with recovery and not with another
// transaction, and a transaction that reads for as long would only meet it again.
const maxStandbyAttempts = 3

func (t *tx) onStandby() bool { return t.session().PG.ParameterStatus("in_hot_standby") == "on" }

// timeLeft is for how much longer a new attempt may begin.
func (t *tx) timeLeft() time.Duration { return t.policy.MaxElapsed - time.Since(t.attempt.started) }

func (t *tx) exhausted(bound Bound) error {
	return &RetriesExhaustedError{
		Attempts: t.attempt.number, Elapsed: time.Since(t.attempt.started), Bound: bound, err: t.attempt.conflict,
	}
}

// queue returns when it is this transaction's turn to retry, with the opening set. Those that have lost over the same
// thing take turns, in the lane: they would mostly fight each other. It never waits with locks held, nor for longer
// than there is time for a new attempt.
func (t *tx) queue(ctx context.Context) error {
	over, before := t.attempt.site.over, t.attempt.pass
	if before.Holds() && before.IsOver(over) {
		if t.attempt.number == 1 { // it has its turn from the start, and loses for the first time
			t.openInLane()
			return nil
		}
		return t.backOff(ctx)
	}
	before.Leave() // its turn was over something else
	if t.attempt.pass = t.pool.lane.TryEnter(over...); t.attempt.pass != nil {
		t.openInLane()
		return nil
	}
	return t.waitForLane(ctx, over, before)
}

// openInLane opens the attempt of a transaction that has found a place in the lane at once. One that was aborted has no
// locks left to keep.
func (t *tx) openInLane() {
	if t.isUrgent() {
		t.openFresh(true)
		return
	}
	t.openAtOnce()
}

// backOff is for the transaction in the lane when it loses again, to one that does not retry.
func (t *tx) backOff(ctx context.Context) error {
	if err := t.giveUpLocks(ctx); err != nil {
		return err
	}
	t.attempt.waits++
	wait := t.policy.backoff(t.attempt.waits, chance.Float64)
	if wait >= t.timeLeft() {
		return t.exhausted(BoundElapsed)
	}
	began := time.Now()
	err := sleep(ctx, t.ctx, wait)
	t.attempt.waited += time.Since(began)
	t.pool.metrics().waited(time.Since(began))
	t.openFresh(t.isUrgent())
	return err
}

// waitForLane waits for a place in the lane among those that have lost over the same thing. before is the pass that the
// transaction has had so far.
func (t *tx) waitForLane(ctx context.Context, over []string, before *lane.Pass) error {
	if err := t.giveUpLocks(ctx); err != nil {
		return err
	}
	err := t.enterLane(ctx, before, over...)
	if err == nil && t.timeLeft() <= 0 {
		return t.exhausted(BoundElapsed)
	}
	t.openFresh(t.isUrgent())
	return err
}

// enterLane waits for a place in the lane, and goes without one after LaneWait. An error is a context's.
func (t *tx) enterLane(ctx context.Context, before *lane.Pass, over ...string) (err error) {
	metrics, came := t.pool.metrics(), time.Now()
	t.pool.contested.note(over)
	metrics.laneWaiting(1)
	t.attempt.pass, err = t.pool.lane.Enter(ctx, t.ctx, min(t.policy.LaneWait, t.timeLeft()), before, over...)
	metrics.laneWaiting(-1)
	t.pool.contested.note(over)
	t.attempt.waited += time.Since(came)
	metrics.waitedForLane(time.Since(came))
	return err
}

// isUrgent reports whether the next attempt should have PRIORITY HIGH: the transaction is in the lane, and another one
// has aborted it, as in a deadlock. To a transaction that lost otherwise it brings nothing, and it aborts others.
//
// Nor is one urgent that has shown rows, and can't have its function called again: the transactions it would abort are
// mostly like it, and hear of that as a divergence.
func (t *tx) isUrgent() bool {
	return t.attempt.reason == ReasonAborted && t.attempt.pass.Holds() && (t.runner != nil || !t.mayDiverge())
}

// mayDiverge reports whether the application was shown rows, or that there are none, which nothing keeps from being
// others in a replay.
func (t *tx) mayDiverge() bool {
	pins := t.mayPin()
	return slices.ContainsFunc(t.history.records, func(r *record) bool {
		return r.hasShownRows() && (!pins || !r.mayBePinned())
	})
}

// giveUpLocks rolls back before a wait. An error is what the application is told.
func (t *tx) giveUpLocks(ctx context.Context) error {
	if !t.explicit || t.session().Status() == wire.Idle {
		return nil
	}
	if reach, err := t.session().Control(ctx, sqlRollback); err != nil {
		f := fault{err: err, reach: reach}
		lost := t.hasLost(ctx, f)
		switch {
		case lost && !t.canMove():
			return t.cantMove(f, t.attempt.site)
		case lost:
			t.session().Die() // the locks go with it, and the next message finds that out
		case t.session().Status() != wire.Idle || t.session().Closed(): // else they are given up, whatever it says
			return t.report(f)
		}
	}
	return nil
}

// mostYields bounds how often a transaction yields its place in the lane: a commit that was lost may have been so to
// the one that came in.
const mostYields = 2

// yieldLane lets the next into the lane while the commit is under way. On CockroachDB that one waits for the commit
// where it reads or writes the same; on PostgreSQL it would have a snapshot from before it, and lose.
//
// One of PRIORITY HIGH keeps its place: the more of them run, those of other pools included, the more they abort.
func (t *tx) yieldLane() {
	if t.c.crdb && !t.opening.high && t.attempt.yields < mostYields && t.attempt.pass.Yield() {
		t.attempt.yields++
	}
}

func (t *tx) leaveLane() {
	t.attempt.pass.Leave()
	t.attempt.pass = nil
}

// canRetry reports whether f is a conflict that is the driver's to deal with, when s has met it.
func (t *tx) canRetry(s step, f fault) bool {
	switch {
	case pgerr.Conflict(f.err) == nil, t.history.passive, t.session().Closed(), t.state > stateRestarting:
		return false
	case !t.explicit:
		return s.mayRunAgainAlone()
	case t.phase() == phaseEnded:
		return t.lostBeforeCommit(f)
	}
	return true
}

// lostBeforeCommit reports whether f is a conflict of what was to commit, by which nothing was committed.
func (t *tx) lostBeforeCommit(f fault) bool {
	return pgerr.Conflict(f.err) != nil && !f.earlier && (f.class.Commits() || t.isFirstDDL(f))
}

// isFirstDDL reports whether f was met by a schema change before which the transaction has done nothing. Where the
// server commits what is open before a schema change, there was nothing to commit.
func (t *tx) isFirstDDL(f fault) bool {
	return f.class.DDL && !f.class.Several && t.runBefore(f) == 0
}

// runBefore returns how many statements of the transaction were run before the one that met f.
func (t *tx) runBefore(f fault) int {
	if f.parsing {
		return t.attempt.ran()
	}
	return max(t.attempt.ran()-1, 0)
}

// ran returns how many statements the application has run.
func (a *attempt) ran() int { return a.statements - a.prepared }
