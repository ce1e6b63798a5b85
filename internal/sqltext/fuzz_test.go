package sqltext

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// sqlParts are what the fuzzer makes texts of. They are mostly such as one of the servers, pgx or this driver reads in
// a way of its own, and enough of plain SQL that the server goes further than to a syntax error.
var sqlParts = strings.Split("SELECT 1|;|SELECT |1|, |'a'|'|''|E'|e'|\\'|\\|'\\'|\"|\"a\"|$$|$a$|$1|$|U&'|U&\"|B'1'|x'f'|N'a'|--|-- c\n|\n|\r|\r\n|\t|\v|\f| |/*|*/|/**/|/* ; */|"+
	"a|é|\u00a0|\ufeff|_|1e5|0x|1_0|#|-|~|@|&|?|:|::text|[|]|(|)|*|/|+|.|=| AS a| FROM kv|COMMIT|"+
	"end|ABORT|BEGIN|START TRANSACTION|ROLLBACK| WORK| TRANSACTION| AND CHAIN| AND NO CHAIN| TO |SAVEPOINT |RELEASE |app|cockroach_restart|"+
	"PREPARE |TRANSACTION 'x'|PREPARED 'x'|PREPARE q AS |EXECUTE q|EXECUTE held|DEALLOCATE q|CALL commits()|DO $$BEGIN COMMIT; END$$|DO |EXPLAIN |ANALYZE |EXPLAIN ANALYZE |"+
	"WITH c AS (SELECT 1) |INSERT INTO kv VALUES (1)|UPDATE kv SET k = 2|CREATE TABLE x ()|DROP TABLE x|SET LOCAL |SET |TRANSACTION READ ONLY|DECLARE c CURSOR FOR |FETCH c|"+
	"DISCARD ALL|VACUUM kv|CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END|CREATE RULE r AS ON DELETE TO kv DO ALSO (SELECT 1; SELECT 2)|LOCK TABLE kv", "|")

func sqlOf(script []byte) string {
	var sql strings.Builder
	for _, b := range script[:min(len(script), 24)] {
		sql.WriteString(sqlParts[int(b)%len(sqlParts)])
	}
	return sql.String()
}

// scriptOf is a script that makes sql, as near as that can be had.
func scriptOf(sql string) (script []byte) {
	for sql != "" {
		longest := -1
		for i, part := range sqlParts {
			if part != "" && strings.HasPrefix(sql, part) && (longest < 0 || len(part) > len(sqlParts[longest])) {
				longest = i
			}
		}
		if longest < 0 {
			sql = sql[1:]
			continue
		}
		script, sql = append(script, byte(longest)), sql[len(sqlParts[longest]):]
	}
	return script
}

// FuzzSQLAgainstPostgreSQL holds what the driver believes of a text against what PostgreSQL makes of it, in the
// directions that would do harm: a text that it takes for one statement is not several; and one that it takes for
// harmless neither commits nor ends the transaction that it runs in.
func FuzzSQLAgainstPostgreSQL(f *testing.F) {
	for _, sql := range append(append([]string(nil), singleStatements...), notSingleStatements...) {
		f.Add(scriptOf(sql))
	}
	for _, sql := range []string{
		"COMMIT", "end WORK", "ROLLBACK AND CHAIN", "ROLLBACK TO app", "RELEASE app",
		"SAVEPOINT cockroach_restart;", "/**/COMMIT", "-- c\nend", ";COMMIT",
		"\vCOMMIT", "\u00a0COMMIT", "\ufeffCOMMIT", "EXECUTE held", "EXPLAIN ANALYZE EXECUTE held",
		"CALL commits()", "DO $$BEGIN COMMIT; END$$", "SELECT 1;COMMIT",
		"U&'a' UESCAPE ';'", "PREPARE q AS SELECT 1", "COMMIT AND CHAIN", "COMMIT AND NO CHAIN",
		"WITH c AS (SELECT 1) SELECT 1", "CREATE TABLE x ()", "PREPARE TRANSACTION 'x'",
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
		"CREATE RULE r AS ON DELETE TO kv DO ALSO (SELECT 1; SELECT 2);SELECT 1",
	} {
		f.Add(scriptOf(sql))
	}
	pg := connectPostgreSQL(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		checkAgainstPostgreSQL(t, pg, sqlOf(script))
	})
}

func connectPostgreSQL(f *testing.F) *pgconn.PgConn {
	conn, err := pgx.Connect(context.Background(), enginetest.NewDirectDB(f))
	require.NoError(f, err)
	f.Cleanup(func() { _ = conn.Close(context.Background()) })
	pg := conn.PgConn()
	simply(f, pg, "CREATE TABLE kv (k INT); CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'; SET statement_timeout = '10s'; SET client_min_messages = error")
	return pg
}

func simply(tb testing.TB, pg *pgconn.PgConn, sql string) {
	tb.Helper()
	require.NoError(tb, pg.Exec(context.Background(), sql).Close(), sql)
}

func checkAgainstPostgreSQL(t *testing.T, pg *pgconn.PgConn, sql string) {
	if strings.IndexByte(sql, 0) >= 0 {
		return
	}
	ctx := context.Background()
	if !Classify(sql).Several {
		_, err := pg.Prepare(ctx, "", sql, nil)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && strings.Contains(pgErr.Message, "multiple commands") {
			t.Fatalf("%q is no single statement", sql)
		}
	}
	if Classify(sql).Commit != NoCommit {
		return
	}
	simply(t, pg, "BEGIN; PREPARE held AS SELECT 1; SAVEPOINT reprise_mark; SAVEPOINT app; SAVEPOINT cockroach_restart")
	defer simply(t, pg, "ROLLBACK; DEALLOCATE ALL")
	err := pg.Exec(ctx, sql).Close()
	if pg.IsClosed() {
		t.Fatalf("%q: %v", sql, err)
	}
	if pg.TxStatus() == 'I' {
		t.Fatalf("%q has ended the transaction", sql)
	}
	if err := pg.Exec(ctx, "ROLLBACK TO reprise_mark").Close(); err != nil {
		t.Fatalf("after %q it is another transaction: %v", sql, err)
	}
}
