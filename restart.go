package cockroachdb

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// How a new attempt begins, in the words of docs/design.md:
//
//	savepoint  ROLLBACK TO SAVEPOINT cockroach_restart: there is a place in the lane, on CockroachDB
//	begin      ROLLBACK, BEGIN: there is one, on PostgreSQL; or the driver had to wait, which it never does with locks held
//
// What a new attempt begins with is put into tx.opening and goes out together with the replay. A third way, reconnect, would
// put BEGIN there after having replaced the connection; lose is where it would start from.

// restart absorbs a conflict: it begins a new attempt and replays the record, again after each further conflict. live is the
// statement that is being read; its answer comes back positioned after the rows that the application has seen. An error is
// the application's to see: an outcome of this package, or what the live statement answers in the new attempt.
func (t *tx) restart(ctx context.Context, conflict error, at strike, live *record) (answer, error) {
	for {
		if live != nil && t.lostInCommit(live.sql) {
			return answer{}, t.ambiguous(errLostInCommit)
		}
		if err := t.nextAttempt(ctx, conflict, at); err != nil {
			t.leaveLane() // it will not retry, whenever the application gets round to rolling back
			if t.state != txLost {
				t.give(txConflict, outcomeOf(err), err)
			}
			return answer{}, err
		}
		a, err := t.rerun(ctx, live)
		err = t.lostBegin(err)
		switch {
		case conflictOf(err) == nil:
			return a, t.outcomeOfReplay(err, conflict)
		case t.endedUnasked() && (live == nil || !isCommit(live.sql)):
			return answer{}, t.ambiguous(errEndedInReplay)
		}
		conflict, at = err, strike{placeStatement, t.comparing}
	}
}

// lostInCommit says whether a statement may have committed what was open before it lost, and has taken the connection with it.
func (t *tx) lostInCommit(sql string) bool {
	return t.explicit && t.c.pg.IsClosed() && sql != "" && mayCommit(sql) && !isCommit(sql)
}

// rerun replays the record behind the opening. It begins again, though there was no conflict, where the opening was refused and
// another one is in its place, and where a prepared statement is no longer good and goes as text from now on.
func (t *tx) rerun(ctx context.Context, live *record) (answer, error) {
	for {
		a, err := t.replay(ctx, live)
		_, refused := asOpening(err)
		switch {
		case refused && t.opening != nil:
		case errors.Is(err, errStaleInReplay):
			t.opening = t.atOnce()
		default:
			return a, err
		}
	}
}

// errLostInCommit stands for a conflict, by whose SQLSTATE somebody might run the transaction again.
var errLostInCommit = errors.New("cockroachdb: a statement lost a conflict after it had, or may have, committed what was open")

// outcomeOfReplay gives a divergence its conflict, and the application the divergence.
func (t *tx) outcomeOfReplay(err, conflict error) error {
	if cause, unsent := asUnsent(err); unsent && t.explicit && !t.c.pg.IsClosed() {
		// The rest of the replay was not sent: the server's transaction is not the application's any more.
		t.give(txConflict, outcomeOf(cause), cause)
		return cause
	}
	diverged, ok := err.(*DivergenceError) //nolint:errorlint // made by replay
	if !ok {
		return err
	}
	if diverged.committed || t.endedUnasked() {
		return t.ambiguous(errEndedInReplay)
	}
	diverged.err, diverged.Attempts = conflict, t.attempts
	t.c.connector.metrics.diverged(diverged.Kind)
	t.give(txConflict, outcomeDiverged, diverged)
	return diverged
}

// nextAttempt begins another attempt, if there is to be one.
func (t *tx) nextAttempt(ctx context.Context, conflict error, at strike) error {
	before := t.waited
	if err := t.takeTurn(ctx, conflict, at); err != nil {
		return err
	}
	t.newAttempt(ctx, t.reason, at, t.waited-before, conflict)
	return nil
}

