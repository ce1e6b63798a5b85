package conn_test

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func execOn(t testing.TB, c driver.ExecerContext, sql string) error {
	t.Helper()
	_, err := c.ExecContext(t.Context(), sql, nil)
	return err
}

// A transaction on a sql.Conn whose context ends is rolled back by a goroutine of database/sql, whenever that gets
// round to it, and Rollback says ErrTxDone meanwhile: the application may have begun the next one.
func TestTurns_LateRollbackOfTheTransactionBefore_EndsNothing(t *testing.T) {
	t.Parallel()
	for name, first := range map[string][]string{"which sent nothing": nil, "which sent something": {"UPDATE a"}} {
		for server, options := range map[string][]any{
			"CockroachDB": nil, "PostgreSQL": {fakepg.PlainPostgreSQL()},
		} {
			t.Run(name+"/"+server, func(t *testing.T) {
				t.Parallel()
				r := kit.New(t, kit.Script{}, options...)
				c := r.DriverConn(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				before, err := c.BeginTx(ctx, driver.TxOptions{})
				require.NoError(t, err)
				for _, sql := range first {
					require.NoError(t, execOn(t, c, sql))
				}
				cancel()

				next, err := c.BeginTx(t.Context(), driver.TxOptions{})
				require.NoError(t, err)
				require.NoError(t, execOn(t, c, "UPDATE b"))
				require.NoError(t, before.Rollback())
				require.ErrorIs(t, before.Commit(), context.Canceled)
				require.NoError(t, execOn(t, c, "UPDATE c"))
				require.NoError(t, next.Commit())

				all := r.Sent()
				for i, sql := range all {
					if sql == "UPDATE b" {
						assert.NotContains(t, all[i:], "ROLLBACK", "%q", all)
					}
				}
			})
		}
	}
}

// What is sent between the end of the transaction's context and its rollback would be rolled back with it.
func TestTurns_ContextEnded_SendsNothing(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{})
	c := r.DriverConn(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tx, err := c.BeginTx(ctx, driver.TxOptions{})
	require.NoError(t, err)
	require.NoError(t, execOn(t, c, "UPDATE a"))
	cancel()
	require.ErrorIs(t, execOn(t, c, "UPDATE b"), context.Canceled)
	_, err = c.QueryContext(t.Context(), "SELECT b", nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.PrepareContext(t.Context(), "SELECT b")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, tx.Rollback())
	require.NoError(t, execOn(t, c, "UPDATE c"))
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, "UPDATE a", "ROLLBACK", "UPDATE c"}, r.Sent())
}

// One connection can't be in two transactions.
func TestTurns_BeginInATransaction_IsAnError(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{})
	c := r.DriverConn(t)
	tx, err := c.BeginTx(t.Context(), driver.TxOptions{})
	require.NoError(t, err)
	_, err = c.BeginTx(t.Context(), driver.TxOptions{})
	require.ErrorContains(t, err, "transaction")
	require.NoError(t, execOn(t, c, "UPDATE a"))
	_, err = c.BeginTx(t.Context(), driver.TxOptions{})
	require.ErrorContains(t, err, "transaction")
	require.ErrorIs(t, c.ResetSession(t.Context()), driver.ErrBadConn)
	require.NoError(t, tx.Commit())
	require.NoError(t, c.ResetSession(t.Context()))
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, "UPDATE a", kit.Release, "COMMIT"}, r.Sent())
}

// The same through database/sql: what was committed is there, however late the rollback of the transaction before.
func TestTurns_TransactionsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	db := kit.Open(t, enginetest.NewDB(t), "statement_timeout=30s")
	kit.Exec(t, db, "CREATE TABLE turns (i INT PRIMARY KEY)")
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	const turns = 50
	for i := range turns {
		ctx, cancel := context.WithCancel(t.Context())
		before, err := conn.BeginTx(ctx, nil)
		require.NoError(t, err)
		if i%2 == 0 {
			kit.Exec(t, before, "INSERT INTO turns VALUES (-1)")
		}
		cancel()
		_ = before.Rollback() // says ErrTxDone, and may not have done it

		tx, err := conn.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		kit.Exec(t, tx, "INSERT INTO turns VALUES ($1)", 2*i)
		kit.Exec(t, tx, "INSERT INTO turns VALUES ($1)", 2*i+1)
		require.NoError(t, tx.Commit())
	}
	var sum, n int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT sum(i), count(*) FROM turns").Scan(&sum, &n))
	assert.Equal(t, 2*turns, n)
	assert.Equal(t, turns*(2*turns-1), sum)
}
