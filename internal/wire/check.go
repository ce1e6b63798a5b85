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
// It costs a system call; where the server has sent something that can't be read, as it is encrypted or in a buffer,
// a round trip too. It can't see a server or a network that died in silence.
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
	if !s.Quiet() {
		return s.ping(ctx)
	}
	switch pulse, first, readable := s.socket.Look(); {
	case pulse == liveness.Dead:
		return ErrClosed
	case pulse == liveness.Alive:
		return nil
	case readable && first == 'E': // a draining server says so, and not always as FATAL
		return s.lastError()
	}
	return s.ping(ctx)
}

// ping asks the server for a sign of life.
func (s *Session) ping(ctx context.Context) error {
	if err := s.Settle(ctx); err != nil {
		return err
	}
	s.begin()
	return s.reason(ctx, s.PG.Ping(ctx))
}

// lastErrorTimeout bounds the wait for the rest of a message of which the first byte is there.
const lastErrorTimeout = 5 * time.Second

// lastError reads the error that the server has sent unasked.
func (s *Session) lastError() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastErrorTimeout)
	defer cancel()
	m, err := s.PG.ReceiveMessage(ctx)
	if answer, ok := m.(*pgproto3.ErrorResponse); ok {
		return pgconn.ErrorResponseToPgError(answer)
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok { // a fatal one
		return answer
	}
	return cmp.Or(err, ErrClosed)
}
