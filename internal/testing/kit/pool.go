package kit

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx, to compare with
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// NoWaits are a DSN's keys for tests in which a transaction loses more than once.
const NoWaits = "retry_initial_backoff=0s&retry_max_backoff=0s"

// WithParams adds keys to a DSN.
func WithParams(dsn, params string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + params
	}
	return dsn + "?" + params
}

// Open opens a pool that is closed at the end of the test.
func Open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// ConfigFor is the Config of a fake server, which may be in memory.
func ConfigFor(t testing.TB, srv *fakepg.Server, params string) *cockroachdb.Config {
	t.Helper()
	cfg, err := cockroachdb.ParseConfig(WithParams(srv.DSN(), params))
	require.NoError(t, err)
	cfg.ConnConfig.DialFunc, cfg.ConnConfig.LookupFunc = srv.Dial, srv.Lookup
	return cfg
}

// NewConnector makes a Connector.
func NewConnector(t testing.TB, c *cockroachdb.Config) *cockroachdb.Connector {
	t.Helper()
	connector, err := cockroachdb.NewConnector(c)
	require.NoError(t, err)
	return connector
}

// Pool opens a pool of one connection to a fake server that the test has started, with the default waits and no
// metrics.
func Pool(t testing.TB, srv *fakepg.Server, changes ...func(*cockroachdb.Config)) *sql.DB {
	t.Helper()
	cfg := ConfigFor(t, srv, "")
	cfg.Metrics = nil
	for _, change := range changes {
		change(cfg)
	}
	db := sql.OpenDB(NewConnector(t, cfg))
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, db.PingContext(t.Context()))
	srv.Forget()
	return db
}

// Policy changes the retry policy that a Config has.
func Policy(change func(*cockroachdb.RetryPolicy)) func(*cockroachdb.Config) {
	return func(c *cockroachdb.Config) { change(&c.RetryPolicy) }
}

// Attempts is a policy of so many attempts, without waits.
func Attempts(n int) func(*cockroachdb.Config) {
	return Policy(func(p *cockroachdb.RetryPolicy) { p.MaxAttempts, p.InitialBackoff = n, 0 })
}

// NoFailover has a lost connection end the transaction.
func NoFailover(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxFailovers = 0 }

// NoLifetime keeps connections for ever: virtual time goes on by hours.
func NoLifetime(cfg *cockroachdb.Config) { cfg.ConnLifetime = 0 }

// Patient never gives up, and waits for years before it tries again in the lane: the jitter won't make that a second.
var Patient = Policy(func(p *cockroachdb.RetryPolicy) {
	p.InitialBackoff, p.MaxBackoff, p.MaxElapsed = 1e6*time.Hour, 1e6*time.Hour, 2e6*time.Hour
})

// CancelledSoon is a context that is cancelled in a second.
func CancelledSoon(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	t.Cleanup(cancel)
	return ctx
}

// Begin begins a transaction, which is rolled back at the end of the test.
func Begin(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// A Querier is a *sql.DB, *sql.Conn or *sql.Tx.
type Querier interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// Exec runs a statement, which must succeed.
func Exec(t testing.TB, db Querier, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

// ExecAll runs statements until one fails.
func ExecAll(on Querier, texts ...string) error {
	for _, text := range texts {
		if _, err := on.ExecContext(context.Background(), text); err != nil {
			return err
		}
	}
	return nil
}

// Affected runs a statement, which must succeed, and returns how many rows it affected.
func Affected(t testing.TB, db Querier, query string, args ...any) int {
	t.Helper()
	res, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
	n, err := res.RowsAffected()
	require.NoError(t, err)
	return int(n)
}

// Scan reads one row of one column.
func Scan[T any](t testing.TB, db Querier, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&v))
	return v
}

// Sent lists the statements that a server was sent, in order, with those that it skipped after an error.
func Sent(srv *fakepg.Server) []string { return slices.Concat(srv.Statements()...) }

// Times is how often a server was sent a statement.
func Times(srv *fakepg.Server, sql string) int { return count(Sent(srv), sql) }

func count(all []string, text string) (n int) {
	for _, one := range all {
		if one == text {
			n++
		}
	}
	return n
}

// Binds lists the arguments of all Binds that a server was sent, but for those without.
func Binds(srv *fakepg.Server) (all []string) {
	for _, m := range slices.Concat(srv.Exchanges()...) {
		if _, params, ok := strings.Cut(m, " params="); ok && strings.HasPrefix(m, "Bind ") && params != "[]" {
			all = append(all, params)
		}
	}
	return all
}

// Once reports true once.
type Once struct{ done atomic.Bool }

// First reports whether it is called for the first time.
func (o *Once) First() bool { return o.done.CompareAndSwap(false, true) }

// Unencodable is an argument that pgx can't send.
type Unencodable struct{ C chan int }

// A BadRewriter is a query rewriter that fails.
type BadRewriter struct{}

// RewriteQuery fails.
func (BadRewriter) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "", nil, errors.New("no")
}

// Conn takes a connection of its own out of the pool, until the test ends.
func Conn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
