package kit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// A Pool is the pool that is tested.
type Pool struct {
	*sql.DB
	Connector *cockroachdb.Connector
	Config    *cockroachdb.Config
}

func newPool(t testing.TB, cfg *cockroachdb.Config) Pool {
	t.Helper()
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return Pool{db, connector, cfg}
}

// Another opens one more pool with the same Config. It has a lane and a throttle of its own.
func (p Pool) Another(t testing.TB) Pool {
	t.Helper()
	return newPool(t, p.Config)
}

// Begin begins a transaction, which is rolled back at the end of the test.
func (p Pool) Begin(t testing.TB) *sql.Tx {
	t.Helper()
	return Begin(t, p.DB)
}

// BeginIn begins a transaction in ctx.
func (p Pool) BeginIn(t testing.TB, ctx context.Context) *sql.Tx {
	t.Helper()
	tx, err := p.BeginTx(ctx, nil)
	require.NoError(t, err)
	return tx
}

// DriverConn opens a connection without database/sql around it.
func (p Pool) DriverConn(t testing.TB) DriverConn {
	t.Helper()
	c, err := p.Connector.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(DriverConn)
}

// A DriverConn is a connection as database/sql uses it.
type DriverConn interface {
	cockroachdb.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}
