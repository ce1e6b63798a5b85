package sqltext

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const asGORMReads = `SELECT * FROM "u" WHERE "u"."id" = $1 AND "u"."d" IS NOT NULL ORDER BY "u"."id" DESC,v LIMIT $2`

// lockedTexts are reads by key, and what becomes of them.
var lockedTexts = map[string]string{
	"SELECT v FROM kv WHERE k = $1": "SELECT v FROM kv WHERE k = $1 FOR UPDATE",

	"select * from s.kv where k=1;": "select * from s.kv where k=1 FOR UPDATE;",

	"SELECT v FROM kv WHERE k = $1 -- why": "SELECT v FROM kv WHERE k = $1 FOR UPDATE -- why",

	"SELECT v FROM kv WHERE k = $1/* FOR SHARE */ ; ": "SELECT v FROM kv WHERE k = $1 FOR UPDATE/* FOR SHARE */ ; ",

	"/* one */ SELECT a.k, a.v AS w FROM kv a WHERE a.k = 1": "/* one */ SELECT a.k, a.v AS w FROM kv a WHERE a.k = 1 FOR UPDATE", //nolint:lll // it is one text

	`SELECT "u"."id" FROM "users" AS "u" WHERE ("u"."id" = 7)`: `SELECT "u"."id" FROM "users" AS "u" WHERE ("u"."id" = 7) FOR UPDATE`, //nolint:lll // it is one text

	"SELECT v FROM kv WHERE k = 1 AND v IS NULL": "SELECT v FROM kv WHERE k = 1 AND v IS NULL FOR UPDATE",

	// As GORM reads one row of a model that is deleted softly, and sqlc's users write.
	asGORMReads: asGORMReads + " FOR UPDATE",

	"SELECT v FROM kv WHERE k = $1 LIMIT 1; -- one": "SELECT v FROM kv WHERE k = $1 LIMIT 1 FOR UPDATE; -- one",

	"SELECT kv.* FROM kv WHERE a = 'x''y' AND (b = $2)": "SELECT kv.* FROM kv WHERE a = 'x''y' AND (b = $2) FOR UPDATE", //nolint:lll // it is one text

	`SELECT "user" FROM "only" "of" WHERE "of"."not" = $$a$$`: `SELECT "user" FROM "only" "of" WHERE "of"."not" = $$a$$ FOR UPDATE`, //nolint:lll // it is one text
}

func TestKeyRead_Locking_AddsTheLockAlone(t *testing.T) {
	for sql, want := range lockedTexts {
		r := ParseKeyRead(sql)
		require.NotNil(t, r, sql)
		assert.Equal(t, want, r.Locking())
		assert.Nil(t, ParseKeyRead(r.Locking()), "what locks already is left alone")
	}
}

