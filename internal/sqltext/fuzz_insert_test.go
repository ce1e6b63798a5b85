package sqltext

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// insertParts are what the fuzzer makes inserts of: pieces that stand in the right order, each in several ways, and
// what confuses readers of SQL between them.
var insertParts = strings.Split("INSERT INTO |insert into|t|public.t|\"t\"| AS x| x| (|(|)|, |,|a|b|\"B\"|id|\"I d\"|at|id, at|"+
	"VALUES |values|(1, 'b')|($1, $2)|(DEFAULT, 'b')|(default)|DEFAULT|$1|$2|1|'b'|'DEFAULT'|\"B\"|2 + 1|"+
	"lower('B')|ARRAY[1,2]|(ARRAY[1,2])[1]|(SELECT 1)|CASE WHEN true THEN 1 ELSE 2 END|CAST(1 AS INT)|'1'::INT|"+
	" RETURNING | returning *|RETURNING id|*|t.id|x.id|t.*|current_user| AS y|;|; SELECT 1|"+
	" ON CONFLICT | ON CONFLICT DO NOTHING| ON CONFLICT (id) DO NOTHING|(a)|DO NOTHING|DO UPDATE SET a = 9|ON CONSTRAINT t_pkey|"+
	"/* , */|-- )\n| |\n|'|\"|$$)$$|E'\\''|[|]|{|}|é|.|WITH w AS (SELECT 1) |SELECT 1, 'b'| OVERRIDING USER VALUE |DEFAULT VALUES|"+
	"INSERT INTO t (a) VALUES (1) RETURNING id|INSERT INTO t (a, b) VALUES |INSERT INTO t (b, id, a) VALUES |(DEFAULT, DEFAULT, 7)|"+
	"INSERT INTO t (a, b) SELECT | SELECT |SELECT |WITH w AS (|WITH w AS (SELECT 1 AS i, 'k' AS j) | FROM w|unnest($1::int[])|"+
	"unnest($2::text[])|nullif(unnest($2::text[]), 'x')|unnest($1::int[]) AS i, unnest($2::text[]) AS j|i|j|i, j|w|w.i|"+
	"nextval('t_id_seq')|coalesce(nullif(i, 0), nextval('t_id_seq'))|clock_timestamp()|generate_series(1, 2)|max(1)|"+
	" WHERE true| LIMIT 1| UNION SELECT 2, 'u'|DISTINCT | ON CONFLICT (b) WHERE b > 'w' |DO UPDATE SET | a = 9| b = EXCLUDED.b|"+
	" a = t.a + EXCLUDED.a| a = EXCLUDED.id| WHERE t.a > 1|(xmax = 0)|, (xmax != 0) AS old|, id + 1|, a AS id|'x'|"+
	"INSERT INTO t (id, a, b) SELECT |INSERT INTO t (at, b) SELECT ", "|")

func insertOf(script []byte) string {
	var sql strings.Builder
	for _, b := range script[:min(len(script), 32)] {
		sql.WriteString(insertParts[int(b)%len(insertParts)])
	}
	return sql.String()
}

// insertScriptOf is a script that makes sql, as near as that can be had.
func insertScriptOf(sql string) (script []byte) {
	for sql != "" {
		longest := -1
		for i, part := range insertParts {
			if strings.HasPrefix(sql, part) && (longest < 0 || len(part) > len(insertParts[longest])) {
				longest = i
			}
		}
		if longest < 0 {
			sql = sql[1:]
			continue
		}
		script, sql = append(script, byte(longest)), sql[len(insertParts[longest]):]
	}
	return script
}

