package cockroachdb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/digest"
	"github.com/reprise-go/cockroachdb/internal/fleet"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// Conn is what a connection of this driver is to applications, which get it by [database/sql.Conn.Raw]. It is not safe
// for concurrent use.
type Conn interface {
	driver.Conn

	// Conn returns the pgx connection, for what database/sql has no words for: COPY, large objects, notifications. What
	// is done with it is not recorded, so a transaction during which it is called is no longer replayed: a conflict comes
	// to the application. In a transaction that has failed, the connection is closed or refuses every statement.
	Conn() *pgx.Conn
}

// conn is a connection as database/sql uses it.
type conn struct {
	pool    *pool
	session *wire.Session
	host    string        // where the session leads to; "" if that is not known
	member  *fleet.Member // the session's, in the pool's fleet
	mode    pgx.QueryExecMode
	trace   tracing

	crdb           bool // the server is CockroachDB
	version        version
	savepoints     savepoints
	snapshots      bool // its transactions read what was committed at one point in time, by default
	textIsOneTx    bool // it runs a text of several statements as one transaction
	forceSavepoint bool // its force_savepoint_restart may be on: every savepoint is a restart savepoint
	forceByDefault bool // and that is how the session began

	journal journal // what its session was told

	rests time.Time // since when the connection rests

	tx         *tx         // the application's transaction
	lone       tx          // the statement outside a transaction that runs
	loneRecord record      // and its record
	executing  cursor      // of the Exec that runs
	shown      digest.Rows // of the result whose rows are being handed over: there is one at a time

	told    string  // what its session was told when it began
	request request // of the statement that runs, while it has one that is to be confirmed
	asking  bool    // it has

	spent *marker // of the latest transaction whose commit is known: the next one deletes it

	records []*record // empty, with room for those of the next transaction
	args    []any     // likewise, for the arguments of the next statement
}

// Ensure the interfaces are implemented: what pgx's stdlib implements, no less.
var (
	_ Conn                      = (*conn)(nil)
	_ driver.Conn               = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
)

func newConn(p *pool, l link) *conn {
	cfg := l.Pgx.Config()
	forced := forceSavepointRestart(cfg.RuntimeParams)
	c := &conn{
		pool: p, mode: cfg.DefaultQueryExecMode, trace: newTracing(cfg.Tracer),
		forceSavepoint: forced, forceByDefault: forced,
	}
	c.use(l)
	p.lane.ConnectedTo(c.crdb)
	p.acquired()
	return c
}

// use makes l's session that of the connection.
func (c *conn) use(l link) {
	c.session, c.host, c.member = l.Session, l.host, l.member
	c.told = sessionOf(l.Session)
	c.session.Tracer = c.ofControl()
	c.crdb, c.version, c.rests = isCockroachDB(l.Session), versionOf(l.Session), time.Now()
	params := l.Pgx.Config().RuntimeParams
	c.savepoints = savepointsOn(l.Session, c.pool.restart, params)
	c.snapshots = snapshotsByDefault(c.crdb, params)
	c.textIsOneTx = runsTextAsOneTx(l.PG.ParameterStatus("crdb_version"))
}

// String says where the connection leads, and nothing of what goes over it.
func (c *conn) String() string {
	cc := c.session.Pgx.Config()
	return fmt.Sprintf("cockroachdb.Conn{host=%s database=%s user=%s}", hostPort(cc.Host, cc.Port), cc.Database, cc.User)
}

// Format writes what String returns, whatever the verb: the fields hold the arguments of the latest statements.
func (c *conn) Format(f fmt.State, _ rune) {
	if c == nil || c.session == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = io.WriteString(f, c.String())
}

// Conn returns the pgx connection; see [Conn].
func (c *conn) Conn() *pgx.Conn {
	if t := c.tx; t != nil {
		t.handOver()
	}
	c.journal.pin(blame{cause: CauseRaw}) // nobody knows what will be done with it
	return c.session.Lend()
}

// ExecContext runs a query that returns no rows.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, nil, args)
}

func (c *conn) exec(ctx context.Context, query string, st *stmt, args []driver.NamedValue) (driver.Result, error) {
	if o := c.tx.orderIn(ctx); o != nil {
		return driver.ResultNoRows, o.obey(ctx, c.tx)
	}
	t, err := c.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	t, s, ctx, tr, err := c.start(ctx, t, &request{sql: query, args: c.values(args), mode: c.mode, stmt: st})
	if err != nil {
		return nil, err
	}
	return t.exec(ctx, &s, tr)
}

