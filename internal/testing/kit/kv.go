package kit

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// A KV is a database with a table kv of rows 1 to 3 (v = 10, 20, 30) and a row 100 to clash on, the pool of one
// connection that is tested, and a rival's.
type KV struct {
	*sql.DB
	Rival *sql.DB
	DSN   string
}

// NewKV makes a database. With -short the test is skipped.
func NewKV(t testing.TB) KV {
	t.Helper()
	dsn := enginetest.NewDB(t)
	return newKV(t, dsn, dsn)
}

// NewKVSim makes a database into which faults can be injected. The rival is not subject to them.
func NewKVSim(t testing.TB) (KV, *crdbsim.Sim) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	return newKV(t, dsn, enginetest.Get(t).Direct(dsn)), sim
}

func newKV(t testing.TB, dsn, rivalDSN string) KV {
	t.Helper()
	kv := KV{Open(t, WithParams(dsn, NoWaits)), Open(t, WithParams(rivalDSN, "statement_timeout=10s")), dsn}
	kv.SetMaxOpenConns(1)
	Exec(t, kv.Rival, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	Exec(t, kv.Rival, "INSERT INTO kv VALUES (1, 10), (2, 20), (3, 30), (100, 0)")
	return kv
}

// Begin begins a transaction, which is rolled back at the end of the test.
func (kv KV) Begin(t testing.TB) *sql.Tx {
	t.Helper()
	return Begin(t, kv.DB)
}

// Provoke has the rival do something, and the transaction lose to it: it writes what the rival has written since.
func (kv KV) Provoke(t testing.TB, tx *sql.Tx, rivalDoes ...string) error {
	t.Helper()
	for _, sql := range append(rivalDoes, "UPDATE kv SET v = v + 1 WHERE k = 100") {
		Exec(t, kv.Rival, sql)
	}
	_, err := tx.ExecContext(t.Context(), "UPDATE kv SET v = v + 100 WHERE k = 100")
	return err
}

// Value is what a row holds for everybody.
func (kv KV) Value(t testing.TB, k int) int {
	t.Helper()
	return Scan[int](t, kv.Rival, "SELECT v FROM kv WHERE k = $1", k)
}

// WantEnded rolls back a transaction that has failed and asserts that nothing of it was committed and the connection
// is good.
func (kv KV) WantEnded(t testing.TB, tx *sql.Tx) {
	t.Helper()
	rollback(t, tx)
	assert.Less(t, kv.Value(t, 100), 100)
	assert.Equal(t, 1, Affected(t, kv, "UPDATE kv SET v = 0 WHERE k = 100"))
}

// MustCommit commits a transaction that has survived a conflict.
func (kv KV) MustCommit(t testing.TB, tx *sql.Tx) {
	t.Helper()
	require.NoError(t, tx.Commit())
	assert.Equal(t, 101, kv.Value(t, 100))
}

func rollback(t testing.TB, tx *sql.Tx) {
	t.Helper()
	if err := tx.Rollback(); err != nil {
		require.ErrorIs(t, err, sql.ErrTxDone)
	}
}

// ConflictAt is a fault: statements of that pattern lose.
func ConflictAt(pattern string) *crdbsim.Fault {
	return crdbsim.On(pattern, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
}

// NewSimTable opens a pool of one connection to a table kv of two rows, 1 and 2, both 0.
func NewSimTable(t testing.TB) (*crdbsim.Sim, *sql.DB) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	db := Open(t, dsn)
	db.SetMaxOpenConns(1)
	Exec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	Exec(t, db, "INSERT INTO kv VALUES (1, 0), (2, 0)")
	return sim, db
}

// Table is what is in the table kv.
func Table(t testing.TB, db *sql.DB) map[int]int {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT k, v FROM kv")
	require.NoError(t, err)
	defer rows.Close()
	all := map[int]int{}
	for rows.Next() {
		var k, v int
		require.NoError(t, rows.Scan(&k, &v))
		all[k] = v
	}
	require.NoError(t, rows.Err())
	return all
}

// A bank has BankAccounts with 1000 each.
const (
	BankAccounts = 5
	BankTotal    = BankAccounts * 1000
)

// NewBank makes a table of accounts.
func NewBank(t testing.TB, db *sql.DB) {
	t.Helper()
	Exec(t, db, "CREATE TABLE accounts (id INT PRIMARY KEY, balance INT NOT NULL)")
	for i := range BankAccounts {
		Exec(t, db, "INSERT INTO accounts VALUES ($1, 1000)", i)
	}
}

// BankBalance is what all accounts hold.
func BankBalance(t testing.TB, db *sql.DB) int {
	t.Helper()
	return Scan[int](t, db, "SELECT sum(balance) FROM accounts")
}
