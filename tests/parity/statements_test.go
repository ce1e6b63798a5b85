package parity_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

var parityCases = []parityCase{
	execCase("insert", "INSERT INTO parity VALUES ($1, $2, $3)", 3, "three", "3.25"),
	execCase("insert without arguments", "INSERT INTO parity VALUES (3, 'three', 3.25)"),
	execCase("update of two rows", "UPDATE parity SET name = $1", "x"),
	execCase("update of no row", "UPDATE parity SET name = $1 WHERE id = $2", "x", 77),
	execCase("exec of a select", "SELECT * FROM parity"),
	execCase("exec of a select with arguments", "SELECT * FROM parity WHERE id > $1", 0),
	execCase("exec that returns", "INSERT INTO parity VALUES ($1, $2) RETURNING id", 3, "three"),
	execCase("DDL", "CREATE TABLE IF NOT EXISTS parity_other (id INT)"),
	execCase("SET", "SET application_name = 'parity'"),
	execCase("several statements", "UPDATE parity SET name = 'a' WHERE id = 1; UPDATE parity SET name = 'b'"),
	execCase("several statements, the last fails", "UPDATE parity SET name = 'a' WHERE id = 1; SELECT nothing"),
	execCase("several statements with arguments", "UPDATE parity SET name = $1; UPDATE parity SET name = $1", "x"),
	execCase("a semicolon at the end", "UPDATE parity SET name = 'a';"),
	execCase("empty exec", ""),
	execCase("semicolon exec", ";"),
	execCase("comment exec", "-- nothing"),
	queryCase("empty query", ""),
	queryCase("comment query", "-- nothing"),
	queryCase("comment query with an argument", "/* nothing */", 1),
	queryCase("empty query with an argument", "", 1),
	queryCase("several statements queried", "SELECT 1; SELECT 2"),
	queryCase("query of an update", "UPDATE parity SET name = $1", "x"),
	queryCase("returning", "UPDATE parity SET name = $1 WHERE id = 1 RETURNING id, name", "x"),
	queryCase("no rows", "SELECT id, name FROM parity WHERE id > $1", 100),
	queryCase("no columns", "SELECT FROM parity"),
	queryCase("same name twice", "SELECT 1 AS a, 2 AS a"),

	queryCase("syntax error", "SELEC 1"),
	queryCase("syntax error with an argument", "SELEC $1", 1),
	execCase("syntax error in exec", "SELEC 1"),
	execCase("syntax error in exec with an argument", "SELEC $1", 1),
	queryCase("unknown table", "SELECT * FROM nowhere"),
	execCase("unknown table in exec", "DELETE FROM nowhere WHERE id = $1", 1),
	queryCase("unknown column", "SELECT nothing FROM parity WHERE id = $1", 1),
	execCase("unique violation", "INSERT INTO parity VALUES ($1, $2)", 1, "again"),
	queryCase("unique violation, returning", "INSERT INTO parity VALUES ($1, $2) RETURNING id", 1, "again"),
	execCase("not null violation", "INSERT INTO parity VALUES ($1, $2)", 3, nil),
	execCase("too long", "INSERT INTO parity VALUES ($1, $2)", 3, "a name of more than twenty characters"),
	execCase("out of range", "INSERT INTO parity (id, name) VALUES ($1, 'x')", int64(1)<<40),
	queryCase("division by zero", "SELECT 1 / $1::int", 0),
	queryCase("division by zero after rows", "SELECT 10 / (3 - g) FROM generate_series(0, 5) g"),
	queryCase("division by zero after many rows", "SELECT 10 / (5000 - g), repeat('x', 100) FROM generate_series(4990, 5005) g WHERE g > $1", 0),
	execCase("division by zero in exec", "SELECT 10 / (3 - g) FROM generate_series(0, 5) g"),
	queryCase("too few arguments", "SELECT $1::int, $2::int", 1),
	queryCase("too many arguments", "SELECT $1::int", 1, 2),
	execCase("too few arguments in exec", "UPDATE parity SET name = $1 WHERE id = $2", "x"),
	execCase("too many arguments in exec", "UPDATE parity SET name = $1", "x", 2),
	execCase("no arguments in exec", "UPDATE parity SET name = $1"),
	queryCase("no arguments", "SELECT $1::int"),
	queryCase("arguments for nothing", "SELECT 1", 2),
	queryCase("a word for a number", "SELECT $1::int", "word"),
	queryCase("a struct for a number", "SELECT $1::int", unencodable{}),
	execCase("a struct for a number in exec", "UPDATE parity SET id = $1", unencodable{}),
	queryCase("a type that can't be told", "SELECT $1", 1),

	queryCase("named arguments", "SELECT @a::int, @b::text, @a::int", pgx.NamedArgs{"a": 1, "b": "x"}),
	execCase("named arguments in exec", "UPDATE parity SET name = @n", pgx.NamedArgs{"n": "x"}),
	queryCase("strict named arguments", "SELECT @a::int", pgx.StrictNamedArgs{"b": 1}),
	queryCase("bad rewriter", "SELECT 1", pgx.StrictNamedArgs{"unused": 1}),
	execCase("bad rewriter in exec", "SELECT 1", pgx.StrictNamedArgs{"unused": 1}),
	queryCase("simple protocol by argument", "SELECT $1::int, 'it''s'", pgx.QueryExecModeSimpleProtocol, 1),
	queryCase("exec mode by argument", "SELECT $1::int", pgx.QueryExecModeExec, 1),
	queryCase("describe mode by argument", "SELECT $1::int", pgx.QueryExecModeDescribeExec, 1),
	execCase("mode by argument in exec", "UPDATE parity SET name = $1", pgx.QueryExecModeCacheDescribe, "x"),
	execCase("mode alone by argument in exec", "UPDATE parity SET name = 'y'", pgx.QueryExecModeSimpleProtocol),
	queryCase("no such mode", "SELECT 1", pgx.QueryExecMode(77)),
	execCase("no such mode in exec", "SELECT $1", pgx.QueryExecMode(77), 1),
	queryCase("text by OID", "SELECT 1::int4, 2::int8", pgx.QueryResultFormatsByOID{pgtype.Int4OID: pgx.TextFormatCode}),
	queryCase(
		"binary by OID", "SELECT 1::numeric, 2::int8", pgx.QueryResultFormatsByOID{pgtype.NumericOID: pgx.BinaryFormatCode},
	),
	queryCase(
		"formats by column", "SELECT 1::int4, 2::int4", pgx.QueryResultFormats{pgx.TextFormatCode, pgx.BinaryFormatCode},
	),
	queryCase(
		"mode and formats", "SELECT $1::int4", pgx.QueryExecModeDescribeExec,
		pgx.QueryResultFormatsByOID{pgtype.Int4OID: pgx.TextFormatCode}, 1,
	),
	queryCase("formats and named arguments", "SELECT @a::int4", pgx.QueryResultFormatsByOID{}, pgx.NamedArgs{"a": 1}),
	execCase("formats in exec", "SELECT $1::int4", pgx.QueryResultFormatsByOID{}, 1),
	queryCase("a mode that comes too late", "SELECT $1::int, $2::int", 1, pgx.QueryExecModeExec),
	queryCase("sql.Named", "SELECT $1::int", sql.Named("a", 1)),

	{"stmt", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		stmt, err := q.PrepareContext(ctx, "UPDATE parity SET name = $1 WHERE id = $2")
		say("prepare: %s", kit.Describe(err))
		for _, args := range [][]any{{"x", 1}, {"y", 1}, {"z", 77}, {1}, {"x", "word"}} {
			res, err := stmt.ExecContext(ctx, args...)
			if err != nil {
				say("exec: %s", kit.Describe(err))
				continue
			}
			n, err := res.RowsAffected()
			say("affected %d %s", n, kit.Describe(err))
		}
		say("close: %s", kit.Describe(stmt.Close()))
		_, err = stmt.ExecContext(ctx, "x", 1)
		say("closed: %s", kit.Describe(err))
	}},
	{"stmt that queries", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		stmt, err := q.PrepareContext(ctx, "SELECT id, name FROM parity WHERE id >= $1 ORDER BY id")
		say("prepare: %s", kit.Describe(err))
		defer stmt.Close()
		for range 2 {
			rows, err := stmt.QueryContext(ctx, 1)
			say("query: %s", kit.Describe(err))
			for rows.Next() {
				var id int
				var name string
				say("%s %d %s", kit.Describe(rows.Scan(&id, &name)), id, name)
			}
			say("%s %s", kit.Describe(rows.Err()), kit.Describe(rows.Close()))
		}
		var id, name any
		say("row: %s", kit.Describe(stmt.QueryRowContext(ctx, 77).Scan(&id, &name)))
	}},
	{"prepare that fails", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		_, err := q.PrepareContext(ctx, "SELECT * FROM nowhere")
		say("%s", kit.Describe(err))
	}},
	{"prepare with a rewriter", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		stmt, err := q.PrepareContext(ctx, "SELECT $1::int")
		say("%s", kit.Describe(err))
		defer stmt.Close()
		var n int
		say("%s", kit.Describe(stmt.QueryRowContext(ctx, pgx.NamedArgs{"a": 1}).Scan(&n)))
	}},
	{"a row that is not there", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		var n int
		say("%s", kit.Describe(q.QueryRowContext(ctx, "SELECT id FROM parity WHERE id = $1", 77).Scan(&n)))
	}},
	{"early close", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		rows, err := q.QueryContext(ctx, "SELECT g, repeat('x', 1000) FROM generate_series(1, 1000) g")
		say("%s, next %t", kit.Describe(err), rows.Next())
		say("close %s, err %s, next %t", kit.Describe(rows.Close()), kit.Describe(rows.Err()), rows.Next())
	}},
	{"early close before an error", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		rows, err := q.QueryContext(ctx, "SELECT 10 / (5000 - g), repeat('x', 100) FROM generate_series(1, 5005) g")
		say("%s, next %t", kit.Describe(err), rows.Next())
		say("close %s, err %s, next %t", kit.Describe(rows.Close()), kit.Describe(rows.Err()), rows.Next())
	}},
	{"unread rows before an error", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		rows, err := q.QueryContext(ctx, "SELECT 10 / (3 - g) FROM generate_series(1, 5) g")
		say("%s", kit.Describe(err))
		say("close %s, err %s", kit.Describe(rows.Close()), kit.Describe(rows.Err()))
	}},
	{"rows still open", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		if _, ok := q.(*sql.Tx); !ok {
			return // it would get another connection
		}
		rows, err := q.QueryContext(ctx, "SELECT g FROM generate_series(1, 1000) g")
		say("%s, next %t", kit.Describe(err), rows.Next())
		_, err = q.ExecContext(ctx, "UPDATE parity SET name = $1", "x")
		say("%s", kit.Describe(err))
		_, err = q.QueryContext(ctx, "SELECT 1") // there are no rows
		say("%s", kit.Describe(err))
		_, err = q.PrepareContext(ctx, "SELECT 1")
		say("%s", kit.Describe(err))
		say("next %t, close %s", rows.Next(), kit.Describe(rows.Close()))
	}},
	{"scan into nothing", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		var none *int
		for _, dest := range []any{nil, 7, none, refusing{}, struct{}{}} {
			say("%T: %s", dest, kit.Describe(q.QueryRowContext(ctx, "SELECT 1 AS n").Scan(dest)))
		}
	}},
	{"next result set", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		rows, err := q.QueryContext(ctx, "SELECT 1")
		say("%s, more sets: %t", kit.Describe(err), rows.NextResultSet())
		say("%s", kit.Describe(rows.Close()))
	}},
	{"context done before", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		done, cancel := context.WithCancel(ctx)
		cancel()
		_, err := q.ExecContext(done, "UPDATE parity SET name = $1", "x")
		say("exec: %s", kit.Describe(err))
		_, err = q.QueryContext(done, "SELECT 1") // there are no rows
		say("query: %s", kit.Describe(err))
		_, err = q.PrepareContext(done, "SELECT 1")
		say("prepare: %s", kit.Describe(err))
	}},
	{"context done during exec", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		say("%s", kit.Describe(endsMeanwhile(ctx, func(soon context.Context) error {
			_, err := q.ExecContext(soon, "SELECT pg_sleep($1)", 60)
			return err
		})))
	}},
	{"context done during query", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		say("%s", kit.Describe(endsMeanwhile(ctx, func(soon context.Context) error {
			_, err := q.QueryContext(soon, "SELECT 1 FROM pg_sleep($1)", 60) // there are no rows
			return err
		})))
	}},
	{"context cancelled between rows", func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		mine, cancel := context.WithCancel(ctx)
		// It can't come to its end before it is cancelled, however busy the machine is.
		rows, err := q.QueryContext(mine, "SELECT g, repeat('x', 10000), pg_sleep(CASE WHEN g < 500 THEN 0 ELSE 60 END)::TEXT FROM generate_series(1, 1000) g")
		say("%s, next %t", kit.Describe(err), rows.Next())
		cancel()
		for rows.Next() {
		}
		say("%s", kit.Describe(rows.Err()))
		_ = rows.Close()
	}},
}

// endsMeanwhile gives do a context that ends while the server is at work, and a longer one where nothing had been sent
// yet.
func endsMeanwhile(ctx context.Context, do func(context.Context) error) error {
	for patience := 20 * time.Millisecond; ; patience *= 4 {
		soon, cancel := context.WithTimeout(ctx, patience)
		err := do(soon)
		cancel()
		tooSoon := err == context.DeadlineExceeded || //nolint:errorlint // wrapped it is pgconn's, of what was sent
			strings.Contains(kit.Describe(err), "context already done")
		if !tooSoon || patience > 10*time.Second {
			return err
		}
	}
}

// unencodable is an argument that pgx can't send.
type unencodable struct{ C chan int }

// refusing is a sql.Scanner that wants nothing.
type refusing struct{}

func (refusing) Scan(any) error { return errors.New("not that") }
