package cockroachdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	sqlSavepoint  = "SAVEPOINT cockroach_restart"
	sqlRollbackTo = "ROLLBACK TO SAVEPOINT cockroach_restart"
	sqlRelease    = "RELEASE SAVEPOINT cockroach_restart"
	sqlCommit     = "COMMIT"
	sqlRollback   = "ROLLBACK"
)

// TxStatus of the server, after its latest answer.
const (
	statusIdle   = 'I'
	statusOpen   = 'T'
	statusFailed = 'E'
)

// txState is what the driver and the application have agreed on; what the server has to say is in its TxStatus.
//
//	live ──conflict that can't be absorbed──▶ conflict ──RunTx──▶ live
//	live ──the application's own COMMIT or ROLLBACK, or DDL that commits──▶ over
//	live ──commit──▶ committed
//	any ──the connection dies──▶ lost
type txState uint8

const (
	txLive      txState = iota // the application's view is the server's, once the opening has been sent
	txConflict                 // the application was shown a conflict: what it sends is refused until it rolls back
	txOver                     // the server transaction ended without the driver's doing
	txCommitted                // RELEASE and COMMIT went through
	txLost                     // there is no connection any more
)

// tx is one transaction of the application: everything from BeginTx to Commit or Rollback, over all attempts. A statement
// outside of a transaction is a tx too, of one statement and without BEGIN.
type tx struct {
	c        *Conn
	ctx      context.Context // BeginTx's
	explicit bool            // the application began it; else it is a statement outside of a transaction
	policy   RetryPolicy
	state    txState

	begin     string   // BEGIN with its modes
	savepoint bool     // it has the restart savepoint
	opening   []string // what goes out with the next statement
	begun     bool     // BEGIN has been answered
	sent      bool     // something was sent, and so the transaction counts
	priority  bool     // BEGIN said PRIORITY HIGH,
	normal    bool     // which must not happen again

	history  history
	aside    bool               // the application restarts by itself, or doesn't want retries: nothing is recorded
	released bool               // the application has released the restart savepoint: it is committed, and only COMMIT is left to send
	cause    notReplayableCause // why it can't be replayed; "" if it can
	failure  error              // what the application was told when it came to txConflict or txLost
	unheard  bool               // by the error of Rows.Close, so that it may not know
	outcome  outcome            // for the metrics; set when the application is told

	attempts int
	conflict error // that made the latest attempt necessary
	waits    int   // in the lane
	waited   time.Duration
	reason   retryReason // of the latest attempt's end,
	struck   strike      // and its place
	started  time.Time

	ran       int  // how many statements the application has run
	replaying bool // a replay is under way,
	comparing int  // which has come to this statement, or had when it ended

	pass   *pass
	rows   *rows // those that the application still reads
	runner *runner
}

// BeginTx starts a transaction. Nothing is sent: BEGIN and the savepoint travel with the first statement. The context covers
// the whole transaction, as database/sql says, and may carry a policy ([WithRetryPolicy], [WithoutRetries]).
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.endBefore(); err != nil {
		return nil, err
	}
	if c.pg.IsClosed() {
		return nil, driver.ErrBadConn
	}
	policy, err := retryPolicyFrom(ctx, c.connector.cfg.RetryPolicy)
	if err != nil {
		return nil, err
	}
	begin, err := beginStatement(opts)
	if err != nil {
		return nil, err
	}
	roomy := &struct {
		tx
		first firstRoom
	}{tx: tx{c: c, ctx: ctx, explicit: true, policy: policy, begin: begin, attempts: 1}}
	t := &roomy.tx
	t.history.room = roomy.first.room()
	t.history.records, c.records = c.records, nil
	t.aside = !policy.enabled() || c.pg.TxStatus() != statusIdle // what the application began as text is not all on record
	t.savepoint = c.crdb && !t.aside && !c.forceSavepoint
	t.opening = t.beginning(false)
	t.runner = runnerFrom(ctx)
	if t.runner != nil {
		t.runner.tx = t
	}
	c.tx = t
	return t, nil
}

