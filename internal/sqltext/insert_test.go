package sqltext

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pinnedTexts are inserts, and what becomes of them when the generated ones of the columns id, at and "I d" are pinned
// in two rows, with the parameters from $5.
var pinnedTexts = map[string]string{
	"INSERT INTO t (a) VALUES ($1) RETURNING id": `INSERT INTO t (a, "id", "at", "I d") VALUES ($1, $5, $6, $7) RETURNING id`, //nolint:lll // it is one text

	"insert into s.t as x (a, b) values ($1, 'b') returning x.id, at;": `insert into s.t as x (a, b, "id", "at", "I d") values ($1, 'b', $5, $6, $7) returning x.id, at;`,

	"INSERT INTO t(a)VALUES(1),(2),(3)RETURNING*": `INSERT INTO t(a, "id", "at", "I d")VALUES(1, $5, $6, $7),(2, $8, $9, $10),(3, DEFAULT, DEFAULT, DEFAULT)RETURNING*`,

	"INSERT INTO t (a, ID) VALUES (1, DEFAULT), (2, 3) RETURNING id": `INSERT INTO t (a, ID, "at", "I d") VALUES (1, $5, $6, $7), (2, 3, $8, $9) RETURNING id`,

	"INSERT INTO t (id) VALUES (1), (2), (default) RETURNING id": `INSERT INTO t (id, "at", "I d") VALUES (1, $5, $6), (2, $7, $8), (default, DEFAULT, DEFAULT) RETURNING id`,

	"INSERT INTO \"T\"\"t\" (\"I d\") VALUES (DEFAULT /* , */ ) RETURNING *": `INSERT INTO "T""t" ("I d", "id", "at") VALUES ($5 /* , */ , $6, $7) RETURNING *`, //nolint:lll // it is one text

	"INSERT INTO t (a -- c )\n) VALUES (f(1, (2)) -- )\n) ON CONFLICT (a, lower(b)) DO NOTHING RETURNING id": "INSERT INTO t (a -- c )\n, \"id\", \"at\", \"I d\") VALUES (f(1, (2)) -- )\n, $5, $6, $7) ON CONFLICT (a, lower(b)) DO NOTHING RETURNING id",

	"INSERT INTO t (a) VALUES (ARRAY[1, 2]) ON CONFLICT ON CONSTRAINT c DO NOTHING RETURNING id": `INSERT INTO t (a, "id", "at", "I d") VALUES (ARRAY[1, 2], $5, $6, $7) ON CONFLICT ON CONSTRAINT c DO NOTHING RETURNING id`,

	"INSERT INTO t (a) VALUES ('DEFAULT, )') ON CONFLICT DO NOTHING RETURNING id": `INSERT INTO t (a, "id", "at", "I d") VALUES ('DEFAULT, )', $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id`,
}

func TestInsert_Pin_ChangesNothingElse(t *testing.T) {
	for sql, want := range pinnedTexts {
		in := ParseInsert(sql)
		require.NotNil(t, in, sql)
		got, places := in.Pin([]string{"id", "at", "I d"}, 2, 5)
		assert.Equal(t, want, got)
		for i, place := range places {
			assert.Less(t, place.Row, 2)
			assert.False(t, i > 0 && place.Row < places[i-1].Row, "the values go by rows: %v", places)
		}
	}
}

func TestInsert_Pin_SaysWhichValueIsWhere(t *testing.T) {
	in := ParseInsert("INSERT INTO t (b, a) VALUES (DEFAULT, 1), (2, DEFAULT) RETURNING *")
	_, places := in.Pin([]string{"a", "b", "id"}, 2, 1)
	assert.Equal(t, []Place{{0, 1}, {0, 2}, {1, 0}, {1, 2}}, places)
}

