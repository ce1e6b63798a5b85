package crdbsim

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const create = "CREATE TABLE made (a INT)"

// TestAutocommit_Default checks on which versions the variable is on, and what it can be set to.
func TestAutocommit_Default(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"": "off", "CockroachDB CCL v24.3.5": "off", "CockroachDB CCL v25.1.0 (x)": "on", later: "on",
	} {
		w := newTestbed(t, Config{Version: v})
		c := w.client(t)
		show := func(c *client) string { return c.query("SHOW autocommit_before_ddl")[0] }
		assert.Equal(t, "D "+want, show(c), v)
		c.query("SET autocommit_before_ddl = maybe")
		assert.Equal(t, "D maybe", show(c), v)
		c.query("RESET ALL")
		assert.Equal(t, "D "+want, show(c), v)
		assert.Equal(t, "D x", show(w.client(t, "autocommit_before_ddl", "x")), v)
	}
}

func TestAutocommit_Off_DDLIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		for _, begin := range [][]string{
			{"SET autocommit_before_ddl = off", "BEGIN"},
			{"RESET autocommit_before_ddl", "BEGIN", "SET LOCAL autocommit_before_ddl = off"},
		} {
			c := w.client(t)
			exec(c, begin...)
			exec(c, open, update)
			assert.Equal(t, []string{"C CREATE TABLE", "Z T"}, exec(c, create))
			exec(c, "ROLLBACK")
			assert.Equal(t, 10, w.value(t, 1))
			assert.Equal(t, "E 42P01", exec(c, "TABLE made")[0])
		}
	})
}

func TestAutocommit_DDL_CommitsAndRunsAlone(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		c := w.client(t)
		assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "C CREATE TABLE", "Z I"},
			exec(c, "BEGIN", open, update, create))
		assert.Equal(t, 11, w.value(t, 1))
		// what the client sends to end it only gets warnings
		assert.Equal(t, []string{"C RELEASE", "C COMMIT", "Z I"}, exec(c, release, "COMMIT"))
		for sql, want := range map[string]string{
			"ROLLBACK": "C ROLLBACK", open: "C SAVEPOINT", "SET TRANSACTION PRIORITY HIGH": "C SET TRANSACTION", back: "E 3B001",
		} {
			assert.Equal(t, []string{want, "Z I"}, exec(c, sql))
		}
		// also as the first statement, and without the savepoint; two of them in one transaction
		assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C DROP TABLE", "Z I"}, exec(c, "BEGIN", open, "DROP TABLE made"))
		assert.Equal(t, []string{"C BEGIN", "C CREATE TABLE", "C DROP TABLE", "C UPDATE 1", "C COMMIT", "Z I"},
			exec(c, "BEGIN", create, "DROP TABLE made", update, "COMMIT"))
		assert.Equal(t, 12, w.value(t, 1))
		// what PostgreSQL allows only where there is no transaction
		database := w.schema
		assert.Equal(t, []string{"C BEGIN", "C UPDATE 1", "C CREATE DATABASE", "C DROP DATABASE", "Z I"},
			exec(c, "BEGIN", update, "CREATE DATABASE "+database, "DROP DATABASE "+database))
	})
}

func TestAutocommit_ErrorOfTheDDL_LeavesNoTransaction(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		c := w.client(t)
		assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "E 42P07", "Z I"},
			exec(c, "BEGIN", open, update, "CREATE TABLE kv (k INT)", "COMMIT"))
		assert.Equal(t, 11, w.value(t, 1), "what was before it is committed")
		w.Inject(On("^create", fails("40001")))
		assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "E 40001", "Z I"},
			exec(c, "BEGIN", open, update, create))
		assert.Equal(t, 12, w.value(t, 1))
	})
}

func TestAutocommit_CommitLoses_TransactionHasFailed(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		a, b := w.client(t), w.client(t)
		exec(a, "BEGIN", open, "SELECT sum(v) FROM kv", "INSERT INTO kv VALUES (4, 0)")
		exec(b, "BEGIN", open, "SELECT sum(v) FROM kv", "INSERT INTO kv VALUES (5, 0)", release, "COMMIT")
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(a, create))
		assert.Equal(t, []string{"E 25P02", "Z E"}, exec(a, create), "a failed transaction is not committed")
		assert.Equal(t, []string{"C ROLLBACK", "C UPDATE 1", "C CREATE TABLE", "Z I"}, exec(a, back, update, create))
		assert.Equal(t, 11, w.value(t, 1))
	})
}

