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

	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) WHERE f(a, 1) DO UPDATE SET a = EXCLUDED.a RETURNING id, (xmax != 0) AS old": `INSERT INTO t (a, "id", "at", "I d") VALUES (1, $5, $6, $7) ON CONFLICT (a) WHERE f(a, 1) DO UPDATE SET a = EXCLUDED.a RETURNING id, (xmax != 0) AS old`,

	"INSERT INTO t (a) SELECT 1 -- )\nRETURNING id": `INSERT INTO t (a, "id", "at", "I d") SELECT 1, unnest(ARRAY[$5, $6]::int8[]), unnest(ARRAY[$7, $8]::timestamptz[]), unnest(ARRAY[$9, $10]::uuid[]) -- )` + "\nRETURNING id",

	"INSERT INTO t (a, id) SELECT nullif(unnest($1::s.\"T\"[]), 'x') AS a, coalesce(null, nextval('s')) AS id ON CONFLICT (a) DO UPDATE SET a = t.a RETURNING id, t.xmax = 0": "INSERT INTO t (a, id, \"at\", \"I d\") SELECT nullif(unnest($1::s.\"T\"[]), 'x') AS a, unnest(ARRAY[$5, $6]::int8[]) AS id, unnest(ARRAY[$7, $8]::timestamptz[]), unnest(ARRAY[$9, $10]::uuid[]) ON CONFLICT (a) DO UPDATE SET a = t.a RETURNING id, t.xmax = 0",

	riverInsert: riverPinned,
}

// What River sends, but for most of its columns.
const (
	riverInsert = `-- name: JobInsertFastMany :many
WITH raw_job_data AS (
    SELECT
        unnest($1::bigint[]) AS id,
        unnest($2::jsonb[]) AS args,
        unnest($3::text[]) AS tags,
        unnest($4::integer[]) AS unique_states
)
INSERT INTO /* TEMPLATE: schema */river_job(
    id,
    args,
    tags,
    unique_states
) SELECT
    coalesce(nullif(id, 0), nextval('/* TEMPLATE: schema */river_job_id_seq'::regclass)),
    coalesce(args, '{}'::jsonb) AS args,
    string_to_array(tags, ',')::varchar(255)[],
    -- is required
    nullif(unique_states::integer, 0)::bit(8)
FROM raw_job_data
ON CONFLICT (unique_key)
    WHERE unique_key IS NOT NULL
        AND /* TEMPLATE: schema */river_job_state_in_bitmask(unique_states, state)
    -- Keep the existing kind.
    DO UPDATE SET kind = river_job.kind
RETURNING
    river_job.id, river_job.args,
    /* TEMPLATE_BEGIN: unique_skipped_as_duplicate */ (xmax != 0) /* TEMPLATE_END */ AS unique_skipped_as_duplicate
`
	riverPinned = `-- name: JobInsertFastMany :many
WITH raw_job_data AS (
    SELECT
        unnest($1::bigint[]) AS id,
        unnest($2::jsonb[]) AS args,
        unnest($3::text[]) AS tags,
        unnest($4::integer[]) AS unique_states` +
		", unnest(ARRAY[$5, $6]::int8[]) AS cockroachdb_pin_0, unnest(ARRAY[$7, $8]::timestamptz[]) AS cockroachdb_pin_1" +
		", unnest(ARRAY[$9, $10]::uuid[]) AS cockroachdb_pin_2" + `
)
INSERT INTO /* TEMPLATE: schema */river_job(
    id,
    args,
    tags,
    unique_states
, "at", "I d") SELECT
    cockroachdb_pin_0,
    coalesce(args, '{}'::jsonb) AS args,
    string_to_array(tags, ',')::varchar(255)[],
    -- is required
    nullif(unique_states::integer, 0)::bit(8), cockroachdb_pin_1, cockroachdb_pin_2
FROM raw_job_data
ON CONFLICT (unique_key)
    WHERE unique_key IS NOT NULL
        AND /* TEMPLATE: schema */river_job_state_in_bitmask(unique_states, state)
    -- Keep the existing kind.
    DO UPDATE SET kind = river_job.kind
RETURNING
    river_job.id, river_job.args,
    /* TEMPLATE_BEGIN: unique_skipped_as_duplicate */ (xmax != 0) /* TEMPLATE_END */ AS unique_skipped_as_duplicate
`
)

