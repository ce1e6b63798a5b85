//go:build unix

package pooler_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// A column's type is changed while servers have statements on it. What a program knows of the arguments and columns
// of a text is then from before the change, and what the server knows that it gets may be from after it.

// retyped are changes after which the bytes of an argument, and of a column's value, are still valid ones, and mean
// something else.
var retyped = []struct{ from, to string }{
	{"BIGINT", "DOUBLE PRECISION"},
	{"DOUBLE PRECISION", "BIGINT"},
	{"INTEGER", "REAL"},
}

// A use is a statement on the column v of a table with the rows (1, 0), (2, 7) and (3, 8). Statements name the table
// things.
type use struct {
	name, statement string
	args            []any
	check           func(t *testing.T, s *useCase)
}

var uses = []use{
	{"insert", "INSERT INTO things VALUES ($1, $2)", []any{4, 9}, func(t *testing.T, s *useCase) {
		s.p.run(t, s.statement, s.args...)
		assert.EqualValues(t, 9, s.number(t, "SELECT v FROM things WHERE k = 4"))
	}},
	{"insert in a transaction", "INSERT INTO things VALUES ($1, $2)", []any{4, 9}, func(t *testing.T, s *useCase) {
		inTransaction(t, s.p, func(tx *sql.Tx) {
			txRun(t, tx, s.on("INSERT INTO things VALUES (5, 10)"))
			txRun(t, tx, s.statement, s.args...)
		})
		assert.EqualValues(t, 19, s.number(t, "SELECT sum(v) FROM things WHERE k > 3"))
	}},
	{"delete", "DELETE FROM things WHERE v = $1", []any{7}, func(t *testing.T, s *useCase) {
		s.p.run(t, s.statement, s.args...)
		assert.EqualValues(t, 1+3, s.number(t, "SELECT sum(k) FROM things"))
	}},
	{"select", "SELECT v FROM things WHERE k = $1", []any{2}, func(t *testing.T, s *useCase) {
		for range 2 {
			assert.EqualValues(t, 7, ask(t, s.p, s.statement, s.args...))
			inTransaction(t, s.p, func(tx *sql.Tx) { assert.EqualValues(t, 7, ask(t, tx, s.statement, s.args...)) })
		}
	}},
}

func TestColumnTypeChanged_ValuesAreThoseMeant(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		testColumnTypeChanged(t, w, w.hold(t))
	}, ofPostgreSQL, ofCockroachDB)
}

// TestColumnsChanged_PgBouncerKnowsStatements is for a PgBouncer that goes on using what it prepared before the change.
func TestColumnsChanged_PgBouncerKnowsStatements(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{Statements: 100}, func(t *testing.T, w *testbed) {
		servers := w.hold(t)
		testColumnTypeChanged(t, w, servers)
		testColumnAdded(t, w, servers)
	}, ofPostgreSQL, ofCockroachDB)
}

func testColumnTypeChanged(t *testing.T, w *testbed, servers *servers) {
	number := 0
	for _, mode := range []string{"cache_statement", "cache_describe"} {
		for _, change := range retyped {
			for _, u := range uses {
				number++
				s := &useCase{testbed: w, table: fmt.Sprint("things_", number), servers: servers, mode: mode, args: u.args}
				t.Run(u.name+", "+change.from+" to "+change.to+", "+mode, func(t *testing.T) {
					s.set(t, u.statement, change.from, change.to)
					u.check(t, s)
				})
			}
		}
	}
}

// A useCase is a program that used a statement on one server before a change, and has another server now, where
// somebody else used the same text after the change.
type useCase struct {
	*testbed
	servers   *servers
	table     string
	mode      string
	p         *program
	statement string
	args      []any
}

// on puts the useCase's own table into a statement.
func (s *useCase) on(statement string) string {
	return strings.ReplaceAll(statement, "things", s.table)
}

func (s *useCase) number(t *testing.T, query string) float64 {
	t.Helper()
	return s.testbed.number(t, s.on(query))
}

func (s *useCase) set(t *testing.T, statement, from, to string) {
	t.Helper()
	s.statement = s.on(statement)
	s.exec(t, s.on("CREATE TABLE things (k INT, v "+from+")"), s.on("INSERT INTO things VALUES (1, 0), (2, 7), (3, 8)"))
	s.servers.leave(0)
	s.p = s.user(t)
	s.exec(t, s.on("ALTER TABLE things ALTER COLUMN v TYPE "+to))
	s.servers.leave(1)
	s.user(t)
}

