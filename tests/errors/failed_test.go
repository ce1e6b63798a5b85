package errors_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const doorSQL = "UPDATE door"

// doors are the ways by which something of the application's reaches the server. st was prepared before the
// transaction.
var doors = map[string]func(ctx context.Context, c *sql.Conn, tx *sql.Tx, st *sql.Stmt) error{
	"Exec": func(ctx context.Context, _ *sql.Conn, tx *sql.Tx, _ *sql.Stmt) error {
		_, err := tx.ExecContext(ctx, doorSQL)
		return err
	},
	"Query": func(ctx context.Context, _ *sql.Conn, tx *sql.Tx, _ *sql.Stmt) error {
		return tx.QueryRowContext(ctx, doorSQL).Err()
	},
	"a text of several": func(ctx context.Context, _ *sql.Conn, tx *sql.Tx, _ *sql.Stmt) error {
		_, err := tx.ExecContext(ctx, doorSQL+"; "+doorSQL)
		return err
	},
	"a connection's Exec": func(ctx context.Context, c *sql.Conn, _ *sql.Tx, _ *sql.Stmt) error {
		_, err := c.ExecContext(ctx, doorSQL)
		return err
	},
	"a statement prepared before": func(ctx context.Context, _ *sql.Conn, tx *sql.Tx, st *sql.Stmt) error {
		_, err := tx.StmtContext(ctx, st).ExecContext(ctx)
		return err
	},
	"Prepare": func(ctx context.Context, _ *sql.Conn, tx *sql.Tx, _ *sql.Stmt) error {
		st, err := tx.PrepareContext(ctx, doorSQL)
		if err != nil {
			return err
		}
		defer st.Close()
		_, err = st.ExecContext(ctx)
		return err
	},
	"a second transaction": func(ctx context.Context, c *sql.Conn, _ *sql.Tx, _ *sql.Stmt) error {
		tx, err := c.BeginTx(ctx, nil) // a second one on the same connection
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		_, err = tx.ExecContext(ctx, doorSQL)
		return err
	},
	"Raw, by pgx": byRaw(func(ctx context.Context, p *pgx.Conn) error {
		_, err := p.Exec(ctx, doorSQL, pgx.QueryExecModeExec)
		return err
	}),
	"Raw, by a batch": byRaw(func(ctx context.Context, p *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(doorSQL)
		return p.SendBatch(ctx, b).Close()
	}),
	"Raw, by the simple protocol": byRaw(func(ctx context.Context, p *pgx.Conn) error {
		_, err := p.PgConn().Exec(ctx, doorSQL).ReadAll()
		return err
	}),
}

func byRaw(do func(context.Context, *pgx.Conn) error) func(context.Context, *sql.Conn, *sql.Tx, *sql.Stmt) error {
	return func(ctx context.Context, c *sql.Conn, _ *sql.Tx, _ *sql.Stmt) error {
		return c.Raw(func(dc any) error { return do(ctx, dc.(cockroachdb.Conn).Conn()) })
	}
}

