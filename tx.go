package cockroachdb

import (
	"context"
	"database/sql/driver"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

// tx is one transaction of the application: everything from BeginTx to Commit or Rollback, over all attempts. A
// statement outside a transaction is a tx too, of one statement and without BEGIN; see lone.go.
type tx struct {
	c        *conn
	pool     *pool
	ctx      context.Context // BeginTx's
	explicit bool            // the application began it; else it is a statement outside a transaction
	policy   RetryPolicy

	verdict          // what became of it: tx_state.go
	opening opening  // how its attempts begin: opening.go
	history history  // what it ran, and what the application was shown: history.go
	attempt attempt  // where it stands in its attempts: attempt.go
	loop    loop     // the application's own around it: loop.go
	shield  shield   // whether it was protected all the time: protection.go
	rows    *rows    // those that the application still reads
	runner  *runner  // RunTx's, if that began it
	sets    []string // what it has set on the session: journal.go
	unset   []string // what the session reported before the transaction set anything; nil if it has not
	nested  bool     // the application has made a savepoint

	rolledBackTo bool  // the latest statement was its ROLLBACK TO SAVEPOINT
	early        early // what the driver has done about its failure: rollback.go

	inText bool // for a statement outside a transaction: the application has begun one as text
	within *tx  // for a statement outside a transaction: the sql.Tx that it was run in, which has ended on the server

	locking    locking    // the texts that lock, or may learn to: lock_learn.go
	marking    marking    // the markers of its commits: marker.go
	committing commitStep // the Commit that is under way
}

// session is the connection that the transaction is on.
func (t *tx) session() *wire.Session { return t.c.session }

// BeginTx starts a transaction. Nothing is sent: BEGIN and the savepoint travel with the first statement. The context
// covers the whole transaction, as database/sql says, and may carry a policy ([WithRetryPolicy], [WithoutRetries]).
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.endPrevious(); err != nil {
		return nil, err
	}
	if c.session.Closed() {
		if err := c.revive(ctx); err != nil {
			return nil, err
		}
	}
	policy, err := retryPolicyFrom(ctx, c.pool.policy)
	if err != nil {
		return nil, err
	}
	begin, err := beginStatement(opts)
	if err != nil {
		return nil, err
	}
	c.tx = c.newTx(ctx, policy, begin, c.savepoints.in(opts.Isolation))
	c.tx.opening.readOnly = opts.ReadOnly
	claim(ctx, c.tx)
	c.tx.spareSavepoint()
	c.tx.opening.snapshot = c.tx.lockTexts() != nil && c.readsSnapshots(opts.Isolation)
	return c.tx, nil
}

// newTx makes a transaction, together with memory for a short record. savepoint says that it may have a restart
// savepoint.
func (c *conn) newTx(ctx context.Context, policy RetryPolicy, begin string, savepoint bool) *tx {
	roomy := &struct {
		tx
		first firstArena
	}{tx: tx{c: c, pool: c.pool, ctx: ctx, explicit: true, policy: policy, attempt: attempt{number: 1}}}
	t := &roomy.tx
	t.history.arena = roomy.first.arena()
	t.history.records, c.records = c.records, nil
	// While it is passive, not all of what the application began as text is on record.
	t.history.passive = !policy.enabled() || c.session.Status() != wire.Idle
	if t.history.passive {
		t.exposeFromStart()
	}
	t.opening.begin = begin
	t.opening.mayHave = savepoint
	t.opening.savepoint = t.mayHaveSavepoint()
	t.openFresh(false)
	return t
}

// endPrevious ends the connection's previous transaction, if its context has ended: database/sql rolls that back in a
// goroutine of its own, which may run only after the next one has begun.
func (c *conn) endPrevious() error {
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
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// handOver makes the server's transaction the one that the application believes to be in, before it works on the
// connection itself.
func (t *tx) handOver() {
	t.attempt.start()
	switch {
	case t.state == stateDetached:
		return
	case t.state != stateOpen:
		if t.session().Status() != wire.Failed { // then the server refuses what comes
			t.session().Die() // nothing of a transaction that has failed must be committed
		}
		return
	}
	h := &handOverStep{t}
	if t.failAgain(t.ctx) != nil || t.carryOn(t.ctx, h, h.send(t.ctx)) != nil {
		t.session().Die() // there is no transaction to work in
	}
	t.unreplayable(CauseRaw)
	t.history.wrote = true // nobody knows
	t.attempt.statements++ // at least one was run, and so what comes next is not the first
}

// handOverStep sends the opening alone.
type handOverStep struct{ t *tx }

func (h *handOverStep) site() site             { return atStatement(h.t.attempt.statements + 1) }
func (h *handOverStep) mayRunAgainAlone() bool { return false }
func (h *handOverStep) renew(fault) bool       { return false }
func (h *handOverStep) settled(f fault) error  { return f.err }

func (h *handOverStep) resume(ctx context.Context) fault {
	if _, f := h.t.replay(ctx, nil); f.err != nil {
		return f
	}
	return h.send(ctx)
}

func (h *handOverStep) send(ctx context.Context) fault {
	t := h.t
	if t.opening.pending == nil {
		return fault{}
	}
	reach, err := t.session().Control(ctx, t.opening.pending...)
	t.opening.note(reach, t.session().Status())
	return fault{err: err, reach: reach}
}
