package migrating

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	cockroachgo "github.com/reprise-go/cockroachdb/docs/migrating/cockroachgo/ontop"
	"github.com/reprise-go/cockroachdb/docs/migrating/loop/after"
	"github.com/reprise-go/cockroachdb/docs/migrating/loop/before"
	"github.com/reprise-go/cockroachdb/docs/migrating/loop/ontop"
)

func TestLoop(t *testing.T) {
	runVariants(t, []variant{
		{"before", before.Open, func(db *sql.DB, r *rival) bank { return &before.Bank{DB: db, Approve: r.approve} }, 2, 2},
		{"on top", ontop.Open, func(db *sql.DB, r *rival) bank { return &ontop.Bank{DB: db, Approve: r.approve} }, 1, 2},
		{"after", after.Open, func(db *sql.DB, r *rival) bank { return &after.Bank{DB: db, Approve: r.approve} }, 1, 2},
	})
}

// TestLoopEnds: where the driver has given up, so does the loop on top of it.
func TestLoopEnds(t *testing.T) {
	sim, dsn := newSimBank(t)
	conflictAlwaysAt(sim, "^update")
	calls := 0
	err := ontop.Retry(t.Context(), open(t, "cockroachdb", dsn+"&retry_max_attempts=3"), func(tx *sql.Tx) error {
		calls++
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 0")
		return err
	})
	assert.Equal(t, 3, isA[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
	assert.Equal(t, 1, calls)
}

func TestLoopRows(t *testing.T) {
	eachRow(t, "From a loop of your own", map[string]func(*testing.T){
		"a conflict that a replay absorbs":  losing("pgx"),
		"a conflict that no replay absorbs": loopDiverges,
		"`err.(*pgconn.PgError)`":           loopAsserts,
		"`strings.Contains(err.Error(), \"40001\")`": func(t *testing.T) {
			older, newer := diverge(t)
			assert.Contains(t, older.Error(), "40001")
			assert.Contains(t, newer.Error(), "40001")
		},
		"`strings.Contains(err.Error(), \"restart transaction\")`": func(t *testing.T) {
			older, newer := diverge(t)
			assert.Contains(t, older.Error(), "restart transaction")
			assert.NotContains(t, newer.Error(), "restart transaction")
		},
		"the connection is lost during the commit": losingCommit,
		"the loop goes by `SAVEPOINT cockroach_restart` and `ROLLBACK TO`": func(t *testing.T) {
			dsn := newBank(t)
			db, err := cockroachgo.Open(dsn)
			db = pool(t, db, err)
			r := newRival(t, dsn)
			require.NoError(t, (&cockroachgo.Bank{DB: db, Approve: r.approve}).Transfer(t.Context(), 1, 2, 30))
			assert.Equal(t, 2, r.asked)
		},
	})
}

// diverge has a transaction lose a conflict that can't be absorbed, through pgx and through this driver.
func diverge(t *testing.T) (older, newer error) {
	t.Helper()
	once := func(name string) error {
		dsn := newBank(t)
		r := newRival(t, dsn)
		return inTx(t.Context(), open(t, name, dsn), func(tx *sql.Tx) error { return reads(t.Context(), tx, r, "balance") })
	}
	return once("pgx"), once("cockroachdb")
}

func loopDiverges(t *testing.T) {
	older, newer := diverge(t)
	assert.IsType(t, &pgconn.PgError{}, older)
	isA[*cockroachdb.DivergenceError](t, newer)
	assert.Equal(t, "40001", isA[*pgconn.PgError](t, newer).Code)
	pgxRaw(t) // NotReplayableError
}

func loopAsserts(t *testing.T) {
	older, newer := diverge(t)
	_, ok := older.(*pgconn.PgError) //nolint:errorlint // it is about this mistake
	assert.True(t, ok)
	_, ok = newer.(*pgconn.PgError) //nolint:errorlint // it is about this mistake
	assert.False(t, ok)

	err := inTx(cockroachdb.WithoutRetries(t.Context()), open(t, "cockroachdb", newBank(t)), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "SELECT 1/0")
		return err
	})
	_, ok = err.(*pgconn.PgError) //nolint:errorlint // what is bare stays bare
	assert.True(t, ok)
}

func losingCommit(t *testing.T) {
	sim, dsn := newSimBank(t)
	cutAt(sim, "^commit")
	isOfTheNetwork(t, bump(t, open(t, "pgx", dsn)))

	cutAt(sim, "^release")
	db, calls := open(t, "cockroachdb", dsn), 0
	err := ontop.Retry(t.Context(), db, func(tx *sql.Tx) error {
		calls++
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = balance + 10 WHERE id = 1")
		return err
	})
	isA[*cockroachdb.AmbiguousCommitError](t, err)
	assert.Equal(t, 1, calls, "the loop leaves it alone")
	assert.False(t, strings.Contains(err.Error(), "40001"))
	assert.EqualValues(t, 120, balance(t, db, 1))
}

// TestWayBack: RunTx works on other drivers' pools.
func TestWayBack(t *testing.T) {
	for _, name := range []string{"pgx", "postgres", "cockroachdb"} {
		t.Run(name, func(t *testing.T) {
			dsn := newBank(t)
			db, r := open(t, name, dsn), newRival(t, dsn)
			b := after.Bank{DB: db, Approve: r.approve}
			require.NoError(t, b.AddInterest(context.Background(), 1))
			assert.EqualValues(t, 1210, balance(t, db, 1))
			assert.Equal(t, 2, r.asked)
		})
	}
}