// takeTurn decides whether there is to be another attempt, waits if it must, and sets the opening.
func (t *tx) takeTurn(ctx context.Context, conflict error, at strike) error {
	defer t.pass.lost() // behind the wait: it belongs to what the conflict has cost
	t.conflict, t.reason, t.struck = conflict, reasonOf(conflict), at
	if t.cause != "" {
		return &NotReplayableError{Cause: string(t.cause), err: conflict}
	}
	if bound := t.spent(); bound != "" {
		return t.exhausted(bound)
	}
	if err := firstErr(ctx, t.ctx); err != nil {
		return err
	}
	return t.queue(ctx)
}

// spent says which bound is reached; "" if none.
func (t *tx) spent() Bound {
	switch {
	case t.attempts >= t.policy.MaxAttempts:
		return BoundAttempts
	case t.timeLeft() <= 0:
		return BoundElapsed
	case !t.c.connector.throttle.take():
		t.c.connector.metrics.retryThrottled()
		return BoundThrottle
	}
	return ""
}

// timeLeft is for how much longer a new attempt may begin.
func (t *tx) timeLeft() time.Duration { return t.policy.MaxElapsed - time.Since(t.started) }

func (t *tx) exhausted(bound Bound) error {
	return &RetriesExhaustedError{Attempts: t.attempts, Elapsed: time.Since(t.started), Bound: bound, err: t.conflict}
}

// queue comes back when it is this transaction's turn to retry, with the opening set. Only a few transactions of a connector
// retry at a time, in the lane: retriers mostly fight each other. It never waits with locks held, nor for longer than there is
// time for a new attempt.
func (t *tx) queue(ctx context.Context) error {
	if t.pass.holds() {
		return t.backOff(ctx)
	}
	if t.pass = t.c.connector.lane.tryEnter(); t.pass != nil {
		t.opening = t.atOnce()
		return nil
	}
	return t.waitForLane(ctx)
}

// backOff is for the transaction in the lane when it loses again, to one that does not retry.
func (t *tx) backOff(ctx context.Context) error {
	if err := t.stepBack(ctx); err != nil {
		return err
	}
	t.waits++
	wait := t.policy.backoff(t.waits, rand.Float64)
	if wait >= t.timeLeft() {
		return t.exhausted(BoundElapsed)
	}
	began := time.Now()
	err := sleep(ctx, t.ctx, wait)
	t.waited += time.Since(began)
	t.c.connector.metrics.waited(time.Since(began))
	t.opening = t.beginning(t.urgent())
	return err
}

func (t *tx) waitForLane(ctx context.Context) error {
	if err := t.stepBack(ctx); err != nil {
		return err
	}
	metrics, came := t.c.connector.metrics, time.Now()
	metrics.laneWaiting(1)
	var err error
	t.pass, err = t.c.connector.lane.enter(ctx, t.ctx, min(t.policy.LaneWait, t.timeLeft()))
	metrics.laneWaiting(-1)
	t.waited += time.Since(came)
	metrics.waitedForLane(time.Since(came))
	if err == nil && t.timeLeft() <= 0 {
		return t.exhausted(BoundElapsed)
	}
	t.opening = t.beginning(t.urgent())
	return err
}

// urgent reports whether the next attempt should have PRIORITY HIGH: the transaction is in the lane, and another one has aborted
// it, as in a deadlock. To those that have lost otherwise it brings nothing, and it aborts others.
func (t *tx) urgent() bool { return t.reason == reasonAborted && t.pass.holds() }

// stepBack gives up the locks before a wait.
func (t *tx) stepBack(ctx context.Context) error {
	if !t.explicit || t.c.pg.TxStatus() == statusIdle {
		return nil
	}
	sent := time.Now()
	if _, err := t.c.control(ctx, sqlRollback); err != nil {
		if err, unsent := asUnsent(err); unsent && !t.c.pg.IsClosed() {
			return err
		}
		return t.lose(err, "")
	}
	t.c.connector.lane.tripTook(time.Since(sent))
	return nil
}

// atOnce is the opening where there is nothing to wait for: it keeps the locks, and the place in line, if it can.
func (t *tx) atOnce() []string {
	if t.savepoint && t.c.pg.TxStatus() != statusIdle {
		return openingRollbackTo
	}
	return t.beginning(false)
}

