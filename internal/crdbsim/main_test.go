package crdbsim

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// superuser is the engine's.
const superuser = "root"

// postgres is the PostgreSQL that the tests of this package share, without a Sim in front.
var postgres server

type server struct{ url string }

// UsePostgres is for TestMain, which is in another package so that it may import the engine, which imports this one.
func UsePostgres(dsn string) { postgres.url = dsn }

func (s server) dsn() string { return s.url }

func (s server) dial(ctx context.Context) (net.Conn, error) {
	cfg, err := pgx.ParseConfig(s.url)
	if err != nil {
		return nil, err
	}
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// A testbed is a sim and a schema of its own with the table kv in it.
type testbed struct {
	*Sim
	schema string
}

var schemas atomic.Int64

func newTestbed(t *testing.T, cfg Config) *testbed {
	t.Helper()
	cfg.Upstream = postgres.dial
	sim, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	return &testbed{sim, newSchema(t)}
}

func newSchema(t *testing.T) string {
	t.Helper()
	schema := fmt.Sprintf("test_%d", schemas.Add(1))
	conn, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "CREATE SCHEMA "+schema+"; SET search_path = "+schema+`;
		CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL); INSERT INTO kv VALUES (1, 10), (2, 20), (3, 30)`)
	require.NoError(t, err)
	return schema
}

// dsn is for pgx; it carries a parameter that PostgreSQL would not accept.
func (w *testbed) dsn() string {
	extra := ""
	if !w.cfg.PostgreSQL {
		extra = "&no_such_variable=1"
	}
	return fmt.Sprintf("postgres://%s@%s/postgres?sslmode=prefer&search_path=%s,public%s",
		superuser, w.Addr(), w.schema, extra)
}

func (w *testbed) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgxConnect(t, w)
	require.NoError(t, err)
	return conn
}

// value returns what a row of kv holds, asked of PostgreSQL itself.
func (w *testbed) value(t *testing.T, k int) (v int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT v FROM "+w.schema+".kv WHERE k = $1", k).Scan(&v))
	return v
}

func pgxConnect(t *testing.T, w *testbed) (*pgx.Conn, error) {
	conn, err := pgx.Connect(t.Context(), w.dsn())
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}
