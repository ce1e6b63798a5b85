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
)

// Commit commits. A conflict is absorbed like any other. See [AmbiguousCommitError] for when the outcome is unknown.
func (t *tx) Commit() error {
	if t.c.tx != t {
		return cmp.Or(t.failure, t.ctx.Err(), sql.ErrTxDone)
	}
	defer t.end()
	if t.state == txCommitted {
		return nil
	}
	err := t.commit(t.ctx)
	if err != nil {
		t.failure = cmp.Or(t.failure, err)
		_ = t.rollback() // the application has no other way to do it now, and the locks must not wait for the connection's next use
	}
	return err
}

// commit is Commit without the end of the driver's transaction.
func (t *tx) commit(ctx context.Context) error {
	if err := t.refuse(); err != nil {
		if t.state == txConflict {
			// With the cause in it: the application may not have looked at the error of the statement, or of Rows.Close.
			return fmt.Errorf("%w: %w", pgx.ErrTxCommitRollback, t.failure)
		}
		return err
	}
	for {
		switch {
		case t.endedUnasked():
			t.overUnasked()
		case !t.begun && t.opening != nil:
			t.state, t.outcome = txCommitted, outcomeCommitted
			return nil // there was no statement: there is nothing to commit
		case t.opening != nil, t.c.pg.TxStatus() == statusFailed:
			return t.commitFailed()
		}
		err := t.sendCommit(ctx)
		if !t.retries(err) {
			return err
		}
		if _, err := t.restart(ctx, err, strike{at: placeCommit}, nil); err != nil {
			return t.told(err, "")
		}
	}
}

// commitFailed is the commit of a transaction that has failed, or has nothing to commit: it is rolled back.
func (t *tx) commitFailed() error {
	nothing := t.opening != nil
	if err := t.rollback(); err != nil {
		return err
	}
	if nothing {
		t.outcome = outcomeCommitted
		return nil
	}
	t.outcome = outcomeFailed
	return pgx.ErrTxCommitRollback
}

var (
	commitPlain       = []string{sqlCommit}
	commitWithRelease = []string{sqlRelease, sqlCommit}
)

// sendCommit sends RELEASE and COMMIT, or COMMIT alone, in one round trip. Once that is sent, only an answer that says so means
// that nothing was committed; a conflict comes back as it is.
func (t *tx) sendCommit(ctx context.Context) error {
	if t.released || t.c.pg.TxStatus() == statusIdle {
		return t.commitNothing(ctx)
	}
	mine := t.state == txLive && !t.aside
	if mine {
		if err := t.c.check(ctx); err != nil {
			t.c.die()
			return t.lose(err, "")
		}
	}
	statements := commitPlain
	if mine && t.savepoint {
		statements = commitWithRelease
	}
	f := t.c.launch(ctx, nil)
	f.begin(statements)
	if err := f.depart(); err != nil {
		if !f.sent {
			return t.notSent(err)
		}
		return t.ambiguous(err)
	}

	tag, err := f.own(statements[0])
	if err == nil && len(statements) > 1 {
		if tag.String() == sqlCommit {
			// RELEASE was the commit. Whatever becomes of the COMMIT behind it, it only ends the server's transaction block.
			t.state, t.outcome = txCommitted, outcomeCommitted
		}
		tag, err = f.own(sqlCommit)
	}
	closeErr := f.land()
	if t.state == txCommitted {
		if t.c.pg.TxStatus() != statusIdle {
			t.c.die()
		}
		return nil
	}
	if err == nil {
		err = closeErr
	}
	return t.commitAnswer(tag, err)
}

// commitNothing sends a COMMIT that decides nothing: the application has ended the transaction, or released its savepoint.
func (t *tx) commitNothing(ctx context.Context) error {
	f := t.c.launch(ctx, commitPlain)
	err := f.depart()
	if err == nil {
		err = f.land()
	}
	if t.released {
		t.state, t.outcome = txCommitted, outcomeCommitted
		return nil
	}
	err, _ = asOpening(err)
	return err
}

// commitAnswer says what the answer to RELEASE, or to a COMMIT alone, means.
func (t *tx) commitAnswer(tag pgconn.CommandTag, err error) error {
	switch {
	case err != nil:
	case tag.String() == sqlRollback:
		t.outcome = outcomeFailed
		return pgx.ErrTxCommitRollback
	case tag.String() != sqlCommit:
		t.c.die()
		return t.ambiguous(errProtocol)
	default:
		t.outcome = outcomeCommitted
		if t.state == txLive {
			t.state = txCommitted
		}
		return nil
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return t.ambiguous(err)
	}
	switch outcomeOfCommit(pgErr, !t.c.crdb) {
	case commitConflict:
		if t.c.pg.IsClosed() {
			return t.lose(err, "") // it lost, and then the connection did
		}
		if !t.retries(err) {
			t.outcome = outcomeFailed
			_ = t.rollback()
		}
		return pgErr
	case commitSchemaFailed:
		t.outcome = outcomeCommitted
		_ = t.rollback() // which only ends the block
		return pgErr
	case commitRefused:
		t.outcome = outcomeFailed
		_ = t.rollback()
		return pgErr
	default:
		return t.ambiguous(err)
	}
}

func (t *tx) ambiguous(err error) error {
	err, _ = asOpening(err)
	if isConflict(err) {
		err = errLostInCommit // who looks for conflicts would run it again
	}
	err = &AmbiguousCommitError{err: err}
	_ = t.rollback()
	t.give(txLost, outcomeAmbiguous, err)
	return err
}

// notSent is a commit of which nothing was sent: the context was done already, or the connection closed.
func (t *tx) notSent(err error) error {
	err, _ = asUnsent(err)
	if t.c.pg.IsClosed() {
		return t.lose(err, "")
	}
	_ = t.rollback()
	t.give(txConflict, outcomeOf(err), err)
	return err
}

// Rollback rolls back. It returns nil where the transaction is rolled back for certain, be it because the connection is gone. Once the
// transaction has ended the connection may be in another one, which it leaves alone.
func (t *tx) Rollback() error {
	if t.c.tx != t {
		return nil
	}
	defer t.end()
	switch {
	case t.outcome != "":
	case t.ctx.Err() != nil:
		t.outcome = outcomeCancelled
	default:
		t.outcome = outcomeRolledBack
	}
	return t.rollback()
}

const rollbackTimeout = 5 * time.Second

// rollback brings the server to idle. It does not use the transaction's context, which may be what ended it.
func (t *tx) rollback() error {
	if t.c.pg.IsClosed() || t.c.pg.TxStatus() == statusIdle {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), rollbackTimeout)
	defer cancel()
	_, err := t.c.control(ctx, sqlRollback)
	if err != nil || t.c.pg.TxStatus() != statusIdle {
		t.c.die()
	}
	return nil
}

// end is the end of the transaction for the application, whatever the way.
func (t *tx) end() {
	if t.c.tx != t {
		return
	}
	t.c.tx = nil
	t.leaveLane()
	t.c.keepForNext(t.history.records)
	t.forget()
	if t.outcome == outcomeCommitted && t.begun {
		t.c.connector.throttle.committed()
	}
	if t.sent {
		t.c.connector.metrics.transactionEnded(t.outcome, t.attempts, time.Since(t.started))
	}
	t.ended(t.ctx, t.outcome, t.failure)
}