var (
	openingRollbackTo    = []string{sqlRollbackTo}
	openingWithSavepoint = []string{"BEGIN", sqlSavepoint}
	openingWithPriority  = []string{"BEGIN PRIORITY HIGH", sqlSavepoint}
	openingPlain         = []string{"BEGIN"}
	openingRollbackPlain = []string{sqlRollback, "BEGIN"}
)

// beginning is the opening that begins a server transaction, with PRIORITY HIGH where that is wanted and can be had: it spares
// the one transaction in the lane the detection of deadlocks, but rules out DDL.
func (t *tx) beginning(high bool) []string {
	if !t.explicit {
		return nil
	}
	t.priority = high && t.c.crdb && !t.normal && !t.history.hasDDL()
	idle := t.c.pg.TxStatus() == statusIdle || !t.begun
	if t.begin == "BEGIN" { // spare the ordinary case its allocations
		switch {
		case t.savepoint && t.priority && idle:
			return openingWithPriority
		case t.savepoint && !t.priority && idle:
			return openingWithSavepoint
		case !t.savepoint && !t.priority && idle:
			return openingPlain
		case !t.savepoint && !t.priority && !idle:
			return openingRollbackPlain
		}
	}
	var opening []string
	if !idle {
		opening = append(opening, sqlRollback)
	}
	begin := t.begin
	if t.priority {
		begin += " PRIORITY HIGH"
	}
	opening = append(opening, begin)
	if t.savepoint {
		opening = append(opening, sqlSavepoint)
	}
	return opening
}

// mustLowerPriority says whether a statement was refused for the driver's own PRIORITY HIGH: DDL is.
func (t *tx) mustLowerPriority(err error) bool {
	pgErr, ok := err.(*pgconn.PgError) //nolint:errorlint // the server's own answer
	return ok && pgErr.Code == codeFeatureNotSupported && t.priority && !t.normal && t.restartable() && !t.endedUnasked()
}

// restartable says whether the record is complete.
func (t *tx) restartable() bool {
	return t.state == txLive && !t.aside && t.cause == ""
}

// renew prepares a statement again that the server has lost or outgrown, and runs it. Inside a transaction what ran before it
// has to run again too.
func (t *tx) renew(ctx context.Context, r *record, stale error) (answer, error) {
	t.unrecord(r)
	t.newAttempt(ctx, reasonStalePlan, strike{placeStatement, t.ran + 1}, 0, stale)
	if t.explicit {
		t.opening = t.atOnce()
		_, err := t.rerun(ctx, nil)
		if t.absorbs(err) {
			_, err = t.restart(ctx, err, strike{placeStatement, t.comparing}, nil)
		} else {
			err = t.outcomeOfReplay(err, stale)
		}
		if err != nil {
			return answer{}, err
		}
	}
	p, err := t.c.prepareAnew(ctx, t, &r.statement)
	if err != nil {
		return answer{}, err
	}
	if !slices.Equal(p.desc.ParamOIDs, r.paramOIDs) {
		// The arguments are encoded for other types. To the application the transaction has failed, though the server's
		// was begun again.
		if t.explicit {
			t.give(txConflict, outcomeFailed, stale)
		}
		return answer{}, stale
	}
	r.prepared, r.shape, r.resultFormats = p, p.shape, p.resultFormats
	t.put(r) // with the shape by which its size is counted
	for {
		a, sent, err := t.c.send(ctx, t.opening, &r.statement)
		if !t.opened(sent, err) {
			return a, err
		}
	}
}

func outcomeOf(err error) outcome {
	switch err.(type) { //nolint:errorlint // made right here
	case *NotReplayableError:
		return outcomeNotReplayable
	case *RetriesExhaustedError:
		return outcomeExhausted
	case *DivergenceError:
		return outcomeDiverged
	case *AmbiguousCommitError:
		return outcomeAmbiguous
	}
	switch {
	case isCancellation(err):
		return outcomeCancelled
	case connectionLost(err):
		return outcomeConnectionLost
	}
	return outcomeFailed
}
