package program

import (
	"context"
	"database/sql/driver"

	"github.com/reprise-go/cockroachdb"
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

func (w wrapper) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return wrapped{c.(*driverConn)}, nil
}

// A driverConn is embedded under this name, since its method Conn would be hidden by a field of that name.
type driverConn = cockroachdb.Conn

type wrapped struct{ *driverConn }

func (w wrapped) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return w.driverConn.ExecContext(bare{ctx}, query, args)
}

func (w wrapped) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return w.driverConn.QueryContext(bare{ctx}, query, args)
}

func (w wrapped) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return w.driverConn.PrepareContext(bare{ctx}, query)
}

// bare is a context without its values.
type bare struct{ context.Context }

func (bare) Value(any) any { return nil }
