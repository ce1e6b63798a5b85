package sqltext

import (
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// lockParts are what the fuzzer makes reads of: pieces that stand in the right order, each in several ways, and what
// confuses readers of SQL between them.
var lockParts = strings.Split("SELECT |select|DISTINCT |ALL |*|k|v|\"V v\"|kv.k|a.v|kv.*|count(*)|max(v)| AS w| w|, |,|current_user|1|"+
	" FROM |from|kv|lk.kv|\"kv\"|ONLY |LATERAL |kv, kv b| JOIN kv b USING (k)| AS a| a|.|seen|f()|"+
	" WHERE |where|k = |k=|a.k = |(k = |v = |\"V v\" = |NOT |current_user = |$1|$2|2|-2|2.0|'2'|'b'|E'b'|$$b$$|k|(SELECT 2)|::INT|)|("+
	"| AND | OR | IS NULL| = | > | COLLATE \"C\"|;|; SELECT 1| FOR UPDATE| FOR SHARE| LIMIT 1| LIMIT | OFFSET 0| ORDER BY v| ORDER BY k DESC| IS NOT NULL| GROUP BY v|"+
	" HAVING true| WINDOW w AS ()| UNION SELECT 1| TABLESAMPLE system (100)|INTO x |-- x\n|--|/* x */|/*|*/|\n| |'|\"|é|"+
	"SELECT v FROM kv WHERE k = |SELECT k, v FROM kv AS a WHERE a.k = |WITH x AS (SELECT 1) |[1]|{|}|@|CASE |one_of_each", "|")

func lockScriptOf(sql string) (script []byte) {
	for sql != "" {
		longest := -1
		for i, part := range lockParts {
			if part != "" && strings.HasPrefix(sql, part) && (longest < 0 || len(part) > len(lockParts[longest])) {
				longest = i
			}
		}
		if longest < 0 {
			sql = sql[1:]
			continue
		}
		script, sql = append(script, byte(longest)), sql[len(lockParts[longest]):]
	}
	return script
}

func readOf(script []byte) string {
	var sql strings.Builder
	for _, b := range script[:min(len(script), 24)] {
		sql.WriteString(lockParts[int(b)%len(lockParts)])
	}
	return sql.String()
}

// FuzzKeyReadAgainstPostgreSQL holds a read that locks against the same as it was: it returns the same columns and
// rows, and it locks the rows that it returns and no others.
func FuzzKeyReadAgainstPostgreSQL(f *testing.F) {
	for _, sql := range notKeyReads {
		f.Add(lockScriptOf(sql))
	}
	for sql := range lockedTexts {
		f.Add(lockScriptOf(sql))
	}
	for _, sql := range []string{
		"SELECT v FROM kv WHERE k = $1", "SELECT k, v FROM kv AS a WHERE a.k = '2' AND v = $1 -- x\n;",
		"SELECT kv.*, \"V v\" AS w FROM lk.kv WHERE (k = 2)/* x */", "SELECT a.* FROM seen a WHERE k = 2",
	} {
		f.Add(lockScriptOf(sql))
	}
	pg := connectPostgreSQL(f)
	simply(f, pg, "CREATE SCHEMA lk")
	simply(f, pg, "SET search_path = lk")
	simply(f, pg, `CREATE TABLE kv (k INT PRIMARY KEY, v TEXT, "V v" INT)`)
	simply(f, pg, `INSERT INTO kv VALUES (1, 'a', 2), (2, 'b', 2), (3, 'b', NULL)`)
	simply(f, pg, `CREATE VIEW seen AS SELECT k, v FROM kv WHERE k > 0`)
	simply(f, pg, `CREATE VIEW one_of_each AS SELECT v, max(k) AS k FROM kv GROUP BY v`)
	f.Fuzz(func(t *testing.T, script []byte) {
		checkKeyRead(t, pg, readOf(script))
	})
}

func checkKeyRead(t *testing.T, pg *pgconn.PgConn, sql string) {
	t.Helper()
	r := ParseKeyRead(sql)
	table, where := Target(sql)
	if r == nil {
		return
	}
	var args [][]byte
	for _, e := range r.Where {
		for len(args) < e.Parameter {
			args = append(args, []byte("2"))
		}
	}
	simply(t, pg, "BEGIN ISOLATION LEVEL SERIALIZABLE")
	defer simply(t, pg, "ROLLBACK")
	ctx := t.Context()
	was := pg.ExecParams(ctx, sql, args, nil, nil, nil).Read()
	if was.Err != nil {
		return // PostgreSQL refuses it: it would never be learned
	}
	require.Equal(t, r.Table, table, "the target of %q", sql)
	require.Subset(t, r.Where, where, "the target of %q", sql)
	is := pg.ExecParams(ctx, r.Locking(), args, nil, nil, nil).Read()
	if is.Err != nil { // it would be run again as it was
		simply(t, pg, "ROLLBACK")
		simply(t, pg, "BEGIN")
		return
	}
	require.Equal(t, was.FieldDescriptions, is.FieldDescriptions, "%q became %q", sql, r.Locking())
	require.Equal(t, was.Rows, is.Rows, "%q became %q", sql, r.Locking())
	const count = "SELECT count(*) FROM kv WHERE xmax <> 0 AND xmax = pg_current_xact_id()::xid"
	locked := pg.ExecParams(ctx, count, nil, nil, nil, nil).Read()
	require.NoError(t, locked.Err)
	if len(is.Rows) > 0 {
		require.Equal(t, strconv.Itoa(len(is.Rows)), string(locked.Rows[0][0]), "rows that %q locks", r.Locking())
	}
}
