package program

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// A Result is what became of a program, as its application knows it.
type Result struct {
	Err   error
	Calls []Call // RunTx may have called it more than once
	Conn  uint64 // the simulator's number of the connection that was its own; 0 for none
	Kept  bool   // an earlier program had that, too

	Began, Ended time.Time
}

// A Call is one run of a program's statements.
type Call []Part

// A Part is what was shown before something was committed, and what the application was told of that, if it has come so
// far.
type Part struct {
	Shown []string
	Err   error
	Keys  Keys
}

var errForgone = errors.New("the application rolls back")

// A runner runs programs on a pool.
type runner struct {
	db     *sql.DB
	sim    *crdbsim.Sim         // nil for a cluster
	shared map[string]*sql.Stmt // by text
}

func (r *runner) run(ctx context.Context, p *Program, own *ownConn) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.Policy != Default {
		ctx = cockroachdb.WithRetryPolicy(ctx, p.Policy.policy())
	}
	res := &Result{Began: time.Now()}
	run := &execution{runner: r, ctx: ctx, cancel: cancel, program: p, result: res, own: own}
	switch {
	case p.Own:
		res.Err = run.onItsOwn()
	case p.outside():
		res.Err = run.alone(r.db)
	case p.Form == Closure:
		res.Err = cockroachdb.RunTx(ctx, r.db, p.options(), run.inside)
	default:
		res.Err = run.begin(r.db)
	}
	run.stop()
	res.Ended = time.Now()
	return *res
}

// An execution is one program being run.
type execution struct {
	*runner
	ctx     context.Context
	cancel  context.CancelFunc
	program *Program
	result  *Result
	own     *ownConn    // the worker's
	conn    *sql.Conn   // nil if it has none of its own
	timer   *time.Timer // of the cancellation
	step    context.Context
}

func (e *execution) stop() {
	if e.timer != nil {
		e.timer.Stop()
	}
}

// reach makes the context of a step, and starts the clock of its cancellation.
func (e *execution) reach(step int) {
	e.stop()
	e.step = e.ctx
	c := e.program.Cancel
	if c == nil || c.Step != step {
		return
	}
	cancel := e.cancel
	if !c.Whole {
		e.step, cancel = context.WithCancel(e.ctx)
	}
	e.timer = time.AfterFunc(c.After, cancel)
}

func (e *execution) alone(on querier) error {
	s := &server{execution: e, on: on}
	defer s.closePrepared()
	return e.call(s)
}

// call runs the parts of the program.
func (e *execution) call(s *server) error {
	s.entry = entry{program: e.program.ID, call: len(e.result.Calls) + 1}
	e.step = e.ctx
	p := &player{on: s, program: e.program, at: e.reach}
	parts := make(Call, 0, e.program.parts())
	defer func() { e.result.Calls = append(e.result.Calls, parts) }()
	for s.entry.part = 1; s.entry.part <= e.program.parts(); s.entry.part++ {
		p.shown, p.keys = nil, nil
		err := p.play(s.entry.part)
		parts = append(parts, Part{p.shown, err, p.keys})
		if err != nil {
			p.closeAll()
			return err
		}
	}
	return nil // what is still open the end of the transaction closes
}

// onItsOwn runs the program on a connection that it has for itself.
func (e *execution) onItsOwn() (err error) {
	if e.conn, e.result.Kept, err = e.own.take(e.ctx); err != nil {
		return err
	}
	defer e.own.leave()
	if e.sim != nil { // in a cluster nobody looks: what Raw has handed over can't be replaced
		err = e.conn.Raw(func(c any) error {
			e.result.Conn = e.sim.ConnOf(c.(pgxConn).Conn().PgConn().PID())
			return nil
		})
	}
	for _, text := range firstTexts {
		if err == nil && e.program.Settings == Outside {
			_, err = e.conn.ExecContext(e.ctx, text)
		}
	}
	if err != nil {
		return besides{"before the transaction", err}
	}
	if e.program.outside() {
		return e.alone(e.conn)
	}
	return e.begin(e.conn)
}

// A beginner is a *sql.DB or a *sql.Conn.
type beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

func (e *execution) begin(on beginner) error {
	tx, err := on.BeginTx(e.ctx, e.program.options())
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if e.program.Form == Looped {
		return e.loop(tx)
	}
	if err := e.inside(tx); err != nil {
		return err
	}
	if t := e.program.Tail; t != nil && t.Back {
		return tx.Rollback()
	}
	return tx.Commit()
}

// inside is what the application does in a transaction.
func (e *execution) inside(tx *sql.Tx) error {
	s := &server{execution: e, on: tx, tx: tx}
	err := e.call(s)
	if err == nil && e.program.Forgo {
		return errForgone
	}
	return err
}

// An entry is a place in the table of commits.
type entry struct {
	program    int64
	call, part int
}

