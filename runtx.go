package cockroachdb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/chance"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// RunTx runs fn in a transaction and commits it. It is for transactions that can't be replayed unseen: those that read
// what others write and then act on it.
//
// A conflict is absorbed by a transparent replay, as in any transaction of this driver. Where a replay shows fn
// something else than it has seen, or is not possible, RunTx goes back to the start of the transaction and calls fn
// again: with [RestartSavepoint] inside the same server transaction if it need not wait for its turn, so that its locks
// stay. It does so without a replay at the first conflict by which the server says that others have written what the
// transaction had read ([ReasonWriteTooOld], [ReasonSerializable], and [ReasonSerializationFailure] unless it was the
// commit that lost), if fn was shown the answer to a query that locks nothing. fn may thus run several times, and must
// not have effects outside the transaction that must not happen twice.
//
// On CockroachDB, reads by key of which others often write the row before fn does are sent with FOR UPDATE; see
// Config.LearnLocks.
//
// How often and for how long is the policy's ([RetryPolicy], or [WithRetryPolicy] in ctx): transparent replays and
// calls of fn count alike. With [WithoutRetries] fn is called once.
//
// An error of fn that is no conflict (see below) rolls back and is returned as it is. A panic of fn rolls back and
// goes on. fn must not call Commit or Rollback: RunTx then returns an error that says so, and what fn did is done. The
// errors that RunTx returns of its own are those of this package; [AmbiguousCommitError] is the one to be prepared
// for.
//
// An error counts as a conflict if it unwraps to a SQLSTATE 40001 (or 40P01, PostgreSQL's deadlock), and so may be
// wrapped by fn; fn may also swallow it.
//
// With a *sql.DB of another driver RunTx works too, by rolling back and beginning anew; and so it does through a driver
// around this one that keeps RunTx's requests from it.
func RunTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(*sql.Tx) error) error {
	policy, err := retryPolicyFrom(ctx, DefaultRetryPolicy())
	if err != nil {
		return err
	}
	r := &txRun{db: db, opts: opts, fn: fn, policy: policy, started: time.Now()}
	for {
		again, err := r.once(ctx)
		if again {
			err, again = r.wait(ctx, err)
		}
		if !again {
			return err
		}
	}
}

// txRun is one call of RunTx.
type txRun struct {
	db      *sql.DB
	opts    *sql.TxOptions
	fn      func(*sql.Tx) error
	policy  RetryPolicy
	started time.Time
	tries   int // transactions begun so far
}

// once runs fn in one transaction, as often as the driver can take that back to its start. again says that another
// transaction has to be begun, because of err.
func (r *txRun) once(ctx context.Context) (again bool, err error) {
	r.tries++
	link := &runner{}
	stx, err := r.db.BeginTx(context.WithValue(ctx, runnerKey{}, link), r.opts)
	if err != nil {
		return false, err
	}
	committed := false
	defer func() {
		if !committed { // also on a panic of fn, or its runtime.Goexit
			_ = stx.Rollback()
		}
	}()
	for {
		if err = r.fn(stx); err == nil {
			err = link.commit(ctx, stx)
		}
		err = link.owed(err)
		switch {
		case err == nil:
			committed = true
			return false, nil
		case errors.Is(err, sql.ErrTxDone):
			return false, txDone(ctx, stx, err)
		case !pgerr.IsConflict(err) && !hasDiverged(err):
			return false, err
		}
		obeyed, told := link.startOver(ctx, stx, err)
		switch {
		case obeyed && told != nil:
			return link.isLost(), told
		case !obeyed:
			return true, err
		}
	}
}

// wait returns whether another transaction is to be begun after err, when it is time for it.
func (r *txRun) wait(ctx context.Context, err error) (error, bool) {
	elapsed := time.Since(r.started)
	pause := r.policy.backoff(r.tries, chance.Float64)
	switch {
	case !r.policy.enabled():
		return err, false
	case r.tries >= r.policy.MaxAttempts:
		return &RetriesExhaustedError{Attempts: r.tries, Elapsed: elapsed, Bound: BoundAttempts, err: err}, false
	case elapsed+pause >= r.policy.MaxElapsed:
		return &RetriesExhaustedError{Attempts: r.tries, Elapsed: elapsed, Bound: BoundElapsed, err: err}, false
	}
	if err := sleep(ctx, ctx, pause); err != nil {
		return err, false
	}
	return nil, true
}

