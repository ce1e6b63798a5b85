package cockroachdb

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

// stmt is a prepared statement. Statements of the same text share what the server has prepared.
type stmt struct {
	c      *conn
	p      *wire.Prepared
	closed bool
}

// Ensure the interfaces are implemented. NamedValueChecker is not: database/sql then asks the connection's.
var (
	_ driver.Stmt             = (*stmt)(nil)
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

// ExecContext runs the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.exec(ctx, s.p.Desc.SQL, s, args)
}

// QueryContext runs the statement and returns its rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.query(ctx, s.p.Desc.SQL, s, args)
}

// current returns what the server has prepared, anew where it has lost or outgrown it.
func (s *stmt) current(ctx context.Context, t *tx) (p *wire.Prepared, isNew bool, err error) {
	if !s.p.Gone() {
		return s.p, false, nil
	}
	if p, isNew, err = s.c.pinned(ctx, t, s.p.Desc.SQL); err == nil {
		s.p = p
	}
	return p, isNew, err
}

// NumInput is the number of arguments.
func (s *stmt) NumInput() int { return len(s.p.Desc.ParamOIDs) }

// Close leaves the statement to the cache, and so has it deallocated, with the next message, once there is no place for
// it. In a mode that promises to leave no prepared statements on the server the next message deallocates it.
func (s *stmt) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.c.session.Statements.Unpin(s.p)
	switch s.c.mode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		if !s.p.Pinned() {
			s.c.session.Statements.Forget(s.p)
		}
	}
	return nil
}

// Exec is there for the interface; database/sql calls ExecContext.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("Stmt.Exec deprecated and not implemented")
}

// Query is there for the interface; database/sql calls QueryContext.
func (s *stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("Stmt.Query deprecated and not implemented")
}
