package cockroachdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Here: rows that were read, not read, or read in part, and those that break off.

// Cases 11 to 13, and 16: a query of two rows, so many calls of Next, and what a replay finds in their place.
func TestPeerCase11To13_RowsOnReplay(t *testing.T) {
	t.Parallel()
	diverged := func(kind cockroachdb.DivergenceKind, row int64) *cockroachdb.DivergenceError {
		return &cockroachdb.DivergenceError{Statement: 2, Kind: kind, Row: row, Attempts: 2}
	}
	const row, end = cockroachdb.DivergedRow, cockroachdb.DivergedEndOfRows
	for name, tc := range map[string]struct {
		replay []any
		want   [4]*cockroachdb.DivergenceError // by calls of Next
	}{
		"the same":            {[]any{"a", "b"}, [4]*cockroachdb.DivergenceError{}},
		"case 11: one more":   {[]any{"a", "b", "c"}, [4]*cockroachdb.DivergenceError{3: diverged(end, 3)}},
		"case 12: many more":  {[]any{"a", "b", "c", "d", "e"}, [4]*cockroachdb.DivergenceError{3: diverged(end, 3)}},
		"case 13: one fewer":  {[]any{"a"}, [4]*cockroachdb.DivergenceError{2: diverged(end, 2), 3: diverged(end, 2)}},
		"case 13: none":       {[]any{}, [4]*cockroachdb.DivergenceError{1: diverged(end, 1), 2: diverged(end, 1), 3: diverged(end, 1)}},
		"the first changed":   {[]any{secret, "b"}, [4]*cockroachdb.DivergenceError{1: diverged(row, 1), 2: diverged(row, 1), 3: diverged(row, 1)}},
		"the second changed":  {[]any{"a", secret}, [4]*cockroachdb.DivergenceError{2: diverged(row, 2), 3: diverged(row, 2)}},
		"another order":       {[]any{"b", "a"}, [4]*cockroachdb.DivergenceError{1: diverged(row, 1), 2: diverged(row, 1), 3: diverged(row, 1)}},
		"NULL in place of a":  {[]any{nil, "b"}, [4]*cockroachdb.DivergenceError{1: diverged(row, 1), 2: diverged(row, 1), 3: diverged(row, 1)}},
		"'' in place of b":    {[]any{"a", ""}, [4]*cockroachdb.DivergenceError{2: diverged(row, 2), 3: diverged(row, 2)}},
		"inserted in between": {[]any{"a", "aa", "b"}, [4]*cockroachdb.DivergenceError{2: diverged(row, 2), 3: diverged(row, 2)}},
	} {
		for next, want := range tc.want {
			t.Run(fmt.Sprint(name, "/", next, " calls of Next"), func(t *testing.T) {
				t.Parallel()
				st := newStage(t, playbook{"SELECT $1": {vs("a", "b"), vs(tc.replay...)}, update(3): {lost, won}})
				tx := st.begin(t)
				mustExec(t, tx, update(1))
				rows := query(t, tx, "SELECT $1", secret)
				for n := range next {
					assert.Equal(t, n < 2, rows.Next())
				}
				rows.mustClose()
				_, err := tx.ExecContext(t.Context(), update(3))
				if want != nil {
					requireDivergence(t, err, *want)
					st.mustEnd(t, tx)
					return
				}
				require.NoError(t, err)
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{update(1), "SELECT $1", update(3)}, st.lastAttempt())
				st.mustBeUsable(t)
			})
		}
	}
}

// Case 13: NULL and the empty string are different things to have read.
func TestPeerCase13_NullAndEmpty(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][2]any{"NULL, then ''": {nil, ""}, "'', then NULL": {"", nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {vs("a", values[0]), vs("a", values[1])}, releaseSQL: {lost, won}})
			tx := st.begin(t)
			query(t, tx, "SELECT").mustRest()
			requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2})
			st.mustEnd(t, tx)
		})
	}
}

// Case 13, beyond the rows by which a divergence is told exactly: it is found all the same.
func TestPeerCase13_LateRowChanges(t *testing.T) {
	t.Parallel()
	many := make([]any, 100)
	for i := range many {
		many[i] = fmt.Sprint("row ", i)
	}
	changed := append([]any(nil), many...)
	changed[70] = secret
	st := newStage(t, playbook{"SELECT": {vs(many...), vs(changed...)}, releaseSQL: {lost, won}})
	tx := st.begin(t)
	require.Len(t, query(t, tx, "SELECT").mustRest(), 100)
	err := tx.Commit()
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 33, Attempts: 2})
	assert.ErrorContains(t, err, "row 33 or a later one")
	st.mustEnd(t, tx)
}

