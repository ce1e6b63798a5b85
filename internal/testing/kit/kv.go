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
	Pool
	Rival *sql.DB
	DSN   string
}

// NewKV makes a database. With -short the test is skipped. Options are as for [Config].
func NewKV(t testing.TB, options ...any) KV {
	t.Helper()
	dsn := enginetest.NewDB(t)
	return newKV(t, dsn, dsn, options)
}

// NewDirectKV makes a database on PostgreSQL itself, whose transactions are serializable.
func NewDirectKV(t testing.TB, options ...any) KV {
	t.Helper()
	dsn := WithParams(enginetest.NewDirectDB(t), "default_transaction_isolation=serializable")
	return newKV(t, dsn, dsn, options)
}

// NewKVSim makes a database into which faults can be injected. The rival is not subject to them.
func NewKVSim(t testing.TB) (KV, *crdbsim.Sim) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	return newKV(t, dsn, enginetest.Get(t).Direct(dsn), nil), sim
}

func newKV(t testing.TB, dsn, rivalDSN string, options []any) KV {
	t.Helper()
	pool := newPool(t, Config(t, dsn, append([]any{NoWaits, Counted}, options...)...))
	kv := KV{pool, Open(t, rivalDSN, "statement_timeout=10s"), dsn}
	kv.SetMaxOpenConns(1)
	Exec(t, kv.Rival, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	Exec(t, kv.Rival, "INSERT INTO kv VALUES (1, 10), (2, 20), (3, 30), (100, 0)")
	return kv
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

// NewSimTable opens a pool of one connection to a table kv of two rows, 1 and 2, both 0, behind a Sim of its own.
// Options are as for [Config].
func NewSimTable(t testing.TB, options ...any) (*crdbsim.Sim, *sql.DB) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	db := Open(t, dsn, append(options, NoWaits)...)
	db.SetMaxOpenConns(1)
	Exec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	Exec(t, db, "INSERT INTO kv VALUES (1, 0), (2, 0)")
	return sim, db
}

// Table is what is in the table kv: "1=0 2=0".
func Table(t testing.TB, db *sql.DB) string {
	t.Helper()
	return Scan[string](t, db, "SELECT string_agg(k || '=' || v, ' ' ORDER BY k) FROM kv")
}
