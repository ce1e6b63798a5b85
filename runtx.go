package cockroachdb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// RunTx runs fn in a transaction and commits it. It is for transactions that can't be replayed unseen: those that read what others
// write and then act on it.
//
// A conflict is absorbed by a transparent replay, as in any transaction of this driver. Where a replay would show fn something
// else than it has seen, or can't be had, RunTx goes back to the start of the transaction and calls fn again: on CockroachDB
// inside the same server transaction, so that its locks stay. fn may thus run several times, and must not have effects outside
// of the transaction that can't be had twice.
//
// How often and how long is the policy's ([RetryPolicy], or [WithRetryPolicy] in ctx): transparent replays and calls of fn
// count alike. With [WithoutRetries] fn is called once.
//
// An error of fn that is no conflict (see below) rolls back and is returned as it is. A panic of fn rolls back and goes on.
// fn must not call Commit or Rollback: RunTx then returns an error that says so, and what fn did is done. The errors that RunTx returns
// of its own are those of this package; [AmbiguousCommitError] is the one to be prepared for.
//
// An error counts as a conflict if it unwraps to a SQLSTATE 40001 (or 40P01, PostgreSQL's deadlock), and so may be wrapped by fn;
// fn may also swallow it.
//
// With a *sql.DB of another driver RunTx works too, by rolling back and beginning anew.
func RunTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(*sql.Tx) error) error {
	r := &runner{}
	stx, err := db.BeginTx(context.WithValue(ctx, runnerKey{}, r), opts)
	if err != nil {
		return err
	}
	if r.tx == nil {
		return runForeign(ctx, db, opts, stx, fn)
	}
	return r.run(ctx, stx, fn)
}

// runner is what RunTx and the driver's transaction have in common. It reaches the driver through BeginTx's context, and so
// through drivers that wrap this one; it gives its orders as statements whose context carries them, and so under the locks of
// database/sql.
type runner struct{ tx *tx }

type (
	runnerKey  struct{}
	commandKey struct{}
)

func runnerFrom(ctx context.Context) *runner {
	r, _ := ctx.Value(runnerKey{}).(*runner)
	return r
}

// command is an order to the driver's transaction.
type command func(context.Context, *tx) error

// commandOf gives the order that came with a statement, if it is one.
func (t *tx) commandOf(ctx context.Context) command {
	if t == nil || t.runner == nil {
		return nil
	}
	cmd, _ := ctx.Value(commandKey{}).(command)
	return cmd
}

func (r *runner) order(ctx context.Context, stx *sql.Tx, cmd command) error {
	_, err := stx.ExecContext(context.WithValue(ctx, commandKey{}, cmd), "")
	return err
}

func (r *runner) run(ctx context.Context, stx *sql.Tx, fn func(*sql.Tx) error) error {
	committed := false
	defer func() {
		if !committed { // also on a panic of fn, or its runtime.Goexit
			_ = stx.Rollback()
		}
	}()
	for {
		err := fn(stx)
		if err == nil {
			err = r.order(ctx, stx, commitNow)
		}
		switch {
		case err == nil:
			committed = true
			_ = stx.Commit() // closes database/sql's side; what is committed stays so
			return nil
		case errors.Is(err, sql.ErrTxDone):
			return txDone(ctx, stx, err)
		case !isConflict(err) && !hasDiverged(err):
			return err
		}
		startOver := func(ctx context.Context, t *tx) error { return t.startOver(ctx, err) }
		if again := r.order(ctx, stx, startOver); errors.Is(again, sql.ErrTxDone) {
			return cmp.Or(ctx.Err(), err)
		} else if again != nil {
			return again
		}
	}
}

var errEndedInside = errors.New("cockroachdb: the function given to RunTx ended the transaction by itself (Commit, Rollback, or as SQL text); it must leave that to RunTx")

// txDone says what sql.ErrTxDone means: that stx was ended inside fn, or by its context; or nothing, if it comes from another
// transaction of fn's.
func txDone(ctx context.Context, stx *sql.Tx, err error) error {
	if rollbackErr := stx.Rollback(); !errors.Is(rollbackErr, sql.ErrTxDone) {
		return err
	}
	return cmp.Or(ctx.Err(), errEndedInside)
}