// waysToFail are how a transaction fails, so that its application may go on none the less.
var waysToFail = map[string]struct {
	book kit.Script
	fail func(*testing.T, *sql.Tx)
}{
	"a wait that ends": {kit.Script{"UPDATE b": kit.Always(kit.Conflict)}, func(t *testing.T, tx *sql.Tx) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := tx.ExecContext(ctx, "UPDATE b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}},
	"a divergence": {
		kit.Script{"SELECT v": {kit.Texts("x"), kit.Texts("y")}, "UPDATE b": {kit.Conflict, kit.OK}},
		func(t *testing.T, tx *sql.Tx) {
			t.Helper()
			kit.Scan[string](t, tx, "SELECT v")
			kit.As[*cockroachdb.DivergenceError](t, kit.ExecAll(tx, "UPDATE b"))
		},
	},
	"a divergence that nobody sees": {
		kit.Script{
			"SELECT v": {kit.Texts("x"), kit.Texts("y")},
			"SELECT w": {kit.BreakOff(kit.Texts("1", "2", "3"), 2), kit.Texts("1", "2", "3")},
		},
		func(t *testing.T, tx *sql.Tx) {
			t.Helper()
			kit.Scan[string](t, tx, "SELECT v")
			rows := kit.Query(t, tx, "SELECT w")
			rows.Read(1)
			_ = rows.Close()
		},
	},
	"an error of the server's": {
		kit.Script{"UPDATE b": kit.Always(kit.Fails("23505", "refused"))},
		func(t *testing.T, tx *sql.Tx) {
			t.Helper()
			kit.WantCode(t, kit.ExecAll(tx, "UPDATE b"), "23505")
		},
	},
	"a statement of the record that fails": {
		kit.Script{"UPDATE a": kit.Always(kit.OK, kit.Fails("23505", "refused")), "UPDATE b": {kit.Conflict, kit.OK}},
		func(t *testing.T, tx *sql.Tx) {
			t.Helper()
			kit.WantConflict(t, kit.ExecAll(tx, "UPDATE b"))
		},
	},
	"SET, and a conflict": {kit.Script{"UPDATE b": {kit.Conflict, kit.OK}}, func(t *testing.T, tx *sql.Tx) {
		t.Helper()
		require.NoError(t, kit.ExecAll(tx, "SET a = 1"))
		kit.As[*cockroachdb.NotReplayableError](t, kit.ExecAll(tx, "UPDATE b"))
	}},
}

// TestFailedTransaction_EveryCall_IsRefused: nothing that is done in a transaction which has failed is run by the
// server, where it would be committed alone.
func TestFailedTransaction_EveryCall_IsRefused(t *testing.T) {
	t.Parallel()
	waiting := cockroachdb.DefaultRetryPolicy()
	waiting.InitialBackoff, waiting.MaxBackoff, waiting.MaxElapsed = time.Hour, time.Hour, 100*time.Hour
	for how, failure := range waysToFail {
		for door, enter := range doors {
			t.Run(how+"/"+door, func(t *testing.T) {
				t.Parallel()
				var entered atomic.Bool
				st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
					if s.SQL == doorSQL && !s.Describing {
						entered.Store(true)
					}
					return failure.book.Reply(s)
				})
				c, err := st.Conn(t.Context())
				require.NoError(t, err)
				defer c.Close()
				stmt, err := c.PrepareContext(t.Context(), doorSQL)
				require.NoError(t, err)
				defer stmt.Close()
				tx, err := c.BeginTx(cockroachdb.WithRetryPolicy(t.Context(), waiting), nil)
				require.NoError(t, err)
				defer func() { _ = tx.Rollback() }()
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				failure.fail(t, tx)

				require.Error(t, enter(t.Context(), c, tx, stmt))
				require.Error(t, tx.Commit())
				assert.False(t, entered.Load(), "it was run: %q", st.Sent())
			})
		}
	}
}

// hookDoors are the ways by which a hook could get at the connection of a transaction that restarts. database/sql keeps
// hooks away from it.
var hookDoors = map[string]func(context.Context, kit.DriverConn) error{
	"Exec": func(ctx context.Context, c kit.DriverConn) error {
		_, err := c.ExecContext(ctx, doorSQL, nil)
		return err
	},
	"Query": func(ctx context.Context, c kit.DriverConn) error {
		_, err := c.QueryContext(ctx, doorSQL, nil)
		return err
	},
	"Prepare": func(ctx context.Context, c kit.DriverConn) error {
		_, err := c.PrepareContext(ctx, doorSQL)
		return err
	},
	"BeginTx": func(ctx context.Context, c kit.DriverConn) error {
		_, err := c.BeginTx(ctx, driver.TxOptions{})
		return err
	},
	"Raw": func(ctx context.Context, c kit.DriverConn) error {
		_, err := c.Conn().Exec(ctx, doorSQL, pgx.QueryExecModeExec)
		return err
	},
}

// TestRestartingTransaction_HookUsesItsConnection_IsRefused: between two attempts there is nothing on the server that
// what a hook does could belong to. What comes by Raw is refused by the server.
func TestRestartingTransaction_HookUsesItsConnection_IsRefused(t *testing.T) {
	t.Parallel()
	for door, enter := range hookDoors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			var c kit.DriverConn
			hooked := false
			r := kit.New(t, kit.Script{"UPDATE b": {kit.Conflict, kit.OK}}, func(cfg *cockroachdb.Config) {
				cfg.OnRetry = func(ctx context.Context, _ cockroachdb.RetryEvent) {
					hooked = true
					assert.Error(t, enter(ctx, c))
				}
			})
			c = r.DriverConn(t)
			tx, err := c.BeginTx(t.Context(), driver.TxOptions{})
			require.NoError(t, err)
			for _, text := range []string{"UPDATE a", "UPDATE b"} {
				_, err := c.ExecContext(t.Context(), text, nil)
				require.NoError(t, err)
			}
			require.NoError(t, tx.Commit())
			assert.True(t, hooked)
			assert.LessOrEqual(t, r.Times(doorSQL), 1, "%q", r.Statements())
		})
	}
}