// endBefore ends the connection's transaction before, if its context has ended: database/sql rolls that back in a goroutine of its own,
// which may come round to it when the next one has begun.
func (c *Conn) endBefore() error {
	switch {
	case c.tx == nil:
		return nil
	case c.tx.ctx.Err() == nil:
		return errTxOpen
	}
	return c.tx.Rollback()
}

// Begin starts a transaction with the defaults.
//
// Deprecated: database/sql calls BeginTx.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func beginStatement(opts driver.TxOptions) (string, error) {
	var begin string
	switch sql.IsolationLevel(opts.Isolation) {
	case sql.LevelDefault:
		begin = "BEGIN"
	case sql.LevelReadUncommitted:
		begin = "BEGIN ISOLATION LEVEL READ UNCOMMITTED"
	case sql.LevelReadCommitted:
		begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
	case sql.LevelSerializable:
		begin = "BEGIN ISOLATION LEVEL SERIALIZABLE"
	default:
		return "", fmt.Errorf("unsupported isolation: %v", opts.Isolation)
	}
	if opts.ReadOnly {
		begin += " READ ONLY"
	}
	return begin, nil
}

// retries says whether err is a conflict that is the driver's to deal with.
func (t *tx) retries(err error) bool {
	return t.state == txLive && !t.aside && conflictOf(err) != nil
}

// absorbs is retries for the answer to a statement of the application, which may have ended the transaction itself.
func (t *tx) absorbs(err error) bool { return t.retries(err) && !t.endedUnasked() }

// endedUnasked says whether the server has ended the transaction without the driver's doing: a part of it may be committed, by
// the application's own COMMIT or by DDL that commits what is open, even if the statement then failed.
func (t *tx) endedUnasked() bool {
	return t.explicit && t.begun && t.state == txLive && t.opening == nil && t.c.pg.TxStatus() == statusIdle && !t.c.pg.IsClosed()
}

// lostBegin takes the conflict of a BEGIN that lost, behind which nothing ran, for that of the statement, if it is the driver's to deal
// with.
func (t *tx) lostBegin(err error) error {
	if cause, refused := asOpening(err); refused && t.retries(cause) {
		return cause
	}
	return err
}

// lostBehindCommit says whether a statement has committed what was open and then lost: to run that again would double it.
func (t *tx) lostBehindCommit(err error, sql string) bool {
	return conflictOf(err) != nil && t.endedUnasked() && sql != "" && !isCommit(sql)
}

// conflictOf is the server's conflict, as it came; what this package has made of one already is none.
func conflictOf(err error) *pgconn.PgError {
	if pgErr, ok := err.(*pgconn.PgError); ok && isConflict(pgErr) { //nolint:errorlint // wrapped conflicts are told already
		return pgErr
	}
	return nil
}

// refuse says why nothing can be sent for the application; nil if it can.
func (t *tx) refuse() error {
	switch {
	case t.rows != nil:
		return errRowsOpen
	case t.state == txLost:
		return t.failure
	case t.state == txConflict && t.unheard:
		t.unheard = false
		return t.failure
	case t.state == txConflict:
		return errTxAborted
	case t.state == txCommitted:
		return sql.ErrTxDone
	}
	return nil
}

// attempt runs send, of whose answer the application has seen nothing, and runs it again after each conflict that was absorbed. sql is
// the statement's text if it may commit the transaction, be it only parsed.
func (t *tx) attempt(ctx context.Context, sql string, send func(opening []string) (sent bool, err error)) error {
	for {
		sent, err := send(t.opening)
		if t.opened(sent, err) {
			continue
		}
		if err = t.lostBegin(err); t.absorbs(err) {
			if t.lostInCommit(sql) {
				return t.ambiguous(errLostInCommit)
			}
			if _, err = t.restart(ctx, err, strike{placeStatement, t.ran + 1}, nil); err == nil {
				continue
			}
			sql = "" // it was not sent in the attempt that failed
		}
		if !t.explicit {
			t.leaveLane()
		}
		return t.told(err, sql)
	}
}

