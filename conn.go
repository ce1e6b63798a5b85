package cockroachdb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Conn is a connection. Applications get at it by [database/sql.Conn.Raw]; everything but [Conn.Conn] is for database/sql.
// It is not safe for concurrent use.
type Conn struct {
	connector *Connector
	pc        *pgx.Conn
	pg        *pgconn.PgConn
	mode      pgx.QueryExecMode
	trace     tracing
	socket    *socket

	crdb           bool // the server is CockroachDB
	forceSavepoint bool // its force_savepoint_restart may be on: every savepoint is a restart savepoint

	builder      pgx.ExtendedQueryBuilder
	batch        batch
	statements   *statementCache
	descriptions *statementCache

	tx     *tx    // the application's transaction
	single tx     // the statement outside of a transaction that runs
	lone   record // and its record

	records []*record // empty, with room for those of the next transaction
	args    []any     // likewise, for the arguments of the next statement
}

// Ensure the interfaces are implemented: what pgx's stdlib implements, no less.
var (
	_ driver.Conn               = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.Validator          = (*Conn)(nil)
)

func newConn(cn *Connector, pc *pgx.Conn) *Conn {
	cfg := pc.Config()
	return &Conn{
		connector:      cn,
		pc:             pc,
		pg:             pc.PgConn(),
		mode:           cfg.DefaultQueryExecMode,
		trace:          newTracing(cfg.Tracer),
		socket:         socketOf(pc.PgConn().Conn()),
		crdb:           pc.PgConn().ParameterStatus("crdb_version") != "",
		forceSavepoint: forceSavepointRestart(cfg.RuntimeParams),
		statements:     newStatementCache(cfg.StatementCacheCapacity),
		descriptions:   newStatementCache(cfg.DescriptionCacheCapacity),
	}
}

// String says where the Conn leads, and nothing of what goes over it.
func (c *Conn) String() string {
	cc := c.pc.Config()
	return fmt.Sprintf("cockroachdb.Conn{host=%s database=%s user=%s}", hostPort(cc.Host, cc.Port), cc.Database, cc.User)
}

// Format writes what String says, whatever the verb: the fields hold the arguments of the latest statements.
func (c *Conn) Format(f fmt.State, _ rune) {
	if c == nil || c.pc == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = io.WriteString(f, c.String())
}

// Conn gives the pgx connection, for what database/sql has no words for: COPY, large objects, notifications. What is done with
// it is not recorded, so a transaction during which it is called is no longer replayed: a conflict comes to the application.
func (c *Conn) Conn() *pgx.Conn {
	if t := c.tx; t != nil {
		t.handOver()
	}
	return c.pc
}

// handOver makes the server's transaction the one that the application believes to be in, before it works on it by itself.
func (t *tx) handOver() {
	if t.started.IsZero() {
		t.started = time.Now()
	}
	err := t.attempt(t.ctx, "", func(opening []string) (bool, error) {
		if t.state != txLive || len(opening) == 0 {
			return false, nil
		}
		return t.c.control(t.ctx, opening...)
	})
	if err != nil {
		t.c.die() // there is no transaction to work in
	}
	t.unreplayable(causeRaw)
}

// ExecContext runs a query that returns no rows.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, nil, args)
}

func (c *Conn) exec(ctx context.Context, query string, st *stmt, args []driver.NamedValue) (driver.Result, error) {
	if cmd := c.tx.commandOf(ctx); cmd != nil {
		return driver.ResultNoRows, cmd(ctx, c.tx)
	}
	t, err := c.ready(ctx)
	if err != nil {
		return nil, err
	}
	s, ctx, end, err := c.start(ctx, t, &request{sql: query, args: c.values(args), mode: c.mode, stmt: st})
	if err != nil {
		return nil, err
	}
	cu := cursor{t: t, ctx: ctx, trace: end}
	cu.open(&s)
	cu.drain()
	if cu.err != nil {
		return nil, c.badConn(ctx, t, cu.err)
	}
	if !t.explicit {
		return driver.RowsAffected(cu.tag.RowsAffected()), nil
	}
	return result{cu.rec}, nil
}

// QueryContext runs a query that returns rows.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, nil, args)
}

func (c *Conn) query(ctx context.Context, query string, st *stmt, args []driver.NamedValue) (driver.Rows, error) {
	t, err := c.ready(ctx)
	if err != nil {
		return nil, err
	}
	s, ctx, end, err := c.start(ctx, t, &request{sql: query, args: c.values(args), mode: c.mode, stmt: st, query: true})
	if err != nil {
		return nil, err
	}
	r, err := t.query(ctx, &s, end)
	if err != nil {
		return nil, c.badConn(ctx, t, err)
	}
	return r, nil
}

// start compiles a request, under the application's tracer.
func (c *Conn) start(ctx context.Context, t *tx, r *request) (statement, context.Context, traceEnd, error) {
	args := r.args
	ctx, end := c.trace.start(ctx, c.pc, t, r.sql, args)
	err := r.readOptions(ctx, c.pc)
	var s statement
	if err == nil {
		s, err = c.compile(ctx, t, r)
	}
	c.valuesDone(args)
	if err != nil {
		end(c.pc, pgconn.CommandTag{}, err)
		t.endedOutside(ctx, err)
		return statement{}, ctx, nil, c.badConn(ctx, t, err)
	}
	return s, ctx, end, nil
}

