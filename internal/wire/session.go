package wire

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/liveness"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// A Session is a connection to a server, and all that is known of it and goes with it. It is not safe for concurrent
// use.
type Session struct {
	Pgx *pgx.Conn
	PG  *pgconn.PgConn

	Statements   *Cache // prepared on the server
	Descriptions *Cache // of texts that are not

	// Shared says that others use the server's session too: a pooler hands it from client to client. It is found out by
	// what the server has prepared, or no longer has.
	Shared bool

	Tracer ControlTracer // nil for none

	last     *LastError // nil where it can't be watched
	rows     *rowReader // nil where pgproto3 reads by itself
	left     leaving
	socket   *liveness.Socket
	delivery *delivery // nil where it is not known what the server has received
	encoder  encoder
	batch    batchSender
	exchange exchange
}

// A ControlTracer is told of the driver's own statements.
type ControlTracer interface {
	Start(ctx context.Context, sql string) context.Context
	End(ctx context.Context, tag pgconn.CommandTag, err error) // with what Start has returned
}

// NewSession makes a Session of an idle connection. last is what Watch returned for it, or nil.
func NewSession(pc *pgx.Conn, last *LastError) *Session {
	cfg, conn := pc.Config(), pc.PgConn().Conn()
	rows, socket := last.connected(pc.PgConn()), liveness.SocketOf(conn)
	return &Session{
		Pgx:          pc,
		last:         last,
		rows:         rows,
		PG:           pc.PgConn(),
		Statements:   NewCache(cfg.StatementCacheCapacity),
		Descriptions: NewCache(cfg.DescriptionCacheCapacity),
		socket:       socket,
		delivery:     deliveryOf(conn),
		exchange:     newExchange(pc.PgConn(), &cfg.Config, rows, socket.Real()),
	}
}

// Inherit has s take over what was learnt of statements on a session that is lost and whose place it takes. Nothing is
// prepared on its server.
func (s *Session) Inherit(lost *Session) {
	s.Statements, s.Descriptions, s.Shared = lost.Statements, lost.Descriptions, lost.Shared
	s.Statements.Deallocated()
}

// TxStatus of the server, after its latest answer.
const (
	Idle   = 'I'
	Open   = 'T'
	Failed = 'E'
)

// Closed reports whether the connection is closed.
func (s *Session) Closed() bool { return s.PG.IsClosed() }

// Status returns the server's TxStatus after its latest answer, or what it is to be after Leave.
func (s *Session) Status() byte {
	if s.left.sent {
		return Idle
	}
	return s.PG.TxStatus()
}

// Die closes the connection without a word to the server.
func (s *Session) Die() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Close(ctx)
}

// Close closes the connection. It waits at most as long as ctx.
func (s *Session) Close(ctx context.Context) error {
	s.exchange.end()
	return s.Pgx.Close(ctx)
}

// Lend returns the pgx connection, for the application's own use. While an answer is being read, pgx says that it is
// busy.
func (s *Session) Lend() *pgx.Conn {
	if e := &s.exchange; e.open && e.lent == nil {
		e.lent = s.PG.StartPipeline(context.Background())
	}
	return s.Pgx
}

// AnswerBy bounds the wait for the server's answers by a deadline; the zero time lifts that. It leaves to pgconn what
// the end of ctx does, by the same deadline of the socket.
func (s *Session) AnswerBy(ctx context.Context, deadline time.Time) {
	_ = s.PG.Conn().SetReadDeadline(deadline) // without deadlines it waits as long as ctx does
	if ctx.Err() != nil {
		_ = s.PG.Conn().SetReadDeadline(past)
	}
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Ping asks the server for a sign of life.
func (s *Session) Ping(ctx context.Context) error { return s.ping(ctx) }

// Classify says what running a text may do, as this server reads it.
func (s *Session) Classify(sql string) sqltext.Class {
	if s.readsOtherwise(sql) {
		return sqltext.Worst
	}
	return sqltext.Classify(sql)
}

// readsOtherwise reports whether the server may take something else for the end of a literal than package sqltext does:
// a backslash escapes in all of them where standard_conforming_strings is off, and in some encodings a quote or a
// backslash can be the second byte of a character.
func (s *Session) readsOtherwise(sql string) bool {
	if s.PG.ParameterStatus("standard_conforming_strings") == "off" && strings.IndexByte(sql, '\\') >= 0 {
		return true
	}
	switch s.PG.ParameterStatus("client_encoding") {
	case "SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "GB18030", "UHC", "JOHAB":
		return strings.ContainsFunc(sql, func(r rune) bool { return r >= utf8.RuneSelf })
	}
	return false
}

var (
	// ErrClosed says that the connection is closed.
	ErrClosed = errors.New("the connection is closed")
	// ErrBusy says that an answer is still being read.
	ErrBusy = errors.New("cockroachdb: the rows of an earlier query are still open on this connection: read them to the end or close them first")
	// ErrProtocol is what the connection is closed with when the server's answers don't fit what was sent.
	ErrProtocol = errors.New("cockroachdb: the server's answer does not fit what was sent")
)

// unable returns why nothing can be sent now, or nil.
func (s *Session) unable(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.PG.IsClosed():
		return ErrClosed
	case s.exchange.open, s.PG.IsBusy():
		return ErrBusy
	}
	return s.Settle(ctx)
}
