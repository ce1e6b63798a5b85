package prepare_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// These tests change what a text means after one connection has learnt it, and run it on another connection of the
// connector that has not: it must fare as a new connection of pgx's does.

// A drift is a change of what a text means.
type drift struct {
	name          string
	made, changed []string
	text          string
	before, after []any // the arguments
}

// noon is in a time zone of its own: a timestamp has the digits of its clock, a timestamptz its instant.
var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.FixedZone("five", 5*60*60))

const (
	insertV = "INSERT INTO t VALUES ($1) RETURNING v"
	selectV = "SELECT v FROM t WHERE k = $1"
	everyV  = "SELECT * FROM t WHERE k = $1"
)

func retype(from, to, using string) (made, changed []string) {
	return []string{"CREATE TABLE t (v " + from + ")"},
		[]string{"ALTER TABLE t ALTER COLUMN v TYPE " + to + " USING " + using}
}

func retypedRow(from, value, to, using string) (made, changed []string) {
	_, changed = retype(from, to, using)
	return []string{"CREATE TABLE t (k INT, v " + from + ")", "INSERT INTO t VALUES (1, " + value + ")"}, changed
}

func drifts() []drift {
	var all []drift
	add := func(name, text string, before, after any) func(made, changed []string) {
		return func(made, changed []string) {
			all = append(all, drift{name, made, changed, text, []any{before}, []any{after}})
		}
	}
	// The bytes of the argument would be valid ones of the new type, or be cast to it without a word.
	add("timestamp to timestamptz", insertV, noon, noon)(retype("TIMESTAMP", "TIMESTAMPTZ", "v"))
	add("timestamptz to timestamp", insertV, noon, noon)(retype("TIMESTAMPTZ", "TIMESTAMP", "v"))
	add("bigint to float", insertV, 5, 5)(retype("BIGINT", "FLOAT8", "v"))
	add("uuid to text", insertV, "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8")(
		retype("UUID", "TEXT", "v::text"))
	// The server refuses the type, or the argument does not fit it.
	add("int to text", insertV, "5", "5")(retype("INT", "TEXT", "v::text"))
	add("int to text, an argument that fits no more", insertV, 5, 5)(retype("INT", "TEXT", "v::text"))
	add("int to text, an argument that fits now", insertV, "5", "x")(retype("INT", "TEXT", "v::text"))
	add("text to jsonb", insertV, `{"a":1}`, `{"a":1}`)(retype("TEXT", "JSONB", "v::jsonb"))
	add("int to bigint, too large", insertV, 5, 3_000_000_000)(retype("INT4", "BIGINT", "v"))
	// The columns of the answer.
	add("column int to numeric", selectV, 1, 1)(retypedRow("INT", "7", "NUMERIC(10,2)", "v"))
	add("column text to bytea", selectV, 1, 1)(retypedRow("TEXT", "'ab'", "BYTEA", "v::bytea"))
	add("column bool to text", selectV, 1, 1)(retypedRow("BOOL", "true", "TEXT", "v::text"))
	add("column timestamptz to interval", selectV, 1, 1)(retypedRow("TIMESTAMPTZ", "'2026-11-29'", "INTERVAL", "'1 day'"))
	add("column varchar", selectV, 1, 1)(retypedRow("VARCHAR(5)", "'ab'", "VARCHAR(9)", "v"))
	row := []string{"CREATE TABLE t (k INT, v INT)", "INSERT INTO t VALUES (1, 7)"}
	add("column added", everyV, 1, 1)(row, []string{"ALTER TABLE t ADD COLUMN w INT DEFAULT 3"})
	add("column dropped", everyV, 1, 1)(row, []string{"ALTER TABLE t DROP COLUMN v"})
	add("column renamed", everyV, 1, 1)(row, []string{"ALTER TABLE t RENAME COLUMN v TO w"})
	add("table dropped", everyV, 1, 1)(row, []string{"DROP TABLE t"})
	return all
}

// told is what a query tells the application: columns, their types, and the rows, or an error.
func told(rows *sql.Rows, err error) string {
	if err != nil {
		return "error " + kit.StateOf(err)
	}
	defer rows.Close()
	types, _ := rows.ColumnTypes()
	var b strings.Builder
	for _, c := range types {
		fmt.Fprintf(&b, "%s %s, ", c.Name(), c.DatabaseTypeName())
	}
	dest := make([]any, len(types))
	for i := range dest {
		dest[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return kit.Describe(err)
		}
		for _, d := range dest {
			v := *d.(*any)
			if at, ok := v.(time.Time); ok {
				v = at.UTC().String()
			}
			fmt.Fprintf(&b, "%T %v, ", v, v)
		}
	}
	return b.String() + kit.Describe(rows.Err())
}

// driftWays are ways to run a text on a connection.
var driftWays = []struct {
	name string
	run  func(t *testing.T, conn *sql.Conn, text string, args []any) string
}{
	{"alone", func(t *testing.T, conn *sql.Conn, text string, args []any) string {
		return told(conn.QueryContext(t.Context(), text, args...))
	}},
	{"first in a transaction", func(t *testing.T, conn *sql.Conn, text string, args []any) string {
		return inATx(t, conn, func(tx *sql.Tx) string { return told(tx.QueryContext(t.Context(), text, args...)) })
	}},
	{"a Stmt alone", func(t *testing.T, conn *sql.Conn, text string, args []any) string {
		return toldByStmt(t, conn, text, args)
	}},
	{"second in a transaction", func(t *testing.T, conn *sql.Conn, text string, args []any) string {
		return inATx(t, conn, func(tx *sql.Tx) string {
			assert.EqualValues(t, 1, kit.Scan[int](t, tx, "SELECT 1::INT8"))
			return told(tx.QueryContext(t.Context(), text, args...))
		})
	}},
	{"a Stmt in a transaction", func(t *testing.T, conn *sql.Conn, text string, args []any) string {
		return inATx(t, conn, func(tx *sql.Tx) string { return toldByStmt(t, tx, text, args) })
	}},
}

