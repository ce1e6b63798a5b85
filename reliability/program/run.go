package program

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb"
)

// A Result is what became of a program, as its application knows it.
type Result struct {
	Err   error
	Calls [][]string // what it was shown; RunTx may have called it more than once
}

var errForgone = errors.New("the application rolls back")

// A runner runs programs on a pool.
type runner struct {
	db     *sql.DB
	shared map[string]*sql.Stmt // by text
}

func (r *runner) run(ctx context.Context, p *Program) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.Policy != Default {
		ctx = cockroachdb.WithRetryPolicy(ctx, p.Policy.policy())
	}
	res := &Result{}
	run := &execution{runner: r, ctx: ctx, cancel: cancel, program: p, result: res}
	switch p.Form {
	case Single:
		res.Err = run.alone()
	case Closure:
		res.Err = cockroachdb.RunTx(ctx, r.db, nil, run.inside)
	default:
		res.Err = run.begin(&sql.TxOptions{ReadOnly: p.Form == ReadOnly})
	}
	run.stop()
	return *res
}

// An execution is one program being run.
type execution struct {
	*runner
	ctx     context.Context
	cancel  context.CancelFunc
	program *Program
	result  *Result
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

func (e *execution) alone() error {
	s := &server{execution: e, on: e.db}
	p := player{on: s, program: e.program, at: e.reach}
	err := p.play()
	e.result.Calls = append(e.result.Calls, p.shown)
	return err
}

func (e *execution) begin(opts *sql.TxOptions) error {
	tx, err := e.db.BeginTx(e.ctx, opts)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := e.inside(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// inside is what the application does in a transaction.
func (e *execution) inside(tx *sql.Tx) error {
	call := len(e.result.Calls)
	e.result.Calls = append(e.result.Calls, nil)
	s := &server{execution: e, on: tx, tx: tx, call: call + 1}
	p := player{on: s, program: e.program, at: e.reach}
	err := p.play()
	e.result.Calls[call] = p.shown
	if err == nil && e.program.Forgo {
		return errForgone
	}
	return err
}

// A server is the server, through the driver, in one transaction or outside of any.
type server struct {
	*execution
	on       querier
	tx       *sql.Tx // nil outside
	call     int
	prepared map[string]*sql.Stmt
}

// A querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (s *server) savepoint(verb, name string) error {
	_, err := s.on.ExecContext(s.step, verb+" "+name)
	return err
}

func (s *server) run(st *Statement, v value) (answer, error) {
	text, args := st.sql(v)
	ctx := s.step
	switch {
	case st.Kind == tick:
		ctx = s.ctx
	case st.Kind == enter:
		ctx, args = s.ctx, []any{s.program.ID, s.call}
	case s.tx == nil && !readsOnly(st.Kind):
		text, args = alone(text, args, s.program.ID)
	}
	if st.How != Direct && s.tx != nil {
		return s.runPrepared(ctx, st, text, args)
	}
	if st.Mode != 0 && len(args) > 0 {
		args = append([]any{st.Mode}, args...)
	}
	if st.Kind.rows() {
		return s.rows(st)(s.on.QueryContext(ctx, text, args...)) //nolint:rowserrcheck // rows does
	}
	return s.count(st)(s.on.ExecContext(ctx, text, args...))
}

func (s *server) runPrepared(ctx context.Context, st *Statement, text string, args []any) (answer, error) {
	stmt, err := s.prepare(ctx, st, text) //nolint:sqlclosecheck // the end of the transaction closes it
	if err != nil {
		return answer{}, err
	}
	if st.Kind.rows() {
		return s.rows(st)(stmt.QueryContext(ctx, args...)) //nolint:rowserrcheck // rows does
	}
	return s.count(st)(stmt.ExecContext(ctx, args...))
}

// prepare gives a statement that database/sql closes with the transaction.
func (s *server) prepare(ctx context.Context, st *Statement, text string) (*sql.Stmt, error) {
	if shared, ok := s.shared[text]; ok && st.How == Shared {
		return s.tx.StmtContext(ctx, shared), nil
	}
	if stmt, ok := s.prepared[text]; ok {
		return stmt, nil
	}
	stmt, err := s.tx.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if s.prepared == nil {
		s.prepared = make(map[string]*sql.Stmt)
	}
	s.prepared[text] = stmt
	return stmt, nil
}

func (*server) count(st *Statement) func(sql.Result, error) (answer, error) {
	return func(res sql.Result, err error) (a answer, _ error) {
		if err == nil && st.Ask {
			a.affected, err = res.RowsAffected()
		}
		return a, err
	}
}

// rows reads as many rows as the statement wants, and leaves the others.
func (*server) rows(st *Statement) func(*sql.Rows, error) (answer, error) {
	return func(rows *sql.Rows, err error) (answer, error) {
		if err != nil {
			return answer{}, err
		}
		a, err := read(rows, st.Stop)
		return a, cmp.Or(err, rows.Close()) // bare, since that is what an application looks at
	}
}

func read(rows *sql.Rows, stop int) (a answer, err error) {
	names, err := rows.Columns()
	if err != nil {
		return a, err
	}
	for stop < 0 || len(a.rows) < stop {
		if !rows.Next() {
			a.end = rows.Err() == nil
			break
		}
		row, dest := make([]any, len(names)), make([]any, len(names))
		for i := range row {
			dest[i] = &row[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return a, err
		}
		a.rows = append(a.rows, row)
	}
	return a, rows.Err()
}

// sharedTexts are those of the statements that a transaction borrows from the pool.
func sharedTexts(r *Round) map[string]bool {
	texts := make(map[string]bool)
	r.each(func(s *Statement) {
		if text, args := s.sql(s.value(nil)); s.How == Shared && len(args) > 0 && !strings.Contains(text, ";") {
			texts[text] = true
		}
	})
	return texts
}

// readsOnly says whether a statement writes nothing.
func readsOnly(k Kind) bool {
	switch k {
	case Get, Scan, Wide, Count, Divide, ReadClock:
		return true
	}
	return false
}
