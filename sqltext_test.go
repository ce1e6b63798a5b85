package cockroachdb

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var singleStatements = []string{
	"", " ", "select 1", "select 1;", "select 1 ; \n\t\r\f", "select 1;;;", ";", "/* ; */", "-- ;",
	"select ';'", "select ';';", `select "a;b"`, `select "a"";b"`, "select 'it''s; fine'", `select '\'; -- ordinary backslash`,
	`select E'\';'`, `select e'\\' ;`, `select E'it''s\';'`, "select $$;$$", "select $a$ ; $$ ; $b$ $a$;", "select $é$;$é$",
	"select 1 -- ; two\n", "select 1; -- two", "select 1 /* ; */", "select 1; /* a /* nested ; */ ; */ ;", "select 1 -- a\r\n;",
	"select 5-$1;", "select a->>'b;c';", "select 1/**/;", "select 'é;€';", "select b'1;0';", "select x'';", "select like'%;%';",
	"select E'a'\n'b;c';", "select v$x, ';';", "update kv set v = $1 where k = $2;",
}

var notSingleStatements = []string{
	"select 1; select 2", "begin; savepoint a", ";select 1", "select 1;;select 2", "select ';'; x", `select '\'; drop table t; --'`,
	`select E'\\'; drop table t; --'`, `select "a"; b`, "select $$ $$; x", "select $a$ $b$; $a$; x", "-- a\n;x", "/* /* */ */; x",
	"select 1; 'x'", `select 1; "x"`, "select 1; $1", "select 1; $$x$$", "select 1; -",
	// unterminated
	"select ';", `select ";`, "select 1; /*", "select $$;", `select E';\'`, "select 1; /* /* */",
	// read differently by different servers
	"select 1 -- a\r; drop table t", "select 1 -- \r /* \n ; drop table t; -- */", "select a #--1 ; drop table t", "select 4 //* ; */ 2",
	"select 3 |/* ; */ 4", `select b'\' ; drop table t; --'`, `select 1e'\' ; drop table t; --'`, "select E'a'\n'\\' ; drop table t; --'",
	"select a$$ ; drop table t; $$", "select 1e5$$ a $$ ; x ; $$ /*$$*/", "select a$1$$ ; drop table t; $$", "select $ ; x",
	// not text
	"select 1;\x00", "select 1;\xff", "select '\xff;'",
}

func TestIsSingleStatement(t *testing.T) {
	for _, sql := range singleStatements {
		assert.True(t, isSingleStatement(sql), "%q", sql)
	}
	for _, sql := range notSingleStatements {
		assert.False(t, isSingleStatement(sql), "%q", sql)
	}
}

func FuzzIsSingleStatement(f *testing.F) {
	for _, sql := range singleStatements {
		f.Add(sql)
	}
	for _, sql := range notSingleStatements {
		f.Add(sql)
	}
	f.Fuzz(checkIsSingleStatement)
}

func TestIsSingleStatementOfRandomSQL(t *testing.T) {
	for range randomRuns {
		checkIsSingleStatement(t, randomSQL())
	}
}

func checkIsSingleStatement(t *testing.T, sql string) {
	if !isSingleStatement(sql) {
		return
	}
	for server, reader := range sqlReaders {
		if n, ok := reader.statements(sql); ok && n > 1 {
			t.Errorf("%q is %d statements to %s", sql, n, server)
		}
	}
}

func TestCopiesToClient(t *testing.T) {
	for sql, want := range map[string]bool{
		"COPY t FROM STDIN":                    true,
		"; /* a */ copy t (a, b) to\nStdOut;":  true,
		"COPY (SELECT a FROM t) TO STDOUT":     true,
		"COPY t FROM '/stdin'":                 false,
		"COPY (SELECT stdin FROM t) TO '/a'":   false,
		"SELECT 'COPY t FROM STDIN' FROM copy": false,
		"UPDATE copy SET a = 1":                false,
		"":                                     false,
	} {
		assert.Equal(t, want, copiesToClient(sql), sql)
	}
}

func TestRestartSavepoint(t *testing.T) {
	for sql, want := range map[string]bool{
		"SAVEPOINT cockroach_restart":                                  true,
		"savepoint COCKROACH_RESTART":                                  true,
		"SAVEPOINT cockroach_restart_2;":                               true,
		"SAVEPOINT\t\"cockroach_restart\"":                             true,
		"SAVEPOINT \"cockroach_restart 2\"":                            true,
		"/* a */ SavePoint -- b\n Cockroach_Restart":                   true,
		"; SAVEPOINT cockroach_restart":                                true,
		"SAVEPOINT \"Cockroach_restart\"":                              false,
		"SAVEPOINT cockroach_restar":                                   false,
		"SAVEPOINT app":                                                false,
		"SAVEPOINT":                                                    false,
		"SAVEPOINT 'cockroach_restart'":                                false,
		"RELEASE SAVEPOINT cockroach_restart":                          false,
		"ROLLBACK TO SAVEPOINT cockroach_restart":                      false,
		"SAVEPOINTcockroach_restart":                                   false,
		"SELECT 'SAVEPOINT cockroach_restart'":                         false,
		"\u017fAVEPOINT cockroach_restart /* a long s is not ASCII */": false,
	} {
		assert.Equal(t, want, restartSavepoint(sql), "%q", sql)
	}
}

