package parity_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A poolCase is a parityCase of a whole pool: transactions, statements that outlive them, connections that come and go.
type poolCase struct {
	name string
	run  func(t *testing.T, ctx context.Context, db *sql.DB, say func(format string, args ...any))
}

var poolCases = []poolCase{
	{"isolation and access", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		for level := sql.LevelDefault; level <= sql.LevelLinearizable; level++ {
			for _, readOnly := range []bool{false, true} {
				tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: readOnly})
				say("%s %t: %s", level, readOnly, kit.Describe(err))
				if err != nil {
					continue
				}
				var isolation, access string
				err = tx.QueryRowContext(ctx, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')").Scan(&isolation, &access)
				say("%s, %s: %s", isolation, access, kit.Describe(err))
				_, err = tx.ExecContext(ctx, "UPDATE parity SET name = $1 WHERE id = $2", "read", 1)
				say("write: %s", kit.Describe(err))
				say("rollback: %s", kit.Describe(tx.Rollback()))
			}
		}
	}},
	{
		"statements of the pool in transactions",
		func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
			stmt, err := db.PrepareContext(ctx, "UPDATE parity SET name = $1 WHERE id = $2")
			say("prepare: %s", kit.Describe(err))
			defer stmt.Close()
			for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback, (*sql.Tx).Commit} {
				tx, err := db.BeginTx(ctx, nil)
				say("begin: %s", kit.Describe(err))
				inside := tx.StmtContext(ctx, stmt)
				for _, id := range []any{1, 77, "word", 2} {
					res, err := inside.ExecContext(ctx, "by stmt", id)
					say("exec: %s", kit.Describe(err))
					if err == nil {
						n, err := res.RowsAffected()
						say("%d %s", n, kit.Describe(err))
					}
				}
				say("end: %s", kit.Describe(end(tx)))
				_, err = inside.ExecContext(ctx, "late", 1)
				say("after the end: %s", kit.Describe(err))
				_, err = stmt.ExecContext(ctx, "outside", 2)
				say("outside: %s", kit.Describe(err))
			}
		},
	},
	{"a transaction's own statement", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		tx, err := db.BeginTx(ctx, nil)
		say("begin: %s", kit.Describe(err))
		stmt, err := tx.PrepareContext(ctx, "SELECT name FROM parity WHERE id = $1")
		say("prepare: %s", kit.Describe(err))
		var name string
		say("%s %s", kit.Describe(stmt.QueryRowContext(ctx, 1).Scan(&name)), name)
		say("commit: %s", kit.Describe(tx.Commit()))
		say("after it: %s", kit.Describe(stmt.QueryRowContext(ctx, 1).Scan(&name)))
	}},
	{"ends of a transaction", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		for _, last := range []string{
			"", "SELECT 1 / 0", "ROLLBACK", "COMMIT", "SAVEPOINT a", "ROLLBACK TO SAVEPOINT nowhere",
		} {
			tx, err := db.BeginTx(ctx, nil)
			say("%q begin: %s", last, kit.Describe(err))
			if last != "" {
				_, err = tx.ExecContext(ctx, last)
				say("exec: %s", kit.Describe(err))
			}
			say("commit: %s", kit.Describe(tx.Commit()))
			say("again: %s, %s", kit.Describe(tx.Commit()), kit.Describe(tx.Rollback()))
		}
	}},
	{"a failure inside a savepoint", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		tx, err := db.BeginTx(ctx, nil)
		say("begin: %s", kit.Describe(err))
		for _, sql := range []string{
			"UPDATE parity SET name = 'kept' WHERE id = 1", "SAVEPOINT app",
			"INSERT INTO parity VALUES (1, 'again')", "SELECT 1",
			"ROLLBACK TO SAVEPOINT app", "RELEASE SAVEPOINT app", "UPDATE parity SET amount = 9 WHERE id = 1",
		} {
			_, err := tx.ExecContext(ctx, sql)
			say("%s: %s", sql, kit.Describe(err))
		}
		say("commit: %s", kit.Describe(tx.Commit()))
	}},
	{"a context that ends a transaction", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		mine, cancel := context.WithCancel(ctx)
		tx, err := db.BeginTx(mine, nil)
		say("begin: %s", kit.Describe(err))
		_, err = tx.ExecContext(ctx, "UPDATE parity SET name = $1 WHERE id = $2", "never", 1)
		say("exec: %s", kit.Describe(err))
		cancel()
		commit := tx.Commit()
		say("no commit: %t", commit != nil) // database/sql's own race: the context's error, or that it is done
	}},
	{"procedures", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		sayExec(ctx, db, say, "CREATE OR REPLACE PROCEDURE rename(k INT, INOUT n TEXT) LANGUAGE SQL AS 'UPDATE parity SET name = n WHERE id = k RETURNING upper(name)'")
		sayRows(ctx, db, say, "CALL rename($1, $2)", 1, "called")
		sayRows(ctx, db, say, "CALL rename(2, 'inline')")
		sayExec(ctx, db, say, "CALL rename($1, $2)", 1, "executed")
		sayExec(ctx, db, say, "DO $$ BEGIN UPDATE parity SET name = 'done' WHERE id = 2; END $$")
		sayExec(ctx, db, say, "CALL nowhere($1)", 1)
		var out string
		_, err := db.ExecContext(ctx, "CALL rename($1, $2)", 1, sql.Out{Dest: &out})
		say("sql.Out: %t", err != nil) // neither has it; whose words it is refused with differs by the mode
	}},
	{"a connection killed while idle", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		kill(t, ctx, db, parityPID(t, db))
		sayRows(ctx, db, say, "SELECT $1::int", 1)
		sayExec(ctx, db, say, "UPDATE parity SET name = 'alive' WHERE id = 1")
		say("ping: %s", kit.Describe(db.PingContext(ctx)))
	}},
	{
		"a connection that is killed by its own statement",
		func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
			_, err := db.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid()) WHERE $1", true)
			if perhaps, ok := errors.AsType[*cockroachdb.AmbiguousCommitError](err); ok { // ours says more
				err = perhaps.Unwrap()
			}
			say("%s", kit.Describe(err))
			sayRows(ctx, db, say, "SELECT 1")
		},
	},
	{"one connection, at length", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		conn, err := db.Conn(ctx)
		say("conn: %s", kit.Describe(err))
		defer conn.Close()
		say("ping: %s", kit.Describe(conn.PingContext(ctx)))
		for range 3 {
			stmt, err := conn.PrepareContext(ctx, "SELECT $1::int + 1")
			say("prepare: %s", kit.Describe(err))
			var n int
			say("%s %d, %s", kit.Describe(stmt.QueryRowContext(ctx, 41).Scan(&n)), n, kit.Describe(stmt.Close()))
		}
		say("raw: %s", kit.Describe(conn.Raw(func(c any) error {
			var n int
			return c.(interface{ Conn() *pgx.Conn }).Conn().QueryRow(ctx, "SELECT 42").Scan(&n)
		})))
		rows, err := conn.QueryContext(ctx, "SELECT generate_series(1, 1000)")
		say("query: %s, next %t", kit.Describe(err), rows.Next())
		for range 2 {
			say("raw while rows are open: %s", kit.Describe(conn.Raw(func(c any) error {
				_, err := c.(interface{ Conn() *pgx.Conn }).Conn().Exec(ctx, "SELECT 1")
				return err
			})))
			say("next %t", rows.Next())
		}
		say("close: %s, %s", kit.Describe(rows.Close()), kit.Describe(rows.Err()))
		say("an error of Raw's: %s", kit.Describe(conn.Raw(func(any) error { return sql.ErrNoRows })))
		sayRows(ctx, conn, say, "SELECT 1")
	}},
	{"many at once", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		db.SetMaxOpenConns(4)
		sums := make([]int, 8)
		var all sync.WaitGroup
		for i := range sums {
			all.Go(func() {
				for n := range 20 {
					var got int
					assert.NoError(t, db.QueryRowContext(ctx, "SELECT $1::int", n).Scan(&got))
					sums[i] += got
				}
			})
		}
		all.Wait()
		say("%v", sums)
	}},
	{"a transaction left open as text", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		for range 2 {
			conn, err := db.Conn(ctx)
			say("conn: %s", kit.Describe(err))
			sayExec(ctx, conn, say, "BEGIN")
			sayExec(ctx, conn, say, "CREATE TEMPORARY TABLE left_open (id INT)")
			say("close: %s", kit.Describe(conn.Close()))
		}
		sayRows(ctx, db, say, "SELECT to_regclass('left_open')")
	}},
	{
		"a plan that another scan came before",
		func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
			var s string
			var b bool
			say("%s %s", kit.Describe(db.QueryRowContext(ctx, "SELECT true").Scan(&s)), s)
			say("%s %t", kit.Describe(db.QueryRowContext(ctx, "SELECT true").Scan(&b)), b)
		},
	},
	{"lengths", func(t *testing.T, ctx context.Context, db *sql.DB, say func(string, ...any)) {
		sayExec(ctx, db, say, "CREATE TABLE lengths (t TEXT, b BYTEA, v VARCHAR(255), c BPCHAR(10), vb VARBIT(50), i INT, n NUMERIC(9, 2), nn NUMERIC)")
		sayValue(ctx, db, say, "SELECT * FROM lengths")
		sayExec(ctx, db, say, "DROP TABLE lengths")
	}},
}