// Case 13: rows that came before an error were read too, and so was it that no more came.
func TestPeerCase13_RowsBeforeAnError(t *testing.T) {
	t.Parallel()
	broken := func(values ...any) fakepg.Reply {
		r := vs(values...)
		r.Err, r.ErrAfterRows = fakepg.Error("22012", "division by zero"), len(values)
		return r
	}
	for name, tc := range map[string]struct {
		replay fakepg.Reply
		want   *cockroachdb.DivergenceError
	}{
		"the same":    {broken("a", "b"), nil},
		"changed":     {broken("a", secret), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2}},
		"one fewer":   {broken("a"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 2}},
		"none":        {failing("22012"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 1, Attempts: 2}},
		"one more":    {broken("a", "b", "c"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 3, Attempts: 2}},
		"no error":    {vs("a", "b"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2}},
		"other error": {breakingOffWith(vs("a", "b"), "22003"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {broken("a", "b"), tc.replay}, releaseSQL: {lost, won}})
			tx := st.begin(t)
			mustExec(t, tx, "SAVEPOINT app")
			rows := query(t, tx, "SELECT")
			values, err := rows.rest()
			assert.Equal(t, []string{"a", "b"}, values)
			requireCode(t, err, "22012")
			mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
			mustExec(t, tx, update(1))
			err = tx.Commit()
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			requireDivergence(t, err, *tc.want)
			st.mustEnd(t, tx)
		})
	}
}

func breakingOffWith(r fakepg.Reply, code string) fakepg.Reply {
	r.Err, r.ErrAfterRows = fakepg.Error(code, "refused"), len(r.Values)
	return r
}

// Cases 11, 12, 13 and 16 with data: 0 to 3 calls of Next, then a concurrent insert, update or delete.
func TestPeerCase16_CallsOfNextOnData(t *testing.T) {
	t.Parallel()
	type outcomes [4]any // by calls of Next: nil, or kind and row
	const row, end = cockroachdb.DivergedRow, cockroachdb.DivergedEndOfRows
	for rival, want := range map[string]outcomes{
		"INSERT INTO kv VALUES (4, 40)":      {3: []any{end, int64(3)}},
		"UPDATE kv SET v = 31 WHERE k = 3":   {2: []any{row, int64(2)}, 3: []any{row, int64(2)}},
		"DELETE FROM kv WHERE k = 3":         {2: []any{end, int64(2)}, 3: []any{end, int64(2)}},
		"INSERT INTO kv VALUES (1000, 1000)": {},
	} {
		t.Run(rival, func(t *testing.T) {
			t.Parallel()
			for next, want := range want {
				a := newRealArena(t)
				tx := a.begin(t)
				rows := query(t, tx, "SELECT v FROM kv WHERE k BETWEEN $1 AND 9 ORDER BY k", 2)
				for n := range next {
					require.Equal(t, n < 2, rows.Next())
				}
				rows.mustClose()
				err := a.provoke(t, tx, rival)
				if want == nil {
					require.NoError(t, err, "%d calls of Next", next)
					a.mustCommit(t, tx)
					continue
				}
				requireConflict(t, err)
				var diverged *cockroachdb.DivergenceError
				require.ErrorAs(t, err, &diverged)
				assert.Equal(t, want, []any{diverged.Kind, diverged.Row}, "%d calls of Next", next)
				assert.Equal(t, 1, diverged.Statement)
				a.mustEnd(t, tx)
			}
		})
	}
}

// Case 16, by QueryRow: it sees one row or the end, and never what comes after the first row.
func TestPeerCase16_QueryRow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first, replay []any
		want          *cockroachdb.DivergenceError
	}{
		"a second row":      {[]any{"a"}, []any{"a", "b"}, nil},
		"no second row":     {[]any{"a", "b"}, []any{"a"}, nil},
		"no row any more":   {[]any{"a"}, nil, &cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 1, Attempts: 2}},
		"a row after all":   {nil, []any{secret}, &cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 1, Attempts: 2}},
		"still no row":      {nil, nil, nil},
		"another first row": {[]any{"a"}, []any{secret}, &cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {vs(tc.first...), vs(tc.replay...)}, releaseSQL: {lost, won}})
			tx := st.begin(t)
			err := tx.QueryRowContext(t.Context(), "SELECT").Scan(new(string))
			if tc.first == nil {
				require.ErrorIs(t, err, sql.ErrNoRows)
			} else {
				require.NoError(t, err)
			}
			err = tx.Commit()
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			requireDivergence(t, err, *tc.want)
			st.mustEnd(t, tx)
		})
	}
}

