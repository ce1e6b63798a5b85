package wire

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// An exchange is a request with one statement, and the server's answer, message by message. It does what
// [pgconn.PgConn.ExecStatement] does, in less time. A connection has one, which is used again and again.
//
// pgconn takes the connection for idle while the answer is read; see [Session.Lend].
type exchange struct {
	pg         *pgconn.PgConn
	watcher    *ctxwatch.ContextWatcher
	background backgroundReader // nil where it is not known
	socket     bool             // what is written to is a socket, which has a buffer
	slow       *time.Timer      // runs while something is written that may not fit; nil before that
	started    chan struct{}    // gets a word when slow has fired

	ctx       context.Context
	open      bool // the answer has not been read to its end
	concluded bool // the statement has been answered, with a tag or an error
	onRow     bool // row is the first one, and NextRow has not come to it
	row       [][]byte
	known     []pgconn.FieldDescription // the columns as they were described before
	fields    []pgconn.FieldDescription // the columns as the answer describes them; nil before it does
	described []pgconn.FieldDescription // the memory of fields that were not known
	tag       pgconn.CommandTag
	latest    pgconn.CommandTag // of an earlier answer: many have the same
	err       error
	lent      *pgconn.Pipeline // pgconn takes the connection for busy because of it; nil as a rule
}

// newExchange makes the exchange of a connection. rows may be nil.
func newExchange(pg *pgconn.PgConn, cfg *pgconn.Config, rows *rowReader, socket bool) exchange {
	e := exchange{pg: pg, watcher: ctxwatch.NewContextWatcher(cfg.BuildContextWatcherHandler(pg)), socket: socket}
	if rows != nil {
		e.background, _ = rows.conn.(backgroundReader)
	}
	return e
}

// takes reports whether the statement can go by the exchange.
func (e *exchange) takes(st *Statement) bool {
	return len(st.Values) <= math.MaxUint16 && (e.background != nil || e.socket && st.isSmall())
}

// start sends the statement, and reads as far as the first row, or the end, of the answer.
func (e *exchange) start(ctx context.Context, st *Statement) {
	e.ctx, e.open, e.concluded, e.onRow = ctx, true, false, false
	e.row, e.known, e.fields, e.tag, e.err = nil, nil, nil, pgconn.CommandTag{}, nil
	if st.Columns != nil {
		e.known = st.Columns.Fields
	}
	e.watcher.Watch(ctx)
	if err := e.send(st); err != nil {
		e.lose(err)
		return
	}
	for !e.concluded {
		switch msg := e.receive().(type) {
		case *pgproto3.RowDescription:
			return
		case *pgproto3.DataRow:
			e.onRow, e.row = true, msg.Values
			return
		}
	}
}

// receive reads the next message. It returns nil after the connection is lost, and the answer is over then.
func (e *exchange) receive() pgproto3.BackendMessage {
	if e.lent != nil {
		_ = e.lent.Close()
		e.lent = nil
	}
	msg, err := e.pg.ReceiveMessage(context.Background())
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // without pgconn's "receive message failed"
		}
		e.lose(err)
		return nil
	}
	switch msg := msg.(type) {
	case *pgproto3.RowDescription:
		e.describe(msg.Fields)
	case *pgproto3.CommandComplete:
		if string(msg.CommandTag) != e.latest.String() {
			e.latest = pgconn.NewCommandTag(string(msg.CommandTag))
		}
		e.conclude(e.latest, nil)
	case *pgproto3.EmptyQueryResponse:
		e.conclude(pgconn.CommandTag{}, nil)
	case *pgproto3.ErrorResponse:
		e.conclude(pgconn.CommandTag{}, pgconn.ErrorResponseToPgError(msg))
	case *pgproto3.ReadyForQuery:
		e.conclude(pgconn.CommandTag{}, nil)
		e.end()
	}
	return msg
}

// describe notes the columns. Mostly they are those that are known.
func (e *exchange) describe(columns []pgproto3.FieldDescription) {
	if slices.EqualFunc(e.known, columns, isField) {
		e.fields = e.known
		return
	}
	e.described = e.described[:0]
	for i := range columns {
		e.described = append(e.described, fieldOf(&columns[i]))
	}
	e.fields = e.described
}

func isField(known pgconn.FieldDescription, f pgproto3.FieldDescription) bool {
	return known.Name == string(f.Name) && known.TableOID == f.TableOID &&
		known.TableAttributeNumber == f.TableAttributeNumber && known.DataTypeOID == f.DataTypeOID &&
		known.DataTypeSize == f.DataTypeSize && known.TypeModifier == f.TypeModifier && known.Format == f.Format
}

func fieldOf(f *pgproto3.FieldDescription) pgconn.FieldDescription {
	return pgconn.FieldDescription{
		Name: string(f.Name), TableOID: f.TableOID, TableAttributeNumber: f.TableAttributeNumber,
		DataTypeOID: f.DataTypeOID, DataTypeSize: f.DataTypeSize, TypeModifier: f.TypeModifier, Format: f.Format,
	}
}

// conclude keeps the first tag and the first error: an error may come after a tag, from a deferred constraint.
func (e *exchange) conclude(tag pgconn.CommandTag, err error) {
	if !e.concluded {
		e.concluded, e.tag, e.row = true, tag, nil
	}
	if e.err == nil {
		e.err = err
	}
}

func (e *exchange) end() {
	if e.open {
		e.open = false
		e.watcher.Unwatch()
	}
}

// lose ends an exchange whose connection is of no use any more. pgconn has closed it, unless a deadline has passed or
// the request could not be written.
func (e *exchange) lose(err error) {
	e.end()
	if !e.pg.IsClosed() {
		closeErr := e.giveUp()
		if e.ctx.Err() != nil {
			err = closeErr
		}
	}
	e.conclude(pgconn.CommandTag{}, err)
}

// giveUp has pgconn close the connection as it does when a request can't be written: on another goroutine it has the
// server cancel what runs, and reads what is on its way. The error is what pgconn says of the context.
func (e *exchange) giveUp() error {
	if err := e.pg.Conn().SetDeadline(past); err != nil { // it would wait for an answer
		_ = e.pg.Conn().Close()
	}
	_, err := e.pg.ExecParams(unwatched{e.ctx}, "", nil, nil, nil, nil).Close()
	return err
}

// unwatched is a context whose end nobody waits for.
type unwatched struct{ context.Context }

func (unwatched) Done() <-chan struct{} { return nil }

// NextRow, Values, FieldDescriptions and Close are as those of [pgconn.ResultReader].
func (e *exchange) NextRow() bool {
	if e.onRow {
		e.onRow = false
		return true
	}
	for !e.concluded {
		if msg, ok := e.receive().(*pgproto3.DataRow); ok {
			e.row = msg.Values
			return true
		}
	}
	return false
}

func (e *exchange) Values() [][]byte { return e.row }

func (e *exchange) FieldDescriptions() []pgconn.FieldDescription { return e.fields }

func (e *exchange) Close() (pgconn.CommandTag, error) {
	for e.open {
		e.receive()
	}
	return e.tag, e.err
}
