//go:build unix

package pooler_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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

func TestServerLost_BeforeCommit_Unseen(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		for then := range cuts {
			for _, at := range []string{"^BEGIN", "^INSERT.*1", "^INSERT.*2"} {
				p := cutAt(t, w, at, then)
				inTransaction(t, p, func(tx *sql.Tx) {
					txRun(t, tx, "INSERT INTO orders VALUES (1)")
					txRun(t, tx, "INSERT INTO orders VALUES (2)")
				})
				assert.EqualValues(t, 2, w.number(t, "SELECT count(*) FROM orders"), at)
				assert.EqualValues(t, 1, p.retries.Load(), at)
				goesOn(t, p)
			}
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

func TestServerLost_Outside_WriteIsPerhapsDone(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		for then, rows := range cuts {
			p := cutAt(t, w, "^INSERT", then)
			_, err := p.ExecContext(t.Context(), "INSERT INTO orders VALUES ($1)", 1)
			var ambiguous *cockroachdb.AmbiguousCommitError
			require.ErrorAs(t, err, &ambiguous)
			assert.Contains(t, []string{"server conn crashed?", "server connection closed"}, serversWord(t, err))
			assert.EqualValues(t, rows, w.number(t, "SELECT count(*) FROM orders"))
			goesOn(t, p)
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

func TestServerLost_Outside_ReadIsRunAgain(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		for then := range cuts {
			p := cutAt(t, w, "^SELECT count", then)
			assert.Zero(t, ask(t, p, "SELECT count(*) FROM orders"))
			assert.EqualValues(t, 1, p.retries.Load())
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

// While PgBouncer still passes on a long request it may find out by writing that the server is lost, and has other
// words for that.
func TestServerLost_AmidALongRequest_Unseen(t *testing.T) {
	t.Parallel()
	note := strings.Repeat("x", 1<<20)
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE notes (k INT PRIMARY KEY, note TEXT)")
		p := w.program(t, 1, "default_query_exec_mode", "exec")
		for k := range 10 {
			f := crdbsim.On("^INSERT", crdbsim.Action{Then: crdbsim.Cut})
			f.At = crdbsim.AtParse // and the values are on their way
			inTransaction(t, p, func(tx *sql.Tx) {
				txRun(t, tx, "SELECT 1")
				w.sim.Inject(f)
				txRun(t, tx, "INSERT INTO notes VALUES ($1, $2)", k, note)
			})
			assert.Equal(t, 1, f.Hits())
			assert.EqualValues(t, k+1, p.retries.Load())
		}
		assert.EqualValues(t, 10, w.number(t, "SELECT count(*) FROM notes"))
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

// serversWord is what the server, or PgBouncer in its place, has said.
func serversWord(t *testing.T, err error) string {
	t.Helper()
	var answer *pgconn.PgError
	require.ErrorAs(t, err, &answer)
	return answer.Message
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

// impatient is for clients that wait for longer than PgBouncer lets them.
var impatient = pgbouncer.Options{Settings: map[string]string{"query_wait_timeout": "1"}}

func TestNoServerFree_InTime_NothingIsDone(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, impatient, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p, s := w.program(t, 1, "retry_max_failovers", "1"), w.hold(t)
		_, err := p.ExecContext(t.Context(), "INSERT INTO orders VALUES ($1)", 1)
		var lost *cockroachdb.ConnectionLostError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, "query_wait_timeout", serversWord(t, err))
		s.leave(0)
		goesOn(t, p)
		tx, err := p.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		s.take()
		_, err = tx.ExecContext(t.Context(), "INSERT INTO orders VALUES (1)")
		require.ErrorAs(t, err, &lost)
		require.ErrorAs(t, tx.Commit(), &lost)
		assert.Zero(t, w.number(t, "SELECT count(*) FROM orders"))
	}, ofPostgreSQL, ofCockroachDB)
}

// TestNoServerFree_UntilLater_RunsOnce has PgBouncer hang up on a client that waits, before a server is free.
func TestNoServerFree_UntilLater_RunsOnce(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, impatient, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p, s := w.program(t, 1), w.hold(t)
		done := make(chan error, 1)
		go func() {
			_, err := p.ExecContext(t.Context(), "INSERT INTO orders VALUES ($1)", 1)
			done <- err
		}()
		for p.retries.Load() == 0 && len(done) == 0 {
			sleep(t.Context(), time.Millisecond)
		}
		s.leave(0)
		require.NoError(t, <-done)
		assert.EqualValues(t, 1, w.number(t, "SELECT count(*) FROM orders"))
	}, ofPostgreSQL, ofCockroachDB)
}
