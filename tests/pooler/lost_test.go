//go:build unix

package pooler_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// A server that is lost behind PgBouncer does not look like one: PgBouncer answers in its place, with an error, and
// closes the client's connection.

// cuts are the ways to lose a server, and how many rows a statement then has written.
var cuts = map[crdbsim.Then]int{crdbsim.Cut: 0, crdbsim.ExecuteCut: 1}

func TestServerLost_InCommit_IsAmbiguous(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		for then := range cuts {
			p := cutAt(t, w, "^(COMMIT|RELEASE)", then)
			tx, err := p.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			txRun(t, tx, "INSERT INTO orders VALUES (1)")
			var ambiguous *cockroachdb.AmbiguousCommitError
			require.ErrorAs(t, tx.Commit(), &ambiguous)
			goesOn(t, p)
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

func TestServerLost_BeforeCommit_NothingIsCommitted(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		for then := range cuts {
			for _, at := range []string{"^BEGIN", "^INSERT.*1", "^INSERT.*2"} {
				p := cutAt(t, w, at, then)
				tx, err := p.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				for i := 1; i <= 2 && err == nil; i++ {
					_, err = tx.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO orders VALUES (%d)", i))
				}
				var lost *cockroachdb.ConnectionLostError
				require.ErrorAs(t, err, &lost, at)
				require.ErrorAs(t, tx.Commit(), &lost, at)
				assert.Zero(t, w.number(t, "SELECT count(*) FROM orders"), at)
				goesOn(t, p)
			}
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

func TestServerLost_Outside_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		for then, rows := range cuts {
			p := cutAt(t, w, "^INSERT", then)
			_, err := p.ExecContext(t.Context(), "INSERT INTO orders VALUES ($1)", 1)
			require.ErrorContains(t, err, "server conn crashed")
			assert.EqualValues(t, rows, w.number(t, "SELECT count(*) FROM orders"))
			goesOn(t, p)
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

// cutAt makes a table orders, and a program whose server is lost at the next statement that the pattern matches.
func cutAt(t *testing.T, w *testbed, pattern string, then crdbsim.Then) *program {
	t.Helper()
	w.exec(t, "DROP TABLE IF EXISTS orders", "CREATE TABLE orders (k INT)")
	p := w.program(t, 1)
	p.run(t, "SELECT 1")
	w.sim.Inject(crdbsim.On(pattern, crdbsim.Action{Then: then}))
	return p
}

// goesOn asserts that the program can go on.
func goesOn(t *testing.T, p *program) {
	t.Helper()
	assert.EqualValues(t, 1, ask(t, p, "SELECT $1::INT", 1))
	inTransaction(t, p, func(tx *sql.Tx) { assert.EqualValues(t, 2, ask(t, tx, "SELECT $1::INT", 2)) })
}

func TestPgBouncerRestarted_AtRest_GoesUnnoticed(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		p := w.program(t, 2)
		for range 3 {
			goesOn(t, p)
			w.Restart(t)
		}
		goesOn(t, p)
	}, ofPostgreSQL, ofCockroachDB)
}

func TestPgBouncerLost_InTransaction_GoesOnAfterIt(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p := w.program(t, 1)
		tx, err := p.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		txRun(t, tx, "INSERT INTO orders VALUES (1)")
		w.Restart(t)
		require.NoError(t, tx.Commit())
		assert.EqualValues(t, 1, w.number(t, "SELECT count(*) FROM orders"))
		goesOn(t, p)
	}, ofPostgreSQL, ofCockroachDB)
}

// TestNoServerFree_InTime_NothingIsDone is for a client that waits for longer than PgBouncer lets it.
func TestNoServerFree_InTime_NothingIsDone(t *testing.T) {
	t.Parallel()
	impatient := pgbouncer.Options{Settings: map[string]string{"query_wait_timeout": "1"}}
	behindPgBouncer(t, impatient, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p, s := w.program(t, 1), w.hold(t)
		_, err := p.ExecContext(t.Context(), "INSERT INTO orders VALUES ($1)", 1)
		require.ErrorContains(t, err, "query_wait_timeout")
		s.leave(0)
		goesOn(t, p)
		tx, err := p.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		s.take()
		_, err = tx.ExecContext(t.Context(), "INSERT INTO orders VALUES (1)")
		var lost *cockroachdb.ConnectionLostError
		require.ErrorAs(t, err, &lost)
		require.ErrorAs(t, tx.Commit(), &lost)
		assert.Zero(t, w.number(t, "SELECT count(*) FROM orders"))
	}, ofPostgreSQL, ofCockroachDB)
}
