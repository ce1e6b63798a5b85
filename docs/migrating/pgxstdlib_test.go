package migrating

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/docs/migrating/pgxstdlib/after"
	"github.com/reprise-go/cockroachdb/docs/migrating/pgxstdlib/before"
)

type openWith func(string, pgx.QueryTracer, func(context.Context, *pgx.Conn) error) (*sql.DB, error)

// texts are the statements that a tracer has seen.
type texts struct {
	mu   sync.Mutex
	seen []string
}

func (ts *texts) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.seen = append(ts.seen, data.SQL)
	return ctx
}

func (*texts) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// count gives how many of the statements begin so.
func (ts *texts) count(beginning string) (n int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, sql := range ts.seen {
		if strings.HasPrefix(strings.ToUpper(sql), beginning) {
			n++
		}
	}
	return n
}

func TestPgxStdlib(t *testing.T) {
	for name, c := range map[string]struct {
		open     func(string) (*sql.DB, error)
		openWith openWith
		load     func(context.Context, *sql.DB, [][]any) error
	}{
		"before": {before.Open, before.OpenWith, before.Import},
		"after":  {after.Open, after.OpenWith, after.Import},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := newBank(t)
			db, err := c.open(dsn)
			db = pool(t, db, err)
			require.NoError(t, c.load(t.Context(), db, [][]any{{3, "Cy", 7}}))
			assert.EqualValues(t, 7, balance(t, db, 3))

			var connected atomic.Int64
			seen := &texts{}
			db, err = c.openWith(dsn, seen, func(context.Context, *pgx.Conn) error { connected.Add(1); return nil })
			db = pool(t, db, err)
			assert.EqualValues(t, 7, balance(t, db, 3))
			assert.EqualValues(t, 1, connected.Load())
			assert.Equal(t, 1, seen.count("SELECT BALANCE"))
		})
	}
}

// TestPgxStdlibStays: what the page says can stay.
func TestPgxStdlibStays(t *testing.T) {
	dsn := newBank(t)
	cc, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	name := stdlib.RegisterConnConfig(cc)
	defer stdlib.UnregisterConnConfig(name)
	db := open(t, "cockroachdb", name)

	assert.EqualValues(t, 100, one[int64](t, db, "SELECT balance FROM accounts WHERE id = @id", pgx.NamedArgs{"id": 1}))
	assert.EqualValues(t, 100,
		one[int64](t, db, "SELECT balance FROM accounts WHERE id = $1", pgx.QueryExecModeSimpleProtocol, 1))

	var reset atomic.Int64
	cfg, err := cockroachdb.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		cc.RuntimeParams["application_name"] = "bank"
		return nil
	}
	cfg.ResetSession = func(context.Context, *pgx.Conn) error { reset.Add(1); return nil }
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db = pool(t, sql.OpenDB(connector), nil)
	for range 2 {
		assert.Equal(t, "bank", one[string](t, db, "SHOW application_name"))
	}
	assert.Positive(t, reset.Load())
}

func TestPgxStdlibRows(t *testing.T) {
	eachRow(t, "From pgx's stdlib", map[string]func(*testing.T){
		"a transaction that loses a conflict": losing("pgx"),
		"BEGIN":                               failingBegin("pgx"),
		"the connection is lost in a transaction":                     losingConnection("pgx"),
		"a context that ends between two statements of a transaction": pgxContext,
		"a statement while rows are open":                             pgxRowsOpen,
		"a tracer":                                                    pgxTracer,
		"`Raw` in a transaction":                                      pgxRaw,
	})
}

func pgxContext(t *testing.T) {
	connections := func(open openWith) int64 {
		var connected atomic.Int64
		db, err := open(newBank(t), &texts{}, func(context.Context, *pgx.Conn) error { connected.Add(1); return nil })
		db = pool(t, db, err)
		db.SetMaxOpenConns(1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, "UPDATE accounts SET balance = 0")
		require.NoError(t, err)
		cancel()
		assert.EqualValues(t, 100, balance(t, db, 1)) // waits for the only connection
		return connected.Load()
	}
	assert.EqualValues(t, 2, connections(before.OpenWith))
	assert.EqualValues(t, 1, connections(after.OpenWith))
}

func pgxRowsOpen(t *testing.T) {
	dsn := newBank(t)
	busy := func(name string) (busy, afterwards error) {
		tx, err := open(t, name, dsn).BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback()
		rows, err := tx.QueryContext(t.Context(), "SELECT id FROM accounts")
		require.NoError(t, err)
		require.True(t, rows.Next())
		_, busy = tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 1")
		require.NoError(t, rows.Close())
		_, afterwards = tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 1")
		return busy, afterwards
	}
	err, _ := busy("pgx")
	assert.ErrorIs(t, err, driver.ErrBadConn)
	err, afterwards := busy("cockroachdb")
	assert.ErrorContains(t, err, "still open")
	assert.NoError(t, afterwards)
}

func pgxTracer(t *testing.T) {
	traced := func(open openWith) *texts {
		sim, dsn := newSimBank(t)
		seen := &texts{}
		db, err := open(dsn, seen, func(context.Context, *pgx.Conn) error { return nil })
		db = pool(t, db, err)
		conflictAt(sim, "^(commit|release)")
		_ = bump(t, db)
		return seen
	}
	older := traced(before.OpenWith)
	assert.Equal(t, 1, older.count("UPDATE"))
	newer := traced(after.OpenWith)
	assert.Equal(t, 2, newer.count("UPDATE"))
	for _, statement := range []string{"BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"} {
		assert.Positive(t, newer.count(statement), statement)
	}
	assert.Zero(t, older.count("SAVEPOINT")+older.count("RELEASE"))
}

func pgxRaw(t *testing.T) {
	dsn := newBank(t)
	raw := func(name string) error {
		conn, err := open(t, name, dsn).Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		tx, err := conn.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback()
		require.NoError(t, conn.Raw(func(driverConn any) error {
			var owner string
			conn := driverConn.(interface{ Conn() *pgx.Conn }).Conn()
			return conn.QueryRow(t.Context(), "SELECT owner FROM accounts WHERE id = 1").Scan(&owner)
		}))
		require.NoError(t, newRival(t, dsn).approve(""))
		_, err = tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 1 WHERE id = 1")
		return err
	}
	assert.Equal(t, "40001", isA[*pgconn.PgError](t, raw("pgx")).Code)
	isA[*cockroachdb.NotReplayableError](t, raw("cockroachdb"))
}