// FuzzInsertAgainstPostgreSQL holds a text whose generated values are pinned against the text as it was: it returns the
// same as the first did, and what it stores is the same but for columns that were not returned.
func FuzzInsertAgainstPostgreSQL(f *testing.F) {
	for sql := range pinnedTexts {
		f.Add(insertScriptOf(sql))
	}
	for _, sql := range []string{
		"INSERT INTO t (a, b) VALUES ($1, $2), (1, 'b'), (DEFAULT, 'b') ON CONFLICT DO NOTHING RETURNING id, at",
		"INSERT INTO t (b, id, a) VALUES (DEFAULT, DEFAULT, 7), ('b', DEFAULT, 1) RETURNING *",
		"INSERT INTO public.t AS x (a, id) VALUES (2 + 1, DEFAULT /* , */) RETURNING x.id, \"I d\", a",
		"INSERT INTO t (a) VALUES ((SELECT 1)), (CASE WHEN true THEN 1 ELSE 2 END), ((ARRAY[1,2])[1]) RETURNING id, \"I d\", at, b",
		"INSERT INTO t (\"B\", a) VALUES ($$)$$, -- )\n1) RETURNING *;",
		"INSERT INTO t (a, b) SELECT unnest($1::int[]), nullif(unnest($2::text[]), 'x') RETURNING id, \"I d\", id + 1, a AS id",
		"INSERT INTO t (a, b) SELECT unnest($1::int[]), unnest($2::text[]) ON CONFLICT (b) WHERE b > 'w' DO UPDATE SET a = t.a + EXCLUDED.a RETURNING id, at, (xmax != 0) AS old",
		"INSERT INTO t (id, a, b) SELECT nextval('t_id_seq'), 1, 'x' RETURNING id, at",
		"INSERT INTO t (at, b) SELECT clock_timestamp(), unnest($2::text[]) AS j RETURNING id, t.at, \"I d\"",
		"WITH w AS (SELECT unnest($1::int[]) AS i, unnest($2::text[]) AS j) INSERT INTO t (id, a, b) SELECT coalesce(nullif(i, 0), nextval('t_id_seq')), i, j FROM w ON CONFLICT (b) WHERE b > 'w' DO UPDATE SET  b = EXCLUDED.b RETURNING id, at, (xmax = 0)",
		"WITH w AS (SELECT 1 AS i, 'k' AS j) INSERT INTO t (a, b) SELECT i, j FROM w RETURNING \"I d\", id, at",
		"INSERT INTO t (a, b) VALUES ($1, $2), (1, 'x') ON CONFLICT (b) WHERE b > 'w' DO UPDATE SET  a = 9 RETURNING id, (xmax = 0)",
	} {
		f.Add(insertScriptOf(sql))
	}
	pg := connectPostgreSQL(f)
	simply(f, pg, `CREATE TABLE t (a INT DEFAULT 5, b TEXT DEFAULT 'd', id BIGSERIAL PRIMARY KEY, "B" TEXT, `+
		`"I d" UUID DEFAULT gen_random_uuid(), at TIMESTAMPTZ DEFAULT clock_timestamp()); `+
		`CREATE UNIQUE INDEX ON t (b) WHERE b > 'w'; INSERT INTO t (b) VALUES ('x')`)
	f.Fuzz(func(t *testing.T, script []byte) {
		checkInsert(t, pg, insertOf(script))
	})
}

// insertArguments are those of $1 and $2 of a text that has them.
func insertArguments(sql string) [][]byte {
	args := [][]byte{[]byte("3"), []byte("4")}
	if strings.Contains(sql, "$1::int[]") {
		args[0] = []byte("{3,0,5}")
	}
	if strings.Contains(sql, "$2::text[]") {
		args[1] = []byte("{4,x}")
	}
	return args
}

func checkInsert(t *testing.T, pg *pgconn.PgConn, sql string) {
	t.Helper()
	in, args := ParseInsert(sql), insertArguments(sql)
	if in == nil || in.Parameters() > len(args) {
		return
	}
	args = args[:in.Parameters()]
	was, stored, err := insertAndLook(t, pg, sql, args, nil)
	if err != nil {
		return // PostgreSQL refuses it: it would never be replayed
	}
	names := namesOf(was)
	require.True(t, in.Fits(names), "%q: %v", sql, names)
	if !in.Knows(len(was.Rows), int(was.CommandTag.RowsAffected())) {
		require.True(t, in.Skips || len(was.Rows) != in.Rows, "%q: %d rows", sql, len(was.Rows))
		return
	}
	columns, types, at := pinnedOf(in, was)
	if len(columns) == 0 || len(was.Rows) == 0 {
		return
	}
	text, places := in.Pin(columns, types, len(was.Rows), len(args)+1)
	args, oids := slices.Clone(args), make([]uint32, len(args))
	for _, place := range places {
		oids = append(oids, was.FieldDescriptions[at[place.Column]].DataTypeOID)
		args = append(args, was.Rows[place.Row][at[place.Column]])
	}
	is, storedAgain, err := insertAndLook(t, pg, text, args, oids)
	require.NoError(t, err, "%q became %q", sql, text)
	require.Equal(t, was.CommandTag, is.CommandTag, "%q became %q", sql, text)
	differ := othersOf(in, columns)
	for i := range names {
		if slices.Contains(columns, in.Column(i, names[i])) || len(differ) == 0 && !hasClock.MatchString(sql) {
			require.Equal(t, columnOf(was, i), columnOf(is, i), "%q became %q", sql, text)
		}
	}
	if in.Selects || !hasClock.MatchString(sql) {
		assertStored(t, stored, storedAgain, in, differ)
	}
}