// exec runs a statement to its end.
func (t *tx) exec(ctx context.Context, s *wire.Statement, tr traced) (driver.Result, error) {
	cu := &t.c.executing
	*cu = cursor{}
	cu.t, cu.ctx, cu.trace = t, ctx, tr
	cu.open(s, nil)
	cu.drain()
	rec, tag, err, lost := cu.rec, cu.tag, cu.err, cu.lost
	*cu = cursor{}
	switch {
	case err != nil:
		return nil, err
	case lost != nil:
		return lostResult{lost}, nil
	case !t.explicit:
		return driver.RowsAffected(tag.RowsAffected()), nil
	}
	return result{rec}, nil
}

// QueryContext runs a query that returns rows.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, nil, args)
}

func (c *conn) query(ctx context.Context, query string, st *stmt, args []driver.NamedValue) (driver.Rows, error) {
	t, err := c.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	r := &request{sql: query, args: c.values(args), mode: c.mode, stmt: st, query: true}
	t, s, ctx, tr, err := c.start(ctx, t, r)
	if err != nil {
		return nil, err
	}
	return t.query(ctx, &s, r.locked, tr)
}

// ready returns the transaction that the statement query belongs to. In an sql.Tx whose transaction has ended on the
// server, each statement stands alone.
func (c *conn) ready(ctx context.Context, query string) (*tx, error) {
	t := c.tx
	if t == nil && c.session.Closed() {
		if err := c.revive(ctx); err != nil {
			return nil, err
		}
	}
	if t == nil || t.standsAlone() {
		return c.newLone(ctx, t)
	}
	if err := t.goBack(ctx, query); err != nil {
		return nil, err
	}
	if err := t.refuse(); err != nil {
		return nil, err
	}
	if t.ctx.Err() != nil {
		return nil, t.ctx.Err() // it is about to be rolled back, and what is sent now would be with it
	}
	t.attempt.start()
	if err := t.failAgain(ctx); err != nil {
		return nil, err
	}
	if c.session.Closed() && !t.canMove() {
		return nil, t.cantMove(fault{err: wire.ErrClosed}, atStatement(t.attempt.statements+1))
	}
	return t, nil
}

// standsAlone reports whether the next statement is a transaction of its own, since the server's has ended. Unless
// something is committed, it may run on another connection.
func (t *tx) standsAlone() bool {
	switch s := t.session(); {
	case t.state != stateDetached:
		return false
	case s.Closed():
		return t.ending == endedByDDL && !t.kept
	default:
		return s.Status() == wire.Idle
	}
}

// start compiles a request, under the application's tracer. It returns the transaction that the statement belongs to,
// which is another one where its own Parse has ended t on the server.
func (c *conn) start(ctx context.Context, t *tx, r *request) (*tx, wire.Statement, context.Context, traced, error) {
	args := r.args
	t.findLock(r)
	ctx, tr := c.trace.start(ctx, c.session.Pgx, t, r.tracedText(), args)
	err := r.readOptions(ctx, c.session.Pgx)
	var s wire.Statement
	if err == nil {
		s, err = c.compile(ctx, t, r)
	}
	if err == nil {
		t.lock(r, &s)
	}
	if err != nil || !c.keepRequest(r, &s) {
		c.valuesDone(args)
	}
	if err != nil {
		tr.end(c.session.Pgx, noTag, err)
		if !t.explicit {
			t.endAlone(ctx, err)
		}
		return nil, wire.Statement{}, ctx, traced{}, err
	}
	if t.state == stateDetached { // perhaps by its own Parse
		t, err = c.ready(ctx, r.sql)
	}
	return t, s, ctx, tr, err
}

// values takes the values out of named, into memory that the next statement uses again; but not under a tracer, which
// may keep it.
func (c *conn) values(named []driver.NamedValue) []any {
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
func (c *conn) valuesDone(args []any) {
	if len(args) > 0 && c.trace.query == nil && cap(args) <= mostKept {
		clear(args)
		c.args = args[:0]
	}
}

const mostKept = 256 // of records, or arguments, for which memory is kept from one transaction to the next

// keepForNext keeps the memory of a record's table of contents.
func (c *conn) keepForNext(records []*record) {
	if cap(records) <= mostKept {
		clear(records)
		c.records = records[:0]
	}
}

// CheckNamedValue lets every argument pass: pgx knows how to encode them, driver.Valuer included.
func (c *conn) CheckNamedValue(*driver.NamedValue) error { return nil }

// Ping asks the server for a sign of life. A connection that was lost, or of which that is found out now, is replaced.
func (c *conn) Ping(ctx context.Context) error {
	bad := driver.ErrBadConn
	if c.tx != nil { // at ErrBadConn an sql.Conn would wait for the end of the transaction, which waits for it
		bad = wire.ErrClosed
	}
	switch {
	case c.session.Closed() && c.tx == nil:
		return c.revive(ctx)
	case c.session.Closed():
		return bad
	case c.lone.rows != nil, c.tx != nil && c.tx.rows != nil:
		return wire.ErrBusy
	}
	err := c.session.Ping(ctx)
	if err == nil {
		return nil
	}
	c.session.Die()
	if c.tx == nil && ctx.Err() == nil {
		return c.revive(ctx)
	}
	return bad
}

// ResetSession is called before a connection is used again. One that the server closed, or is about to close, is seen
// here, or when it is used; it costs a round trip only if the server has sent something since, or if the connection was
// idle for long.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.tx != nil || c.session.Closed() || c.session.Status() != wire.Idle || !c.isWell(ctx, time.Since(c.rests)) {
		return driver.ErrBadConn
	}
	return c.pool.reset(ctx, c.session)
}

