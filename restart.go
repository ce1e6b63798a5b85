package cockroachdb

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// How a new attempt begins, in the words of docs/design.md:
//
//	savepoint  ROLLBACK TO SAVEPOINT cockroach_restart: the lane is free, on CockroachDB
//	begin      ROLLBACK, BEGIN: the lane is free on PostgreSQL; or the driver had to wait, which it never does with locks held
//
// What a new attempt begins with is put into tx.opening and goes out together with the replay. A third way, reconnect, would
// put BEGIN there after having replaced the connection; lose is where it would start from.

// restart absorbs a conflict: it begins a new attempt and replays the record, again after each further conflict. live is the
// statement that is being read; its answer comes back positioned after the rows that the application has seen. An error is
// the application's to see: an outcome of this package, or what the live statement answers in the new attempt.
func (t *tx) restart(ctx context.Context, conflict error, at place, live *record) (answer, error) {
	for {
		t.lost = conflict
		if err := t.nextAttempt(ctx, conflict, at); err != nil {
			if t.state != txLost {
				t.give(txConflict, outcomeOf(err), err)
			}
			return answer{}, err
		}
		a, err := t.rerun(ctx, live)
		if conflictOf(err) != nil {
			conflict, at = err, placeStatement
		} else if !errors.Is(err, errStaleInReplay) {
			return a, t.outcomeOfReplay(err, conflict)
		}
	}
}

// rerun replays the record, once, behind the opening.
func (t *tx) rerun(ctx context.Context, live *record) (answer, error) {
	a, err := t.replay(ctx, live)
	var failed *openingError
	if errors.As(err, &failed) && t.opening != nil {
		return t.replay(ctx, live)
	}
	return a, err
}

// rerunFor is rerun for another reason than a conflict. cause is what a divergence then unwraps to.
func (t *tx) rerunFor(ctx context.Context, cause error, live *record) (answer, error) {
	for {
		a, err := t.rerun(ctx, live)
		if !errors.Is(err, errStaleInReplay) {
			return a, t.outcomeOfReplay(err, cause)
		}
		t.opening = t.atOnce()
	}
}

// outcomeOfReplay gives a divergence its conflict, and the application the divergence.
func (t *tx) outcomeOfReplay(err, conflict error) error {
	diverged, ok := err.(*DivergenceError) //nolint:errorlint // made by replay
	if !ok {
		return err
	}
	diverged.err, diverged.Attempts = conflict, t.attempts
	t.c.connector.metrics.diverged(diverged.Kind)
	t.give(txConflict, outcomeDiverged, diverged)
	return diverged
}

// nextAttempt decides whether there is to be another attempt, waits if it must, and sets the opening.
func (t *tx) nextAttempt(ctx context.Context, conflict error, at place) error {
	if err := t.countAttempt(ctx, conflict, at); err != nil {
		return err
	}
	return t.queue(ctx)
}

// countAttempt decides whether there is to be another attempt.
func (t *tx) countAttempt(ctx context.Context, conflict error, at place) error {
	if t.cause != "" {
		return &NotReplayableError{Cause: string(t.cause), err: conflict}
	}
	if bound := t.spent(); bound != "" {
		return &RetriesExhaustedError{Attempts: t.attempts, Elapsed: time.Since(t.started), Bound: bound, err: conflict}
	}
	t.attempts++
	t.c.connector.metrics.retried(reasonOf(conflict), at)
	return cmp.Or(ctx.Err(), t.ctx.Err())
}

// spent says which bound is reached; "" if none.
func (t *tx) spent() Bound {
	switch {
	case t.attempts >= t.policy.MaxAttempts:
		return BoundAttempts
	case time.Since(t.started) >= t.policy.MaxElapsed:
		return BoundElapsed
	case !t.c.connector.throttle.take():
		return BoundThrottle
	}
	return ""
}

// queue comes back when it is this transaction's turn to retry, with the opening set. At most one transaction of a connector
// retries at a time, in the lane: retriers mostly fight each other. It never waits with locks held.
func (t *tx) queue(ctx context.Context) error {
	lane, metrics := t.c.connector.lane, t.c.connector.metrics
	if !t.pass.holds() {
		t.pass = lane.tryEnter()
		if t.pass != nil {
			t.opening = t.atOnce()
			return nil
		}
	} else {
		if err := t.stepBack(ctx); err != nil {
			return err
		}
		t.waits++
		d := t.policy.backoff(t.waits, rand.Float64)
		metrics.waited(d)
		t.opening = t.beginning(true)
		return sleep(ctx, t.ctx, d)
	}

	if err := t.stepBack(ctx); err != nil {
		return err
	}
	came := time.Now()
	metrics.laneWaiting(1)
	var err error
	t.pass, err = lane.enter(ctx, t.ctx, min(t.policy.LaneWait, t.policy.MaxElapsed-time.Since(t.started)))
	metrics.laneWaiting(-1)
	metrics.waitedForLane(time.Since(came))
	t.opening = t.beginning(t.pass != nil)
	return err
}

// stepBack gives up the locks before a wait.
func (t *tx) stepBack(ctx context.Context) error {
	if !t.explicit || t.c.pg.TxStatus() == statusIdle {
		return nil
	}
	if _, err := t.c.control(ctx, sqlRollback); err != nil {
		return t.lose(err, "")
	}
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
// the one transaction that retries the detection of deadlocks, but rules out DDL.
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
	return ok && pgErr.Code == "0A000" && t.priority && !t.normal && t.restartable()
}

// restartable says whether the record is complete.
func (t *tx) restartable() bool {
	return t.state == txLive && !t.aside && t.cause == ""
}

// renew prepares a statement again that the server has lost or outgrown, and runs it. Inside a transaction what ran before it
// has to run again too.
func (t *tx) renew(ctx context.Context, r *record, stale error) (answer, error) {
	if t.explicit {
		t.history.dropLast()
		t.opening = t.atOnce()
		_, err := t.rerunFor(ctx, stale, nil)
		if t.absorbs(err) {
			_, err = t.restart(ctx, err, placeStatement, nil)
		}
		if err != nil {
			return answer{}, err
		}
	}
	p, err := t.c.prepareAnew(ctx, t, &r.statement)
	if t.explicit && t.restartable() {
		t.history.add(r)
	}
	if err != nil {
		return answer{}, err
	}
	if !slices.Equal(p.desc.ParamOIDs, r.paramOIDs) {
		return answer{}, stale // the arguments are encoded for other types
	}
	r.prepared, r.shape, r.resultFormats = p, p.shape, p.resultFormats
	a, sent, err := t.c.send(ctx, t.opening, &r.statement)
	t.opened(sent, err)
	return a, err
}

func outcomeOf(err error) outcome {
	switch err.(type) { //nolint:errorlint // made right here
	case *NotReplayableError:
		return outcomeNotReplayable
	case *RetriesExhaustedError:
		return outcomeExhausted
	}
	return outcomeFailed
}