// hasClock finds what is another value in each run.
var hasClock = regexp.MustCompile(`(nextval|clock_timestamp)\(`)

// assertStored holds that the table has the same in it, but for columns that differ, and what is made of them.
func assertStored(t *testing.T, stored, storedAgain map[string][]string, in *Insert, differ []string) {
	t.Helper()
	for column, values := range stored {
		if !slices.Contains(differ, column) && !containsAny(in.excluded, differ) {
			assert.Equal(t, values, storedAgain[column], "%q, column %s", in.sql, column)
		}
	}
}

func namesOf(r *pgconn.Result) []string {
	names := make([]string, len(r.FieldDescriptions))
	for i, field := range r.FieldDescriptions {
		names[i] = field.Name
	}
	return names
}

// pinnedOf returns the columns of an answer that can be pinned, the names of their types, and where they are in it.
func pinnedOf(in *Insert, r *pgconn.Result) (columns, types []string, at []int) {
	for i, field := range r.FieldDescriptions {
		name, typeName := in.Column(i, field.Name), insertTypes[field.DataTypeOID]
		if in.Generates(name) && name != "" && typeName != "" && !slices.Contains(columns, name) {
			columns, types, at = append(columns, name), append(types, typeName), append(at, i)
		}
	}
	return columns, types, at
}

// othersOf returns the columns that have other values in each run, because they are not pinned.
func othersOf(in *Insert, pinned []string) []string {
	others := slices.Clone(insertMade)
	for i, it := range in.items {
		if it.makes {
			others = append(others, in.columns[i])
		}
	}
	return slices.DeleteFunc(others, func(column string) bool { return slices.Contains(pinned, column) })
}

func containsAny(columns, among []string) bool {
	return slices.ContainsFunc(columns, func(column string) bool { return slices.Contains(among, column) })
}

// insertAndLook runs an insert, returns its answer and what is in the table then, by columns, and takes it back.
func insertAndLook(
	t *testing.T, pg *pgconn.PgConn, sql string, args [][]byte, oids []uint32,
) (*pgconn.Result, map[string][]string, error) {
	t.Helper()
	ctx := context.Background()
	simply(t, pg, "BEGIN")
	defer simply(t, pg, "ROLLBACK")
	answer := pg.ExecParams(ctx, sql, args, oids, nil, nil).Read()
	table := pg.ExecParams(ctx, `SELECT * FROM t ORDER BY a, b, "B", id`, nil, nil, nil, nil).Read()
	if err := cmp.Or(answer.Err, table.Err); err != nil {
		return nil, nil, err
	}
	stored := map[string][]string{}
	for _, row := range table.Rows {
		for i, field := range table.FieldDescriptions {
			stored[field.Name] = append(stored[field.Name], fmt.Sprintf("%s, %v", row[i], row[i] == nil))
		}
	}
	return answer, stored, nil
}

// insertMade are the columns of which the database makes the values; insertTypes has the names of their types.
var (
	insertMade  = []string{"id", "I d", "at"}
	insertTypes = map[uint32]string{
		pgtype.Int4OID: "int4", pgtype.Int8OID: "int8", pgtype.TextOID: "text", pgtype.UUIDOID: "uuid",
		pgtype.TimestamptzOID: "timestamptz",
	}
)

func columnOf(r *pgconn.Result, i int) (values []string) {
	for _, row := range r.Rows {
		values = append(values, fmt.Sprintf("%s, %v", row[i], row[i] == nil))
	}
	return values
}
