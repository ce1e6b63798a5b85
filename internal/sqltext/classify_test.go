package sqltext

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var singleStatements = []string{
	"", " ", "select 1", "select 1;", "select 1 ; \n\t\r\f", "select 1;;;", ";", "/* ; */", "-- ;",
	"select ';'", "select ';';", `select "a;b"`, `select "a"";b"`,
	"select 'it''s; fine'", `select '\'; -- ordinary backslash`,
	`select E'\';'`, `select e'\\' ;`, `select E'it''s\';'`,
	"select $$;$$", "select $a$ ; $$ ; $b$ $a$;", "select $é$;$é$",
	"select 1 -- ; two\n", "select 1; -- two", "select 1 /* ; */",
	"select 1; /* a /* nested ; */ ; */ ;", "select 1 -- a\r\n;",
	"select 5-$1;", "select a->>'b;c';", "select 1/**/;", "select 'é;€';",
	"select b'1;0';", "select x'';", "select like'%;%';",
	"select E'a'\n'b;c';", "select v$x, ';';", "update kv set v = $1 where k = $2;",
}

var notSingleStatements = []string{
	"select 1; select 2", "begin; savepoint a", ";select 1",
	"select 1;;select 2", "select ';'; x", `select '\'; drop table t; --'`,
	`select E'\\'; drop table t; --'`, `select "a"; b`, "select $$ $$; x",
	"select $a$ $b$; $a$; x", "-- a\n;x", "/* /* */ */; x",
	"select 1; 'x'", `select 1; "x"`, "select 1; $1", "select 1; $$x$$", "select 1; -",
	// unterminated
	"select ';", `select ";`, "select 1; /*", "select $$;", `select E';\'`, "select 1; /* /* */",
	// read differently by different servers
	"select 1 -- a\r; drop table t", "select 1 -- \r /* \n ; drop table t; -- */",
	"select a #--1 ; drop table t", "select 4 //* ; */ 2",
	"select 3 |/* ; */ 4", `select b'\' ; drop table t; --'`,
	`select 1e'\' ; drop table t; --'`, "select E'a'\n'\\' ; drop table t; --'",
	"select a$$ ; drop table t; $$", "select 1e5$$ a $$ ; x ; $$ /*$$*/",
	"select a$1$$ ; drop table t; $$", "select $ ; x",
	// not text
	"select 1;\x00", "select 1;\xff", "select '\xff;'",
}

func TestClassify_Several(t *testing.T) {
	for _, sql := range singleStatements {
		assert.True(t, isSingle(sql), "%q", sql)
	}
	for _, sql := range notSingleStatements {
		assert.False(t, isSingle(sql), "%q", sql)
	}
}

func FuzzClassify_Several(f *testing.F) {
	for _, sql := range singleStatements {
		f.Add(sql)
	}
	for _, sql := range notSingleStatements {
		f.Add(sql)
	}
	f.Fuzz(checkSingle)
}

func TestClassify_SeveralOfRandomSQL(t *testing.T) {
	for range randomRuns {
		checkSingle(t, randomSQL())
	}
}

func checkSingle(t *testing.T, sql string) {
	if !isSingle(sql) {
		return
	}
	for server, reader := range sqlReaders {
		if n, ok := reader.statements(sql); ok && n > 1 {
			t.Errorf("%q is %d statements to %s", sql, n, server)
		}
	}
}

func TestClassify_Copies(t *testing.T) {
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
		assert.Equal(t, want, class(sql).Copies, sql)
	}
}

func TestClassify_RestartSavepoint(t *testing.T) {
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
		assert.Equal(t, want, class(sql).Savepoint == RestartSavepoint, "%q", sql)
	}
}

func TestClassify_Savepoint(t *testing.T) {
	for sql, want := range map[string]bool{
		"SAVEPOINT app":                 true,
		"savepoint cockroach_restart":   true,
		"-- nested\nSAVEPOINT \"Sp 1\"": true,
		"RELEASE SAVEPOINT app":         false,
		"ROLLBACK TO app":               false,
		"SELECT 1":                      false,
		"":                              false,
		"\"savepoint\" app":             false,
		"(savepoint app)":               false,
		"/* unterminated SAVEPOINT app": false,
		"SELECT savepoint FROM t":       false,
	} {
		assert.Equal(t, want, class(sql).Savepoint != NoSavepoint, "%q", sql)
	}
}

