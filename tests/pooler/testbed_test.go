//go:build unix

// Package pooler_test runs the driver behind a real PgBouncer.
package pooler_test

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// A testbed is an empty database with a PgBouncer in front of it.
type testbed struct {
	*pgbouncer.PgBouncer
	admin *sql.DB      // past PgBouncer
	sim   *crdbsim.Sim // between PgBouncer and PostgreSQL, nil where nothing is between
}

// A serverKind is how the server behind PgBouncer answers.
type serverKind struct {
	name  string
	start func(t *testing.T) (sim *crdbsim.Sim, dsn string)
}

var (
	ofPostgreSQL = serverKind{"PostgreSQL", func(t *testing.T) (*crdbsim.Sim, string) {
		return nil, enginetest.NewDirectDB(t)
	}}
	ofCockroachDB = serverKind{"CockroachDB", func(t *testing.T) (*crdbsim.Sim, string) {
		return enginetest.NewSim(t, crdbsim.Config{})
	}}

	// ofPostgreSQLWithFaults is PostgreSQL, by way of a Sim that can be told to cut a connection.
	ofPostgreSQLWithFaults = serverKind{"PostgreSQL", func(t *testing.T) (*crdbsim.Sim, string) {
		return enginetest.NewSim(t, crdbsim.Config{PostgreSQL: true})
	}}
)

// behindPgBouncer runs test, in parallel, behind a PgBouncer of its own for each kind of server.
func behindPgBouncer(t *testing.T, opts pgbouncer.Options, test func(t *testing.T, w *testbed), servers ...serverKind) {
	t.Helper()
	for _, m := range servers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			sim, dsn := m.start(t)
			admin, err := sql.Open("pgx", dsn)
			require.NoError(t, err)
			t.Cleanup(func() { _ = admin.Close() })
			test(t, &testbed{PgBouncer: pgbouncer.Start(t, dsn, opts), admin: admin, sim: sim})
		})
	}
}

// exec runs statements past PgBouncer.
func (w *testbed) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := w.admin.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
}

// number asks past PgBouncer for a number.
func (w *testbed) number(t *testing.T, query string, args ...any) (n float64) {
	t.Helper()
	require.NoError(t, w.admin.QueryRowContext(t.Context(), query, args...).Scan(&n), query)
	return n
}

// A program is a pool of this driver, behind PgBouncer.
type program struct {
	*sql.DB
	lost, conflicts atomic.Int64 // errors that came over the wire: 26000 and 40001, whether or not the application is told
	retries         atomic.Int64 // new attempts of transactions and statements
}

// program opens a pool of at most so many connections. settings are further parameters of the DSN, as key and value
// in turn.
func (w *testbed) program(t *testing.T, connections int, settings ...string) *program {
	t.Helper()
	u, err := url.Parse(w.DSN())
	require.NoError(t, err)
	query := u.Query()
	for i := 0; i < len(settings); i += 2 {
		query.Set(settings[i], settings[i+1])
	}
	u.RawQuery = query.Encode()
	cfg, err := cockroachdb.ParseConfig(u.String())
	require.NoError(t, err)
	p := &program{}
	cfg.ConnConfig.DialFunc = p.dial
	cfg.OnRetry = func(context.Context, cockroachdb.RetryEvent) { p.retries.Add(1) }
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	p.DB = sql.OpenDB(connector)
	p.SetMaxOpenConns(connections)
	p.SetMaxIdleConns(connections)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func (p *program) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &wire{TCPConn: conn.(*net.TCPConn), program: p}, nil
}

// A wire counts the errors that come over a connection. One that is cut in two by the end of a buffer is not counted.
type wire struct {
	*net.TCPConn
	program *program
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.TCPConn.Read(b)
	w.program.lost.Add(int64(bytes.Count(b[:n], []byte("C26000\x00"))))
	w.program.conflicts.Add(int64(bytes.Count(b[:n], []byte("C40001\x00"))))
	return n, err
}

// run runs a statement outside a transaction.
func (p *program) run(t *testing.T, statement string, args ...any) {
	t.Helper()
	_, err := p.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err, statement)
}

// servers are the two servers of a PgBouncer, of which a test says which one is free.
type servers struct {
	t       *testing.T
	holders [2]*pgx.Conn
	free    int // -1 while both are held
}

// hold occupies both servers of w.
func (w *testbed) hold(t *testing.T) *servers {
	t.Helper()
	s := &servers{t: t, free: -1}
	for i := range s.holders {
		conn, err := pgx.Connect(t.Context(), w.DSN())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		s.holders[i] = conn
		s.command(i, "BEGIN")
	}
	return s
}

func (s *servers) command(i int, statement string) {
	s.t.Helper()
	_, err := s.holders[i].Exec(s.t.Context(), statement, pgx.QueryExecModeSimpleProtocol)
	require.NoError(s.t, err)
}

// leave makes server i, 0 or 1, the one that everybody gets from now on.
func (s *servers) leave(i int) {
	s.t.Helper()
	if s.free == i {
		return
	}
	s.take()
	s.command(i, "ROLLBACK")
	s.free = i
}

// take holds both servers again.
func (s *servers) take() {
	s.t.Helper()
	if s.free >= 0 {
		s.command(s.free, "BEGIN")
	}
	s.free = -1
}

// pgxProgram is a program on pgx, through PgBouncer, that prepares nothing.
func (w *testbed) pgxProgram(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", w.DSN()+"&default_query_exec_mode=exec")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// ask runs a query for a number, in or outside a transaction.
func ask(t *testing.T, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, query string, args ...any,
) (n float64) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n), query)
	return n
}