// isWell reports whether nothing speaks against the use of a connection that was idle for so long. One that was idle
// for long is pinged: whatever stands between it and the server may have forgotten it.
func (c *conn) isWell(ctx context.Context, idle time.Duration) bool {
	if after := c.pool.pingAfter; after > 0 && idle >= after {
		err := c.pingInTime(ctx)
		if err != nil {
			c.session.Die()
		}
		return err == nil
	}
	if idle < lookAfter && c.canBeLost(ctx) {
		return true
	}
	err := c.session.Check(ctx)
	if pgerr.EndsNode(err, true) {
		c.member.Lost()
	}
	return err == nil
}

// lookAfter is how long a connection must have been idle for a look at the socket to cost next to nothing.
const lookAfter = time.Millisecond

// canBeLost reports whether the application would, as a rule, not notice that the server has closed the connection
// before its next use: that the server has received nothing can be told then, and another connection takes its place.
func (c *conn) canBeLost(ctx context.Context) bool {
	policy, err := retryPolicyFrom(ctx, c.pool.policy)
	mayMove := err == nil && policy.enabled() && policy.MaxFailovers > 0 && !c.journal.pinned
	return mayMove && c.session.TellsReceipt() && c.session.Quiet()
}

// pingInTime asks the server for a sign of life. A process that hangs acknowledges all that it is sent, and answers
// nothing.
func (c *conn) pingInTime(ctx context.Context) error {
	bound := c.pool.deadPeer
	if bound == 0 {
		return c.session.Ping(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	err := c.session.Ping(bounded)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		c.member.Lost()
	}
	return err
}

// IsValid reports whether the connection may go back into the pool: no transaction may stay open there with its locks.
func (c *conn) IsValid() bool {
	c.rests = time.Now()
	if c.session.Closed() || c.session.Status() != wire.Idle {
		return false
	}
	c.pool.well.note(c.rests)
	retires := c.member.Retire(c.rests)
	if retires {
		c.pool.metrics().retired()
	}
	return !retires
}

const closeTimeout = 5 * time.Second

// Close closes the connection. An open transaction is rolled back by the server.
func (c *conn) Close() error {
	if c.tx == nil && !c.session.Closed() && c.session.Status() == wire.Idle {
		c.member.ClosedWell()
	}
	if c.tx != nil {
		c.tx.abandon()
	}
	c.lone.leaveLane()
	defer c.pool.released()
	c.member.Closed()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return c.session.Close(ctx)
}

// noteSwitch takes note of what an answered statement has set force_savepoint_restart to.
func (c *conn) noteSwitch(t *tx, s sqltext.Switch) {
	switch s {
	case sqltext.SwitchOn:
		c.forceSavepoint = true
	case sqltext.SwitchOnLocally:
		t.opening.forced = true
	case sqltext.SwitchOff:
		c.forceSavepoint = false
	case sqltext.SwitchDefault:
		c.forceSavepoint = c.forceByDefault
	}
}

// lostResult is what an Exec returns that is committed, and whose answer was lost with the connection.
type lostResult struct{ err error }

func (lostResult) LastInsertId() (int64, error)     { return driver.RowsAffected(0).LastInsertId() }
func (res lostResult) RowsAffected() (int64, error) { return 0, &ResultLostError{err: res.err} }

// result is what an Exec inside a transaction returns. The number of affected rows is an observation once it has been
// asked for.
type result struct{ r *record }

func (result) LastInsertId() (int64, error) { return driver.RowsAffected(0).LastInsertId() }

func (res result) RowsAffected() (int64, error) {
	res.r.asked = true
	return res.r.affected, nil
}