func toldByStmt(t *testing.T, q kit.Querier, text string, args []any) string {
	stmt, err := q.PrepareContext(t.Context(), text)
	if err != nil {
		return "error " + kit.StateOf(err)
	}
	defer stmt.Close()
	return told(stmt.QueryContext(t.Context(), args...))
}

func inATx(t *testing.T, conn *sql.Conn, run func(*sql.Tx) string) string {
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	says := run(tx)
	if err := tx.Commit(); err != nil {
		require.ErrorIs(t, err, pgx.ErrTxCommitRollback) // it had failed
	}
	return says
}

// Each drift has its turn with three of the ways, each with both servers and modes.
func TestDrift_OnAConnectionThatDoesNotKnowTheText_IsUnseen(t *testing.T) {
	t.Parallel()
	servers := []string{enginetest.NewDB(t), enginetest.NewDirectDB(t)}
	for i, d := range drifts() {
		for j, way := range driftWays {
			if (i+j)%len(driftWays) > 2 {
				continue
			}
			dsn, mode := servers[(i+j)%2], preparingModes[(i+j)/2%2]
			t.Run(strings.Join([]string{d.name, way.name, mode}, "/"), func(t *testing.T) {
				t.Parallel()
				schema := fmt.Sprintf("drift_%d_%d", i, j)
				own := kit.WithParams(dsn, "search_path="+schema+"&default_query_exec_mode=")
				mine := kit.OpenBy(t, "cockroachdb", own+mode)
				theirs := kit.OpenBy(t, "pgx", own+"describe_exec") // it keeps nothing
				theirs.SetMaxOpenConns(1)
				require.NoError(t, kit.ExecAll(theirs, append([]string{"CREATE SCHEMA " + schema}, d.made...)...))
				one, other := kit.Conn(t, mine), kit.Conn(t, mine)
				learnt := way.run(t, one, d.text, d.before)
				require.True(t, strings.HasSuffix(learnt, "ok"), learnt)
				require.NoError(t, kit.ExecAll(theirs, d.changed...))
				want := told(theirs.QueryContext(t.Context(), d.text, d.after...))
				assert.Equal(t, want, way.run(t, other, d.text, d.after))
				assert.Equal(t, want, way.run(t, other, d.text, d.after), "again, with what was learnt")
				assert.Equal(t, want, way.run(t, kit.Conn(t, mine), d.text, d.after), "on one more connection")
			})
		}
	}
}

var preparingModes = []string{"cache_statement", "cache_describe"}

// Sessions on which a text means something else share nothing, if the driver can know that, and are right in any case.
func TestShared_SessionsThatReadATextOtherwise_AreRight(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		visit   func(i int) string // what the i-th connection is told
		hidden  bool               // from the driver
		retries int64
	}{
		"search_path":                {func(i int) string { return fmt.Sprint("SET search_path = way_", i) }, false, 0},
		"role":                       {func(i int) string { return fmt.Sprint("SET ROLE way_", i) }, false, 0},
		"search_path, by pgx itself": {func(i int) string { return fmt.Sprint("SET search_path = way_", i) }, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := enginetest.NewDirectDB(t)
			admin := kit.Open(t, dsn)
			suffix := strings.NewReplacer(" ", "", ",", "", "_", "").Replace(name) // roles belong to all databases
			own := strings.NewReplacer("way_", "way"+suffix)
			for i, columns := range []string{"v INT8", "v TIMESTAMPTZ"} {
				require.NoError(t, kit.ExecAll(admin, own.Replace(fmt.Sprintf("CREATE ROLE way_%d", i)),
					own.Replace(fmt.Sprintf("CREATE SCHEMA way_%d AUTHORIZATION way_%d", i, i)),
					own.Replace(fmt.Sprintf("CREATE TABLE way_%d.t (%s)", i, columns)),
					own.Replace(fmt.Sprintf("ALTER TABLE way_%d.t OWNER TO way_%d", i, i))))
			}
			t.Cleanup(func() {
				for i := range 2 {
					role := own.Replace(fmt.Sprint("way_", i))
					_ = kit.ExecAll(admin, "DROP OWNED BY "+role, "DROP ROLE "+role)
				}
			})
			var retries, made atomic.Int64
			db := kit.Open(t, dsn, func(cfg *cockroachdb.Config) {
				cfg.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) {
					assert.Equal(t, cockroachdb.ReasonStalePlan, e.Reason)
					retries.Add(1)
				}
				if tc.hidden {
					cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
						_, err := conn.Exec(ctx, own.Replace(tc.visit(int(made.Add(1))-1)))
						return err
					}
				}
			})
			for i, v := range []any{int64(5), noon} {
				conn := kit.Conn(t, db)
				if !tc.hidden {
					_, err := conn.ExecContext(t.Context(), own.Replace(tc.visit(i)))
					require.NoError(t, err)
				}
				says := inATx(t, conn, func(tx *sql.Tx) string { return told(tx.QueryContext(t.Context(), insertV, v)) })
				assert.True(t, strings.HasSuffix(says, "ok"), says)
			}
			assert.Equal(t, tc.retries, retries.Load())
			assert.Equal(t, 5, kit.Scan[int](t, admin, own.Replace("SELECT v FROM way_0.t")))
			assert.True(t, noon.Equal(kit.Scan[time.Time](t, admin, own.Replace("SELECT v FROM way_1.t"))))
		})
	}
}
