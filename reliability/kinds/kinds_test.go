package kinds

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// newPool opens a pool, and closes it at the end of the test.
func newPool(t *testing.T, driverName, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driverName, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, query string, args ...any,
) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// A backslash escapes a quote where standard_conforming_strings is off, and what looks like one statement is several:
// here one that commits and one that loses. Run again, the first would be committed twice.
func TestStringsOff_TextThatCommits_IsRunOnce(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	admin := newPool(t, "cockroachdb", dsn)
	for _, text := range []string{
		"CREATE TABLE t (v TEXT)", "CREATE SEQUENCE tries",
		"CREATE FUNCTION lose_once() RETURNS INT LANGUAGE plpgsql AS $$ BEGIN " +
			"IF nextval('tries') = 1 THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF; RETURN 1; END $$",
	} {
		exec(t, admin, text)
	}
	db := newPool(t, "cockroachdb", dsn+"&standard_conforming_strings=off&escape_string_warning=off")
	_, err := db.ExecContext(t.Context(), `INSERT INTO t VALUES ('\', '); COMMIT; SELECT lose_once() --')`)
	require.Error(t, err)
	assert.Equal(t, 1, count(t, admin, "SELECT count(*) FROM t"), "committed more than once")
}

// What the application has begun as text must not stay open in the pool, with its locks.
func TestOpenTransaction_DoesNotRestInThePool(t *testing.T) {
	t.Parallel()
	_, dsn := enginetest.NewSim(t, crdbsim.Config{})
	db := newPool(t, "cockroachdb", dsn)
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	exec(t, conn, "BEGIN")
	require.NoError(t, conn.Close())
	assert.Zero(t, db.Stats().OpenConnections)
}

// The modes exec and simple_protocol are for servers, and for poolers, that can't have prepared statements.
func TestModesWithoutPreparedStatements_LeaveNone(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			db := newPool(t, "cockroachdb", enginetest.NewDirectDB(t)+"&default_query_exec_mode="+mode)
			db.SetMaxOpenConns(1)
			for _, query := range []string{"SELECT 1", "SELECT 2", "SELECT 3"} {
				stmt, err := db.PrepareContext(t.Context(), query)
				require.NoError(t, err)
				_, err = stmt.ExecContext(t.Context())
				require.NoError(t, err)
				require.NoError(t, stmt.Close())
			}
			assert.Zero(t, count(t, db, "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"))
		})
	}
}

// A logging is a driver around this one that knows no more of it than driver.Driver, as older wrappers do.
type logging struct{ driver.Driver }

func init() { sql.Register("logging", logging{&cockroachdb.Driver{}}) }

// Two transactions lose, and the first stays open, and so in the lane: the second must wait until it is over, although
// each has a connection of its own by Open.
func TestDriverOpen_OneLane(t *testing.T) {
	t.Parallel()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	const laneWait = 200 * time.Millisecond
	db := newPool(t, "logging", dsn+"&retry_lane_wait="+laneWait.String())
	lose := func() (waited time.Duration) {
		sim.Inject(crdbsim.On("SELECT 1", crdbsim.Action{
			Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
		}))
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback() })
		began := time.Now()
		exec(t, tx, "SELECT 1")
		return time.Since(began)
	}
	lose()
	assert.GreaterOrEqual(t, lose(), laneWait, "each connection has a lane of its own")
}

// The look at the socket sees nothing through a net.Conn that is not the network's own. After a rest there is a ping in
// its place.
func TestRestedConnection_IsPinged(t *testing.T) {
	t.Parallel()
	_, dsn := enginetest.NewSim(t, crdbsim.Config{})
	cfg, err := cockroachdb.ParseConfig(dsn + "&ping_after=1ns")
	require.NoError(t, err)
	var first atomic.Pointer[flow]
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		f := &flow{Conn: nc}
		first.CompareAndSwap(nil, f)
		return f, err
	}
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	exec(t, db, "CREATE TABLE t (v INT)")
	exec(t, db, "INSERT INTO t VALUES ($1)", 1)
	first.Load().gone.Store(true)
	exec(t, db, "INSERT INTO t VALUES ($1)", 1) // nobody could tell whether it was carried out
}

// A flow is a connection that something on the way may forget: it takes what is written, and ends before the answer.
type flow struct {
	net.Conn

	gone atomic.Bool
}

