package parity_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A parityCase does something with a driver and says what came of it, one line at a time.
type parityCase struct {
	name string
	run  func(ctx context.Context, q kit.Querier, say func(format string, args ...any))
}

// runSafely is run for drivers that panic.
func (sc parityCase) runSafely(ctx context.Context, q kit.Querier, say func(string, ...any)) {
	defer func() {
		if p := recover(); p != nil {
			say("panic: %v", p)
		}
	}()
	sc.run(ctx, q, say)
}

// A difference from pgx's stdlib that is meant to be. The patterns match the whole line.
type difference struct {
	where      string // matches "parityCase, mode, outside" or "parityCase, mode, inside"
	pgx, ours  string
	why        string
	readme     string // how docs/pgx.md has it
	seenOnce   sync.Once
	seen       atomic.Bool // the tests that share the list run in parallel
	rWhere     *regexp.Regexp
	rPgx, rOur *regexp.Regexp
}

// parityDifferences is the whole list. Each of them must occur.
var parityDifferences = []*difference{
	{
		where: ".*",
		pgx:   `(.*)\*pgconn\.PrepareError: (.*)`, ours: `(.*)\*pgconn\.PgError: (.*)`,
		why:    "a failed Prepare is the bare *pgconn.PgError, as every error of a statement: ORMs assert its type",
		readme: "A statement that fails while it is being prepared gives the bare `*pgconn.PgError`",
	},
	{
		where:  ".*, simple_protocol, .*|empty query with an argument, .*",
		pgx:    `(query|exec): \*errors.errorString: (?:unused argument: \d|insufficient arguments)`,
		ours:   `(query|exec): \*errors.errorString: cockroachdb: (?:argument \$\d is not used by the statement|no argument for parameter \$\d: there are \d arguments)`,
		why:    "texts that say which argument, counted as in SQL",
		readme: "An argument too few or too many is an error that says which one, counted as in SQL.",
	},
	{
		where:  ".*",
		pgx:    `(.*: )\*fmt\.wrapError: (?:failed to encode args\[\d\]: )?unable to encode .*`,
		ours:   `(.*: )\*cockroachdb\.quietError: cockroachdb: argument \$\d, a .*, can't be encoded as .*`,
		why:    "pgx's text quotes the argument, which may be a secret",
		readme: "An argument that can't be encoded is an error that names its number and its types. pgx's quotes the argument.",
	},
	{
		where: "no arguments in exec, .*, inside",
		pgx:   `exec: (\*pgconn.PgError: ERROR: ).*42P02\)`, ours: `exec: (\*pgconn.PgError: ERROR: ).*08P01\)`,
		why:    "an Exec without arguments goes by the extended protocol inside a transaction, where it shares a round trip",
		readme: "An `Exec` without arguments goes by the extended protocol inside a transaction",
	},
	{
		where:  "context .*, inside",
		pgx:    "(the transaction afterwards): .*: driver: bad connection",
		ours:   "(the transaction afterwards): .*: (?:timeout: context deadline exceeded|context canceled)",
		why:    "the transaction is lost with its connection, and goes on saying why; another connection could not help",
		readme: "A transaction whose statement was cut off by its context is lost with its connection; what follows in it, and `Commit`, say so.",
	},
	{
		where:  "context .*, inside",
		pgx:    "(the commit): .*: (?:failed to deallocate cached statement\\(s\\): )?conn closed",
		ours:   "(the commit): .*: (?:timeout: context deadline exceeded|context canceled)",
		why:    "as above",
		readme: "A transaction whose statement was cut off by its context is lost with its connection; what follows in it, and `Commit`, say so.",
	},
	{
		where:  "rows still open, .*, inside",
		pgx:    ".*: (?:driver: bad connection|conn busy)",
		ours:   ".*: cockroachdb: the rows of an earlier query are still open on this connection.*",
		why:    "another connection could not help; what is wrong is said",
		readme: "A second statement while rows are still open on the connection is a clear error, and the transaction goes on.",
	},
	{
		where: "rows still open, .*, inside",
		pgx:   "next false, close ok|the .*", ours: "next true, close ok|the transaction afterwards: ok|the commit: ok|the same connection afterwards: true|the table afterwards: .*",
		why:    "and nothing is lost, where pgx's stdlib loses the transaction",
		readme: "A second statement while rows are still open on the connection is a clear error, and the transaction goes on.",
	},
	{
		where:  "NUL(?: in exec)?, simple_protocol, .*",
		pgx:    `(query|exec): \*pgconn.PgError: ERROR: unterminated quoted string.*`,
		ours:   `(query|exec): \*errors.errorString: cockroachdb: argument \$1 holds a NUL character.*`,
		why:    "CockroachDB ignores what follows a NUL in a statement's text: that must not be sent",
		readme: "a NUL character in an argument",
	},
	{
		where:  "NUL(?: in exec)?, simple_protocol, inside",
		pgx:    "(the transaction afterwards: ).*25P02.*|(the commit: ).*commit unexpectedly.*|(the table afterwards: ).*",
		ours:   "(the transaction afterwards: )ok|(the commit: )ok|(the table afterwards: ).*",
		why:    "as above",
		readme: "a NUL character in an argument",
	},
}