func TestSavepointStatement(t *testing.T) {
	for sql, want := range map[string]bool{
		"SAVEPOINT app":                      true,
		"savepoint cockroach_restart":        true,
		"-- nested\nSAVEPOINT \"Sp 1\"":      true,
		"RELEASE SAVEPOINT app":              false,
		"ROLLBACK TO app":                    false,
		"SELECT 1":                           false,
		"":                                   false,
		"\"savepoint\" app":                  false,
		"(savepoint app)":                    false,
		"/* unterminated SAVEPOINT app":      false,
		"SELECT savepoint FROM t; SAVEPOINT": false,
	} {
		assert.Equal(t, want, savepointStatement(sql), "%q", sql)
	}
}

func TestAsOfSystemTime(t *testing.T) {
	for sql, want := range map[string]bool{
		"BEGIN AS OF SYSTEM TIME '-1ms'":                                           true,
		"begin transaction read only, as of system time follower_read_timestamp()": true,
		"START TRANSACTION AS OF SYSTEM TIME '-1s'":                                true,
		"SET TRANSACTION AS /* */ OF\nSYSTEM TIME '-1s'":                           true,
		"SET TRANSACTION PRIORITY HIGH, AS OF SYSTEM TIME '-1s'":                   true,
		"BEGIN":                         false,
		"BEGIN READ ONLY":               false,
		"SET TRANSACTION PRIORITY HIGH": false,
		"BEGIN; SELECT 1 AS OF SYSTEM TIME '-1s'":      false,
		"SELECT * FROM kv AS OF SYSTEM TIME '-1s'":     false,
		"SET application_name = 'as of system time'":   false,
		"SET TRANSACTION 'AS OF SYSTEM TIME'":          false,
		"SET TRANSACTION AS OF SYSTEM":                 false,
		"SET SESSION CHARACTERISTICS AS TRANSACTION x": false,
	} {
		assert.Equal(t, want, asOfSystemTime(sql), "%q", sql)
	}
}

func TestIsDDL(t *testing.T) {
	for _, sql := range []string{
		"CREATE TABLE t (k INT)", "create index on t (k)", "ALTER TABLE t ADD COLUMN c INT", "DROP TABLE t", "TRUNCATE t",
		"GRANT SELECT ON t TO u", "REVOKE ALL ON t FROM u", "COMMENT ON TABLE t IS 'x'", "REASSIGN OWNED BY a TO b",
		"REFRESH MATERIALIZED VIEW v", "ANALYZE", "analyse t", "-- name: migrate\n\nCREATE TABLE t (k INT)",
	} {
		assert.True(t, isDDL(sql), "%q", sql)
	}
	for _, sql := range []string{"SELECT 1", "INSERT INTO t VALUES (1)", "UPDATE t SET k = 1", "", "creates", `"create"`, "SELECT 1; DROP TABLE t"} {
		assert.False(t, isDDL(sql), "%q", sql)
	}
}

func TestMayRunAgain(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1", "INSERT INTO t VALUES (1)", "UPDATE t SET k = 1", "DELETE FROM t", "WITH a AS (SELECT 1) SELECT * FROM a", "",
		"SAVEPOINT app", "SAVEPOINT cockroach_restart", "RELEASE SAVEPOINT app", "RELEASE app", "release savepoint \"Cockroach_restart\"",
		"ROLLBACK TO SAVEPOINT app", "rollback to app", "ROLLBACK WORK TO SAVEPOINT app", "ROLLBACK TRANSACTION TO app",
		"ROLLBACK TO SAVEPOINT cockroach_restart", "SET LOCAL statement_timeout = 1", "SHOW ALL", "(SELECT 1)", "VALUES (1)",
		"done", "calls", "replace", "truncate t",
	} {
		assert.True(t, mayRunAgain(sql), "%q", sql)
	}
	for _, sql := range []string{
		"CALL p()", "call p()", "/* x */ CALL p()", "; CALL p()", "DO $$ BEGIN COMMIT; END $$", "BEGIN", "START TRANSACTION",
		"COMMIT", "commit and chain", "COMMIT PREPARED 'x'", "END", "ABORT", "ROLLBACK", "rollback work", "ROLLBACK AND CHAIN",
		"ROLLBACK PREPARED 'x'", "PREPARE TRANSACTION 'x'", "PREPARE s AS SELECT 1", "DEALLOCATE s", "DEALLOCATE ALL",
		"--\rCOMMIT", "-- a\r/**/end", "RELEASE --\r cockroach_restart", "ROLLBACK --\r TO app",
		"EXECUTE s", "execute s(1)", "EXPLAIN ANALYZE CREATE TABLE t (k INT)", "explain (analyze) call p()",
		"RELEASE SAVEPOINT cockroach_restart", "RELEASE Cockroach_Restart_2", `RELEASE "cockroach_restart"`,
	} {
		assert.False(t, mayRunAgain(sql), "%q", sql)
	}
}

