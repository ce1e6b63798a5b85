//go:build unix

package pooler_test

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // what comes past PgBouncer
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// The tests of this file hold both servers of a PgBouncer, and let a program have the one or the other.

func TestTwoPrograms_OnOneServer_RunTheirOwnStatements(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)", "CREATE TABLE accounts (k INT)", "INSERT INTO accounts VALUES (1), (2), (3)")
		shop, cleaner, s := w.program(t, 1), w.program(t, 1), w.hold(t)
		s.leave(0)
		shop.run(t, "INSERT INTO orders VALUES ($1)", 10)
		s.leave(1)
		cleaner.run(t, "DELETE FROM accounts WHERE k = $1", 99)
		shop.run(t, "INSERT INTO orders VALUES ($1)", 2)
		assert.EqualValues(t, 2, w.number(t, "SELECT count(*) FROM orders"))
		assert.EqualValues(t, 3, w.number(t, "SELECT count(*) FROM accounts"), "nobody has deleted the account 2")
	}, ofPostgreSQL, ofCockroachDB)
}

func TestTwoConnections_SameText_ShareTheName(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		one, other, s := w.program(t, 1), w.program(t, 1), w.hold(t)
		s.leave(0)
		for _, p := range []*program{one, other, one, other} {
			p.run(t, "INSERT INTO orders VALUES ($1)", 1)
			inTransaction(t, p, func(tx *sql.Tx) { txRun(t, tx, "INSERT INTO orders VALUES ($1)", 1) })
		}
		assert.EqualValues(t, 8, w.number(t, "SELECT count(*) FROM orders"))
	}, ofPostgreSQL, ofCockroachDB)
}

func TestStatementNotOnThisServer_Outside_IsRun(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p, s := w.program(t, 1), w.hold(t)
		for i := range 4 {
			s.leave(i % 2)
			p.run(t, "INSERT INTO orders VALUES ($1)", i)
			assert.EqualValues(t, i+1, ask(t, p, "SELECT count(*) FROM orders WHERE k >= $1", 0))
		}
		assert.Positive(t, p.lost.Load())
	}, ofPostgreSQL, ofCockroachDB)
}

// TestStatementNotOnThisServer_InTransaction_IsReplayed has a statement in mid-transaction that the server doesn't
// know, after others that it does.
func TestStatementNotOnThisServer_InTransaction_IsReplayed(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)", "CREATE TABLE accounts (k INT, n INT)", "INSERT INTO accounts VALUES (1, 0)")
		const (
			order = "INSERT INTO orders VALUES ($1)"
			count = "SELECT count(*) FROM orders WHERE k > $1"
			pay   = "UPDATE accounts SET n = n + $1"
		)
		p, s := w.program(t, 1), w.hold(t)
		s.leave(0)
		ask(t, p, count, 0)
		p.run(t, pay, 0)
		s.leave(1)
		inTransaction(t, p, func(tx *sql.Tx) {
			txRun(t, tx, order, 1)
			assert.EqualValues(t, 1, ask(t, tx, count, 0))
			txRun(t, tx, order, 2)
			txRun(t, tx, pay, 5)
			assert.EqualValues(t, 2, ask(t, tx, count, 0))
		})
		assert.Positive(t, p.lost.Load())
		assert.Positive(t, p.retries.Load())
		assert.EqualValues(t, 2, w.number(t, "SELECT count(*) FROM orders"))
		assert.EqualValues(t, 5, w.number(t, "SELECT n FROM accounts"))
	}, ofPostgreSQL, ofCockroachDB)
}

// TestStatementLost_CondemnsNoOther counts what goes over the wire: a statement that the first server still has costs
// one round trip there, after another one turned out to be missing on the second.
func TestStatementLost_CondemnsNoOther(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		p, s := w.program(t, 1), w.hold(t)
		const one, other = "SELECT 1 + $1::INT", "SELECT 2 + $1::INT"
		s.leave(0)
		ask(t, p, one, 0)
		ask(t, p, other, 0)
		s.leave(1)
		ask(t, p, one, 0)
		require.Positive(t, p.lost.Load(), "the second server has nothing")
		s.leave(0)
		before := w.sim.RoundTrips()
		assert.EqualValues(t, 2, ask(t, p, other, 0))
		assert.EqualValues(t, 1, w.sim.RoundTrips()-before)
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

func TestDeallocateAll_ByAnotherProgram_GoesUnnoticed(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p, s := w.program(t, 1), w.hold(t)
		s.leave(0)
		insert, err := p.PrepareContext(t.Context(), "INSERT INTO orders VALUES ($1)")
		require.NoError(t, err)
		defer insert.Close()
		for i := range 3 {
			_, err := w.pgxProgram(t).ExecContext(t.Context(), "DEALLOCATE ALL")
			require.NoError(t, err)
			_, err = insert.ExecContext(t.Context(), i)
			require.NoError(t, err)
			_, err = w.pgxProgram(t).ExecContext(t.Context(), "DEALLOCATE ALL")
			require.NoError(t, err)
			inTransaction(t, p, func(tx *sql.Tx) {
				txRun(t, tx, "INSERT INTO orders VALUES (-1)")
				_, err := tx.StmtContext(t.Context(), insert).ExecContext(t.Context(), i)
				require.NoError(t, err)
			})
		}
		assert.EqualValues(t, 9, w.number(t, "SELECT count(*) FROM orders"))
		assert.Positive(t, p.lost.Load())
	}, ofPostgreSQL, ofCockroachDB)
}

func TestStmt_ClosedAndPreparedAgainElsewhere(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		p, s := w.program(t, 1, "statement_cache_capacity", "1"), w.hold(t)
		for i := range 6 {
			s.leave(i % 2)
			double, err := p.PrepareContext(t.Context(), "SELECT 2 * $1::INT")
			require.NoError(t, err)
			s.leave((i + i/2) % 2)
			var n int
			require.NoError(t, double.QueryRowContext(t.Context(), i).Scan(&n))
			assert.Equal(t, 2*i, n)
			require.NoError(t, double.Close())
			assert.EqualValues(t, 3*i, ask(t, p, "SELECT 3 * $1::INT", i), "takes the only place in the cache")
		}
	}, ofPostgreSQL, ofCockroachDB)
}

// TestReconnect_GoesUnnoticed has PgBouncer replace its servers, as it also does once they are older than
// server_lifetime.
func TestReconnect_GoesUnnoticed(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		p := w.program(t, 1)
		for range 3 {
			goesOn(t, p)
			w.Command(t, "RECONNECT")
		}
		goesOn(t, p)
		assert.Positive(t, p.lost.Load())
	}, ofPostgreSQL, ofCockroachDB)
}

// TestPgBouncerKnowsStatements_NoServerLacksOne is for a PgBouncer that prepares on each server what a client has
// prepared on another.
func TestPgBouncerKnowsStatements_NoServerLacksOne(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{Statements: 100}, func(t *testing.T, w *testbed) {
		p, s := w.program(t, 1), w.hold(t)
		for i := range 4 {
			s.leave(i % 2)
			goesOn(t, p)
		}
		w.Command(t, "RECONNECT")
		goesOn(t, p)
		assert.Zero(t, p.lost.Load())
	}, ofPostgreSQL, ofCockroachDB)
}

func inTransaction(t *testing.T, p *program, run func(tx *sql.Tx)) {
	t.Helper()
	tx, err := p.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	run(tx)
	require.NoError(t, tx.Commit())
}

func txRun(t *testing.T, tx *sql.Tx, statement string, args ...any) {
	t.Helper()
	_, err := tx.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err, statement)
}