// runner is what RunTx and the driver's transaction know of each other. It reaches the driver through BeginTx's
// context, and so through drivers that wrap this one; what RunTx wants of the transaction it sends as an empty
// statement whose context carries an order, and so under the locks of database/sql. The first transaction that is
// begun with the context is RunTx's; for everybody else, hooks for instance, it means nothing.
type runner struct{ tx *tx }

type (
	runnerKey struct{}
	orderKey  struct{}
)

// claim makes t the transaction of the RunTx that ctx comes from, if it comes from one that has none yet.
func claim(ctx context.Context, t *tx) {
	if r, ok := ctx.Value(runnerKey{}).(*runner); ok && r.tx == nil {
		r.tx, t.runner = t, r
	}
}

// withoutRunner returns the context for hooks that are called before RunTx's transaction is begun: the transactions
// that they begin with it are their own.
func withoutRunner(ctx context.Context) context.Context {
	if ctx.Value(runnerKey{}) == nil {
		return ctx
	}
	return context.WithValue(ctx, runnerKey{}, nil)
}

// An order is what RunTx wants of the driver's transaction.
type order struct {
	tx     *tx
	do     func(context.Context, *tx) error
	obeyed bool
	told   error
}

// orderIn returns the order for t that comes with a statement, if it is one.
func (t *tx) orderIn(ctx context.Context) *order {
	if t == nil || t.runner == nil {
		return nil
	}
	if o, ok := ctx.Value(orderKey{}).(*order); ok && o.tx == t && !o.obeyed {
		return o
	}
	return nil
}

func (o *order) obey(ctx context.Context, t *tx) error {
	o.obeyed = true
	o.told = o.do(ctx, t)
	return o.told
}

// send sends an order, and reports whether it was obeyed: a driver in between may keep it from this one.
func (r *runner) send(ctx context.Context, stx *sql.Tx, do func(context.Context, *tx) error) (obeyed bool, told error) {
	if r.tx == nil {
		return false, nil
	}
	o := &order{tx: r.tx, do: do}
	_, err := stx.ExecContext(context.WithValue(ctx, orderKey{}, o), "")
	if o.obeyed {
		return true, o.told
	}
	return false, err
}

var errUnconfirmed = errors.New("cockroachdb: Commit returned no error, but this driver was not asked to commit: a driver around it has swallowed the commit")

// commit commits. It believes in a commit only if the driver's own transaction has confirmed it.
func (r *runner) commit(ctx context.Context, stx *sql.Tx) error {
	obeyed, err := r.send(ctx, stx, commitNow)
	switch {
	case obeyed && err == nil:
		_ = stx.Commit() // closes database/sql's side; what is committed stays so
		return nil
	case obeyed, errors.Is(err, sql.ErrTxDone):
		return err
	case r.tx != nil && r.tx.endedInside():
		return errEndedInside
	}
	err = stx.Commit()
	if err == nil && r.tx != nil && !r.tx.isCommitted() {
		return errUnconfirmed
	}
	return err
}

// owed returns the conflict for which the function is to be called again, whatever it has made of that; else err.
func (r *runner) owed(err error) error {
	if err != nil && r.tx != nil && r.tx.state == stateFailed && r.tx.attempt.owesCall {
		return r.tx.failure
	}
	return err
}

func (r *runner) startOver(ctx context.Context, stx *sql.Tx, cause error) (obeyed bool, told error) {
	obeyed, told = r.send(ctx, stx, func(ctx context.Context, t *tx) error { return t.startOver(ctx, cause) })
	if !obeyed && errors.Is(told, sql.ErrTxDone) && ctx.Err() != nil {
		return true, ctx.Err()
	}
	return obeyed, told
}

// isLost reports whether the connection was lost while the driver dealt with a conflict: another transaction can be
// begun on another one.
func (r *runner) isLost() bool { return r.tx != nil && r.tx.outcome == OutcomeConnectionLost }

// isCommitted reports whether the transaction's commit was confirmed, or a schema change has left nothing to commit.
func (t *tx) isCommitted() bool { return t.state == stateCommitted }

// endedInside reports whether fn has ended the transaction as SQL text.
func (t *tx) endedInside() bool { return t.state == stateDetached && t.ending != endedByDDL }

