package replay_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// looked is what an application does with "SELECT v" before another statement of its transaction loses. What it returns
// is called after the replay.
type looked func(*testing.T, *sql.Tx) (afterwards func(*testing.T))

const selectV = "SELECT v"

// TestReplay_ResultsAsTheyWereLeft_AreVerified: whatever calls have been made, in whatever order, what the application
// can't be served from the new attempt any more is compared with it, and what it can be is not.
func TestReplay_ResultsAsTheyWereLeft_AreVerified(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		for _, c := range leftResults {
			if c.columns && mode == "cache_statement" {
				continue // the server refuses to run what it has prepared
			}
			t.Run(mode+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				replies := []fakepg.Reply{c.before, c.after}
				if c.twice {
					replies = []fakepg.Reply{c.before, c.before, c.after}
				}
				st := kit.New(t, kit.Script{
					selectV: kit.Always(replies...), "UPDATE other": {kit.Conflict, kit.OK},
				}, "default_query_exec_mode="+mode)
				tx := st.Begin(t)
				afterwards := c.look(t, tx)
				_, err := tx.ExecContext(t.Context(), "UPDATE other")
				if !c.diverges {
					require.NoError(t, err)
					afterwards(t)
					require.NoError(t, tx.Commit())
					assert.Equal(t, 2, st.Times("UPDATE other"))
					return
				}
				kit.As[*cockroachdb.DivergenceError](t, err)
				kit.WantConflict(t, err)
				afterwards(t)
				require.Error(t, tx.Commit())
				assert.NotContains(t, st.Sent(), kit.Release)
				st.WantKept(t)
			})
		}
	}
}

// On data: the application sees the end after the replay, in which there was a row.
func TestReplay_EmptyResultOpenOnData_Diverges(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	rows := kit.Query(t, tx, "SELECT v FROM kv WHERE k = 7")
	err := a.Provoke(t, tx, "INSERT INTO kv VALUES (7, 70)")
	assert.Equal(t, cockroachdb.DivergedEndOfRows, kit.As[*cockroachdb.DivergenceError](t, err).Kind)
	assert.Empty(t, rows.MustRest())
	a.WantEnded(t, tx)
}

var (
	intColumn     = fakepg.Reply{Columns: []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}}, Values: [][]any{}}
	renamedColumn = fakepg.Reply{Columns: []fakepg.Column{{Name: "w", OID: pgtype.TextOID}}, Values: [][]any{}}
)

// leftResults are what an application does with a result, the answer it gets, and that of the next attempt.
var leftResults = []struct {
	name          string
	look          looked
	before, after fakepg.Reply
	diverges      bool
	columns       bool // it is about the columns
	twice         bool // the query runs twice
}{
	{name: "empty, open; a row", look: openRows, before: kit.Texts(), after: kit.Texts("x"), diverges: true},
	{name: "empty, open; empty", look: openRows, before: kit.Texts(), after: kit.Texts()},
	{
		name: "empty, open; other columns", look: openRows,
		before: kit.Texts(), after: intColumn, diverges: true, columns: true,
	},
	{
		name: "empty, open; another name", look: openRows,
		before: kit.Texts(), after: renamedColumn, diverges: true, columns: true,
	},
	{
		name: "empty, open; it fails", look: openRows, before: kit.Texts(),
		after: kit.Fails("22012", "refused"), diverges: true,
	},
	{
		name: "two empty ones, open; a row", look: both(openRows, openRows),
		before: kit.Texts(), after: kit.Texts("x"), diverges: true, twice: true,
	},
	{
		name: "two empty ones, open; empty", look: both(openRows, openRows),
		before: kit.Texts(), after: kit.Texts(), twice: true,
	},
	{
		name: "one read, then an empty one, open; a row", look: both(allRows, openRows),
		before: kit.Texts(), after: kit.Texts("x"), diverges: true, twice: true,
	},
	{name: "empty, closed at once; a row", look: closedRows, before: kit.Texts(), after: kit.Texts("x"), diverges: true},
	{name: "a row, closed at once; another", look: closedRows, before: kit.Texts("x"), after: kit.Texts("y")},
	{name: "a row, closed at once; none", look: closedRows, before: kit.Texts("x"), after: kit.Texts()},
	{
		name: "a row, closed at once; other columns", look: closedRows,
		before: kit.Texts("x"), after: intColumn, diverges: true, columns: true,
	},
	{
		name: "columns before Next; others", look: columnsOnly,
		before: kit.Texts("x"), after: renamedColumn, diverges: true, columns: true,
	},
	{name: "columns before Next; other rows", look: columnsOnly, before: kit.Texts("x"), after: kit.Texts("y", "z")},
	{
		name: "types of the columns; others", look: typesOnly,
		before: kit.Texts("x"), after: intColumn, diverges: true, columns: true,
	},
	{
		name: "one of two rows; the second differs", look: someRows(1),
		before: kit.Texts("x", "y"), after: kit.Texts("x", "z"),
	},
	{name: "one of two rows; there is one", look: someRows(1), before: kit.Texts("x", "y"), after: kit.Texts("x")},
	{
		name: "one of two rows; the first differs", look: someRows(1),
		before: kit.Texts("x", "y"), after: kit.Texts("z", "y"), diverges: true,
	},
	{
		name: "all rows, without the end; one more", look: someRows(2),
		before: kit.Texts("x", "y"), after: kit.Texts("x", "y", "z"),
	},
	{
		name: "all rows and the end; one more", look: allRows,
		before: kit.Texts("x", "y"), after: kit.Texts("x", "y", "z"), diverges: true,
	},
	{
		name: "all rows and the end; one less", look: allRows,
		before: kit.Texts("x", "y"), after: kit.Texts("x"), diverges: true,
	},
	{
		name: "all rows and the end; another order", look: allRows,
		before: kit.Texts("x", "y"), after: kit.Texts("y", "x"), diverges: true,
	},
	{
		name: "no further result set; a row", look: nextResultSet, before: kit.Texts(), after: kit.Texts("x"), diverges: true,
	},
	{
		name: "QueryRow without a row, scanned late; a row", look: lateScan,
		before: kit.Texts(), after: kit.Texts("x"), diverges: true,
	},
	{name: "QueryRow without a row, scanned late; none", look: lateScan, before: kit.Texts(), after: kit.Texts()},
	{
		name: "QueryRow without a row, never scanned; a row", look: neverScanned,
		before: kit.Texts(), after: kit.Texts("x"), diverges: true,
	},
	{name: "QueryRow with a row; a second one", look: scannedRow, before: kit.Texts("x"), after: kit.Texts("x", "y")},
	{name: "QueryRow with a row; none", look: scannedRow, before: kit.Texts("x"), after: kit.Texts(), diverges: true},
	{name: "Exec; other rows", look: byExec, before: kit.Texts("x"), after: kit.Texts("y")},
	{name: "Exec, counted; as many", look: byExecCounted, before: kit.Texts("x"), after: kit.Texts("y")},
	{name: "Exec, counted; more", look: byExecCounted, before: kit.Texts("x"), after: kit.Texts("x", "y"), diverges: true},
	{name: "Exec, counted late; more", look: byExecCountedLate(2), before: kit.Texts("x"), after: kit.Texts("x", "y")},
	{name: "prepared, not run; it still can be", look: preparedOnly, before: kit.Texts(), after: kit.Texts()},
	{name: "prepared, empty, open; a row", look: preparedOpen, before: kit.Texts(), after: kit.Texts("x"), diverges: true},
	{
		name: "prepared again, empty, open; a row", look: preparedTwiceOpen,
		before: kit.Texts(), after: kit.Texts("x"), diverges: true,
	},
}