func TestInsert_Pin_ChangesNothingElse(t *testing.T) {
	for sql, want := range pinnedTexts {
		in := ParseInsert(sql)
		require.NotNil(t, in, sql)
		got, places := in.Pin([]string{"id", "at", "I d"}, []string{"int8", "timestamptz", "uuid"}, 2, 5)
		assert.Equal(t, want, got)
		for i, place := range places {
			assert.Less(t, place.Row, 2)
			assert.False(t, !in.Selects && i > 0 && place.Row < places[i-1].Row, "the values go by rows: %v", places)
		}
	}
}

func TestInsert_Pin_SaysWhichValueIsWhere(t *testing.T) {
	in := ParseInsert("INSERT INTO t (b, a) VALUES (DEFAULT, 1), (2, DEFAULT) RETURNING *")
	_, places := in.Pin([]string{"a", "b", "id"}, nil, 2, 1)
	assert.Equal(t, []Place{{0, 1}, {0, 2}, {1, 0}, {1, 2}}, places)
}

// notInserts are texts that are left alone.
var notInserts = []string{
	"", "SELECT 1", "INSERT", "INSERT INTO t", "UPSERT INTO t (a) VALUES (1) RETURNING id",
	"INSERT INTO t VALUES (1) RETURNING id", "INSERT INTO t DEFAULT VALUES RETURNING id",
	"INSERT INTO t () VALUES () RETURNING id", "INSERT INTO t (a) VALUES () RETURNING id",
	"INSERT INTO t (a) (VALUES (1)) RETURNING id", "WITH x AS (SELECT 1) INSERT INTO t (a) VALUES (1) RETURNING id",
	"INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1) RETURNING id",
	"INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES (1) RETURNING", "INSERT INTO t (a) VALUES (1) RETURNING id,",
	"INSERT INTO t (a, b) VALUES (1) RETURNING id", "INSERT INTO t (a) VALUES (1, 2) RETURNING id",
	"INSERT INTO t (a, A) VALUES (1, 2) RETURNING id", "INSERT INTO t (a[1]) VALUES (1) RETURNING id",
	"INSERT INTO t (a.b) VALUES (1) RETURNING id", "INSERT INTO t (é) VALUES (1) RETURNING id",
	"INSERT INTO t (a) VALUES (1) RETURNING id + 1", "INSERT INTO t (a) VALUES (1) RETURNING id AS x",
	"INSERT INTO t (a) VALUES (1) RETURNING id x", "INSERT INTO t (a) VALUES (1) RETURNING now(), (id)",
	"INSERT INTO t (a) VALUES (1) RETURNING id, (t).*", "INSERT INTO t (a) VALUES (1) RETURNING id, t.*",
	"INSERT INTO t (a) VALUES (1) RETURNING id, *", "INSERT INTO t (a) VALUES (1) RETURNING id, (SELECT 1)",
	"INSERT INTO t (a) VALUES (1) RETURNING current_user", "INSERT INTO t (a) VALUES (1) RETURNING *, id",
	"INSERT INTO t (a) VALUES (1) RETURNING t.*", "INSERT INTO t (a) VALUES (1) RETURNING old.id",
	"INSERT INTO new (a) VALUES (1) RETURNING new.id", "INSERT INTO t AS x (a) VALUES (1) RETURNING t.id",
	"INSERT INTO t (a) VALUES (1) RETURNING WITH (OLD AS o) o.id",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING id",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING *",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING id, xmax",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING id, xmax = 0 OR a = 1",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 RETURNING id, x.xmax = 0",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 WHERE a > 1 RETURNING id, xmax = 0",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.id RETURNING id, xmax = 0",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = f(EXCLUDED) RETURNING id, xmax = 0",
	"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = (SELECT 1) RETURNING id, xmax = 0",
	"INSERT INTO t (a) VALUES (1) RETURNING id; SELECT 1", "INSERT INTO t (a) VALUES (1), RETURNING id",
	"INSERT INTO t (a) VALUES ((DEFAULT)) RETURNING id",
	"INSERT INTO t (a) VALUES (1]) RETURNING id", "INSERT INTO t (a) VALUES (1;) RETURNING id",
	"INSERT INTO t (a) VALUES (x$1) RETURNING id", "INSERT INTO t (a) VALUES ('x) RETURNING id",
	"INSERT INTO U&\"t\" (a) VALUES (1) RETURNING id", "INSERT INTO t (a) VALUES (1) RETURNING id RETURNING id",
	"INSERT INTO t@i (a) VALUES (1) RETURNING id", "INSERT INTO [5 AS t] (a) VALUES (1) RETURNING id",
	"INSERT INTO t (a) VALUES (1) UNION VALUES (2) RETURNING id",

	"INSERT INTO t (a) SELECT RETURNING id", "INSERT INTO t (a) SELECT 1, 2 RETURNING id",
	"INSERT INTO t (a) SELECT ALL 1 RETURNING id", "INSERT INTO t (a) SELECT DISTINCT 1 RETURNING id",
	"INSERT INTO t (a) SELECT * RETURNING id", "INSERT INTO t (a) SELECT x FROM y RETURNING id",
	"INSERT INTO t (a) SELECT 1 WHERE true RETURNING id", "INSERT INTO t (a) SELECT 1 LIMIT 1 RETURNING id",
	"INSERT INTO t (a) SELECT 1 UNION SELECT 2 RETURNING id", "INSERT INTO t (a) SELECT (SELECT 1) RETURNING id",
	"INSERT INTO t (a) SELECT 1 ON CONFLICT DO NOTHING RETURNING id",
	"INSERT INTO t (a) SELECT generate_series(1, 2) RETURNING id", "INSERT INTO t (a) SELECT f(1) RETURNING id",
	"INSERT INTO t (a) SELECT max(1) RETURNING id", "INSERT INTO t (a) SELECT \"lower\"('X') RETURNING id",
	"INSERT INTO t (a) SELECT s.lower('X') RETURNING id", "INSERT INTO t (a) SELECT unnest('{1,2}'::INT[]) RETURNING id",
	"INSERT INTO t (a) SELECT unnest($1 || $2) RETURNING id", "INSERT INTO t (a) SELECT unnest($1::f(1)[]) RETURNING id",
	"INSERT INTO t (a) SELECT unnest(ARRAY[random()]) RETURNING id", "INSERT INTO t (a) SELECT x.unnest($1) RETURNING id",

	"WITH x AS (SELECT 1) INSERT INTO t (a) SELECT 1 RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM y RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM x y RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM x, x RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM x WHERE true RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT x FROM x RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT \"x\" FROM x RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT U&\"\\0078\" FROM x RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT unnest($1) FROM x RETURNING id",
	"WITH x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM x RETURNING id, (TABLE x)",
	"WITH x AS (SELECT 1 AS b FROM y) INSERT INTO t (a) SELECT b FROM x RETURNING id",
	"WITH x AS (SELECT 1 AS b), y AS (SELECT 1) INSERT INTO t (a) SELECT b FROM x RETURNING id",
	"WITH x (b) AS (SELECT 1) INSERT INTO t (a) SELECT b FROM x RETURNING id",
	"WITH x AS MATERIALIZED (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM x RETURNING id",
	"WITH RECURSIVE x AS (SELECT 1 AS b) INSERT INTO t (a) SELECT b FROM x RETURNING id",
	"WITH x AS (SELECT 1 AS cockroachdb_PIN_0) INSERT INTO t (a) SELECT cockroachdb_pin_0 FROM x RETURNING id",
}