var errEndedInside = errors.New("cockroachdb: the function given to RunTx ended the transaction itself (Commit, Rollback, or as SQL text); it must leave that to RunTx")

// txDone returns what sql.ErrTxDone means: that stx was ended inside fn, or by its context; or nothing, if it comes
// from another transaction of fn's.
func txDone(ctx context.Context, stx *sql.Tx, err error) error {
	if rollbackErr := stx.Rollback(); !errors.Is(rollbackErr, sql.ErrTxDone) {
		return err
	}
	return cmp.Or(ctx.Err(), errEndedInside)
}

// hasDiverged reports whether a replay has diverged. What made it necessary need not be a conflict: it may be a stale
// prepared statement.
func hasDiverged(err error) bool {
	_, ok := errors.AsType[*DivergenceError](err)
	return ok
}

// commitNow commits before database/sql has closed its side of the transaction, so that fn can still be called again.
func commitNow(ctx context.Context, t *tx) error {
	switch {
	case t.state == stateFailed:
		return t.failure // fn has swallowed it
	case t.endedInside():
		return errEndedInside
	}
	if t.rows != nil {
		_ = t.rows.Close()
	}
	return t.commit(ctx)
}

// startOver begins a new attempt without a replay: fn is called again. err is the conflict that fn, or its commit, met.
func (t *tx) startOver(ctx context.Context, err error) error {
	if t.rows != nil {
		_ = t.rows.Close()
	}
	_, exhausted := errors.AsType[*RetriesExhaustedError](err)
	if !t.policy.enabled() || exhausted || t.state > stateFailed {
		return err
	}
	conflict := err
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		conflict = answer
	}
	at := t.attempt.site
	if !errors.Is(err, t.attempt.conflict) {
		at = atStatement(0) // not one of this transaction's
	}
	t.reopen()
	t.forget()
	t.goesBack()
	t.attempt.owesCall = false
	t.history.reset()
	t.loop = loop{}
	t.attempt.statements, t.attempt.prepared = 0, 0
	t.opening.savepoint = t.opening.savepoint || t.mayHaveSavepoint()
	if told := t.callAgain(ctx, err, conflict, at); told != nil {
		return t.giveUp(told)
	}
	t.restarted()
	return nil
}

// callsAtOnce reports whether RunTx calls its function again without a replay, which could hardly show it the same: by
// these reasons the server says that something was written since the transaction has read it, and the function was
// shown what it has read without locking it. Where the two were not the same, the call does no harm.
//
// In the lane there is a replay all the same: if it differs, it has taken the locks on CockroachDB, and the call after
// it goes through. PostgreSQL does not say what a commit has lost to, and there is a replay too.
func (t *tx) callsAtOnce(at Place, f fault) bool {
	if t.runner == nil || t.attempt.pass.Holds() {
		return false
	}
	switch reasonOf(f.err) {
	case ReasonSerializationFailure:
		return at != PlaceCommit && slices.ContainsFunc(t.history.records, (*record).hasShownUnlocked)
	case ReasonWriteTooOld, ReasonSerializable:
		return slices.ContainsFunc(t.history.records, (*record).hasShownUnlocked)
	}
	return false
}

// hasShownUnlocked reports whether the application was shown what a query has read, or that there is nothing to read,
// and others may write it all the same.
func (r *record) hasShownUnlocked() bool {
	return r.Class.Reads && r.hasShownRows() && !sqltext.HintsIn(r.Text()).Locks
}

// callAgain sets the opening of an attempt without a replay. After a divergence the conflict has been dealt with: it is
// this transaction's turn, and its locks are held; only fn has to see anew.
func (t *tx) callAgain(ctx context.Context, err, conflict error, at site) error {
	t.restarts()
	t.attempt.conflict = conflict
	diverged, ok := errors.AsType[*DivergenceError](err)
	switch {
	case !ok:
		return t.nextAttempt(ctx, conflict, at)
	case t.attempt.number >= t.policy.MaxAttempts:
		return t.exhausted(BoundAttempts)
	case t.timeLeft() <= 0:
		return t.exhausted(BoundElapsed)
	}
	t.openAtOnce()
	t.newAttempt(ctx, ReasonDiverged, atStatement(diverged.Statement), 0, diverged)
	return nil
}