// kill ends a connection and waits until it has.
func kill(t *testing.T, ctx context.Context, db *sql.DB, pid int) {
	t.Helper()
	other, err := db.Conn(ctx) // the pool has an idle one: it is this one, or else a second
	require.NoError(t, err)
	var mine int
	require.NoError(t, other.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&mine))
	require.Equal(t, pid, mine)
	db.SetMaxOpenConns(2)
	defer db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, "SELECT pg_terminate_backend($1)", pid)
	require.NoError(t, err)
	for gone := false; !gone; {
		row := db.QueryRowContext(ctx, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid)
		require.NoError(t, row.Scan(&gone))
	}
	require.NoError(t, other.Close())
}

// TestParity_OfPools_WithPgx is TestParity_OfOperations_WithPgx for whole pools.
func TestParity_OfPools_WithPgx(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	admin := kit.Open(t, dsn)
	kit.Exec(t, admin, "CREATE TABLE parity (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, amount NUMERIC(10, 2))")
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			for _, sc := range poolCases {
				var transcripts [2][]string
				for i, name := range []string{"pgx", "cockroachdb"} {
					kit.Exec(t, admin, "DELETE FROM parity")
					kit.Exec(t, admin, "INSERT INTO parity VALUES (1, 'one', 1.50), (2, 'two', NULL)")
					db, err := sql.Open(name, kit.WithParams(dsn, "default_query_exec_mode="+mode))
					require.NoError(t, err)
					db.SetMaxOpenConns(1)
					say := transcribe(&transcripts[i])
					sc.run(t, t.Context(), db, say)
					say("the table afterwards: %v", parityTable(t, db))
					require.NoError(t, db.Close())
				}
				require.Greater(t, len(transcripts[0]), 1, sc.name)
				compareTranscripts(t, sc.name+", "+mode+", pool", transcripts[0], transcripts[1])
			}
		})
	}
}
