package compat

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) {
	// GORM's cache of prepared statements has a goroutine that nothing ends.
	enginetest.Main(m, goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
}

//go:embed sqlcbank/schema.sql
var accountsTable string

// A bank is a database with accounts, and a rival who draws on bob's in the middle of other people's transactions. The
// pools on it are opened by the tests, as users open them; the driver counts them by the database's name, which no
// other test has.
type bank struct {
	dsn   string
	rival *sql.DB
}

// newEmptyBank is a bank for a library that makes its own table. It calls openAccounts then.
func newEmptyBank(t *testing.T) bank {
	t.Helper()
	return bankOn(t, enginetest.NewDB(t))
}

// newSimBank is an empty bank into which faults can be injected. On a real CockroachDB the test is skipped.
func newSimBank(t *testing.T) (bank, *crdbsim.Sim) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	return bankOn(t, dsn), sim
}

func bankOn(t *testing.T, dsn string) bank {
	t.Helper()
	rival, err := sql.Open("pgx", enginetest.Get(t).Direct(dsn))
	require.NoError(t, err)
	closing(t, rival)
	return bank{dsn, rival}
}

func newBank(t *testing.T) bank {
	t.Helper()
	b := newEmptyBank(t)
	b.mustExec(t, accountsTable)
	b.openAccounts(t)
	return b
}

func (b bank) openAccounts(t *testing.T) {
	t.Helper()
	b.mustExec(t, "INSERT INTO accounts (id, owner, balance) VALUES (101, 'ann', 100), (102, 'bob', 100)")
}

func (b bank) mustExec(t *testing.T, query string) {
	t.Helper()
	_, err := b.rival.ExecContext(t.Context(), query)
	require.NoError(t, err)
}

// A transaction that loses is the same in every test: it reads who has money, which includes bob's row; the rival
// takes 10 from bob; it takes 1 from bob. No server can order the two one after the other, and yet the application
// has seen nothing that changed.

// rivalDraws makes the transaction that is open lose.
func (b bank) rivalDraws(t *testing.T) {
	t.Helper()
	b.mustExec(t, "UPDATE accounts SET balance = balance - 10 WHERE owner = 'bob'")
}

// rivalDrawsOnce is for functions that RunTx calls again.
func (b bank) rivalDrawsOnce(t *testing.T) func() {
	return sync.OnceFunc(func() { b.rivalDraws(t) })
}

// mustHaveAbsorbed holds that the transaction has lost, was retried by the driver, and took its 1 once.
func (b bank) mustHaveAbsorbed(t *testing.T) {
	t.Helper()
	assert.Positive(t, b.counted(t, "cockroachdb_transaction_retries_total"), "there was no conflict")
	assert.EqualValues(t, 100-10-1, b.balance(t, "bob"))
}

// mustHaveKept holds that the conflict was absorbed after the application had read the key of an account that it made,
// and that the account has that key.
func (b bank) mustHaveKept(t *testing.T, owner string, id int64) {
	t.Helper()
	b.mustHaveAbsorbed(t)
	var stored int64
	row := b.rival.QueryRowContext(t.Context(), "SELECT id FROM accounts WHERE owner = $1", owner)
	require.NoError(t, row.Scan(&stored))
	assert.Equal(t, id, stored)
	assert.Positive(t, b.counted(t, "cockroachdb_pinned_statements_total"))
}

func (b bank) balance(t *testing.T, owner string) (balance int64) {
	t.Helper()
	row := b.rival.QueryRowContext(t.Context(), "SELECT balance FROM accounts WHERE owner = $1", owner)
	require.NoError(t, row.Scan(&balance))
	return balance
}

// counted adds up what the driver has counted of this database under a metric's name.
func (b bank) counted(t *testing.T, metric string) (sum float64) {
	t.Helper()
	var database string
	require.NoError(t, b.rival.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&database))
	registry := prometheus.NewRegistry()
	registry.MustRegister(cockroachdb.DefaultMetrics)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if family.GetName() == metric && label.GetName() == "db_name" && label.GetValue() == database {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// requireDuplicate holds that the error is the server's own, as it is, about the owner's uniqueness.
func requireDuplicate(t *testing.T, err error) {
	t.Helper()
	requireCode(t, err, "23505")
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	assert.Equal(t, "accounts_owner_key", pgErr.ConstraintName)
}

// requireCode looks for the SQLSTATE as code does that was written for lib/pq or for pgx alike.
func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var state interface{ SQLState() string }
	require.ErrorAs(t, err, &state)
	assert.Equal(t, code, state.SQLState(), "%v", err)
}

func closing(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
}

// draw is what the tests do to bob, through database/sql alone.
func draw(ctx context.Context, t *testing.T, b bank, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT owner FROM accounts WHERE balance > 0 ORDER BY id")
	if err != nil {
		return err
	}
	if err := read(rows); err != nil {
		return err
	}
	b.rivalDraws(t)
	_, err = tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - 1 WHERE owner = 'bob'")
	return err
}

// read reads rows of one column to their end.
func read(rows *sql.Rows) error {
	defer rows.Close()
	for rows.Next() {
		var owner string
		if err := rows.Scan(&owner); err != nil {
			return err
		}
	}
	return rows.Err()
}

// TestTheConflictIsReal is that transaction through pgx, whose application has to be told.
func TestTheConflictIsReal(t *testing.T) {
	t.Parallel()
	for driver, absorbs := range map[string]bool{"pgx": false, "cockroachdb": true} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			b := newBank(t)
			db, err := sql.Open(driver, b.dsn)
			require.NoError(t, err)
			closing(t, db)
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			err = errors.Join(draw(t.Context(), t, b, tx), tx.Commit())
			if absorbs {
				require.NoError(t, err)
				b.mustHaveAbsorbed(t)
				return
			}
			requireCode(t, err, "40001")
			assert.EqualValues(t, 100-10, b.balance(t, "bob"))
			assert.Zero(t, b.counted(t, "cockroachdb_transaction_retries_total"))
		})
	}
}