// notKeyReads are texts that are left alone.
var notKeyReads = []string{
	"", "SELECT", "SELECT 1", "SELECT v FROM kv", "TABLE kv", "VALUES (1)", "UPDATE kv SET v = 1 WHERE k = 1",
	"SELECT count(*) FROM kv WHERE k = 1", "SELECT max(v) FROM kv WHERE k = 1", "SELECT v + 1 FROM kv WHERE k = 1",
	"SELECT DISTINCT v FROM kv WHERE k = 1", "SELECT ALL v FROM kv WHERE k = 1", "SELECT v w FROM kv WHERE k = 1",
	"SELECT DISTINCT ON (v) v FROM kv WHERE k = 1", "SELECT row_number() OVER () FROM kv WHERE k = 1",
	"SELECT v INTO w FROM kv WHERE k = 1", "SELECT 1 FROM kv WHERE k = 1", "SELECT current_user FROM kv WHERE k = 1",
	"SELECT v FROM kv WHERE k = 1 GROUP BY v", "SELECT v FROM kv WHERE k = 1 HAVING true",
	"SELECT v FROM kv WHERE k = 1 ORDER BY 1", "SELECT v FROM kv WHERE k = 1 ORDER BY v + 1",
	"SELECT v FROM kv WHERE k = 1 ORDER BY f(v)", "SELECT v FROM kv WHERE k = 1 ORDER BY v USING >",
	"SELECT v FROM kv WHERE k = 1 ORDER BY v NULLS FIRST",
	"SELECT v FROM kv WHERE k = 1 ORDER BY current_user", "SELECT v FROM kv WHERE k = 1 ORDER BY kw.v",
	"SELECT v FROM kv WHERE k = 1 ORDER v", "SELECT v FROM kv WHERE k = 1 ORDER BY", "SELECT v FROM kv ORDER BY v LIMIT 1",
	"SELECT v FROM kv WHERE k = 1 LIMIT", "SELECT v FROM kv WHERE k = 1 LIMIT ALL",
	"SELECT v FROM kv WHERE k = 1 LIMIT 1 + 1",
	"SELECT v FROM kv WHERE k = 1 LIMIT (1)", "SELECT v FROM kv WHERE k = 1 LIMIT 1 OFFSET 1",
	"SELECT v FROM kv WHERE k = 1 LIMIT 1 FOR UPDATE", "SELECT v FROM kv WHERE k = 1 LIMIT $1::INT",
	"SELECT v FROM kv WHERE k = 1 LIMIT 1 ORDER BY v", "SELECT v FROM kv WHERE k IS NOT DISTINCT FROM 1",
	"SELECT v FROM kv WHERE k = 1 AND v IS TRUE", "SELECT v FROM kv WHERE k = 1 AND v ISNULL",
	"SELECT v FROM kv WHERE k = 1 OFFSET 1", "SELECT v FROM kv WHERE k = 1 FETCH FIRST ROW ONLY",
	"SELECT v FROM kv WHERE k = 1 FOR UPDATE", "SELECT v FROM kv WHERE k = 1 FOR SHARE",
	"SELECT v FROM kv WHERE k = 1 UNION SELECT 1", "SELECT v FROM kv WHERE k = 1 EXCEPT SELECT 1",
	"SELECT v FROM kv WHERE k = 1 WINDOW w AS ()", "SELECT v FROM kv WHERE k = 1; SELECT 1",
	"SELECT v FROM kv AS OF SYSTEM TIME '-1s' WHERE k = 1", "SELECT v FROM kv, kw WHERE k = 1",
	"SELECT v FROM kv JOIN kw USING (k) WHERE k = 1", "SELECT v FROM kv NATURAL JOIN kw WHERE k = 1",
	"SELECT v FROM ONLY kv WHERE k = 1", "SELECT v FROM kv * WHERE k = 1", "SELECT v FROM kv@i WHERE k = 1",
	"SELECT v FROM kv TABLESAMPLE system (1) WHERE k = 1", "SELECT v FROM (SELECT 1) AS kv WHERE k = 1",
	"SELECT v FROM f() WHERE k = 1", "SELECT v FROM kv AS a (k, v) WHERE k = 1", "SELECT v FROM LATERAL kv WHERE k = 1",
	"WITH w AS (SELECT 1) SELECT v FROM kv WHERE k = 1", "(SELECT v FROM kv WHERE k = 1)",
	"SELECT v FROM kv WHERE k = 1 OR k = 2", "SELECT v FROM kv WHERE NOT k = 1", "SELECT v FROM kv WHERE k > 1",
	"SELECT v FROM kv WHERE k = v", "SELECT v FROM kv WHERE k = f(1)", "SELECT v FROM kv WHERE k = ANY ($1)",
	"SELECT v FROM kv WHERE k = (SELECT 1)", "SELECT v FROM kv WHERE k IN (1)", "SELECT v FROM kv WHERE k == 1",
	"SELECT v FROM kv WHERE k = $1::INT", "SELECT v FROM kv WHERE k = -1", "SELECT v FROM kv WHERE k = 1.5",
	"SELECT v FROM kv WHERE k = 1e3", "SELECT v FROM kv WHERE k = E'a'", `SELECT v FROM kv WHERE k = 'a\'`,
	"SELECT v FROM kv WHERE k = date '2020-01-01'",
	"SELECT v FROM kv WHERE k = 'a'\n'b'", "SELECT v FROM kv WHERE k = x$1",
	"SELECT v FROM kv WHERE current_user = 'x'", "SELECT v FROM kv WHERE true", "SELECT v FROM kv WHERE k = true",
	"SELECT v FROM kv WHERE kw.k = 1", "SELECT v FROM kv WHERE (k, v) = (1, 2)", "SELECT v FROM kv WHERE k = 1 AND",
	"SELECT v FROM kv WHERE (k = 1", "SELECT v FROM kv WHERE k = 'a", "SELECT v FROM kv WHERE k COLLATE x = 'a'",
	"SELECT v FROM U&\"kv\" WHERE k = 1", "SELECT é FROM kv WHERE k = 1", "SELECT v FROM a.b.c.d WHERE k = 1",
	"EXPLAIN SELECT v FROM kv WHERE k = 1",
}