func TestClassify_ReadsPast(t *testing.T) {
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
		assert.Equal(t, want, class(sql).ReadsPast, "%q", sql)
	}
}

func TestClassify_DDL(t *testing.T) {
	for _, sql := range []string{
		"CREATE TABLE t (k INT)", "create index on t (k)", "ALTER TABLE t ADD COLUMN c INT", "DROP TABLE t", "TRUNCATE t",
		"GRANT SELECT ON t TO u", "REVOKE ALL ON t FROM u", "COMMENT ON TABLE t IS 'x'", "REASSIGN OWNED BY a TO b",
		"REFRESH MATERIALIZED VIEW v", "ANALYZE", "analyse t", "-- name: migrate\n\nCREATE TABLE t (k INT)",
	} {
		assert.True(t, class(sql).DDL, "%q", sql)
	}
	for _, sql := range []string{"SELECT 1", "INSERT INTO t VALUES (1)", "UPDATE t SET k = 1", "", "creates", `"create"`} {
		assert.False(t, class(sql).DDL, "%q", sql)
	}
}

func TestClassify_Once(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1", "INSERT INTO t VALUES (1)", "UPDATE t SET k = 1",
		"DELETE FROM t", "WITH a AS (SELECT 1) SELECT * FROM a", "",
		"SAVEPOINT app", "SAVEPOINT cockroach_restart", "RELEASE SAVEPOINT app",
		"RELEASE app", "release savepoint \"Cockroach_restart\"",
		"ROLLBACK TO SAVEPOINT app", "rollback to app", "ROLLBACK WORK TO SAVEPOINT app", "ROLLBACK TRANSACTION TO app",
		"ROLLBACK TO SAVEPOINT cockroach_restart", "SET LOCAL statement_timeout = 1", "SHOW ALL", "(SELECT 1)", "VALUES (1)",
		"done", "calls", "replace", "truncate t",
	} {
		assert.False(t, class(sql).Once, "%q", sql)
	}
	for _, sql := range []string{
		"CALL p()", "call p()", "/* x */ CALL p()", "; CALL p()", "DO $$ BEGIN COMMIT; END $$", "BEGIN", "START TRANSACTION",
		"COMMIT", "commit and chain", "COMMIT PREPARED 'x'", "END",
		"ABORT", "ROLLBACK", "rollback work", "ROLLBACK AND CHAIN",
		"ROLLBACK PREPARED 'x'", "PREPARE TRANSACTION 'x'", "PREPARE s AS SELECT 1", "DEALLOCATE s", "DEALLOCATE ALL",
		"--\rCOMMIT", "-- a\r/**/end", "RELEASE --\r cockroach_restart", "ROLLBACK --\r TO app",
		"EXECUTE s", "execute s(1)", "EXPLAIN ANALYZE CREATE TABLE t (k INT)", "explain (analyze) call p()",
		"RELEASE SAVEPOINT cockroach_restart", "RELEASE Cockroach_Restart_2", `RELEASE "cockroach_restart"`,
	} {
		assert.True(t, class(sql).Once, "%q", sql)
	}
}

func TestClassify_ForceSavepoint(t *testing.T) {
	for sql, want := range map[string]Switch{
		"SET force_savepoint_restart = on":            SwitchOn,
		"set session Force_Savepoint_Restart to 'on'": SwitchOn,
		`SET "force_savepoint_restart" = true`:        SwitchOn,
		"SET force_savepoint_restart = off":           SwitchOff,
		"SET force_savepoint_restart TO 'false';":     SwitchOff,
		"SET force_savepoint_restart = DEFAULT":       SwitchDefault,
		"SET LOCAL force_savepoint_restart = true":    SwitchOnLocally,
		"SET LOCAL force_savepoint_restart = off":     SwitchKept,
		"SET force_savepoint_restart = nonsense":      SwitchOn,
		"RESET force_savepoint_restart":               SwitchDefault,
		"RESET ALL":                                   SwitchDefault,
		"DISCARD ALL":                                 SwitchDefault,
		"SELECT 1; SET force_savepoint_restart = on":  SwitchOn,
		"SET x = 'force_savepoint_restart'":           SwitchKept,
		"SELECT force_savepoint_restart":              SwitchKept,
		"SET TRANSACTION PRIORITY HIGH":               SwitchKept,
		"SET":                                         SwitchKept,
		"SHOW force_savepoint_restart":                SwitchKept,
	} {
		assert.Equal(t, want, class(sql).ForceSavepoint, "%q", sql)
	}
}