func TestAutocommit_CommitWait_DDLIsRefused(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{Version: later}).client(t)
		exec(c, "BEGIN", open, update, release)
		assert.Equal(t, []string{"E 25000", "Z T"}, exec(c, create))
	})
}

func TestAutocommit_ParseAndBindCommit(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{Version: later})
	c := w.client(t)
	c.query("BEGIN; SAVEPOINT cockroach_restart; " + update)
	c.fe.Send(&pgproto3.Parse{Name: "ddl", Query: create})
	c.fe.Send(&pgproto3.Describe{ObjectType: 'S', Name: "ddl"})
	c.send(&pgproto3.Sync{})
	assert.Equal(t, []string{"Z I"}, c.untilReady())
	assert.Equal(t, 11, w.value(t, 1))
	c.query("BEGIN; " + update)
	c.fe.Send(&pgproto3.Bind{PreparedStatement: "ddl"})
	c.send(&pgproto3.Sync{})
	assert.Equal(t, []string{"Z I"}, c.untilReady())
	assert.Equal(t, 12, w.value(t, 1))
	assert.Equal(t, "E 42P01", c.query("TABLE made")[0], "it was not executed")
}

// TestAutocommit_Notice checks what the client is told besides.
func TestAutocommit_Notice(t *testing.T) {
	t.Parallel()
	c := newTestbed(t, Config{Version: later}).client(t)
	c.query("BEGIN")
	for _, step := range [][2]string{{create, "NOTICE 00000"}, {"COMMIT", "WARNING XXUUU"}} {
		c.send(&pgproto3.Query{String: step[0]})
		m, err := c.fe.Receive()
		require.NoError(t, err)
		n, ok := m.(*pgproto3.NoticeResponse)
		require.True(t, ok, "%T", m)
		assert.Equal(t, step[1], n.Severity+" "+n.Code)
		c.untilReady()
	}
}

// TestAutocommit_Text checks a text of several statements outside a transaction: what is before a DDL is committed.
func TestAutocommit_Text(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{Version: later})
	c := w.client(t)
	assert.Equal(t, []string{"C UPDATE 1", "C CREATE TABLE", "E 22012", "Z I"}, c.query(update+"; "+create+"; SELECT 1/0"))
	assert.Equal(t, 11, w.value(t, 1))
	assert.Equal(t, "C SELECT 0", c.query("TABLE made")[0])
	c.query("SET autocommit_before_ddl = off")
	assert.Equal(t, []string{"C UPDATE 1", "C DROP TABLE", "E 22012", "Z I"},
		c.query(update+"; DROP TABLE made; SELECT 1/0"))
	assert.Equal(t, 11, w.value(t, 1))
}

func TestAutocommit_Faults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		action Action
		want   []string
		back   string
		v      int
	}{
		{"conflict", fails("40001"), []string{"E 40001", "Z E"}, "C ROLLBACK", 10},
		{"another error", fails("57014"), []string{"E 57014", "Z E"}, "E 3B001", 10},
		{"cut before", Action{Then: Cut}, []string{"EOF"}, "", 10},
		{"ambiguous", Action{Then: ExecuteFail, Error: Error{Code: "40003"}}, []string{"E 40003", "Z E"}, "E 3B001", 11},
		{"cut after", Action{Then: ExecuteCut}, []string{"EOF"}, "", 11},
		{"cut after, by half", Action{Then: ExecuteHalf}, []string{"EOF"}, "", 11},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
				w := newTestbed(t, Config{Version: later})
				c := w.client(t)
				exec(c, "BEGIN", open, update)
				f := On("^create", test.action)
				f.At = AtAutocommit
				w.Inject(f)
				assert.Equal(t, test.want, exec(c, create))
				assert.Equal(t, 1, f.Hits())
				assert.Equal(t, test.v, w.value(t, 1))
				if test.back != "" {
					assert.Equal(t, test.back, exec(c, back)[0])
				}
			})
		})
	}
}
