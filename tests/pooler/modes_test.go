//go:build unix

package pooler_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

func TestEveryQueryMode_WorksInTransactionMode(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (mode TEXT, k INT)")
		s := w.hold(t)
		for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
			one, other := w.program(t, 1, "default_query_exec_mode", mode), w.program(t, 1, "default_query_exec_mode", mode)
			for i := range 4 {
				s.leave(i % 2)
				one.run(t, "INSERT INTO orders VALUES ($1, $2)", mode, 3*i)
				assert.EqualValues(t, -i, ask(t, other, "SELECT -$1::INT", i), mode)
				inTransaction(t, one, func(tx *sql.Tx) {
					txRun(t, tx, "INSERT INTO orders VALUES ($1, $2)", mode, 3*i+1)
					assert.EqualValues(t, 3*i+1, ask(t, tx, "SELECT max(k) FROM orders WHERE mode = $1", mode), mode)
				})
				inTransaction(t, other, func(tx *sql.Tx) { txRun(t, tx, "INSERT INTO orders VALUES ($1, $2)", mode, 3*i+2) })
			}
			assert.EqualValues(t, 12, w.number(t, "SELECT count(DISTINCT k) FROM orders WHERE mode = $1", mode), mode)
		}
	}, ofPostgreSQL, ofCockroachDB)
}

// TestStatementMode has PgBouncer refuse transactions.
func TestStatementMode_RefusesTransactions(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{Mode: pgbouncer.Statement}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		p := w.program(t, 1)
		p.run(t, "INSERT INTO orders VALUES ($1)", 1)
		tx, err := p.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), "INSERT INTO orders VALUES (2)")
		var lost *cockroachdb.ConnectionLostError
		require.ErrorAs(t, err, &lost)
		require.ErrorAs(t, tx.Commit(), &lost)
		assert.EqualValues(t, 1, ask(t, p, "SELECT count(*) FROM orders WHERE k > $1", 0))
	}, ofPostgreSQL, ofCockroachDB)
}