func TestClassify_Session(t *testing.T) {
	for sql, want := range map[string]Session{
		"SET search_path = a":                                        SessionSet,
		"set session search_path to a":                               SessionSet,
		"SET TIME ZONE 'UTC'":                                        SessionSet,
		"SET ROLE app":                                               SessionSet,
		"SET SESSION AUTHORIZATION app":                              SessionSet,
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY":       SessionSet,
		"USE other":                                                  SessionSet,
		"RESET search_path":                                          SessionSet,
		"RESET ALL":                                                  SessionSet,
		"SET a.b = 1; SET c.d = 2;":                                  SessionSet,
		"SET a.b = 1; INSERT INTO t VALUES (1)":                      SessionSet,
		"INSERT INTO t VALUES (1); SET a.b = 1":                      SessionSetMid,
		"SELECT set_config('a.b', '1', false)":                       SessionSetMid,
		"SELECT pg_catalog.Set_Config ($1, $2, $3)":                  SessionSetMid,
		`SELECT "set_config"('a.b', '1', NOT true)`:                  SessionSetMid,
		"SELECT set_config('a.b', f(1, true), false)":                SessionSetMid,
		"SELECT set_config('a.b', '1', true), set_config('a','',$1)": SessionSetMid,
		"WITH a AS (SELECT set_config('a.b', '1', false)) TABLE a":   SessionSetMid,
		"PREPARE q AS SELECT 1":                                      SessionLasts,
		"DEALLOCATE q":                                               SessionLasts,
		"DISCARD ALL":                                                SessionLasts,
		"DISCARD SEQUENCES":                                          SessionLasts,
		"SELECT pg_advisory_lock(1)":                                 SessionLasts,
		"SELECT pg_try_advisory_lock(1) FROM t":                      SessionLasts,
		"SELECT 'set_config(' || a$x$ || $x$":                        SessionLasts,
		"SET LOCAL search_path = a":                                  SessionKept,
		"SET TRANSACTION PRIORITY HIGH":                              SessionKept,
		"SET CONSTRAINTS ALL DEFERRED":                               SessionKept,
		"SELECT set_config('a.b', '1', true)":                        SessionKept,
		"SELECT pg_catalog.set_config('a.b', f(1, 2), true)":         SessionKept,
		"SELECT pg_advisory_xact_lock(1)":                            SessionKept,
		"SELECT 'set_config'":                                        SessionKept,
		"PREPARE TRANSACTION 'x'":                                    SessionKept,
		"UPDATE t SET role = 1":                                      SessionKept,
		"":                                                           SessionKept,
	} {
		assert.Equal(t, want, class(sql).Session, "%q", sql)
	}
}

func TestClassify_SetsOnly(t *testing.T) {
	for sql, want := range map[string]bool{
		"SET a.b = 1": true, "RESET ALL": true, "USE x": true, "SET a.b = 1; RESET a.b;": true,
		"SET a.b = 1; SELECT 1": false, "SELECT 1": false, "SET LOCAL a.b = 1": false, "DISCARD ALL": false,
	} {
		assert.Equal(t, want, class(sql).SetsOnly, "%q", sql)
	}
}

