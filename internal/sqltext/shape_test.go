package sqltext

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestShape_HasNoValues(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT v FROM kv WHERE k = 17":                                       "SELECT v FROM kv WHERE k = ?",
		"SELECT v FROM kv WHERE k IN (1, 2,3) AND n = $4":                     "SELECT v FROM kv WHERE k IN (?) AND n = ?",
		"SELECT 'it''s', E'a\\'b', $$c$$, 1.5, .5, true, NULL, x'1f'":         "SELECT ?, .?, NULL, x?",
		"select  a.b,\n\tcount(*) -- of pw=hunter2\nfrom \"T\" /* x */ as t":  "select a.b, count(*) from \"T\" as t",
		"INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4),($5,$6) RETURNING id": "INSERT INTO t (a, b) VALUES (?) RETURNING id",
		"INSERT INTO t VALUES (1, DEFAULT)":                                   "INSERT INTO t VALUES (?, DEFAULT)",
		"UPDATE t SET a=a+1 WHERE b>=2 AND c::INT = 'x'":                      "UPDATE t SET a=a+? WHERE b>=? AND c::INT = ?",
		"(VALUES (1))": "(VALUES (?))",
		"WITH x AS (SELECT 1) DELETE FROM t WHERE i = -7":  "WITH x AS (SELECT ?) DELETE FROM t WHERE i = -?",
		"SELECT set_config('a.b', 'hunter2', false)":       "SELECT set_config(?)",
		"SET a.b TO hunter2":                               "SET a.b …",
		"SET SESSION a = hunter2":                          "SET SESSION a …",
		"set local a to hunter2":                           "set local a …",
		"SET password hunter2":                             "SET password …",
		"RESET ALL":                                        "RESET ALL",
		"CREATE USER ann WITH PASSWORD hunter2":            "CREATE USER ann …",
		"ALTER ROLE ann PASSWORD 'hunter2'":                "ALTER ROLE ann …",
		"CREATE TABLE s.t (a INT DEFAULT 7)":               "CREATE TABLE s.t …",
		"CALL pay(17, 'hunter2')":                          "CALL pay …",
		"DO $$ hunter2 $$":                                 "DO …",
		"PREPARE p AS SELECT 'hunter2'":                    "PREPARE p AS …",
		"COPY t FROM STDIN":                                "COPY t FROM …",
		"SELECT 1; SET a TO hunter2; UPDATE t SET a = 'x'": "SELECT ?; SET a …; UPDATE t SET a = ?",
		"COMMIT":                           "COMMIT",
		"SAVEPOINT x":                      "SAVEPOINT x",
		"hunter2":                          "…",
		"":                                 "",
		"SELECT 'a\\' hunter2 '":           "SELECT …",
		"SELECT 'a\\' hunter2 '', 'x'":     "SELECT …",
		"SELECT 'never closed hunter2":     "SELECT …",
		"SELECT \xff hunter2":              "SELECT …",
		"SELECT 1 --x\rhunter2":            "SELECT …",
		"NOTIFY c, 'hunter2'":              "NOTIFY c …",
		"EXPLAIN ANALYZE SELECT 'hunter2'": "EXPLAIN ANALYZE SELECT …",
		"SELECT v FROM kv LIMIT 1e5":       "SELECT v FROM kv LIMIT ?",
	} {
		assert.Equal(t, want, Shape(sql), sql)
	}
}

func TestShape_IsBounded(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"SELECT " + strings.Repeat("column, ", 10_000) + "1", strings.Repeat("UPDATE t SET a = 1; ", 10_000),
		"SELECT " + strings.Repeat("a", 10_000), "SET " + strings.Repeat("a.", 10_000) + "a = 1",
	} {
		shape := Shape(sql)
		assert.LessOrEqual(t, len(shape), shapeBytes+len(hidden))
		assert.True(t, strings.HasSuffix(shape, hidden))
	}
}

// FuzzShape looks for values that are shown: whatever is around it, a literal's content is not.
func FuzzShape(f *testing.F) {
	for _, sql := range []string{
		"SELECT ", "SET a = ", "SELECT 1; UPDATE t SET a = ", "ALTER USER a PASSWORD ", "SELECT E'\\'', ", "SELECT '\\', ",
		"/* ",
	} {
		f.Add(sql, ", 1")
	}
	const secret = "zq7hunter"
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, secret) {
			t.Skip()
		}
		shape := Shape(before + "'" + secret + "'" + after)
		if !utf8.ValidString(shape) || len(shape) > shapeBytes+len(hidden) {
			t.Errorf("%q", shape)
		}
		s := scanner{sql: before}
		for s.next() != tokenEnd {
		}
		if s.odd || s.open {
			return // the quote may close something
		}
		if strings.Contains(shape, secret) {
			t.Errorf("%q: %q", before+"'…'"+after, shape)
		}
	})
}
