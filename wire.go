package cockroachdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// openingError says that one of the opening statements failed, and so nothing after it ran.
type openingError struct{ err error }

func (e *openingError) Error() string { return e.err.Error() }
func (e *openingError) Unwrap() error { return e.err }

// asOpening takes an error out of openingError, and says whether it was in one. Wrapped in an outcome it is told already.
func asOpening(err error) (error, bool) {
	if failed, ok := err.(*openingError); ok { //nolint:errorlint // made right here
		return failed.err, true
	}
	return err, false
}

// unsentError says that nothing was sent, for certain. pgconn.SafeToRetry won't do for that: it says so, too, of a connection that
// died after a statement had been sent, and in the simple protocol hides why.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// unable says why nothing can be sent now.
func (c *Conn) unable(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return &unsentError{err: ctx.Err()}
	case c.pg.IsClosed():
		return &unsentError{err: errClosed}
	case c.pg.IsBusy():
		return &unsentError{err: errRowsOpen}
	}
	return nil
}

// asUnsent takes an error out of unsentError, and says whether it was in one.
func asUnsent(err error) (error, bool) {
	if unsent, ok := err.(*unsentError); ok { //nolint:errorlint // made right here
		return unsent.err, true
	}
	return err, false
}

// errProtocol is what the connection is closed with when the server's answers don't fit what was sent.
var errProtocol = errors.New("cockroachdb: the server's answer does not fit what was sent")

// answer is the server's answer to one statement, being read. Nothing else can be sent before it is closed.
type answer struct {
	ctx    context.Context
	result *pgconn.ResultReader
	multi  *pgconn.MultiResultReader // the statement went by the simple protocol
	train  train                     // the statement went with others, of which it is the last
	tag    pgconn.CommandTag
	err    error

	control bool // set by close: of a text of the simple protocol, that it held a COMMIT or a BEGIN
}

// next moves to the next row of the (first) result.
func (a *answer) next() bool { return a.result != nil && a.result.NextRow() }

// close reads what is left, up to the server's ReadyForQuery. Its error is the statement's.
func (a *answer) close() (pgconn.CommandTag, error) {
	if a.result != nil {
		a.keep(a.result.Close())
	}
	if a.multi != nil {
		a.control = controls(a.tag)
		empty := a.tag.String() == ""
		for a.multi.NextResult() {
			if empty {
				a.keep(a.tag, errProtocol) // that there was no statement, and then an answer to one
			}
			a.keep(a.multi.ResultReader().Close())
			a.control = a.control || controls(a.tag)
		}
		a.keep(a.tag, a.multi.Close())
	}
	if a.train != nil {
		a.keep(a.tag, a.train.land())
	}
	*a = answer{ctx: a.ctx, tag: a.tag, err: a.err, control: a.control}
	return a.tag, a.err
}

// concluded closes the answer to s. Without an error there must have been a command tag in it, unless there was no command.
func (c *Conn) concluded(s *statement, a *answer) (pgconn.CommandTag, error) {
	tag, err := a.close()
	if err == nil && tag.String() == "" && s.form != formParse && !isBlank(s.sql) {
		c.die()
		err = errProtocol
	}
	return tag, err
}

// controls says whether a statement with this tag begins or commits a transaction.
func controls(tag pgconn.CommandTag) bool {
	switch tag.String() {
	case "BEGIN", "START TRANSACTION", "COMMIT":
		return true
	}
	return false
}

func (a *answer) keep(tag pgconn.CommandTag, err error) {
	a.tag = tag
	if a.err == nil {
		a.err = bare(err)
	}
	a.err = wasSent(a.ctx, a.err)
}

// wasSent puts right what pgconn says of a statement that was sent: that it is safe to send it again; and its word for a malformed
// error, io.EOF, which database/sql would take for the end of the rows.
func wasSent(ctx context.Context, err error) error {
	if err == io.EOF { //nolint:errorlint // pgconn does not wrap it
		return errAnswerLost
	}
	if err != nil && pgconn.SafeToRetry(err) {
		return cmp.Or(ctx.Err(), errAnswerLost)
	}
	return err
}

// errAnswerLost is what a connection that broke before the answer was there comes to in the simple protocol, where pgconn loses the cause.
var errAnswerLost = fmt.Errorf("the connection was lost before the answer was there: %w", io.ErrUnexpectedEOF)

// bare takes the server's error out of pgconn's wrapping of a failed Parse: ORMs look at the type of an error.
func bare(err error) error {
	if prepareErr, ok := err.(*pgconn.PrepareError); ok { //nolint:errorlint // pgconn does not wrap it
		if pgErr, ok := errors.AsType[*pgconn.PgError](prepareErr); ok {
			return pgErr
		}
	}
	return err
}

// send sends the opening statements, if there are any, and s in one round trip, and reads as far as the first row of s, or its
// end. An error means that there is nothing left to read; sent says whether a byte may have reached the server.
func (c *Conn) send(ctx context.Context, opening []string, s *statement) (a answer, sent bool, err error) {
	if err := c.unable(ctx); err != nil {
		return answer{}, false, err
	}
	switch {
	case s.form == formSimple && len(opening) > 0:
		if sent, err = c.control(ctx, opening...); err != nil {
			return answer{}, sent, err
		}
		a, err = c.sendSimple(ctx, s.sql)
		return a, true, err
	case s.form == formSimple:
		a, err = c.sendSimple(ctx, s.sql)
		return a, true, err
	case len(opening) == 0 && len(c.statements.doomed) == 0:
		return c.sendAlone(ctx, s), true, nil
	}
	f := c.launch(ctx, opening)
	f.add(s)
	if err := f.depart(); err != nil {
		return answer{}, f.sent, err
	}
	a, err = f.last()
	return a, true, err
}