// badConn has database/sql try a statement on another connection, if nothing of it was sent. Where that was the caller's wish,
// this connection is still good.
func (c *Conn) badConn(ctx context.Context, t *tx, err error) error {
	err, unsent := asUnsent(err)
	if t.explicit || !unsent || ctx.Err() != nil && !c.pg.IsClosed() {
		return err
	}
	return driver.ErrBadConn
}

// ready gives the transaction that a statement belongs to.
func (c *Conn) ready(ctx context.Context) (*tx, error) {
	t := c.tx
	if t == nil {
		if c.pg.IsClosed() {
			return nil, driver.ErrBadConn
		}
		var err error
		if t, err = c.outside(ctx); err != nil {
			return nil, err
		}
	}
	if err := t.refuse(); err != nil {
		return nil, err
	}
	if t.explicit && t.ctx.Err() != nil {
		return nil, t.ctx.Err() // it is about to be rolled back, and what is sent now would be with it
	}
	if t.started.IsZero() {
		t.started = time.Now()
	}
	if c.pg.IsClosed() {
		return nil, t.lose(errClosed, "")
	}
	return t, nil
}

// outside makes a statement outside of a transaction a transaction of one statement.
func (c *Conn) outside(ctx context.Context) (*tx, error) {
	t := &c.single
	if t.rows != nil {
		return nil, errRowsOpen
	}
	policy, err := retryPolicyFrom(ctx, c.connector.cfg.RetryPolicy)
	if err != nil {
		return nil, err
	}
	records := t.history.records[:0]
	*t = tx{c: c, ctx: ctx, policy: policy, attempts: 1, history: history{records: records}, started: time.Now()}
	// In a transaction that the application began as text a statement can't be run again by itself.
	t.aside = !policy.enabled() || c.pg.TxStatus() != statusIdle
	return t, nil
}

// values takes the values out of named, into memory that the next statement uses again; but not under a tracer, which may keep it.
func (c *Conn) values(named []driver.NamedValue) []any {
	if len(named) == 0 {
		return nil
	}
	args := c.args
	if cap(args) < len(named) || c.trace.query != nil {
		args = make([]any, 0, len(named))
	}
	for _, v := range named {
		args = append(args, v.Value)
	}
	return args
}

// valuesDone is called when the values have been encoded.
func (c *Conn) valuesDone(args []any) {
	if len(args) > 0 && c.trace.query == nil && cap(args) <= mostKept {
		clear(args)
		c.args = args[:0]
	}
}

const mostKept = 256 // of records, or arguments, for which memory is kept from one transaction to the next

// keepForNext keeps the memory of a record's table of contents.
func (c *Conn) keepForNext(records []*record) {
	if cap(records) <= mostKept {
		clear(records)
		c.records = records[:0]
	}
}

// PrepareContext prepares a statement, for as long as the connection lives or the statement is closed.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	t, err := c.ready(ctx)
	if err != nil {
		return nil, err
	}
	p, err := c.prepareFor(ctx, t, query)
	t.endedOutside(ctx, err)
	if err != nil {
		return nil, c.badConn(ctx, t, err)
	}
	return &stmt{c: c, p: p}, nil
}

// Prepare prepares a statement.
//
// Deprecated: database/sql calls PrepareContext.
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// CheckNamedValue lets every argument pass: pgx knows how to encode them, driver.Valuer included.
func (c *Conn) CheckNamedValue(*driver.NamedValue) error { return nil }

// Ping asks the server for a sign of life.
func (c *Conn) Ping(ctx context.Context) error {
	switch {
	case c.pg.IsClosed():
		return driver.ErrBadConn
	case c.single.rows != nil, c.tx != nil && c.tx.rows != nil:
		return errRowsOpen
	}
	if err := c.pc.Ping(ctx); err != nil {
		c.die()
		return driver.ErrBadConn
	}
	return nil
}

// ResetSession is called before a connection is used again. One that the server closed, or is about to close, is seen here; it
// costs a round trip only if the server has sent something since.
func (c *Conn) ResetSession(ctx context.Context) error {
	if c.tx != nil || c.pg.IsClosed() || c.pg.TxStatus() != statusIdle || c.check(ctx) != nil {
		return driver.ErrBadConn
	}
	if reset := c.connector.cfg.ResetSession; reset != nil {
		return reset(ctx, c.pc)
	}
	return nil
}

// IsValid says whether the connection may go back into the pool.
func (c *Conn) IsValid() bool { return !c.pg.IsClosed() }

const closeTimeout = 5 * time.Second

// Close closes the connection. An open transaction is rolled back by the server.
func (c *Conn) Close() error {
	if c.tx != nil {
		c.tx.give(txLost, outcomeRolledBack, errClosed)
		c.tx.end()
	}
	c.single.leaveLane()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return c.pc.Close(ctx)
}

// die closes the connection without ceremony.
func (c *Conn) die() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.pc.Close(ctx)
}

// result is what an Exec inside a transaction gives. The number of affected rows is an observation once it has been asked for.
type result struct{ r *record }

func (result) LastInsertId() (int64, error) { return driver.RowsAffected(0).LastInsertId() }

func (res result) RowsAffected() (int64, error) {
	res.r.asked = true
	return res.r.affected, nil
}
