package cockroachdb_test

import (
	"context"
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

const (
	sqlRestart = "ROLLBACK TO SAVEPOINT cockroach_restart"
	sqlOurs    = "SAVEPOINT cockroach_restart"
	sqlFree    = "RELEASE SAVEPOINT cockroach_restart"
)

// plays says for each text what it answers the nth time it is run; n is 0 where it is only described. Other texts succeed.
type plays map[string]func(n int) fakepg.Reply

func (p plays) handler() func(*fakepg.Conn) {
	return fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		if play := p[s.SQL]; play != nil {
			return play(s.Nth)
		}
		return fakepg.Reply{}
	})
}

// loses plays a conflict on these runs.
func loses(at ...int) func(int) fakepg.Reply {
	return func(n int) fakepg.Reply {
		if slices.Contains(at, n) {
			return fakepg.Reply{Err: fakepg.Conflict()}
		}
		return fakepg.Reply{}
	}
}

// inTurn plays one reply after the other, and the last for good.
func inTurn(replies ...fakepg.Reply) func(int) fakepg.Reply {
	return func(n int) fakepg.Reply { return replies[min(max(n, 1), len(replies))-1] }
}

// rowsInTurn plays results of these columns, given as raw bytes.
func rowsInTurn(columns []fakepg.Column, results ...[][][]byte) func(int) fakepg.Reply {
	return func(n int) fakepg.Reply {
		rows := results[min(max(n, 1), len(results))-1]
		return fakepg.Reply{Columns: columns, Rows: rows}
	}
}

func column(name string, oid uint32) []fakepg.Column { return []fakepg.Column{{Name: name, OID: oid}} }

// number plays a result of one number, another one each time.
func number(values ...int64) func(int) fakepg.Reply {
	return func(n int) fakepg.Reply {
		return fakepg.Reply{Columns: column("v", pgtype.Int8OID), Values: [][]any{{values[min(max(n, 1), len(values))-1]}}}
	}
}

// poolOf opens a pool of one connection to a fake server, which may be in memory.
// noFailover is an option of poolOf, and of newRig: a lost connection ends the transaction.
func noFailover(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxFailovers = 0 }

func poolOf(t testing.TB, srv *fakepg.Server, change ...func(*cockroachdb.Config)) *sql.DB {
	t.Helper()
	cfg, err := cockroachdb.ParseConfig(srv.DSN())
	require.NoError(t, err)
	cfg.ConnConfig.DialFunc, cfg.ConnConfig.LookupFunc = srv.Dial, srv.Lookup
	cfg.Metrics = nil
	for _, c := range change {
		c(cfg)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, db.PingContext(t.Context()))
	srv.Forget()
	return db
}

// counted gives a pool metrics of its own.
func counted(m **cockroachdb.Metrics) func(*cockroachdb.Config) {
	return func(cfg *cockroachdb.Config) {
		*m = cockroachdb.NewMetrics()
		cfg.Metrics = *m
	}
}

// metric gives the value of a counter or gauge with that label value, of the one pool there is.
func metric(t testing.TB, m *cockroachdb.Metrics, name, label string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(m))
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, one := range f.GetMetric() {
			if label == "" || slices.ContainsFunc(one.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label }) {
				return one.GetCounter().GetValue() + one.GetGauge().GetValue()
			}
		}
	}
	require.Fail(t, "no such metric", "%s %s", name, label)
	return 0
}

func begun(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// ran lists the statements a fake server was sent, in their order.
func ran(srv *fakepg.Server) []string { return slices.Concat(srv.Statements()...) }

func times(srv *fakepg.Server, sql string) (n int) {
	for _, s := range ran(srv) {
		if s == sql {
			n++
		}
	}
	return n
}

// usable checks that the one connection of the pool is there for the next transaction.
func usable(t testing.TB, db *sql.DB) {
	t.Helper()
	require.Equal(t, 1, db.Stats().MaxOpenConnections, "the test is to have one connection")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := db.ExecContext(ctx, "SELECT 1")
	require.NoError(t, err)
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(ctx, "SELECT 1")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
}

// unwraps checks that the server's own error can be found in err.
func unwraps(t testing.TB, err error, code string) {
	t.Helper()
	var pgErr *pgconn.PgError
	if assert.ErrorAs(t, err, &pgErr) {
		assert.Equal(t, code, pgErr.Code)
	}
}

func isA[E error](t testing.TB, err error) E {
	t.Helper()
	var e E
	require.ErrorAs(t, err, &e)
	return e
}

// nothingOf checks that a message shows nothing of what the application keeps.
func nothingOf(t testing.TB, err error, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		assert.NotContains(t, err.Error(), s)
	}
}

// scanned reads one row of one column.
func scanned[T any](t testing.TB, tx *sql.Tx, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, tx.QueryRowContext(t.Context(), query, args...).Scan(&v))
	return v
}
