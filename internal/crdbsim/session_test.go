package crdbsim

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the recordings don't hold.
func TestSession(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		steps [][2]string // statements, answers
	}{
		{"begin twice", [][2]string{
			{"BEGIN; BEGIN", "C BEGIN, E XXUUU, Z E"},
			{"BEGIN", "E 25P02, Z E"},
		}},
		{"another restart savepoint", [][2]string{
			{"BEGIN; SAVEPOINT cockroach_restart; SAVEPOINT cockroach_restart_2", "C BEGIN, C SAVEPOINT, C SAVEPOINT, Z T"},
		}},
		{"savepoint after SELECT 1", [][2]string{
			{"BEGIN; SELECT 1; SAVEPOINT cockroach_restart", "C BEGIN, D 1, C SELECT 1, C SAVEPOINT, Z T"},
		}},
		{"application savepoints without the restart savepoint", [][2]string{
			{"BEGIN; SAVEPOINT a; INSERT INTO kv VALUES (1, 1)", "C BEGIN, C SAVEPOINT, E 23505, Z E"},
			{"SELECT 2", "E 25P02, Z E"},
			{"ROLLBACK TO a", "C ROLLBACK, Z T"},
			{"RELEASE a; COMMIT", "C RELEASE, C COMMIT, Z I"},
		}},
		{"parsing goes on in a failed transaction", [][2]string{
			{"BEGIN; SAVEPOINT cockroach_restart; SELECT 1/0", "C BEGIN, C SAVEPOINT, E 22012, Z E"},
			{"SELECT 2", "E 25P02, Z E"},
			{"ROLLBACK TO cockroach_restart; SELECT v FROM kv WHERE k = 1", "C ROLLBACK, D 10, C SELECT 1, Z T"},
		}},
		{"a savepoint made before data was touched survives a conflict", [][2]string{
			{"BEGIN; SAVEPOINT a; UPDATE kv SET v = 0 WHERE k = 1", "C BEGIN, C SAVEPOINT, C UPDATE 1, Z T"},
			{"SELECT crdb_internal.force_retry('1h')", "E 40001, Z E"},
			{"ROLLBACK TO a; SELECT v FROM kv WHERE k = 1; RELEASE a", "C ROLLBACK, D 10, C SELECT 1, C RELEASE, Z T"},
		}},
		{"high priority and DDL", [][2]string{
			{
				"BEGIN PRIORITY HIGH; SAVEPOINT cockroach_restart; CREATE TABLE x (a INT)",
				"C BEGIN, C SAVEPOINT, C CREATE TABLE, Z T",
			},
			{"ROLLBACK TO cockroach_restart", "E 0A000, Z E"},
			{"ROLLBACK", "C ROLLBACK, Z I"},
		}},
		{"a deferred constraint fails at release", [][2]string{
			{"CREATE TABLE d (a INT UNIQUE DEFERRABLE INITIALLY DEFERRED)", "C CREATE TABLE, Z I"},
			{"INSERT INTO d VALUES (1), (1)", "E 23505, Z I"},
			{"BEGIN; SAVEPOINT cockroach_restart; INSERT INTO d VALUES (1), (1)", "C BEGIN, C SAVEPOINT, C INSERT 0 2, Z T"},
			{"RELEASE cockroach_restart; COMMIT", "E 23505, Z E"},
			{"ROLLBACK TO cockroach_restart", "E 3B001, Z E"},
			{"ROLLBACK", "C ROLLBACK, Z I"},
		}},
		{"variables", [][2]string{
			{"SHOW distsql", "D auto, C SHOW 1, Z I"},
			{"SET distsql = off; SHOW distsql", "C SET, D off, C SHOW 1, Z I"},
			{"RESET distsql; SHOW distsql", "C SET, D auto, C SHOW 1, Z I"},
			{"SHOW transaction_priority", "D normal, C SHOW 1, Z I"},
			{"BEGIN PRIORITY LOW; SHOW transaction_priority; ROLLBACK", "C BEGIN, D low, C SHOW 1, C ROLLBACK, Z I"},
			{"SET TRANSACTION PRIORITY HIGH", "E XXUUU, Z I"},
			{"SHOW TRANSACTION STATUS", "D NoTxn, C SHOW TRANSACTION STATUS 1, Z I"},
			{"BEGIN; SHOW TRANSACTION STATUS", "C BEGIN, D Open, C SHOW TRANSACTION STATUS 1, Z T"},
		}},
		{"isolation levels are all one", [][2]string{
			{"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", "C SET, Z I"},
			{"SET default_transaction_isolation = 'read committed'", "C SET, Z I"},
			{"SHOW transaction_isolation", "D serializable, C SHOW 1, Z I"},
			{
				"BEGIN; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SHOW transaction_isolation",
				"C BEGIN, C SET TRANSACTION, D serializable, C SHOW 1, Z T",
			},
		}},
		{"read only", [][2]string{
			{"BEGIN READ ONLY; UPDATE kv SET v = 1", "C BEGIN, E 25006, Z E"},
			{
				"ROLLBACK; BEGIN; SET TRANSACTION READ ONLY; UPDATE kv SET v = 1",
				"C ROLLBACK, C BEGIN, C SET TRANSACTION, E 25006, Z E",
			},
		}},
		{"a syntax error", [][2]string{
			{"BEGIN; SELEKT", "C BEGIN, E 42601, Z E"},
			{"ROLLBACK; BEGIN", "C ROLLBACK, C BEGIN, Z T"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
				c := newTestbed(t, Config{}).client(t)
				for _, step := range test.steps {
					got := ""
					for i, m := range exec(c, split(step[0])...) {
						if i > 0 {
							got += ", "
						}
						got += m
					}
					require.Equal(t, step[1], got, "%s", step[0])
				}
			})
		})
	}
}

