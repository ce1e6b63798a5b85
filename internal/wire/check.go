package wire

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/reprise-go/cockroachdb/internal/liveness"
)

// Check finds out, before something is sent, whether the server has closed the connection or is about to. If so it
// closes the connection and returns why, in the server's own words if there are any.
//
// It costs a system call; where the server has sent something that can't be read, as it is encrypted, a round trip too.
// It can't see a server or a network that died in silence.
func (s *Session) Check(ctx context.Context) error {
	err := s.check(ctx)
	if err != nil {
		s.Die()
	}
	return err
}

// Quiet reports whether nothing was read of what the server has said after its latest answer.
func (s *Session) Quiet() bool {
	return s.PG.Frontend().ReadBufferLen() == 0 && (s.rows == nil || len(s.rows.held) == 0)
}

func (s *Session) check(ctx context.Context) error {
	if err := s.hear(ctx); err != nil {
		return err
	}
	switch pulse, first, readable := s.socket.Look(); {
	case pulse == liveness.Dead:
		return ErrClosed
	case pulse == liveness.Alive:
		return nil
	case readable && first == 'E': // a draining server says so, and not always as FATAL
		return s.listen()
	}
	return s.ping(ctx)
}

// hear listens to what was read with the latest answer and comes after it. It must not be left for a ping, which can't
// be written where the connection has ended since.
func (s *Session) hear(ctx context.Context) error {
	if s.Quiet() {
		return nil
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	for !s.Quiet() {
		if err := s.listen(); err != nil {
			return err
		}
	}
	return nil
}

// ping asks the server for a sign of life.
func (s *Session) ping(ctx context.Context) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	s.begin()
	return s.reason(ctx, s.PG.Ping(ctx))
}

// listenTimeout bounds the wait for the rest of a message of which the first byte is there.
const listenTimeout = 5 * time.Second

// listen reads a message that the server has sent unasked, and returns the error that it is, if it is one.
func (s *Session) listen() error {
	ctx, cancel := context.WithTimeout(context.Background(), listenTimeout)
	defer cancel()
	m, err := s.PG.ReceiveMessage(ctx)
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok { // a fatal one
		return answer
	}
	switch m := m.(type) {
	case *pgproto3.ErrorResponse:
		return pgconn.ErrorResponseToPgError(m)
	case *pgproto3.NoticeResponse, *pgproto3.NotificationResponse, *pgproto3.ParameterStatus:
		return nil
	}
	return cmp.Or(err, ErrProtocol)
}