func TestInsert_AnythingElse_IsLeftAlone(t *testing.T) {
	for _, sql := range notInserts {
		assert.Nil(t, ParseInsert(sql), sql)
	}
}

func TestInsert_Fits_IsTheAnswer(t *testing.T) {
	two := ParseInsert("INSERT INTO t (a) VALUES (1), (2) RETURNING id, A, a + 1")
	assert.True(t, two.Fits([]string{"id", "a", "?column?"}))
	assert.False(t, two.Fits([]string{"id", "b", "?column?"}))
	assert.False(t, two.Fits([]string{"id", "a"}))
	assert.True(t, ParseInsert("INSERT INTO t (a) VALUES (1) RETURNING *").Fits([]string{"x"}))
}

func TestInsert_Knows_WhichRowsAreReturned(t *testing.T) {
	two := ParseInsert("INSERT INTO t (a) VALUES (1), (2) RETURNING id")
	assert.True(t, two.Knows(2, 2))
	assert.True(t, two.Knows(1, 2), "the rest was not read")
	assert.False(t, two.Knows(2, 3))
	skips := ParseInsert("INSERT INTO t (a) VALUES (1), (2) ON CONFLICT DO NOTHING RETURNING *")
	assert.True(t, skips.Knows(2, 2))
	assert.False(t, skips.Knows(1, 2))
	assert.False(t, skips.Knows(1, 1), "which row it is nobody knows")
	upserts := ParseInsert("INSERT INTO t (a) VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET a = 3 RETURNING id, xmax = 0")
	assert.True(t, upserts.Knows(2, 2))
	assert.False(t, upserts.Knows(1, 1), "a trigger has kept one from being updated")
	one := ParseInsert("INSERT INTO t (a) VALUES (unnest($1)) RETURNING id")
	assert.False(t, one.Knows(1, 2), "it is made two")
	arrays := ParseInsert("INSERT INTO t (a) SELECT unnest($1) RETURNING id")
	assert.True(t, arrays.Knows(9, 9))
	assert.False(t, arrays.Knows(8, 9))
}