// TestServerRetries checks that a lone statement never fails by a conflict.
func TestServerRetries(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		const clients, each = 4, 25
		done := make(chan struct{})
		for i := range clients {
			c := w.client(t)
			go func() {
				defer func() { done <- struct{}{} }()
				for range each {
					if i%2 == 0 {
						assert.Equal(t, []string{"C UPDATE 1", "Z I"}, exec(c, update))
						continue
					}
					assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "Z T"}, exec(c, "BEGIN", open, update))
					assert.Equal(t, []string{"C COMMIT", "C COMMIT", "Z I"}, exec(c, release, "COMMIT"))
				}
			}()
		}
		for range clients {
			<-done
		}
		assert.Equal(t, 10+clients*each, w.value(t, 1))
	})
}

// TestServerRetries_AfterAnError_NotAnyMore has Parse fail before the statement that conflicts: the client has been
// told something of the snapshot, and the server gives it no other without a word.
func TestServerRetries_AfterAnError_NotAnyMore(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	c.pipeline("BEGIN", open, "SAVEPOINT s")
	c.send(&pgproto3.Parse{Query: "SELECT v FROM missing"}, &pgproto3.Sync{})
	require.Equal(t, []string{"E 42P01", "Z E"}, c.untilReady())
	c.pipeline("ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s")
	w.client(t).pipeline(update)
	assert.Equal(t, []string{"E 40001", "Z E"}, c.pipeline(update))
}

// TestPreparedStatements runs pgx's own cache of statements over the life of a transaction.
func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	conn := w.connect(t)
	v := func(sql string, args ...any) (v int, err error) {
		err = conn.QueryRow(t.Context(), sql, args...).Scan(&v)
		return v, err
	}
	exec := func(sql string) error { _, err := conn.Exec(t.Context(), sql); return err }
	const byKey = "SELECT v FROM kv WHERE k = $1"
	for range 2 {
		require.NoError(t, exec("BEGIN"))
		require.NoError(t, exec(open))
		got, err := v(byKey, 1)
		require.NoError(t, err)
		assert.Equal(t, 10, got)
		require.ErrorContains(t, exec("INSERT INTO kv VALUES (1, 1)"), "23505")
		description, err := conn.Prepare(t.Context(), "late", "SELECT v + 0 FROM kv WHERE k = $1")
		require.NoError(t, err, "CockroachDB prepares in a failed transaction")
		assert.Len(t, description.Fields, 1)
		_, err = v("late", 1)
		require.ErrorContains(t, err, "25P02")
		require.NoError(t, exec(back))
		got, err = v("late", 2)
		require.NoError(t, err)
		assert.Equal(t, 20, got)
		require.NoError(t, exec(release))
		require.NoError(t, exec("COMMIT"))
		require.NoError(t, conn.Deallocate(t.Context(), "late"))
	}
	require.NoError(t, exec("DEALLOCATE ALL"))
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	_, err = conn.Prepare(t.Context(), "b", "BEGIN")
	require.NoError(t, err)
	_, err = conn.PgConn().Prepare(t.Context(), "b", "BEGIN", nil)
	require.ErrorContains(t, err, "42P05")
}

// TestNames checks that statements and portals are told apart by their names, whoever answers them.
func TestNames(t *testing.T) {
	t.Parallel()
	c := newTestbed(t, Config{}).client(t)
	parse := func(name, sql string) { c.fe.Send(&pgproto3.Parse{Name: name, Query: sql}) }
	run := func(stmt, portal string) {
		c.fe.Send(&pgproto3.Bind{PreparedStatement: stmt, DestinationPortal: portal})
		c.fe.Send(&pgproto3.Execute{Portal: portal})
	}
	end := func(want ...string) {
		t.Helper()
		c.send(&pgproto3.Sync{})
		require.Equal(t, want, c.untilReady())
	}
	parse("b", "BEGIN")
	parse("s", "SELECT 1")
	c.fe.Send(&pgproto3.Describe{ObjectType: 'S', Name: "b"})
	c.fe.Send(&pgproto3.Describe{ObjectType: 'S', Name: "s"})
	run("b", "")
	run("s", "p")
	c.fe.Send(&pgproto3.Close{ObjectType: 'P', Name: "p"})
	end("C BEGIN", "D 1", "C SELECT 1", "Z T")
	parse("s", "SELECT 2") // taken: s stays what it was
	end("E 42P05", "Z E")
	parse("e", "ROLLBACK")
	run("e", "q")
	c.fe.Send(&pgproto3.Close{ObjectType: 'P', Name: "q"})
	run("s", "")
	end("C ROLLBACK", "D 1", "C SELECT 1", "Z I")
	parse("", "SELEKT")
	parse("x", "SELECT 3")
	end("E 42601", "Z I")
	run("x", "")
	end("E 26000", "Z I")
	c.fe.Send(&pgproto3.Close{ObjectType: 'S', Name: "b"})
	c.fe.Send(&pgproto3.Close{ObjectType: 'S', Name: "s"})
	run("s", "")
	end("E 26000", "Z I")
	c.fe.Send(&pgproto3.Execute{Portal: "nowhere"})
	end("E 34000", "Z I")
}
