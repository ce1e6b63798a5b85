package kit

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

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

// Config parses a DSN. Options are parameters that are added to the DSN, and functions that change the Config.
func Config(t testing.TB, dsn string, options ...any) *cockroachdb.Config {
	t.Helper()
	for _, o := range options {
		if params, ok := o.(string); ok && params != "" {
			dsn = WithParams(dsn, params)
		}
	}
	cfg, err := cockroachdb.ParseConfig(dsn)
	require.NoError(t, err)
	for _, o := range options {
		if change, ok := o.(func(*cockroachdb.Config)); ok {
			change(cfg)
		}
	}
	return cfg
}

// Open opens a pool that is closed at the end of the test. Options are as for [Config].
func Open(t testing.TB, dsn string, options ...any) *sql.DB {
	t.Helper()
	return newPool(t, Config(t, dsn, options...)).DB
}

// OpenBy is Open with any driver.
func OpenBy(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
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

// Reaching is for the pool on a fake server, which may be in memory.
func Reaching(srv *fakepg.Server) func(*cockroachdb.Config) {
	return func(cfg *cockroachdb.Config) {
		cfg.ConnConfig.DialFunc, cfg.ConnConfig.LookupFunc = srv.Dial, srv.Lookup
	}
}

// Counted gives a pool metrics of its own.
func Counted(cfg *cockroachdb.Config) { cfg.Metrics = cockroachdb.NewMetrics() }

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
