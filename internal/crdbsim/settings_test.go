package crdbsim

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// conflicting is a statement that loses, whatever it does.
const conflicting = "SELECT crdb_internal.force_retry('1h')"

// undoings are the ways in which PostgreSQL would undo what a transaction has set. The transaction is given between
// begin and end.
var undoings = map[string]struct{ begin, end []string }{
	"rollback":                    {[]string{"BEGIN", open}, []string{"ROLLBACK"}},
	"rollback without savepoint":  {[]string{"BEGIN"}, []string{"ROLLBACK"}},
	"restart":                     {[]string{"BEGIN", open}, []string{back, read, release, "COMMIT"}},
	"restart that is rolled back": {[]string{"BEGIN", open}, []string{back, read, "ROLLBACK"}},
	"two restarts":                {[]string{"BEGIN", open}, []string{back, read, back, "ROLLBACK"}},
	"application savepoint":       {[]string{"BEGIN", open, read, "SAVEPOINT a"}, []string{"ROLLBACK TO a", "COMMIT"}},
	"application savepoint, then all": {
		[]string{"BEGIN", open, read, "SAVEPOINT a"},
		[]string{"ROLLBACK TO a", read, "ROLLBACK"},
	},
	"savepoint before and after": {
		[]string{"BEGIN", open, "SAVEPOINT a", read},
		[]string{"SAVEPOINT b", "ROLLBACK TO b", "RELEASE b", "ROLLBACK TO a", read, "ROLLBACK TO a", "ROLLBACK"},
	},
}

func TestSetSurvives_HoweverItIsUndone(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		for name, u := range undoings {
			c := w.client(t)
			exec(c, u.begin...)
			assert.Equal(t, []string{"C SET", "C SET", "Z T"},
				exec(c, "SET lock_timeout = '7s'", "SET LOCAL statement_timeout = '8s'"), name)
			answers := exec(c, u.end...)
			assert.NotContains(t, answers[len(answers)-2], "E ", name)
			assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, exec(c, "SHOW lock_timeout"), name)
			assert.Equal(t, []string{"D 0", "C SHOW 1", "Z I"}, exec(c, "SHOW statement_timeout"), name)
		}
	})
}

func TestSetSurvives_TransactionThatFails(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		for name, steps := range map[string][]string{
			"conflict, rolled back": {conflicting, "ROLLBACK"},
			"conflict, restarted":   {conflicting, back, read, release, "COMMIT"},
			"error, committed":      {"SELECT 1/0", "COMMIT"},
			"error, restarted":      {"SELECT 1/0", back, "ROLLBACK"},
		} {
			c := w.client(t)
			exec(c, "BEGIN", open, read)
			exec(c, "SET lock_timeout = '7s'")
			for _, sql := range steps {
				exec(c, sql)
			}
			assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, exec(c, "SHOW lock_timeout"), name)
		}
	})
}

func TestSetSurvives_CommitThatFails(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		c := w.client(t)
		exec(c, "CREATE TABLE d (a INT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
		for _, commit := range []string{"COMMIT", release} {
			exec(c, "SET lock_timeout = 0")
			exec(c, "BEGIN", open, "SET lock_timeout = '7s'", "INSERT INTO d VALUES (1), (1)")
			assert.Contains(t, exec(c, commit), "E 23505")
			if commit == release {
				// what is parsed now, outside of PostgreSQL's transaction, is parsed under what was set
				assert.Equal(t, []string{"E 25P02", "Z E"}, exec(c, read))
				exec(c, "ROLLBACK")
			}
			assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, exec(c, "SHOW lock_timeout"), commit)
		}
	})
}

// TestSetSurvives_InItsOrder checks that the last one wins, and that one of the transaction's alone is undone as far
// as the savepoint goes.
func TestSetSurvives_InItsOrder(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{}).client(t)
		exec(c, "BEGIN", open, "SET lock_timeout = '1s'", "SET LOCAL lock_timeout = '2s'", "SAVEPOINT a")
		exec(c, "SET statement_timeout = '3s'", "SET LOCAL statement_timeout = '4s'", "ROLLBACK TO a")
		assert.Equal(t, []string{"D 2s", "C SHOW 1", "Z T"}, exec(c, "SHOW lock_timeout"))
		assert.Equal(t, []string{"D 3s", "C SHOW 1", "Z T"}, exec(c, "SHOW statement_timeout"))
		exec(c, "SET lock_timeout = '5s'", "RESET statement_timeout", "ROLLBACK")
		assert.Equal(t, []string{"D 5s", "C SHOW 1", "Z I"}, exec(c, "SHOW lock_timeout"))
		assert.Equal(t, []string{"D 0", "C SHOW 1", "Z I"}, exec(c, "SHOW statement_timeout"))
	})
}