func (f *flow) Write(b []byte) (int, error) {
	if f.gone.Load() {
		return len(b), nil
	}
	return f.Conn.Write(b)
}

func (f *flow) Read(b []byte) (int, error) {
	if f.gone.Load() {
		return 0, io.EOF
	}
	return f.Conn.Read(b)
}

// RunTx finds its transaction by the context of BeginTx. Hooks get that context too, and a transaction that they begin
// with it is their own.
func TestHooksOwnTransaction_IsNotRunTxs(t *testing.T) {
	t.Parallel()
	_, dsn := enginetest.NewSim(t, crdbsim.Config{})
	other := newPool(t, "cockroachdb", dsn)
	ask := func(ctx context.Context) error {
		tx, err := other.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "SELECT 1"); err != nil {
			return err
		}
		return tx.Rollback()
	}
	cfg, err := cockroachdb.ParseConfig(dsn)
	require.NoError(t, err)
	asked := 0
	cfg.BeforeConnect = func(ctx context.Context, _ *pgx.ConnConfig) error { asked++; return ask(ctx) }
	cfg.ResetSession = func(ctx context.Context, _ *pgx.Conn) error { asked++; return ask(ctx) }
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	for range 2 {
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), "SELECT 2")
			return err
		}))
	}
	assert.Equal(t, 2, asked)
}

// CockroachDB undoes no SET when a transaction is rolled back. What ran before it would be run again under it.
func TestSetAfterOtherStatements_IsNotReplayed(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]string{
		"SET": "SET app.x = 'after'", "set_config": "SELECT set_config('app.x', 'after', false)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
			db := newPool(t, "cockroachdb", dsn)
			db.SetMaxOpenConns(1)
			exec(t, db, "CREATE TABLE t (v TEXT)")
			exec(t, db, "SET app.x = 'before'")
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			exec(t, tx, "INSERT INTO t VALUES (current_setting('app.x'))")
			exec(t, tx, set)
			sim.Inject(crdbsim.On("^RELEASE", crdbsim.Action{
				Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
			}))
			var not *cockroachdb.NotReplayableError
			require.ErrorAs(t, tx.Commit(), &not)
			assert.Equal(t, cockroachdb.CauseSession, not.Cause)
			assert.Zero(t, count(t, db, "SELECT count(*) FROM t WHERE v = 'after'"))
		})
	}
}

// A server, or a pooler, may lose what it has prepared. The statement is then prepared anew, once.
func TestStatementLost_IsPreparedAnew(t *testing.T) {
	t.Parallel()
	db := newPool(t, "cockroachdb", enginetest.NewDirectDB(t))
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	for range 3 {
		exec(t, conn, "SELECT 1 WHERE $1", true)
		require.NoError(t, conn.Raw(func(c any) error {
			_, err := c.(cockroachdb.Conn).Conn().Exec(t.Context(), "DEALLOCATE ALL")
			return err
		}))
	}
	exec(t, conn, "SELECT 1 WHERE $1", true)
}

// SHOW COMMIT TIMESTAMP commits. It had failed, a rollback to a savepoint undid the error, and in the replay it
// succeeds: then something is committed that the application was never told of.
func TestReplayThatCommits_IsAmbiguous(t *testing.T) {
	t.Parallel()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{Version: "CockroachDB crdbsim v24.3.5 (PostgreSQL underneath)"})
	db := newPool(t, "cockroachdb", dsn)
	exec(t, db, "CREATE TABLE t (v INT)")
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	exec(t, tx, "INSERT INTO t VALUES (1)")
	exec(t, tx, "SAVEPOINT s")
	sim.Inject(crdbsim.On("^SHOW COMMIT", crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Error{Code: "42601", Message: "injected"},
	}))
	_, err = tx.ExecContext(t.Context(), "SHOW COMMIT TIMESTAMP")
	require.Error(t, err)
	exec(t, tx, "ROLLBACK TO SAVEPOINT s")
	sim.Inject(crdbsim.On("^RELEASE SAVEPOINT cockroach_restart", crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
	}))
	var ambiguous *cockroachdb.AmbiguousCommitError
	require.ErrorAs(t, tx.Commit(), &ambiguous)
}
