package wire

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const sqlRollback = "ROLLBACK"

var rollback = Statement{Form: Unnamed, SQL: sqlRollback}

// leaving is a ROLLBACK whose answer has not been read.
type leaving struct {
	sent bool
	ctx  context.Context //nolint:containedctx // the tracer's, from the statement's start to its end
}

// Leave has the server roll back what is open, without waiting for the answer, which Settle reads, or whatever else is
// sent. Until then Status returns Idle. ctx is the tracer's.
func (s *Session) Leave(ctx context.Context) {
	if s.Status() == Idle || s.unable(ctx) != nil {
		return
	}
	if s.Tracer != nil {
		ctx = s.Tracer.Start(ctx, sqlRollback)
	}
	s.left = leaving{sent: true, ctx: ctx}
	if err := s.exchange.send(&rollback); err != nil {
		_ = s.arrive(pgconn.CommandTag{}, err)
	}
}

// Settle reads the answer to the ROLLBACK that Leave has sent, if that has not been read. If the server has not rolled
// back, the connection is closed.
func (s *Session) Settle(ctx context.Context) error {
	if !s.left.sent {
		return nil
	}
	if s.Closed() {
		return s.arrive(pgconn.CommandTag{}, ErrClosed)
	}
	s.begin()
	tag, err := s.readRollback(ctx)
	return s.arrive(tag, err)
}

func (s *Session) readRollback(ctx context.Context) (tag pgconn.CommandTag, err error) {
	for {
		m, receiveErr := s.PG.ReceiveMessage(ctx)
		if receiveErr != nil {
			return tag, receiveErr
		}
		switch m := m.(type) {
		case *pgproto3.CommandComplete:
			tag = pgconn.NewCommandTag(string(m.CommandTag))
		case *pgproto3.ErrorResponse:
			err = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			return tag, err
		}
	}
}

// arrive ends the ROLLBACK.
func (s *Session) arrive(tag pgconn.CommandTag, err error) error {
	ctx := s.left.ctx
	s.left = leaving{}
	if err == nil && s.PG.TxStatus() != Idle {
		err = ErrProtocol
	}
	if err != nil {
		s.Die()
		err = s.reason(ctx, err)
	}
	if s.Tracer != nil {
		s.Tracer.End(ctx, tag, err)
	}
	return err
}
