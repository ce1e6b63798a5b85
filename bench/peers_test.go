package bench

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/bench/internal/transact"
	"github.com/reprise-go/cockroachdb/internal/chance"
)

// A peer is a way to have transactions retried until they commit: this driver's, or what is used in its place.
type peer struct {
	name    string
	manners manners // that it needs
	open    func(tb testing.TB, g ground) *client
}

// A client is a peer at work on one database.
type client struct {
	db *sql.DB
	// once runs work in a transaction and commits it; a conflict may come back.
	once func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error
	// enter, if set, waits until the transaction may begin; leave is called when it has committed.
	enter func(context.Context, body) (leave func(), err error)
	// attempts is how often transactions have been tried so far, and how often the one was that was tried most. It is
	// nil if work is called for each attempt.
	attempts func() (all, most int64)
	// backoff is the first ceiling of the loop's waits; 0 is 20 ms.
	backoff time.Duration
}

var peers = []peer{
	{"pgx-loop", likePostgreSQL, with(pgxConnector, transact.Once)},
	{"ExecuteTx", likeCockroachDB, with(pgxConnector, executeTx)},
	{"ExecuteTx-pq", likeCockroachDB, with(pqConnector, executeTx)},
	{"transparent", likePostgreSQL, ours(transact.Once)},
	{"RunTx", likePostgreSQL, ours(runTx)},
}

func with(
	connector func(ground) (driver.Connector, error), once func(context.Context, *sql.DB, func(*sql.Tx) error) error,
) func(testing.TB, ground) *client {
	return func(tb testing.TB, g ground) *client {
		c, err := connector(g)
		require.NoError(tb, err)
		return &client{db: sql.OpenDB(c), once: once}
	}
}

func pgxConnector(g ground) (driver.Connector, error) {
	cfg, err := pgx.ParseConfig(g.dsn)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = pgconn.DialFunc(g.dial)
	return stdlib.GetConnector(*cfg), nil
}

func pqConnector(g ground) (driver.Connector, error) {
	c, err := pq.NewConnector(g.dsn)
	if err != nil {
		return nil, err
	}
	c.Dialer(g.dial)
	return c, nil
}

// ours counts the attempts by the driver's own metrics, since the application does not notice most.
func ours(
	once func(context.Context, *sql.DB, func(*sql.Tx) error) error, changes ...func(*cockroachdb.Config),
) func(testing.TB, ground) *client {
	return func(tb testing.TB, g ground) *client {
		cfg, err := cockroachdb.ParseConfig(g.dsn)
		require.NoError(tb, err)
		cfg.ConnConfig.DialFunc = pgconn.DialFunc(g.dial)
		cfg.Metrics = cockroachdb.NewMetrics()
		for _, change := range changes {
			change(cfg)
		}
		var most atomic.Int64
		cfg.OnSettled = func(_ context.Context, e cockroachdb.OutcomeEvent) {
			for n := int64(e.Attempts); ; {
				if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
					return
				}
			}
		}
		connector, err := cockroachdb.NewConnector(cfg)
		require.NoError(tb, err)
		registry := prometheus.NewRegistry()
		registry.MustRegister(cfg.Metrics)
		return &client{db: sql.OpenDB(connector), once: once, attempts: func() (int64, int64) {
			families, err := registry.Gather()
			require.NoError(tb, err)
			for _, f := range families {
				if f.GetName() == "cockroachdb_transaction_attempts" {
					return int64(f.GetMetric()[0].GetHistogram().GetSampleSum()), most.Load()
				}
			}
			tb.Fatal("the driver's metrics have no cockroachdb_transaction_attempts")
			return 0, 0
		}}
	}
}

func runTx(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	return cockroachdb.RunTx(ctx, db, nil, work)
}

// executeTx lifts cockroach-go's bound of 50 attempts: nobody gives up here.
func executeTx(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	return crdb.ExecuteTx(crdb.WithMaxRetries(ctx, 0), db, nil, work)
}

// untilCommitted is the loop that CockroachDB's documentation teaches, around whatever of a peer's conflicts reach the
// application: roll back, wait for a random time up to 20 ms, doubling, begin anew. ExecuteTx never needs it.
func (c *client) untilCommitted(ctx context.Context, work func(*sql.Tx) error) error {
	for wait := cmp.Or(c.backoff, 20*time.Millisecond); ; wait = min(2*wait, time.Second) {
		err := c.once(ctx, c.db, work)
		if !isConflict(err) {
			return err
		}
		select {
		case <-time.After(time.Duration(chance.Float64() * float64(wait))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func isConflict(err error) bool {
	state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && (state.SQLState() == "40001" || state.SQLState() == "40P01")
}
