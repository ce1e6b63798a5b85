package kit

import (
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A DriverConnection is a connection as database/sql uses it.
type DriverConnection interface {
	cockroachdb.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// DriverConn opens a connection without database/sql around it.
func DriverConn(t testing.TB, srv *fakepg.Server, changes ...func(*cockroachdb.Config)) DriverConnection {
	t.Helper()
	cfg := ConfigFor(t, srv, "")
	for _, change := range changes {
		change(cfg)
	}
	c, err := NewConnector(t, cfg).Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(DriverConnection)
}