func TestSetSurvives_EveryForm(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		admin := w.client(t)
		role := w.schema + "_" + map[bool]string{true: "a", false: "b"}[t.Name() == "TestSetSurvives_EveryForm/simple"]
		require.Equal(t, []string{"C CREATE ROLE", "Z I"}, admin.query("CREATE ROLE "+role))
		t.Cleanup(func() { admin.query("DROP ROLE " + role) })
		for _, test := range []struct{ before, set, show, want string }{
			{"", "SET TIME ZONE 'Asia/Tokyo'", "SHOW TIME ZONE", "Asia/Tokyo"},
			{"SET TIME ZONE 'Asia/Tokyo'", "RESET TIME ZONE", "SHOW TIME ZONE", "UTC"},
			{"SET lock_timeout = '7s'", "RESET lock_timeout", "SHOW lock_timeout", "0"},
			{"SET lock_timeout = '7s'", "RESET ALL", "SHOW lock_timeout", "0"},
			{"SET distsql = off", "RESET ALL", "SHOW distsql", "auto"},
			{"", "SET SESSION lock_timeout TO 7000", "SHOW lock_timeout", "7s"},
			{"", "SET ROLE " + role, "SELECT current_user", role},
			{"SET ROLE " + role, "RESET ROLE", "SELECT current_user", superuser},
			{"", "SET SESSION AUTHORIZATION " + role, "SELECT session_user", role},
			{"SET SESSION AUTHORIZATION " + role, "RESET SESSION AUTHORIZATION", "SELECT session_user", superuser},
			{"", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SHOW default_transaction_read_only", "on"},
			{"", "SET distsql = off", "SHOW distsql", "off"},
			{"", "SET app.tenant = 'O''Brien\\'", "SHOW app.tenant", `O'Brien\`},
			{"", "SET search_path = a, public", "SHOW search_path", "a, public"},
			{"", "SELECT set_config('search_path', 'b, public', false)", "SHOW search_path", "b, public"},
			{"", "SELECT pg_catalog.Set_Config('app.x'::text, 'y', 'off'), set_config('app.x', 'z', true)", "SHOW app.x", "y"},
			{"SET app.x = 'a'", "SELECT set_config('app.x', NULL, false)", "SHOW app.x", ""},
			{"SET app.x = 'a'", "SELECT set_config('app.x', 'b', true)", "SHOW app.x", "a"},
		} {
			c := w.client(t)
			if test.before != "" {
				exec(c, test.before)
			}
			exec(c, "BEGIN", open)
			exec(c, test.set)
			assert.Equal(t, []string{"C ROLLBACK", "C ROLLBACK", "Z I"}, exec(c, back, "ROLLBACK"))
			assert.Equal(t, "D "+test.want, exec(c, test.show)[0], test.set)
		}
	})
}

func TestSetSurvives_BoundArguments(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	} {
		conn := w.connect(t)
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		const two = "SELECT set_config($2, $1, $3), set_config('app.other', $1::text, NOT $3)"
		_, err = tx.Exec(t.Context(), two, mode, "O'Brien", "app.tenant", false)
		require.NoError(t, err)
		require.NoError(t, tx.Rollback(t.Context()))
		var tenant, other string
		const both = "SELECT current_setting('app.tenant'), current_setting('app.other', true)"
		err = conn.QueryRow(t.Context(), both).Scan(&tenant, &other)
		require.NoError(t, err)
		assert.Equal(t, "O'Brien", tenant, "%v", mode)
		assert.Empty(t, other, "that one was for the transaction alone")
	}
}

// TestSetSurvives_TextThatFails checks the text of several statements that PostgreSQL runs as one transaction.
func TestSetSurvives_TextThatFails(t *testing.T) {
	t.Parallel()
	c := newTestbed(t, Config{}).client(t)
	assert.Equal(t, []string{"C SET", "D x", "C SELECT 1", "E 22012", "Z I"},
		c.query("SET lock_timeout = '7s'; SELECT set_config('app.x', 'x', false); SELECT 1/0; SET lock_timeout = '8s'"))
	assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, c.query("SHOW lock_timeout"))
	assert.Equal(t, []string{"D x", "C SHOW 1", "Z I"}, c.query("SHOW app.x"))
}

// TestSetSurvives_WhatCannotBeSetAgain checks that the rest is.
func TestSetSurvives_WhatCannotBeSetAgain(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{}).client(t)
		exec(c, "BEGIN", "CREATE ROLE never_there", "SET ROLE never_there", "SET lock_timeout = '7s'")
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "ROLLBACK"))
		assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, exec(c, "SHOW lock_timeout"))
		assert.Equal(t, "D "+superuser, exec(c, "SELECT current_user")[0])
	})
}

// TestSetSurvives_Unnoticed checks that the client sees nothing of how it is done: no parameter changes back and
// forth, and the transaction that follows has no snapshot yet.
func TestSetSurvives_Unnoticed(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	a, b := w.client(t), w.client(t)
	a.query("BEGIN; SAVEPOINT cockroach_restart; SET TIME ZONE 'Asia/Tokyo'; SET application_name = 'x'")
	a.send(&pgproto3.Query{String: back})
	for ready := false; !ready; {
		m, err := a.fe.Receive()
		require.NoError(t, err)
		_, changed := m.(*pgproto3.ParameterStatus)
		assert.False(t, changed, "%v", m)
		_, ready = m.(*pgproto3.ReadyForQuery)
	}
	b.query(update)
	assert.Equal(t, []string{"D 11", "C SELECT 1", "Z T"}, a.query(read))
}

// TestSetSurvives_InAPipeline checks that the transaction goes on in which the pipeline has restored what was set.
func TestSetSurvives_InAPipeline(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{}).client(t)
		exec(c, "BEGIN", open, "SET lock_timeout = '7s'")
		assert.Equal(t, []string{"C ROLLBACK", "D 10", "C SELECT 1", "D Open", "C SHOW TRANSACTION STATUS 1", "Z T"},
			exec(c, back, read, "SHOW TRANSACTION STATUS"))
		assert.Equal(t, []string{"D 7s", "C SHOW 1", "C COMMIT", "Z T"}, exec(c, "SHOW lock_timeout", release))
	})
}

// TestSetLocal_OwnVariables checks SET LOCAL of what PostgreSQL doesn't know.
func TestSetLocal_OwnVariables(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{}).client(t, "vectorize", "off")
		shows := func(want string) {
			t.Helper()
			assert.Equal(t, "D "+want, exec(c, "SHOW distsql")[0])
		}
		exec(c, "BEGIN", "SET LOCAL distsql = a", open)
		exec(c, "SET LOCAL distsql = b", "SAVEPOINT s", "SET LOCAL distsql = c")
		shows("c")
		exec(c, "ROLLBACK TO s")
		shows("b")
		exec(c, back)
		shows("a")
		exec(c, "SET distsql = d", back)
		shows("d")
		exec(c, "SET LOCAL distsql = e", "COMMIT")
		shows("d")
		exec(c, "SET LOCAL distsql = f")
		shows("d")
		exec(c, "SET vectorize = on")
		exec(c, "RESET vectorize")
		assert.Equal(t, "D off", exec(c, "SHOW vectorize")[0], "what it was at start-up")
		exec(c, "DISCARD ALL")
		shows("auto")
	})
}

func TestSetOnPostgreSQL_IsUndone(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{PostgreSQL: true}).client(t)
		exec(c, "BEGIN")
		exec(c, "SET lock_timeout = '7s'")
		exec(c, "ROLLBACK")
		assert.Equal(t, []string{"D 0", "C SHOW", "Z I"}, exec(c, "SHOW lock_timeout"))
	})
}

func TestUse_IsRefused(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{}).client(t)
		for _, sql := range []string{"USE other", "SET database = other"} {
			assert.Equal(t, []string{"E 0A000", "Z I"}, exec(c, sql))
		}
	})
}

func TestSetCalls(t *testing.T) {
	t.Parallel()
	const ab = "SELECT set_config(E'a', E'b', false)"
	for sql, want := range map[string][]string{
		"SELECT set_config('a', 'b', false)":                   {ab},
		"SELECT set_config('a', 'b', true)":                    nil,
		"SELECT set_config($1, $2::text, $3)":                  {ab},
		"SELECT set_config($1, $2, $4)":                        nil,
		"SELECT set_config('a', E'\\\\', false)":               nil,
		"SELECT set_config('a', E'b', false)":                  {ab},
		`SELECT set_config('a', '\''', false)`:                 {`SELECT set_config(E'a', E'\\''', false)`},
		"SELECT set_config('a', $5, false)":                    {"SELECT set_config(E'a', NULL, false)"},
		"SELECT set_config(name, 'b', false) FROM t":           nil,
		"SELECT set_config('a', 'b' || 'c', false)":            nil,
		"SELECT set_config('a', 'b')":                          nil,
		"SELECT set_config(":                                   nil,
		"SELECT 'set_config(''a'', ''b'', false)'":             nil,
		"SELECT set_config":                                    nil,
		"SELECT set_config('a','b',$3), set_config('a','b',f)": {ab},
	} {
		bind, err := (&pgproto3.Bind{Parameters: [][]byte{[]byte("a"), []byte("b"), {0}, {1}, nil}}).Encode(nil)
		require.NoError(t, err)
		assert.Equal(t, want, classify(sql).settings(run{portal: &portal{bind: bind}}), "%s", sql)
	}
}