func TestInsert_Column_IsTheTablesAlone(t *testing.T) {
	in := ParseInsert("INSERT INTO t (a) VALUES (1) RETURNING t.id, a + 1 AS id, id AS a, \"I d\", (a), max(id, 1) id, current_user, old.id")
	for n, want := range []string{"id", "", "", "I d", "", "", "", ""} {
		assert.Equal(t, want, in.Column(n, "id"), n)
	}
	assert.Equal(t, "x", ParseInsert("INSERT INTO t (a) VALUES (1) RETURNING *").Column(3, "x"))
}

func TestInsert_Generates_WhatNothingElseHas(t *testing.T) {
	in := ParseInsert("INSERT INTO t (a, b, c, d, e, f) SELECT unnest($1), now(), coalesce($2, now()), CURRENT_TIMESTAMP, " +
		"nullif(nextval('s'), 1), 'now()' ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.b RETURNING b, xmax = 0")
	for column, generates := range map[string]bool{
		"id": true, "a": false, "b": false, "c": false, "d": true, "e": true, "f": false,
	} {
		assert.Equal(t, generates, in.Generates(column), column)
		assert.Equal(t, column == "e", in.Draws(column), column)
	}
	in = ParseInsert("INSERT INTO t (a, b) VALUES (DEFAULT, DEFAULT) ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.b RETURNING b, xmax = 0")
	assert.True(t, in.Generates("a"))
	assert.False(t, in.Generates("b"), "an old row would be given what was shown of it")
}

func TestMayInsert(t *testing.T) {
	for sql, want := range map[string]bool{
		"insert": true, "/* x */ INSERT INTO t": true, "WITH x AS (SELECT 1) INSERT INTO t": true,
		"WITH x AS (SELECT 1) SELECT 1": false, "SELECT 'insert'": false, "": false, "'insert'": false,
	} {
		assert.Equal(t, want, MayInsert(sql), sql)
	}
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
