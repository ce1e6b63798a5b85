package cockroachdb

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

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
	for _, sql := range statements {
		f.pipe.SendQueryParams(sql, nil, nil, nil, nil)
	}
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
	if failed, ok := errors.AsType[*openingError](err); ok {
		err = failed.err
	}
	return err
}

// commitAnswer says what the answer to RELEASE, or to a COMMIT alone, means.
func (t *tx) commitAnswer(tag pgconn.CommandTag, err error) error {
	if err == nil {
		if tag.String() == sqlRollback {
			t.outcome = outcomeFailed
			return pgx.ErrTxCommitRollback
		}
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
	if failed, ok := errors.AsType[*openingError](err); ok {
		err = failed.err
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
	t.give(txConflict, outcomeFailed, err)
	return err
}