func nothingMore(*testing.T) {}

func openRows(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), selectV)
	require.NoError(t, err)
	return func(t *testing.T) {
		t.Helper()
		assert.False(t, rows.Next(), "there was none")
		assert.NoError(t, rows.Err())
		assert.NoError(t, rows.Close())
	}
}

func both(one, other looked) looked {
	return func(t *testing.T, tx *sql.Tx) func(*testing.T) {
		t.Helper()
		first, second := one(t, tx), other(t, tx)
		return func(t *testing.T) {
			t.Helper()
			first(t)
			second(t)
		}
	}
}

func closedRows(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	require.NoError(t, kit.Query(t, tx, selectV).Close())
	return nothingMore
}

func columnsOnly(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	rows := kit.Query(t, tx, selectV)
	names, err := rows.Columns()
	require.NoError(t, err)
	require.Equal(t, []string{"v"}, names)
	require.NoError(t, rows.Close())
	return nothingMore
}

func typesOnly(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	rows := kit.Query(t, tx, selectV)
	types, err := rows.ColumnTypes()
	require.NoError(t, err)
	require.Equal(t, "TEXT", types[0].DatabaseTypeName())
	require.NoError(t, rows.Close())
	return nothingMore
}

func someRows(n int) looked {
	return func(t *testing.T, tx *sql.Tx) func(*testing.T) {
		t.Helper()
		rows := kit.Query(t, tx, selectV)
		rows.Read(n)
		require.NoError(t, rows.Close())
		return nothingMore
	}
}

func allRows(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	kit.Query(t, tx, selectV).MustRest()
	return nothingMore
}

func nextResultSet(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	require.False(t, kit.Query(t, tx, selectV).NextResultSet())
	return nothingMore
}

func lateScan(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	row := tx.QueryRowContext(t.Context(), selectV)
	return func(t *testing.T) {
		t.Helper()
		assert.ErrorIs(t, row.Scan(new(string)), sql.ErrNoRows)
	}
}

func neverScanned(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	require.NoError(t, tx.QueryRowContext(t.Context(), selectV).Err())
	return nothingMore
}

func scannedRow(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	require.Equal(t, "x", kit.Scan[string](t, tx, selectV))
	return nothingMore
}

func byExec(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	kit.Exec(t, tx, selectV)
	return nothingMore
}

func byExecCounted(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	require.Equal(t, 1, kit.Affected(t, tx, selectV))
	return nothingMore
}

// byExecCountedLate asks after the replay, and gets the new attempt's number.
func byExecCountedLate(want int64) looked {
	return func(t *testing.T, tx *sql.Tx) func(*testing.T) {
		t.Helper()
		res, err := tx.ExecContext(t.Context(), selectV)
		require.NoError(t, err)
		return func(t *testing.T) {
			t.Helper()
			n, err := res.RowsAffected()
			require.NoError(t, err)
			assert.Equal(t, want, n)
		}
	}
}

func preparedOnly(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	stmt, err := tx.PrepareContext(t.Context(), selectV)
	require.NoError(t, err)
	return func(t *testing.T) {
		t.Helper()
		assert.NoError(t, stmt.Close())
	}
}

func preparedOpen(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	stmt, err := tx.PrepareContext(t.Context(), selectV)
	require.NoError(t, err)
	rows, err := stmt.QueryContext(t.Context())
	require.NoError(t, err)
	return func(t *testing.T) {
		t.Helper()
		assert.False(t, rows.Next())
		assert.NoError(t, rows.Close())
	}
}

// preparedTwiceOpen prepares a text again that was prepared, and closed, in the transaction.
func preparedTwiceOpen(t *testing.T, tx *sql.Tx) func(*testing.T) {
	t.Helper()
	preparedOnly(t, tx)(t)
	return preparedOpen(t, tx)
}
