package migrating

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/docs/migrating/both"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// newBank makes a database with two accounts of 100 each, number 1 (Ada's) and 2 (Bob's), and returns its DSN.
func newBank(t *testing.T) string {
	t.Helper()
	dsn := enginetest.NewDB(t)
	furnish(t, dsn)
	return dsn
}

// newSimBank is newBank behind a server that fails on request.
func newSimBank(t *testing.T) (*crdbsim.Sim, string) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	furnish(t, dsn)
	return sim, dsn
}

func furnish(t *testing.T, dsn string) {
	t.Helper()
	db := open(t, "pgx", dsn)
	exec(t, db, "CREATE TABLE accounts (id INT8 PRIMARY KEY, owner TEXT NOT NULL, balance INT8 NOT NULL)")
	exec(t, db, "INSERT INTO accounts VALUES (1, 'Ada', 100), (2, 'Bob', 100)")
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	return pool(t, db, err)
}

// pool closes a pool that was just opened at the end of the test.
func pool(t *testing.T, db *sql.DB, err error) *sql.DB {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func balance(t *testing.T, db *sql.DB, id int64) int64 {
	t.Helper()
	return one[int64](t, db, "SELECT balance FROM accounts WHERE id = $1", id)
}

// one gives the only value that a query answers.
func one[T any](t *testing.T, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string, args ...any,
) (value T) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&value))
	return value
}

// A rival changes account 1 when it is asked for its approval for the first time: the transaction that has read the
// account, and is about to write to it, will lose a conflict.
type rival struct {
	db     *sql.DB
	once   sync.Once
	asked  int
	silent bool // doesn't do it
}

func newRival(t *testing.T, dsn string) *rival {
	t.Helper()
	return &rival{db: open(t, "pgx", dsn)}
}

// approve is a bank's Approve.
func (r *rival) approve(string) (err error) {
	r.asked++
	r.once.Do(func() {
		if !r.silent {
			_, err = r.db.ExecContext(context.Background(), "UPDATE accounts SET balance = balance + 1000 WHERE id = 1")
		}
	})
	return err
}

// lose runs a transaction that loses a conflict unless the driver absorbs it.
func lose(t *testing.T, db *sql.DB, dsn string) error {
	t.Helper()
	r := newRival(t, dsn)
	return inTx(t.Context(), db, func(tx *sql.Tx) error {
		var owner string
		if err := tx.QueryRowContext(t.Context(), "SELECT owner FROM accounts WHERE id = 1").Scan(&owner); err != nil {
			return err
		}
		if err := r.approve(owner); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = balance + 10 WHERE id = 1")
		return err
	})
}

// inTx runs fn in a transaction as most programs do.
func inTx(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// bump is a transaction of one statement.
func bump(t *testing.T, db *sql.DB) error {
	t.Helper()
	return inTx(t.Context(), db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = balance + 10 WHERE id = 1")
		return err
	})
}

func isConflict(t *testing.T, err error) {
	t.Helper()
	assert.Equal(t, "40001", both.SQLState(err), "%v", err)
}

// isA asserts that err is, or wraps, an E.
func isA[E error](t *testing.T, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	require.True(t, ok, "%T is no %T: %v", err, e, err)
	return e
}

// isOfTheNetwork asserts that err says nothing but that a connection broke, or is closed.
func isOfTheNetwork(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	_, ofTheNetwork := errors.AsType[net.Error](err)
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err.Error() == "conn closed"
	assert.True(t, ofTheNetwork || closed || errors.Is(err, driver.ErrBadConn), "%T: %v", err, err)
}

// cutAt breaks the connection at the next statement that the pattern matches, when it is done and not answered.
func cutAt(sim *crdbsim.Sim, pattern string) {
	sim.Inject(crdbsim.On(pattern, crdbsim.Action{Then: crdbsim.ExecuteCut}))
}

// conflictAt has the server answer the next statement that the pattern matches with a conflict.
func conflictAt(sim *crdbsim.Sim, pattern string) {
	sim.Inject(crdbsim.On(pattern, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}))
}

// conflictAlwaysAt does so for all of them.
func conflictAlwaysAt(sim *crdbsim.Sim, pattern string) {
	always := crdbsim.On(pattern, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
	always.Times = -1
	sim.Inject(always)
}

// failAt has the server answer the next statement that the pattern matches with an error.
func failAt(sim *crdbsim.Sim, pattern, code string) {
	sim.Inject(crdbsim.On(pattern, crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Error{Code: code, Message: "not now"},
	}))
}