// user is a program that has used the statement, and changed nothing.
func (s *useCase) user(t *testing.T) *program {
	t.Helper()
	p := s.program(t, 1, "default_query_exec_mode", s.mode)
	tx, err := p.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	txRun(t, tx, s.statement, s.args...)
	require.NoError(t, tx.Rollback())
	return p
}

// TestColumnTypeChanged_OtherBytes_IsRightOrAnError is for types of which one's arguments are no valid ones of the
// other's.
func TestColumnTypeChanged_OtherBytes_IsRightOrAnError(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		s := &useCase{testbed: w, table: "things", servers: w.hold(t), mode: "cache_statement", args: []any{4, "9"}}
		s.set(t, "INSERT INTO things VALUES ($1, $2)", "BIGINT", "TEXT")
		if _, err := s.p.ExecContext(t.Context(), s.statement, s.args...); err != nil {
			t.Log("an error is honest: ", err)
			return
		}
		assert.EqualValues(t, 9, s.number(t, "SELECT v::BIGINT FROM things WHERE k = 4"))
	}, ofPostgreSQL, ofCockroachDB)
}

// TestColumnAdded_IsUnderstood_AfterOneErrorAtMost asks for all columns, of which there is one more now than this
// program knows of.
func TestColumnAdded_IsUnderstood_AfterOneErrorAtMost(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		testColumnAdded(t, w, w.hold(t))
	}, ofPostgreSQL, ofCockroachDB)
}

func testColumnAdded(t *testing.T, w *testbed, servers *servers) {
	for _, mode := range []string{"cache_statement", "cache_describe"} {
		s := &useCase{testbed: w, table: "things_" + mode, servers: servers, mode: mode, args: []any{2}}
		s.set(t, "SELECT * FROM things WHERE k = $1", "BIGINT", "BIGINT")
		s.exec(t, s.on("ALTER TABLE things ADD COLUMN w BIGINT DEFAULT 5"))
		s.user(t)
		row, err := s.columns(t)
		if err != nil {
			t.Log("an error is honest: ", err)
			row, err = s.columns(t)
		}
		require.NoError(t, err, mode)
		assert.Equal(t, []int64{2, 7, 5}, row, mode)
	}
}

// TestNamePreparedByAnother_AfterAChangeOfType_ValuesAreThoseMeant has the driver's own name prepared anew by another
// client, on the server that this one goes on using, after a column has changed its type.
func TestNamePreparedByAnother_AfterAChangeOfType_ValuesAreThoseMeant(t *testing.T) {
	t.Parallel()
	for _, asks := range [][]bool{{false, true, false, true}, {true, false, true, false}} {
		t.Run(fmt.Sprintf("in a transaction %t", asks), func(t *testing.T) { namePreparedByAnother(t, asks) })
	}
}

// namePreparedByAnother asks again and again, in a transaction or outside.
func namePreparedByAnother(t *testing.T, inTransactions []bool) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		const query = "SELECT v FROM things WHERE k = $1"
		w.exec(t, "CREATE TABLE things (k INT, v BIGINT)", "INSERT INTO things VALUES (2, 7)")
		p, pgxProgram := w.program(t, 1), w.pgxProgram(t)
		w.hold(t).leave(0)
		p.run(t, query, 2)
		var name string
		require.NoError(t, pgxProgram.QueryRowContext(t.Context(), "SELECT name FROM pg_prepared_statements").Scan(&name))
		w.exec(t, "ALTER TABLE things ALTER COLUMN v TYPE DOUBLE PRECISION")
		for _, statement := range []string{"DEALLOCATE " + name, "PREPARE " + name + " (INT) AS " + query} {
			_, err := pgxProgram.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		for _, within := range inTransactions {
			if !within {
				assert.EqualValues(t, 7, ask(t, p, query, 2))
				continue
			}
			inTransaction(t, p, func(tx *sql.Tx) { assert.EqualValues(t, 7, ask(t, tx, query, 2)) })
		}
	}, ofPostgreSQL)
}

// columns returns what the useCase's program reads.
func (s *useCase) columns(t *testing.T) ([]int64, error) {
	t.Helper()
	rows, err := s.p.QueryContext(t.Context(), s.statement, s.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	require.NoError(t, err)
	row, dest := make([]int64, len(names)), make([]any, len(names))
	for i := range row {
		dest[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
	}
	return row, rows.Err()
}