// opened notes what became of the opening that went out before err was answered. It says true if the opening failed and a
// different one is to be sent in its place.
func (t *tx) opened(sent bool, err error) (again bool) {
	if !sent || t.opening == nil {
		return false
	}
	opening := t.opening
	t.opening, t.sent = nil, true
	cause, refused := asOpening(err)
	if !refused {
		t.begun = true
		return false
	}
	if opening[0] == sqlRollbackTo && conflictOf(cause) == nil && !t.c.pg.IsClosed() {
		// Some errors leave a transaction that can't be taken back to its savepoint (0A000).
		t.opening = t.beginning(false)
		return true
	}
	t.begun = false // or not any more: an idle server is not one that the application has brought there
	return false
}

// told takes an error on its way to the application. sql is the statement's text where it may have ended the transaction.
func (t *tx) told(err error, sql string) error {
	if err == nil {
		return nil
	}
	if !t.explicit {
		return err
	}
	err, unsent := asUnsent(err)
	if unsent {
		sql = "" // and so has committed nothing
	}
	err, refused := asOpening(err)
	switch {
	case t.state != txLive:
		return err
	case t.c.pg.IsClosed():
		return t.lose(err, sql)
	case codeOf(err) == "" && !unsent:
		t.c.die() // not the server's answer: there is no telling what the connection is good for
		return t.lose(err, sql)
	case refused:
		t.give(txConflict, outcomeFailed, err) // there is no transaction for further statements to be part of
	case t.lostBehindCommit(err, sql):
		return t.ambiguous(errLostInCommit)
	case t.endedUnasked():
		t.overUnasked()
	}
	return err
}

// give settles what the application is told.
func (t *tx) give(state txState, o outcome, err error) {
	t.state, t.outcome, t.failure = state, o, err
	t.forget()
}

// lose is the end of a transaction whose connection died. Nothing was committed, unless the statement that was under way may
// have done so itself.
func (t *tx) lose(err error, sql string) error {
	err, _ = asOpening(err)
	switch {
	case t.state == txOver: // the application has ended it
		t.give(txLost, outcomeOver, err)
	case t.released:
		t.give(txLost, outcomeCommitted, err)
	case sql != "" && mayCommit(sql):
		err = &AmbiguousCommitError{err: err}
		t.give(txLost, outcomeAmbiguous, err)
	case isCancellation(err):
		t.give(txLost, outcomeCancelled, err) // the caller's own doing, and no network failure
	default:
		err = &ConnectionLostError{err: err}
		t.give(txLost, outcomeConnectionLost, err)
	}
	return err
}

// isCancellation says whether err is a context's.
func isCancellation(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// watch looks for the few statements that change how the transaction is to be treated.
func (t *tx) watch(sql string) {
	switch {
	case restartSavepoint(sql), t.c.forceSavepoint && savepointStatement(sql):
		if !t.aside {
			t.c.connector.metrics.notReplayable(causeApplicationSavepoint)
		}
		t.standAside()
	case asOfSystemTime(sql):
		t.unreplayable(causeAsOfSystemTime)
	case setsForceSavepointRestart(sql):
		t.c.forceSavepoint = true
	}
}

// standAside leaves the restarts of this transaction to the application.
func (t *tx) standAside() {
	if t.aside {
		return
	}
	t.aside = true
	t.forget()
	if !t.begun {
		t.savepoint = false
		t.opening = t.beginning(false)
	}
}

// answered notes the end of a statement that was answered in full.
func (t *tx) answered(r *record, tag pgconn.CommandTag, err error) {
	r.settle()
	r.affected = tag.RowsAffected()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		r.fail(pgErr)
	}
	if !t.explicit || t.state != txLive || t.c.pg.IsClosed() {
		return
	}
	switch {
	case t.endedUnasked():
		t.overUnasked()
	case t.c.pg.TxStatus() != statusOpen || tag.String() != sqlCommit:
	case releases(r.sql):
		t.standAside()
		t.released = true
	default: // COMMIT AND CHAIN
		t.overUnasked()
	}
}

// overUnasked ends the record of a transaction that the server has ended.
func (t *tx) overUnasked() {
	t.give(txOver, outcomeOver, nil)
	t.leaveLane()
}

func (t *tx) leaveLane() {
	t.pass.leave()
	t.pass = nil
}
