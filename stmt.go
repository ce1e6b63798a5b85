package cockroachdb

import (
	"context"
	"database/sql/driver"
	"errors"
)

// stmt is a prepared statement. Statements of the same text share what the server has prepared.
type stmt struct {
	c      *Conn
	p      *prepared
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
	return s.c.exec(ctx, s.p.desc.SQL, s, args)
}

// QueryContext runs the statement and gives its rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.query(ctx, s.p.desc.SQL, s, args)
}

// current is what the server has prepared, anew where it has lost or outgrown it.
func (s *stmt) current(ctx context.Context, t *tx) (*prepared, error) {
	if !s.p.gone {
		return s.p, nil
	}
	p, err := s.c.prepareFor(ctx, t, s.p.desc.SQL)
	if err != nil {
		return nil, err
	}
	s.p = p
	return p, nil
}

// NumInput is the number of arguments.
func (s *stmt) NumInput() int { return len(s.p.desc.ParamOIDs) }

// Close leaves the statement to the cache, and so has it deallocated, with the next message, once there is no place for it.
func (s *stmt) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.c.statements.unpin(s.p)
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