func TestKeyRead_AnythingElse_IsLeftAlone(t *testing.T) {
	for _, sql := range notKeyReads {
		assert.Nil(t, ParseKeyRead(sql), sql)
	}
}

func TestKeyRead_Where_IsItsConditions(t *testing.T) {
	r := ParseKeyRead("SELECT v FROM public.KV AS a WHERE A.k = $2 AND \"B b\" = 'x'")
	require.NotNil(t, r)
	assert.Equal(t, `"public"."kv"`, r.Table)
	assert.Equal(t, []Equality{{"k", 2, "$2"}, {"B b", 0, "'x'"}}, r.Where)
}

func TestKeyWrite_Where_IsWhatEachRowMeets(t *testing.T) {
	k := Equality{"k", 2, "$2"}
	for sql, want := range map[string]*KeyWrite{
		"UPDATE kv SET v = $1 WHERE k = $2":                             {`"kv"`, []Equality{k}},
		"UPDATE kv SET v = (SELECT 1 WHERE true) WHERE k = $2;":         {`"kv"`, []Equality{k}},
		"UPDATE kv SET v = 1 WHERE v > 0 AND k = $2 AND f(v) RETURNING": {`"kv"`, []Equality{k}},
		"UPDATE kv SET v = 1 WHERE (k = $2) AND w = k":                  {`"kv"`, []Equality{k}},
		"DELETE FROM kv AS a WHERE a.k = $2 RETURNING v":                {`"kv"`, []Equality{k}},
		"UPDATE kv SET v = 1 WHERE k = $2 + 1":                          {`"kv"`, nil},
		"UPDATE kv SET v = 1 WHERE NOT k = $2":                          {`"kv"`, nil},
		"UPDATE kv SET v = 1 WHERE k = $2 OR v = 1":                     nil,
		"UPDATE kv SET v = 1 WHERE v BETWEEN 1 AND k = $2":              nil,
		"UPDATE kv SET v = 1 FROM kw WHERE k = $2":                      nil,
		"DELETE FROM kv USING kw WHERE k = $2":                          nil,
		"DELETE FROM kv":                                                nil,
		"UPDATE kv SET v = 1":                                           nil,
		"INSERT INTO kv VALUES (1)":                                     nil,
	} {
		got := ParseKeyWrite(sql)
		if want == nil {
			assert.Nil(t, got, sql)
			continue
		}
		require.NotNil(t, got, sql)
		assert.Equal(t, want.Table, got.Table, sql)
		assert.ElementsMatch(t, want.Where, got.Where, sql)
	}
}

func TestWrittenTable(t *testing.T) {
	for sql, want := range map[string]string{
		"INSERT INTO s.kv (k) VALUES (1)": `"s"."kv"`, "UPSERT INTO kv VALUES (1)": `"kv"`,
		"UPDATE KV SET v = 1": `"kv"`, `DELETE FROM "KV"`: `"KV"`,
		"SELECT 1": "", "WITH x AS (SELECT 1) DELETE FROM kv": "", "INSERT kv": "",
	} {
		assert.Equal(t, want, WrittenTable(sql), sql)
	}
}