func TestClassify_Commit(t *testing.T) {
	for sql, want := range map[string]Commit{
		"COMMIT": CommitEnds, "end;": CommitEnds, "COMMIT WORK": CommitEnds, "commit transaction and chain": CommitEnds,
		"END AND NO CHAIN": CommitEnds, "/* a */ COMMIT -- b": CommitEnds,
		"RELEASE SAVEPOINT cockroach_restart": CommitStays, `RELEASE "cockroach_restart"`: CommitStays,
		"SHOW COMMIT TIMESTAMP": CommitStays, "show /**/ commit\n-- a\ntimestamp;": CommitStays,
		"COMMIT PREPARED 'x'": MayCommit, "COMMIT; SELECT 1": MayCommit, "COMMIT AND": MayCommit, "COMMIT x": MayCommit,
		"CREATE TABLE t ()": MayCommit, "CALL p()": MayCommit, "EXECUTE q": MayCommit,
		"SELECT 1; COMMIT": MayCommit, "SELECT 1; SELECT 2": NoCommit,
		"EXPLAIN ANALYZE SELECT 1": MayCommit, "PREPARE TRANSACTION 'x'": MayCommit, "BEGIN": MayCommit,
		"SHOW COMMIT": NoCommit, "SHOW ALL": NoCommit, "SELECT 1": NoCommit, "RELEASE app": NoCommit,
		"ROLLBACK TO app": NoCommit, "SELECT 'COMMIT'": NoCommit, "": NoCommit,
	} {
		assert.Equal(t, want, class(sql).Commit, "%q", sql)
	}
}

func TestClassify_Partly(t *testing.T) {
	for sql, want := range map[string]bool{
		"CALL p()": true, "DO $$BEGIN END$$": true, "EXECUTE q": true, "SELECT 1; SELECT 2": true,
		"EXPLAIN ANALYZE UPDATE t SET a = 1": true, "EXPLAIN (ANALYZE) SELECT 1": true, "--\rSELECT 1": true,
		"EXPLAIN SELECT 1": false, "COMMIT": false, "BEGIN": false, "CREATE TABLE t ()": false, "SELECT 1": false,
		"RELEASE SAVEPOINT cockroach_restart": false,
	} {
		assert.Equal(t, want, class(sql).Partly, "%q", sql)
	}
}

func TestClassify_RowsOnly(t *testing.T) {
	for sql, want := range map[string]bool{
		"INSERT INTO t VALUES (1); UPDATE t SET a = 1; SELECT 1": true, "SELECT 1": true,
		"INSERT INTO t VALUES (1); CREATE TABLE u ()": false, "SELECT 1; COMMIT": false, "SELECT 1; CALL p()": false,
		"SELECT 1; SET a.b = 1": false, "SELECT 1; SHOW ALL": false,
	} {
		assert.Equal(t, want, class(sql).RowsOnly, "%q", sql)
	}
}

func class(sql string) Class { return Classify(sql) }

func FuzzClassify(f *testing.F) {
	for _, sql := range []string{
		"SAVEPOINT cockroach_restart", "BEGIN AS OF SYSTEM TIME '-1s'",
		"ROLLBACK WORK TO a", "RELEASE SAVEPOINT \"a", "SET SESSION",
		"COMMENT ON", "CALL", ";", "-", "--", "/*", "$", "$$", "$a",
		"'", "\"", "e'", "e'\\", "SET LOCAL \"", "#--", "\x00", "\xff",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		c := class(sql)
		assert.False(t, c.Reads && (c.Commit != NoCommit || c.Partly || c.Once || c.Session != SessionKept),
			"%q: %+v", sql, c)
		assert.False(t, c.Partly && !c.Once, "%q: %+v", sql, c)
		assert.False(t, c.Several && c.Commit != MayCommit, "%q: %+v", sql, c)
		if lead := " \n/* a /* b */ */ -- c\n"; !strings.HasPrefix(sql, "\n") {
			assert.Equal(t, c, class(lead+sql), "%q: a comment makes a difference", sql)
		}
	})
}

