package program

import (
	"context"
	"database/sql/driver"
	"io"
)

// A driver around this one that gives BeginTx its caller's context, and statements one without that context's values:
// what the driver has put into the one does not arrive with the others.

// through is the connector, or the wrapper of it.
func through(c driver.Connector, wrap bool) driver.Connector {
	if wrap {
		return wrapper{c}
	}
	return c
}

type wrapper struct{ driver.Connector }

func (w wrapper) Close() error { return w.Connector.(io.Closer).Close() }

func (w wrapper) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return wrapped{c.(inner)}, nil
}

// inner is what the wrapper needs of the driver's connection.
type inner interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	pgxConn
}

type wrapped struct{ inner }

func (w wrapped) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return w.inner.ExecContext(bare{ctx}, query, args)
}

func (w wrapped) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return w.inner.QueryContext(bare{ctx}, query, args)
}

func (w wrapped) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return w.inner.PrepareContext(bare{ctx}, query)
}

// bare is a context without its values.
type bare struct{ context.Context }

func (bare) Value(any) any { return nil }