// A server is the server, through the driver, in one transaction or outside of any.
type server struct {
	*execution
	on       querier
	tx       *sql.Tx // nil outside
	entry    entry
	prepared map[string][]*sql.Stmt // by text, the latest last
}

// A querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func (s *server) savepoint(verb, name string) error {
	_, err := s.on.ExecContext(s.step, verb+" "+name)
	return err
}

// A ready statement has all that it takes to run it.
type ready struct {
	ctx  context.Context
	text string
	args []any
	stmt *sql.Stmt // nil for one that is not prepared
}

func (s *server) ready(st *Statement, v value) (r ready, err error) {
	r.ctx = s.step
	switch st.Kind {
	case Copy:
		return r, nil
	case tick:
		r.ctx = s.ctx
	}
	r.text, r.args = st.sql(v)
	switch {
	case st.Kind == enter:
		r.ctx, r.args = s.ctx, []any{s.entry.program, s.entry.call, 1}
	case (s.tx == nil || s.program.standsAlone(s.entry.part)) && !readsOnly(st.Kind):
		r.text, r.args = st.alone(r.text, r.args, s.entry)
	}
	if st.How == Prepared || st.How == Shared {
		r.stmt, err = s.stmt(r.ctx, st, r.text)
		return r, err
	}
	if st.Mode != 0 && len(r.args) > 0 && st.How != Raw {
		r.args = append([]any{st.Mode}, r.args...)
	}
	return r, nil
}

func (s *server) exec(st *Statement, v value) (affected int64, err error) {
	if s.program.masks(st) {
		return 0, s.execMasked(st)
	}
	r, err := s.ready(st, v)
	if err != nil {
		return 0, err
	}
	if st.How == Raw {
		return s.execRaw(r.ctx, st, r.text, r.args)
	}
	var res sql.Result
	if r.stmt != nil {
		res, err = r.stmt.ExecContext(r.ctx, r.args...)
	} else {
		res, err = s.on.ExecContext(r.ctx, r.text, r.args...)
	}
	if err == nil && st.Ask {
		affected, err = res.RowsAffected()
	}
	return affected, err
}

// query opens the rows of a query.
func (s *server) query(st *Statement, v value) (result, error) {
	r, err := s.ready(st, v)
	if err != nil {
		return nil, err
	}
	rows, err := s.open(st, r)
	if err != nil {
		return nil, err
	}
	return hideMade(st, v, rows), nil
}

func (s *server) open(st *Statement, r ready) (result, error) {
	switch {
	case st.Row && r.stmt != nil:
		return s.row(st, r.stmt.QueryRowContext(r.ctx, r.args...))
	case st.Row:
		return s.row(st, s.on.QueryRowContext(r.ctx, r.text, r.args...))
	case r.stmt != nil:
		return s.rows(r.stmt.QueryContext(r.ctx, r.args...))
	}
	return s.rows(s.on.QueryContext(r.ctx, r.text, r.args...))
}

// prepares numbers the texts that are only prepared. A program that RunTx calls again must not find what it has
// prepared before.
var prepares atomic.Int64

// prepare prepares a text that nobody has prepared before: of another the connection knows already, and tells what was
// so then.
func (s *server) prepare(st *Statement) error {
	text, _ := st.sql(st.value(nil))
	unique := fmt.Sprintf("%s /* %d */", text, prepares.Add(1))
	stmt, err := s.tx.PrepareContext(s.step, unique)
	if err == nil {
		s.keep(text, stmt)
	}
	return err
}

// stmt gives a statement. One that was prepared in a transaction database/sql closes with that.
func (s *server) stmt(ctx context.Context, st *Statement, text string) (*sql.Stmt, error) {
	if shared, ok := s.shared[text]; ok && st.How == Shared {
		return s.tx.StmtContext(ctx, shared), nil
	}
	if all := s.prepared[text]; len(all) > 0 {
		return all[len(all)-1], nil
	}
	stmt, err := s.on.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	s.keep(text, stmt)
	return stmt, nil
}

// closePrepared closes what was prepared outside of a transaction.
func (s *server) closePrepared() {
	for _, all := range s.prepared {
		for _, stmt := range all {
			_ = stmt.Close()
		}
	}
}

func (s *server) keep(text string, stmt *sql.Stmt) {
	if s.prepared == nil {
		s.prepared = make(map[string][]*sql.Stmt)
	}
	s.prepared[text] = append(s.prepared[text], stmt)
}

// sharedTexts are those of the statements that a transaction borrows from the pool.
func sharedTexts(r *Round) map[string]bool {
	texts := make(map[string]bool)
	r.each(func(s *Statement) {
		if s.How != Shared {
			return
		}
		if text, args := s.sql(s.value(nil)); len(args) > 0 && !strings.Contains(text, ";") {
			texts[text] = true
		}
	})
	return texts
}
