package wire

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// A LastError keeps the server's latest error, and the first of the latest request. Where the connection ends right
// after an error, pgconn tells of the end alone, or of the error that says why.
type LastError struct {
	pg         *pgconn.PgConn // whose it is, once it is connected: an application may connect with its configuration, too
	first, err *pgconn.PgError
	rows       *rowReader // of the latest connection that was tried
}

// Watch has a connection that is made with cc be watched.
func Watch(cc *pgx.ConnConfig) *LastError {
	last, handler, build := &LastError{}, cc.OnPgError, cc.BuildFrontend
	cc.DialFunc = delivering(cc.DialFunc)
	cc.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		rows := &rowReader{conn: r, delivery: deliveryOf(w)}
		rows.frontend = build(rows, w)
		if last.pg == nil {
			last.rows = rows
		}
		return rows.frontend
	}
	cc.OnPgError = func(pg *pgconn.PgConn, err *pgconn.PgError) bool {
		if last.pg == nil || last.pg == pg {
			last.first, last.err = cmp.Or(last.first, err), err
		}
		if pgerr.IsFatal(err) {
			deliveryOf(pg.Conn()).ends()
		}
		return handler == nil || handler(pg, err)
	}
	return last
}

// connected takes note of the connection that was made, and returns what reads its rows; nil if that is not known.
func (l *LastError) connected(pg *pgconn.PgConn) *rowReader {
	if l == nil {
		return nil
	}
	l.pg = pg
	if l.rows == nil || l.rows.frontend != pg.Frontend() {
		return nil
	}
	return l.rows
}

// begin is called before a request is written.
func (s *Session) begin() {
	if s.PG.IsClosed() {
		return
	}
	if s.last != nil {
		s.last.first, s.last.err = nil, nil
	}
	s.delivery.begin()
}

// reason returns the error of a message that was sent, with what pgconn makes of it corrected: the server's own error
// is bare, since ORMs look at the type of an error, and goes before that of a connection which has ended with it.
func (s *Session) reason(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	switch last := s.lastWord(); {
	case last != nil && pgerr.IsCancelledByEnd(s.last.first, last):
		return last
	case last != nil:
		return s.last.first
	case pgerr.Answer(err) != nil:
		return err
	}
	return wasSent(ctx, err)
}

// lastWord returns the server's latest error, if the connection has ended; nil if there is none.
func (s *Session) lastWord() *pgconn.PgError {
	if s.last == nil || !s.PG.IsClosed() {
		return nil
	}
	return s.last.err
}

// wasSent corrects what pgconn says of a statement that was sent: that it is safe to send it again; and its word for a
// malformed error, io.EOF, which database/sql would take for the end of the rows.
func wasSent(ctx context.Context, err error) error {
	if err == io.EOF || pgconn.SafeToRetry(err) { //nolint:errorlint // pgconn does not wrap io.EOF
		return cmp.Or(ctx.Err(), errAnswerLost)
	}
	return err
}

// errAnswerLost stands for a connection that broke before the answer was there: in the simple protocol pgconn hides the
// cause.
var errAnswerLost = fmt.Errorf("the connection was lost before the answer was there: %w", io.ErrUnexpectedEOF)