func (d *difference) match(where, pgxSays, weSay string) bool {
	d.seenOnce.Do(func() {
		d.rWhere = regexp.MustCompile("^(?:" + d.where + ")$")
		d.rPgx = regexp.MustCompile("(?s)^(?:" + d.pgx + ")$")
		d.rOur = regexp.MustCompile("(?s)^(?:" + d.ours + ")$")
	})
	if !d.rWhere.MatchString(where) {
		return false
	}
	theirs, ours := d.rPgx.FindStringSubmatch(pgxSays), d.rOur.FindStringSubmatch(weSay)
	if theirs == nil || ours == nil || !slices.Equal(theirs[1:], ours[1:]) { // what is in groups is the same
		return false
	}
	d.seen.Store(true)
	return true
}

// TestParity_OfOperations_WithPgx runs the same operations through pgx's own driver and through this one, in all query
// modes, outside and inside of transactions. What an application sees must be the same but for the list above.
func TestParity_OfOperations_WithPgx(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDB(t)
	admin := kit.Open(t, dsn)
	kit.Exec(t, admin, "CREATE TYPE mood AS ENUM ('sad', 'happy')")
	kit.Exec(t, admin, "CREATE DOMAIN small AS INT CHECK (VALUE < 10)")
	kit.Exec(t, admin, "CREATE TYPE pair AS (a INT, b TEXT)")
	kit.Exec(t, admin, "CREATE TABLE parity (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL, amount NUMERIC(10, 2))")
	cases := slices.Concat(parityCases, valueCases())
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) { // one after the other: they share a table
			drivers := map[string]*sql.DB{}
			for _, name := range []string{"pgx", "cockroachdb"} {
				db := kit.OpenBy(t, name, kit.WithParams(dsn, "default_query_exec_mode="+mode))
				db.SetMaxOpenConns(1)
				drivers[name] = db
			}
			for _, sc := range cases {
				for _, inside := range []bool{false, true} {
					where := fmt.Sprintf("%s, %s, %s", sc.name, mode, map[bool]string{false: "outside", true: "inside"}[inside])
					theirs := runUndisturbed(t, admin, drivers["pgx"], sc, inside)
					ours := runUndisturbed(t, admin, drivers["cockroachdb"], sc, inside)
					compareTranscripts(t, where, theirs, ours)
				}
			}
		})
	}
	readme, err := os.ReadFile("../../docs/pgx.md")
	require.NoError(t, err)
	for _, d := range parityDifferences {
		assert.True(t, d.seen.Load(), "not a difference any more: %s: %s: %s", d.where, d.ours, d.why)
		assert.Contains(t, string(readme), d.readme)
	}
}

