package cockroachdb

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// stmt is a prepared statement. Statements of the same text share what the server has prepared.
type stmt struct {
	c      *conn
	p      *wire.Prepared
	found  bool // the server had prepared it before, for a statement that is closed, and it has not run since
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
	res, err := s.c.exec(ctx, s.p.Desc.SQL, s, args)
	if s.wasStale(err) {
		return s.c.exec(ctx, s.p.Desc.SQL, s, args)
	}
	return res, err
}

// QueryContext runs the statement and returns its rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.c.query(ctx, s.p.Desc.SQL, s, args)
	if s.wasStale(err) {
		return s.c.query(ctx, s.p.Desc.SQL, s, args)
	}
	return rows, err
}

// wasStale reports whether the first run of a statement that the server had prepared before has failed, perhaps
// because it had been prepared before: the application, which has prepared it anew, can't know of that. The next run
// prepares it anew. In a transaction it is too late, since that has failed.
func (s *stmt) wasStale(err error) bool {
	found := s.found
	s.found = false
	return found && err != nil && s.c.tx == nil && pgerr.MayBeStale(err) && s.p.Gone() && !s.p.Class.Once
}

// current returns what the server has prepared, anew where it has lost or outgrown it, or is to be asked first.
func (s *stmt) current(ctx context.Context, t *tx, r *request) (p *wire.Prepared, isNew bool, err error) {
	if !s.p.Gone() && t.goesBy(s.p, r) {
		return s.p, false, nil
	}
	if p, isNew, err = s.c.pinned(ctx, t, &request{sql: s.p.Desc.SQL, asks: r.asks || !s.p.Confirmed()}); err == nil {
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