// Case 14: 40001 in mid-stream, rows already read changed → divergence, from Rows.Err.
func TestPeerCase14_MidStreamRowsReadChanged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		replay fakepg.Reply
		want   cockroachdb.DivergenceError
	}{
		"changed":  {vs("a", secret, "c"), cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2}},
		"fewer":    {vs("a"), cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 2}},
		"an error": {failing("22012"), cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 2), tc.replay}})
			tx := st.begin(t)
			mustExec(t, tx, update(1))
			rows := query(t, tx, "SELECT")
			assert.Equal(t, []string{"a", "b"}, rows.read(2))
			more, err := rows.rest()
			assert.Empty(t, more)
			requireDivergence(t, err, tc.want)
			_, err = tx.ExecContext(t.Context(), update(2))
			requireCode(t, err, "25P02")
			st.mustEnd(t, tx)
		})
	}
}

// Case 14, where it is not the query but a statement before it that would be answered otherwise.
func TestPeerCase14_MidStreamAnEarlierStatementDiverges(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {tagged("UPDATE 1"), tagged("UPDATE 2")}, "SELECT": {breakingOff(vs("a", "b"), 2), vs("a", "b")}})
	tx := st.begin(t)
	affected(t, tx, update(1))
	rows := query(t, tx, "SELECT")
	more, err := rows.rest()
	assert.Equal(t, []string{"a", "b"}, more)
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
	st.mustEnd(t, tx)
}

// Case 14 outside of a transaction.
func TestPeerCase14_OutsideOfATransaction(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 2), vs("a", secret)}})
	rows := query(t, st, "SELECT")
	_, err := rows.rest()
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2})
	mustExec(t, st, update(1))
	assert.Equal(t, 1, st.srv.Connections())
}

// Case 15: 40001 in mid-stream, only unread rows changed → the new rows are delivered. Twice, the second time behind a row that only
// the second attempt has delivered.
func TestPeerCase15_MidStreamUnreadRowsChanged(t *testing.T) {
	t.Parallel()
	old := []any{"a", "b", "c"}
	for read := range old {
		for _, mode := range queryModes {
			t.Run(fmt.Sprint(read, " rows read/", mode), func(t *testing.T) {
				t.Parallel()
				renewed := append(append([]any(nil), old[:read]...), "x", "y", "z")
				st := newStage(t, playbook{"SELECT": {
					breakingOff(vs(old...), read),
					breakingOff(vs(renewed...), read+1),
					vs(renewed...),
				}}, "default_query_exec_mode="+mode)
				tx := st.begin(t)
				mustExec(t, tx, update(1))
				var want []string
				for _, v := range renewed {
					want = append(want, v.(string))
				}
				rows := query(t, tx, "SELECT")
				assert.Equal(t, want, rows.mustRest())
				mustExec(t, tx, update(2))
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{update(1), "SELECT", update(2)}, append(st.lastAttempt(), update(2))[:3])
				st.mustBeUsable(t)
			})
		}
	}
}

// Case 15: the row that only the second attempt has delivered counts as read in the third.
func TestPeerCase15_RowsOfTheSecondAttemptAreVerified(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 1), breakingOff(vs("a", "x"), 2), vs("a", secret)}})
	tx := st.begin(t)
	rows := query(t, tx, "SELECT")
	assert.Equal(t, []string{"a", "x"}, rows.read(2))
	assert.False(t, rows.Next())
	requireDivergence(t, rows.Err(), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 3})
	st.mustEnd(t, tx)
}

// Case 15 outside of a transaction: the statement goes on from where it broke off.
func TestPeerCase15_OutsideOfATransaction(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b", "c"), 2), vs("a", "b", "x", "y")}})
	assert.Equal(t, []string{"a", "b", "x", "y"}, query(t, st, "SELECT").mustRest())
	assert.Equal(t, []string{"SELECT", "SELECT"}, st.ran())
	mustExec(t, st, update(1))
	assert.Equal(t, 1, st.srv.Connections())
}

// Cases 14 and 15 with data: the conflict strikes behind the second row, and the rival has changed one row.
func TestPeerCase14And15_MidStreamOnData(t *testing.T) {
	t.Parallel()
	for rival, want := range map[string]any{
		"UPDATE kv SET v = 11 WHERE k = 1":              int64(1),
		"UPDATE kv SET v = 21 WHERE k = 2":              int64(2),
		"UPDATE kv SET v = 31 WHERE k = 3":              []string{"10", "20", "31"},
		"INSERT INTO kv VALUES (4, 40)":                 []string{"10", "20", "30", "40"},
		"DELETE FROM kv WHERE k = 3":                    []string{"10", "20"},
		"UPDATE kv SET v = v WHERE k = 1":               []string{"10", "20", "30"},
		"UPDATE kv SET k = 0 WHERE k = 2 OR v = 987654": int64(1), // comes first now
	} {
		t.Run(rival, func(t *testing.T) {
			t.Parallel()
			a, sim := newSimArena(t)
			tx := a.begin(t)
			mustExec(t, tx, "UPDATE kv SET v = v + 1 WHERE k = 100")
			sim.Inject(crdbsim.On("^select", crdbsim.Action{
				Then: crdbsim.ExecuteFail, AfterRows: 2, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
				CallReply: func() { mustExec(t, a.rival, rival) },
			}))
			rows := query(t, tx, "SELECT v FROM kv WHERE k < $1 ORDER BY k", 50)
			got := rows.read(2)
			more, err := rows.rest()
			if values, fine := want.([]string); fine {
				require.NoError(t, err)
				assert.Equal(t, values, append(got, more...))
				require.NoError(t, tx.Commit())
				assert.Equal(t, 1, a.value(t, 100))
				return
			}
			requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: want.(int64), Attempts: 2})
			a.mustEnd(t, tx)
		})
	}
}