func compareTranscripts(t *testing.T, where string, theirs, ours []string) {
	t.Helper()
	for i := range max(len(theirs), len(ours)) {
		a, b := lineAt(theirs, i), lineAt(ours, i)
		if a != b && !slices.ContainsFunc(parityDifferences, func(d *difference) bool { return d.match(where, a, b) }) {
			t.Errorf("%s, line %d:\n  pgx:  %s\n  ours: %s", where, i+1, a, b)
		}
	}
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// runUndisturbed runs a parityCase again if it was disturbed: by a connection that an earlier parityCase has given
// up, and whose transaction the server has not.
func runUndisturbed(t *testing.T, admin, db *sql.DB, sc parityCase, inside bool) []string {
	t.Helper()
	for {
		kit.Exec(t, admin, "DELETE FROM parity")
		kit.Exec(t, admin, "INSERT INTO parity VALUES (1, 'one', 1.50), (2, 'two', NULL)")
		transcript := runCase(t, db, sc, inside)
		if !slices.ContainsFunc(transcript, func(line string) bool { return strings.Contains(line, "SQLSTATE 40001") }) {
			return transcript
		}
		t.Logf("%s was disturbed", sc.name)
	}
}

// runCase runs a parityCase, and looks what it has left of the transaction and of the connection.
func runCase(t *testing.T, db *sql.DB, sc parityCase, inside bool) (transcript []string) {
	t.Helper()
	before := parityConn(t, db)
	say := transcribe(&transcript)
	if inside {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		sc.runSafely(t.Context(), tx, say)
		_, err = tx.ExecContext(t.Context(), "UPDATE parity SET name = 'new' WHERE id = 1")
		say("the transaction afterwards: %s", kit.Describe(err))
		say("the commit: %s", kit.Describe(tx.Commit()))
	} else {
		sc.runSafely(t.Context(), db, say)
	}
	say("the same connection afterwards: %t", before == parityConn(t, db))
	say("the table afterwards: %v", parityTable(t, db))
	return transcript
}

func transcribe(transcript *[]string) func(string, ...any) {
	return func(format string, args ...any) { *transcript = append(*transcript, fmt.Sprintf(format, args...)) }
}

func parityPID(t *testing.T, db *sql.DB) (pid int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	return pid
}

// parityConn is the driver's connection in a pool of one, after it has been tried out. A new one may have the process
// of an old one.
func parityConn(t *testing.T, db *sql.DB) (dc any) {
	t.Helper()
	parityPID(t, db)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Raw(func(c any) error {
		dc = c
		return nil
	}))
	return dc
}

func parityTable(t *testing.T, db *sql.DB) (rows []string) {
	t.Helper()
	rs, err := db.QueryContext(t.Context(), "SELECT id, name, amount FROM parity ORDER BY id")
	if err != nil {
		return []string{kit.Describe(err)}
	}
	defer rs.Close()
	for rs.Next() {
		var id, name, amount any
		require.NoError(t, rs.Scan(&id, &name, &amount))
		rows = append(rows, fmt.Sprint(id, name, amount))
	}
	require.NoError(t, rs.Err())
	return rows
}

// sayRows reads all rows of a query into any.
func sayRows(ctx context.Context, q kit.Querier, say func(string, ...any), query string, args ...any) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		say("query: %s", kit.Describe(err))
		return
	}
	defer rows.Close()
	columns, err := rows.Columns()
	say("columns %q %s", columns, kit.Describe(err))
	for rows.Next() {
		values := make([]any, len(columns))
		dest := make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			say("scan: %s", kit.Describe(err))
			break
		}
		say("row %#v", values)
	}
	say("rows: %s, close: %s", kit.Describe(rows.Err()), kit.Describe(rows.Close()))
}

func sayExec(ctx context.Context, q kit.Querier, say func(string, ...any), query string, args ...any) {
	res, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		say("exec: %s", kit.Describe(err))
		return
	}
	n, err := res.RowsAffected()
	say("affected %d %s", n, kit.Describe(err))
	id, err := res.LastInsertId()
	say("last insert id %d %s", id, kit.Describe(err))
}

// execCase and queryCase are cases of one statement.
func execCase(name, query string, args ...any) parityCase {
	return parityCase{name, func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		sayExec(ctx, q, say, query, args...)
	}}
}

func queryCase(name, query string, args ...any) parityCase {
	return parityCase{name, func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
		sayRows(ctx, q, say, query, args...)
	}}
}