func TestSetsForceSavepointRestart(t *testing.T) {
	for sql, want := range map[string]bool{
		"SET force_savepoint_restart = on":          true,
		"set session Force_Savepoint_Restart to on": true,
		"SET LOCAL force_savepoint_restart = true":  true,
		`SET "force_savepoint_restart" = on`:        true,
		"RESET force_savepoint_restart":             true,
		"SET x = 'force_savepoint_restart'":         false,
		"SELECT force_savepoint_restart":            false,
		"SET TRANSACTION PRIORITY HIGH":             false,
		"SET":                                       false,
		"SHOW force_savepoint_restart":              false,
	} {
		assert.Equal(t, want, setsForceSavepointRestart(sql), "%q", sql)
	}
}

// classify asks every question about sql that the driver asks of a statement on its way to the server.
func classify(sql string) (yes int) {
	for _, is := range []bool{
		isSingleStatement(sql), restartSavepoint(sql), savepointStatement(sql), asOfSystemTime(sql), isDDL(sql), mayRunAgain(sql),
		setsForceSavepointRestart(sql),
	} {
		if is {
			yes++
		}
	}
	return yes
}

func FuzzClassify(f *testing.F) {
	for _, sql := range []string{
		"SAVEPOINT cockroach_restart", "BEGIN AS OF SYSTEM TIME '-1s'", "ROLLBACK WORK TO a", "RELEASE SAVEPOINT \"a", "SET SESSION",
		"COMMENT ON", "CALL", ";", "-", "--", "/*", "$", "$$", "$a", "'", "\"", "e'", "e'\\", "SET LOCAL \"", "#--", "\x00", "\xff",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		classify(sql)
		if restartSavepoint(sql) && !savepointStatement(sql) {
			t.Errorf("%q", sql)
		}
		if lead := " \n/* a /* b */ */ -- c\n"; !strings.HasPrefix(sql, "\n") && isDDL(sql) != isDDL(lead+sql) {
			t.Errorf("%q: a comment makes a difference", sql)
		}
	})
}

func TestOnlyReads(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1", "select inserted, \"update\", 'delete' FROM t -- merge", "; SELECT 1", "VALUES (1)", "TABLE t", "SHOW ALL",
	} {
		assert.True(t, onlyReads(sql), "%q", sql)
	}
	for _, sql := range []string{
		"", "INSERT INTO t VALUES (1) RETURNING k", "WITH a AS (DELETE FROM t RETURNING k) SELECT k FROM a", "(SELECT 1)",
		"SELECT k FROM [INSERT INTO t VALUES (1) RETURNING k]", "SELECT k FROM [upsert INTO t VALUES (1) RETURNING k]",
		"SELECT k FROM [UPDATE t SET k = 1 RETURNING k]", "SELECT k FROM [DELETE FROM t RETURNING k]", "CALL p()", "EXECUTE p",
		"SELECT 'a'::b'\\'", "SELECT a$x$ INSERT $x$",
	} {
		assert.False(t, onlyReads(sql), "%q", sql)
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	for _, sql := range []string{
		"SELECT v FROM kv WHERE k = $1", "INSERT INTO kv VALUES ($1, $2);", "UPDATE kv SET v = v + $1 WHERE k = $2", "DELETE FROM kv",
		"-- name: Get :one\nSELECT v FROM kv WHERE k = $1;", "SAVEPOINT app", "RELEASE SAVEPOINT app", "BEGIN AS OF SYSTEM TIME '-1s'",
		"SET LOCAL statement_timeout = '1s'", "SELECT E'a\\'', $$b$$, 'c;d'; -- e",
	} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { classify(sql) }), "%q", sql)
	}
}

func BenchmarkClassify(b *testing.B) {
	for name, sql := range map[string]string{
		"sql=select": "SELECT v FROM kv WHERE k = $1",
		"sql=update": "UPDATE kv SET v = v + $1 WHERE k = $2",
		"sql=sqlc":   "-- name: GetValue :one\nSELECT v FROM kv WHERE k = $1;",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				classify(sql)
			}
		})
	}
}