// notInserts are texts that are left alone.
var notInserts = []string{
	"", "SELECT 1", "INSERT", "INSERT INTO t", "UPSERT INTO t (a) VALUES (1) RETURNING id",
	"INSERT INTO t VALUES (1) RETURNING id", "INSERT INTO t DEFAULT VALUES RETURNING id",
	"INSERT INTO t () VALUES () RETURNING id", "INSERT INTO t (a) VALUES () RETURNING id",
	"INSERT INTO t (a) SELECT 1 RETURNING id", "INSERT INTO t (a) (VALUES (1)) RETURNING id",
	"WITH x AS (SELECT 1) INSERT INTO t (a) VALUES (1) RETURNING id",
	"INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1) RETURNING id",
	"INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES (1) RETURNING", "INSERT INTO t (a) VALUES (1) RETURNING id,",
	"INSERT INTO t (a, b) VALUES (1) RETURNING id", "INSERT INTO t (a) VALUES (1, 2) RETURNING id",
	"INSERT INTO t (a, A) VALUES (1, 2) RETURNING id", "INSERT INTO t (a[1]) VALUES (1) RETURNING id",
	"INSERT INTO t (a.b) VALUES (1) RETURNING id", "INSERT INTO t (é) VALUES (1) RETURNING id",
	"INSERT INTO t (a) VALUES (1) RETURNING id + 1", "INSERT INTO t (a) VALUES (1) RETURNING id AS x",
	"INSERT INTO t (a) VALUES (1) RETURNING id x", "INSERT INTO t (a) VALUES (1) RETURNING id, now()",
	"INSERT INTO t (a) VALUES (1) RETURNING current_user", "INSERT INTO t (a) VALUES (1) RETURNING *, id",
	"INSERT INTO t (a) VALUES (1) RETURNING t.*", "INSERT INTO t (a) VALUES (1) RETURNING old.id",
	"INSERT INTO new (a) VALUES (1) RETURNING new.id", "INSERT INTO t AS x (a) VALUES (1) RETURNING t.id",
	"INSERT INTO t (a) VALUES (1) RETURNING WITH (OLD AS o) o.id",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING id",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) WHERE a > 1 DO NOTHING RETURNING id",
	"INSERT INTO t (a) VALUES (1) RETURNING id; SELECT 1", "INSERT INTO t (a) VALUES (1), RETURNING id",
	"INSERT INTO t (a) VALUES (1]) RETURNING id", "INSERT INTO t (a) VALUES (1;) RETURNING id",
	"INSERT INTO t (a) VALUES (x$1) RETURNING id", "INSERT INTO t (a) VALUES ('x) RETURNING id",
	"INSERT INTO U&\"t\" (a) VALUES (1) RETURNING id", "INSERT INTO t (a) VALUES (1) RETURNING id RETURNING id",
	"INSERT INTO t@i (a) VALUES (1) RETURNING id", "INSERT INTO [5 AS t] (a) VALUES (1) RETURNING id",
	"INSERT INTO t (a) VALUES (1) UNION VALUES (2) RETURNING id",
}

func TestInsert_AnythingElse_IsLeftAlone(t *testing.T) {
	for _, sql := range notInserts {
		assert.Nil(t, ParseInsert(sql), sql)
	}
}

func TestInsert_Fits_IsTheAnswer(t *testing.T) {
	two := ParseInsert("INSERT INTO t (a) VALUES (1), (2) RETURNING id, A")
	assert.True(t, two.Fits([]string{"id", "a"}, 2))
	assert.True(t, two.Fits([]string{"id", "a"}, 1), "the rest was not read")
	assert.False(t, two.Fits([]string{"id", "a"}, 3))
	assert.False(t, two.Fits([]string{"id", "b"}, 2))
	assert.False(t, two.Fits([]string{"id"}, 2))
	skips := ParseInsert("INSERT INTO t (a) VALUES (1), (2) ON CONFLICT DO NOTHING RETURNING *")
	assert.True(t, skips.Fits([]string{"x"}, 2))
	assert.False(t, skips.Fits([]string{"x"}, 1), "which row it is nobody knows")
}

func TestDefaultOf(t *testing.T) {
	for expression, want := range map[string]Default{
		"":                                     DefaultPure,
		"'new'::text":                          DefaultPure,
		"now()":                                DefaultPure,
		"now():::TIMESTAMPTZ":                  DefaultPure,
		"CURRENT_TIMESTAMP":                    DefaultPure,
		"(now() AT TIME ZONE 'utc'::text)":     DefaultPure,
		"unique_rowid()":                       DefaultPure,
		"gen_random_uuid()":                    DefaultPure,
		"public.uuid_generate_v4()":            DefaultPure,
		"(random() * (9)::numeric(4,2))":       DefaultPure,
		"nextval('t_id_seq'::regclass)":        DefaultSequence,
		"nextval('public.s'::REGCLASS)":        DefaultSequence,
		"('X'::text || nextval('s'))":          DefaultSequence,
		"currval('s'::regclass)":               DefaultUnknown,
		"lastval()":                            DefaultUnknown,
		"next_number()":                        DefaultUnknown,
		"public.now()":                         DefaultUnknown,
		`"now"()`:                              DefaultUnknown,
		"coalesce(now(), public.f(1))":         DefaultUnknown,
		"(SELECT 1)":                           DefaultUnknown,
		"nextval('s') + next_number()":         DefaultUnknown,
		"setval('s', 1)":                       DefaultUnknown,
		"'open":                                DefaultUnknown,
		"now(); DROP TABLE t":                  DefaultUnknown,
		"pg_catalog.nextval('s'::regclass)":    DefaultSequence,
		"dblink_exec('x'::text, 'y'::text)":    DefaultUnknown,
		"'next_number()'::character varying":   DefaultPure,
		"('a'::text)::character varying(20)":   DefaultPure,
		"ARRAY['a'::text, 'b'::text]":          DefaultPure,
		"(next_number)":                        DefaultPure,
		"upper(substr(md5(random()::text),2))": DefaultPure,
	} {
		assert.Equal(t, want, DefaultOf(expression), expression)
	}
}