// Case 17: 40001 that surfaces in Rows.Close or while QueryRow drains → retried.
func TestPeerCase17_ConflictInClose(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*testing.T, *sql.Tx){
		"Close": func(t *testing.T, tx *sql.Tx) {
			rows := query(t, tx, "SELECT")
			rows.read(1)
			rows.mustClose()
		},
		"Close, nothing read": func(t *testing.T, tx *sql.Tx) { query(t, tx, "SELECT").mustClose() },
		"QueryRow": func(t *testing.T, tx *sql.Tx) {
			var v string
			require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT").Scan(&v))
			assert.Equal(t, "a", v)
		},
		"QueryRow, and Scan fails": func(t *testing.T, tx *sql.Tx) {
			require.ErrorContains(t, tx.QueryRowContext(t.Context(), "SELECT").Scan(new(int)), "invalid syntax")
		},
		"Exec": func(t *testing.T, tx *sql.Tx) { mustExec(t, tx, "SELECT") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 2), vs("a", "x")}})
			tx := st.begin(t)
			mustExec(t, tx, update(1))
			read(t, tx)
			mustExec(t, tx, update(2))
			require.NoError(t, tx.Commit())
			assert.Contains(t, st.ran(), rollbackToSQL)
			assert.Equal(t, update(2), st.lastAttempt()[len(st.lastAttempt())-1])
			st.mustBeUsable(t)
		})
	}
}

// Case 17: if the caller ignores Close's error the next statement must not get 25P02, which no retry loop knows: it gets the
// error that Close gave, and so does Commit.
func TestPeerCase17_CloseErrorIgnored(t *testing.T) {
	t.Parallel()
	want := cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2}
	for how, read := range map[string]func(*testing.T, *sql.Tx){
		"Close": func(t *testing.T, tx *sql.Tx) {
			rows := query(t, tx, "SELECT")
			rows.read(1)
			_ = rows.Close()
		},
		"QueryRow whose Scan fails": func(t *testing.T, tx *sql.Tx) {
			require.ErrorContains(t, tx.QueryRowContext(t.Context(), "SELECT").Scan(new(int)), "invalid syntax")
		},
	} {
		for what, next := range map[string]func(context.Context, *sql.Tx) error{
			"Exec":     func(ctx context.Context, tx *sql.Tx) error { _, err := tx.ExecContext(ctx, update(2)); return err },
			"Prepare":  func(ctx context.Context, tx *sql.Tx) error { _, err := tx.PrepareContext(ctx, update(2)); return err },
			"QueryRow": func(ctx context.Context, tx *sql.Tx) error { return tx.QueryRowContext(ctx, "SELECT 2").Scan(new(int)) },
			"Commit":   func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
		} {
			t.Run(how+"/"+what, func(t *testing.T) {
				t.Parallel()
				st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 2), vs(secret)}})
				tx := st.begin(t)
				mustExec(t, tx, update(1))
				read(t, tx)
				requireDivergence(t, next(t.Context(), tx), want)
				if what != "Commit" { // once is enough
					_, err := tx.ExecContext(t.Context(), update(3))
					requireCode(t, err, "25P02")
				}
				st.mustEnd(t, tx)
			})
		}
	}
}

// Case 17: rows that are still open at the commit are closed by database/sql, which drops their error.
func TestPeerCase17_RowsLeftOpenAtCommit(t *testing.T) {
	t.Parallel()
	for name, replay := range map[string]fakepg.Reply{"absorbed": vs("a", "x"), "diverged": vs(secret)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 2), replay}})
			tx := st.begin(t)
			mustExec(t, tx, update(1))
			query(t, tx, "SELECT").read(1)
			err := tx.Commit()
			if name == "absorbed" {
				require.NoError(t, err)
				assert.Equal(t, []string{update(1), "SELECT"}, st.lastAttempt())
			} else {
				requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2})
				assert.NotContains(t, st.ran(), releaseSQL)
			}
			st.mustEnd(t, tx)
		})
	}
}