// hasDiverged says whether a replay has. What made it necessary need not be a conflict: it may be a stale prepared statement.
func hasDiverged(err error) bool {
	_, ok := errors.AsType[*DivergenceError](err)
	return ok
}

// commitNow commits before database/sql has closed its side of the transaction, so that fn can still be called again.
func commitNow(ctx context.Context, t *tx) error {
	switch t.state {
	case txConflict:
		return t.failure // fn has swallowed it
	case txOver:
		return errEndedInside
	}
	if t.rows != nil {
		_ = t.rows.Close()
	}
	return t.commit(ctx)
}

// startOver is a new attempt without a replay: fn is called again. err is the conflict that fn, or its commit, met.
func (t *tx) startOver(ctx context.Context, err error) error {
	if t.rows != nil {
		_ = t.rows.Close()
	}
	_, exhausted := errors.AsType[*RetriesExhaustedError](err)
	switch {
	case !t.policy.enabled(), exhausted, t.state == txLost, t.state == txCommitted, t.state == txOver:
		return err
	}
	conflict := err
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		conflict = pgErr
	}
	at := t.struck
	if !errors.Is(err, t.conflict) {
		at = strike{at: placeStatement} // not one of this transaction's
	}
	t.forget()
	t.ran = 0
	t.state, t.outcome, t.failure, t.cause = txLive, "", nil, ""
	t.aside, t.unheard = false, false
	t.savepoint = t.savepoint || t.c.crdb && !t.c.forceSavepoint
	err = t.callAgain(ctx, err, conflict, at)
	if err != nil && t.state != txLost {
		t.give(txConflict, outcomeOf(err), err)
	}
	return err
}

// callAgain sets the opening of an attempt without a replay. After a divergence the conflict has been dealt with: it is this
// transaction's turn, and its locks are held; only fn has to see anew.
func (t *tx) callAgain(ctx context.Context, err, conflict error, at strike) error {
	t.conflict = conflict
	diverged, ok := errors.AsType[*DivergenceError](err)
	switch {
	case !ok:
		return t.nextAttempt(ctx, conflict, at)
	case t.attempts >= t.policy.MaxAttempts:
		return t.exhausted(BoundAttempts)
	case t.timeLeft() <= 0:
		return t.exhausted(BoundElapsed)
	}
	t.opening = t.atOnce()
	t.newAttempt(ctx, reasonDiverged, strike{placeStatement, diverged.Statement}, 0, diverged)
	return nil
}

// runForeign is RunTx for other drivers: each attempt is a transaction of its own.
func runForeign(ctx context.Context, db *sql.DB, opts *sql.TxOptions, stx *sql.Tx, fn func(*sql.Tx) error) error {
	policy, err := retryPolicyFrom(ctx, DefaultRetryPolicy())
	if err != nil {
		_ = stx.Rollback()
		return err
	}
	started := time.Now()
	for attempt := 1; ; attempt++ {
		err := runOnce(ctx, stx, fn)
		wait := policy.backoff(attempt, rand.Float64)
		switch {
		case !isConflict(err), !policy.enabled():
			return err
		case attempt >= policy.MaxAttempts:
			return &RetriesExhaustedError{Attempts: attempt, Elapsed: time.Since(started), Bound: BoundAttempts, err: err}
		case time.Since(started)+wait >= policy.MaxElapsed:
			return &RetriesExhaustedError{Attempts: attempt, Elapsed: time.Since(started), Bound: BoundElapsed, err: err}
		}
		if err := sleep(ctx, ctx, wait); err != nil {
			return err
		}
		if stx, err = db.BeginTx(ctx, opts); err != nil {
			return err
		}
	}
}

func runOnce(ctx context.Context, stx *sql.Tx, fn func(*sql.Tx) error) error {
	defer func() { _ = stx.Rollback() }() // also on a panic of fn; after a commit it does nothing
	err := fn(stx)
	if err == nil {
		err = stx.Commit()
	}
	if errors.Is(err, sql.ErrTxDone) {
		return txDone(ctx, stx, err)
	}
	return err
}