func TestClassify_Reads(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1", "select inserted, \"update\", 'delete' FROM t -- merge", "VALUES (1)", "TABLE t", "SHOW ALL",
		"WITH a AS (SELECT id FROM t) SELECT id FROM a ORDER BY id", "(SELECT id FROM t)", "((SELECT 1) UNION (SELECT 2))",
		"SELECT id FROM t FOR UPDATE", "SELECT id FROM t FOR NO KEY UPDATE SKIP LOCKED",
		"SELECT count(*), max(a) FROM t WHERE a IN (1, 2)",
		"SELECT g FROM generate_series(1, $1) AS g(i)", "SELECT a::numeric(10, 2), pg_catalog.now() FROM t",
	} {
		assert.True(t, class(sql).Reads, "%q", sql)
	}
	for _, sql := range []string{
		"", "INSERT INTO t VALUES (1) RETURNING k", "WITH a AS (DELETE FROM t RETURNING k) SELECT k FROM a",
		"SELECT nextval('s')", "SELECT f(1)", "SELECT a FROM t WHERE f (a)",
		`SELECT "count"(1)`, "SELECT app.count(1)", `SELECT "app"."f"(1)`,
		"SELECT 1 INTO t", "(INSERT INTO t VALUES (1))", "SELECT pg_advisory_lock(1)",
		"SELECT set_config('a.b', '1', true)", "SHOW COMMIT TIMESTAMP",
		"SELECT lo_unlink(1)", "SELECT key FROM t; UPDATE t SET a = 1",
		"SELECT k FROM [INSERT INTO t VALUES (1) RETURNING k]", "SELECT k FROM [upsert INTO t VALUES (1) RETURNING k]",
		"SELECT k FROM [UPDATE t SET k = 1 RETURNING k]",
		"SELECT k FROM [DELETE FROM t RETURNING k]", "CALL p()", "EXECUTE p",
		"SELECT 'a'::b'\\'", "SELECT a$x$ INSERT $x$",
	} {
		assert.False(t, class(sql).Reads, "%q", sql)
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	for _, sql := range []string{
		"SELECT v FROM kv WHERE k = $1", "INSERT INTO kv VALUES ($1, $2);",
		"UPDATE kv SET v = v + $1 WHERE k = $2", "DELETE FROM kv",
		"-- name: Get :one\nSELECT v FROM kv WHERE k = $1;", "SAVEPOINT app",
		"RELEASE SAVEPOINT app", "BEGIN AS OF SYSTEM TIME '-1s'",
		"SET LOCAL statement_timeout = '1s'", "SELECT E'a\\'', $$b$$, 'c;d'; -- e",
	} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { class(sql) }), "%q", sql)
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
				class(sql)
			}
		})
	}
}

func TestClassify_Pins(t *testing.T) {
	for sql, want := range map[string]bool{
		"CREATE TEMP TABLE t (v INT)": true, "create local temporary table t (v int)": true,
		"CREATE TABLE pg_temp.t (v INT)": true, "SELECT 1 INTO pg_temp.t": true, "SELECT 1 AS v INTO TEMP t": true,
		"WITH a AS (SELECT 1) SELECT * INTO TEMPORARY t FROM a": true,
		"LISTEN jobs": true, "LOAD 'auto_explain'": true, "DECLARE c CURSOR WITH HOLD FOR SELECT 1": true,
		"PREPARE p AS SELECT 1": true, "DEALLOCATE p": true,
		"DISCARD TEMP": true, "EXECUTE p": true, "DO $$ BEGIN END $$": true,
		"CALL p()": true, "SELECT pg_advisory_lock(1)": true, "SELECT set_config('a.b', '1', false)": true,
		"SELECT 1; DO $$ BEGIN END $$": true,

		"CREATE TABLE t (v INT)": false, "DECLARE c CURSOR FOR SELECT 1": false, "SELECT temp FROM readings": false,
		"INSERT INTO temperatures VALUES (1)": false, "SELECT set_config('a.b', '1', true)": false,
		"SET search_path = a":             false,
		"SELECT pg_advisory_xact_lock(1)": false, "SELECT 1; SELECT 2": false,
		"NOTIFY jobs": false, "PREPARE TRANSACTION 'a'": false,
		"INSERT INTO temp VALUES (1)": true, // a table of that name: nobody can tell
	} {
		assert.Equal(t, want, Classify(sql).Pins, sql)
	}
}

func TestChangesRows(t *testing.T) {
	for _, sql := range []string{
		"INSERT INTO t VALUES (1)", "/* why */ update t SET a = 1", "DELETE FROM t", "UPSERT INTO t VALUES (1)",
		"MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", "INSERT INTO t VALUES (1) RETURNING a",
	} {
		assert.True(t, ChangesRows(sql), sql)
	}
	for _, sql := range []string{
		"SELECT 1", "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM x", "FETCH ALL FROM c", "EXECUTE p",
		"(UPDATE t SET a = 1)", "insertion", "/* /* */ UPDATE t SET a = 1 */ SELECT 1", "",
	} {
		assert.False(t, ChangesRows(sql), sql)
	}
}