func (c *Conn) sendSimple(ctx context.Context, sql string) (answer, error) {
	multi := c.pg.Exec(ctx, sql)
	a := answer{ctx: ctx, multi: multi}
	if multi.NextResult() {
		a.result = multi.ResultReader()
		return a, nil
	}
	_, err := a.close()
	if err == nil {
		c.die()
		err = errProtocol
	}
	return a, err
}

// sendAlone spares a single statement the bookkeeping of a pipeline.
func (c *Conn) sendAlone(ctx context.Context, s *statement) answer {
	a := answer{ctx: ctx}
	if s.form == formPrepared && !s.prepared.gone {
		a.result = c.pg.ExecStatement(ctx, s.prepared.desc, s.values, s.paramFormats, s.resultFormats)
	} else {
		a.result = c.pg.ExecParams(ctx, s.sql, s.values, s.paramOIDs, s.paramFormats, s.resultFormats)
	}
	return a
}

// flight is several statements with one Sync at their end: what the server does not get to, because something before it failed,
// it skips.
type flight struct {
	train
	c       *Conn
	ctx     context.Context
	opening []string
	sent    bool // a byte of it may have reached the server
}

// launch starts a flight with the opening statements.
func (c *Conn) launch(ctx context.Context, opening []string) flight {
	return c.board(ctx, c.newTrain(ctx, false), opening)
}

func (c *Conn) board(ctx context.Context, t train, opening []string) flight {
	t.begin(opening)
	return flight{train: t, c: c, ctx: ctx, opening: opening}
}

// depart sends everything under one Sync and reads the answers to all but the statements added. After an error the flight is over.
func (f *flight) depart() error {
	if n, grounded := f.train.(nowhere); grounded {
		return n.err
	}
	f.sent = true
	if err := f.sync(); err != nil {
		if err = f.fail(err); len(f.opening) > 0 {
			err = f.openingFailed(err)
		}
		return err
	}
	for _, sql := range f.opening {
		if _, err := f.own(sql); err != nil {
			return f.openingFailed(f.fail(err))
		}
	}
	return nil
}

// openingFailed is the error of an opening, as it is if it is a conflict in a transaction that has begun.
func (f *flight) openingFailed(err error) error {
	if conflictOf(err) != nil && f.c.pg.TxStatus() != statusIdle {
		return err
	}
	return &openingError{err: err}
}

// own reads the answer to a statement of the driver's own.
func (f *flight) own(sql string) (pgconn.CommandTag, error) {
	_, end := f.c.trace.start(f.ctx, f.c.pc, f.c.tx, sql, nil)
	a, err := f.next()
	if err == nil {
		_, err = a.close()
	}
	if err == nil && !answers(a.tag.String(), sql) {
		err = errProtocol
	}
	end(f.c.pc, a.tag, err)
	return a.tag, err
}

// answers says whether a tag can be that of this statement of the driver's own. One of a kind that is not known is nobody else's.
func answers(tag, sql string) bool {
	switch tag {
	case "BEGIN", "SAVEPOINT", "RELEASE":
		return strings.HasPrefix(sql, tag)
	case sqlCommit:
		return sql != sqlSavepoint && sql != sqlRollbackTo && !strings.HasPrefix(sql, "BEGIN")
	case sqlRollback:
		return sql != sqlSavepoint && sql != sqlRelease && !strings.HasPrefix(sql, "BEGIN")
	}
	return true
}

// next reads as far as the first row, or the end, of the next statement's answer.
func (f *flight) next() (answer, error) {
	result, err := f.result()
	return answer{ctx: f.ctx, result: result}, err
}

// last is next for the last statement: closing its answer ends the flight.
func (f *flight) last() (answer, error) {
	a, err := f.next()
	if err != nil {
		return answer{}, f.fail(err)
	}
	a.train = f.train
	return a, nil
}

// fail ends the flight after err, which it returns.
func (f *flight) fail(err error) error {
	closeErr := f.land()
	if errors.Is(err, errProtocol) {
		f.c.die()
		if closeErr != nil {
			err = fmt.Errorf("%w: %w", err, closeErr)
		}
	}
	return err
}

// sendParse sends the opening statements and a Parse of sql in one round trip. After an error no statement is left behind:
// one may have been made although its description failed.
func (c *Conn) sendParse(ctx context.Context, opening []string, name, sql string) (_ *pgconn.StatementDescription, sent bool, err error) {
	if err := c.unable(ctx); err != nil {
		return nil, false, err
	}
	p := c.newPipeline(ctx)
	f := c.board(ctx, p, opening)
	p.parse(name, sql)
	defer func() {
		if err != nil && name != "" {
			c.statements.doomed = append(c.statements.doomed, name)
		}
	}()
	if err := f.depart(); err != nil {
		return nil, true, err
	}
	desc, err := p.description()
	if err != nil {
		return nil, true, f.fail(err)
	}
	if err := f.land(); err != nil {
		return nil, true, err
	}
	return desc, true, nil
}

// control sends statements of the driver's own in one round trip.
func (c *Conn) control(ctx context.Context, statements ...string) (sent bool, err error) {
	f := c.launch(ctx, statements)
	if err := f.depart(); err != nil {
		return f.sent, err
	}
	return true, f.land()
}
