package cockroachdb_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Here: what the application has seen of statements other than their rows, and what becomes of it when they are run again.

// Case 4: a row count that was read differs on replay → divergence; the connection is usable afterwards.
func TestPeerCase04_CountThatWasReadDiffers(t *testing.T) {
	t.Parallel()
	for _, at := range []string{update(9), releaseSQL} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{update(2): {tagged("UPDATE 1"), tagged("UPDATE 2")}, at: {lost, won}})
			tx := st.begin(t)
			mustExec(t, tx, update(1))
			assert.Equal(t, 1, affected(t, tx, update(2)))
			mustExec(t, tx, update(3))
			_, err := tx.ExecContext(t.Context(), update(9))
			if at == releaseSQL {
				require.NoError(t, err)
				err = tx.Commit()
			}
			requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedCount, Attempts: 2})
			st.mustEnd(t, tx)
		})
	}
}

// Case 4, of every statement that affects rows, to the simple protocol's several statements in one text.
func TestPeerCase04_CountThatWasReadDiffersInAnyForm(t *testing.T) {
	t.Parallel()
	for sql, replies := range map[string][]fakepg.Reply{
		"UPDATE kv SET v = 1 WHERE k = $1":               {tagged("UPDATE 1"), tagged("UPDATE 0")},
		"INSERT INTO kv SELECT $1":                       {tagged("INSERT 0 1"), tagged("INSERT 0 2")},
		"DELETE FROM kv WHERE k > $1":                    {tagged("DELETE 10"), tagged("DELETE 1")},
		"UPDATE kv SET v = 1 WHERE k = $1 RETURNING now": {vs("a"), vs("a", secret)},
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{sql: replies, releaseSQL: {lost, won}})
			tx := st.begin(t)
			affected(t, tx, sql, secret)
			requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
			st.mustEnd(t, tx)
		})
	}
	t.Run("several statements", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, playbook{update(2): {tagged("UPDATE 1"), tagged("UPDATE 2")}, releaseSQL: {lost, won}})
		tx := st.begin(t)
		affected(t, tx, update(1)+";"+update(2))
		requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
		st.mustEnd(t, tx)
	})
}

// Case 4 with data.
func TestPeerCase04_CountThatWasReadDiffersOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	assert.Equal(t, 3, affected(t, tx, "UPDATE kv SET v = v + 1 WHERE k < 10"))
	err := a.provoke(t, tx, "INSERT INTO kv VALUES (4, 40)")
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
	a.mustEnd(t, tx)
	assert.Equal(t, 10, a.value(t, 1))
}

// Case 4 with data: the count stays the same, so the new attempt is as good, whatever rows it found.
func TestPeerCase04_CountStaysTheSameOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	assert.Equal(t, 3, affected(t, tx, "UPDATE kv SET v = v + 1 WHERE k BETWEEN 1 AND 10"))
	require.NoError(t, a.provoke(t, tx, "INSERT INTO kv VALUES (11, 40)"))
	a.mustCommit(t, tx)
	assert.Equal(t, 11, a.value(t, 1))
}

// Case 4: once the transaction has diverged it is failed to the application as one that the server has failed, until it rolls back.
func TestPeerCase04_AfterADivergence(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {tagged("UPDATE 1"), tagged("UPDATE 2")}, update(2): {lost, won}})
	tx := st.begin(t)
	affected(t, tx, update(1))
	_, err := tx.ExecContext(t.Context(), update(2))
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
	trips := st.srv.RoundTrips()
	_, err = tx.ExecContext(t.Context(), update(3))
	requireCode(t, err, "25P02")
	_, err = tx.ExecContext(t.Context(), "ROLLBACK TO SAVEPOINT app")
	requireCode(t, err, "25P02")
	require.Error(t, tx.QueryRowContext(t.Context(), "SELECT 1").Scan(new(int)))
	assert.Equal(t, trips, st.srv.RoundTrips())
	require.Error(t, tx.Commit(), "nothing was committed")
	assert.NotContains(t, st.ran(), releaseSQL)
	st.mustEnd(t, tx)
}

// Cases 5 to 7: success becomes an error on replay, an error becomes success with 0 rows, or another SQLSTATE → divergence.
func TestPeerCase05To07_OutcomeChanges(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string][]fakepg.Reply{
		"case 5: success becomes an error":                    {won, failing("23505")},
		"case 5: success becomes an error, of a query":        {vs("a"), failing("23505")},
		"case 5: success becomes an error, behind the rows":   {vs("a"), {Columns: vs().Columns, Values: vs("a").Values, Err: fakepg.Error("22012", secret), ErrAfterRows: 1}},
		"case 5: success without rows becomes an error":       {vs(), failing("22012")},
		"case 6: an error becomes success with 0 rows":        {failing("22012"), vs()},
		"case 6: an error becomes success with rows":          {failing("22012"), vs(secret)},
		"case 6: an error becomes success, of no query":       {failing("23505"), won},
		"case 7: an error becomes another SQLSTATE":           {failing("23505"), failing("23503")},
		"case 7: another SQLSTATE of the same class":          {failing("42P01"), failing("42P02")},
		"case 7: a conflict in between is not an outcome":     {failing("23505"), lost, failing("23503")},
		"case 5: a conflict in between, then success ends":    {won, lost, failing("23503")},
		"case 7: an error that a missing statement may cause": {failing("23505"), failing("26000"), failing("26000")}, // it is sent as text then, too
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"QUERY": replies, releaseSQL: {lost, won}})
			tx := st.begin(t)
			mustExec(t, tx, "SAVEPOINT app")
			rows, err := tx.QueryContext(t.Context(), "QUERY")
			if err == nil {
				for rows.Next() {
				}
				require.NoError(t, rows.Err())
			} else {
				requireCode(t, err, replies[0].Err.Code)
				mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
			}
			mustExec(t, tx, update(1))
			attempts := len(replies)
			if strings.Contains(name, "missing statement") {
				attempts-- // sending it as text is no attempt of its own
			}
			requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: attempts})
			st.mustEnd(t, tx)
		})
	}
}

// Case 5 with data: success becomes an error on replay → divergence.
func TestPeerCase05_SuccessBecomesAnErrorOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	mustExec(t, tx, "SELECT 1000 / v FROM kv WHERE k = 1")
	err := a.provoke(t, tx, "UPDATE kv SET v = 0 WHERE k = 1")
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
	assert.ErrorContains(t, err, "22012")
	a.mustEnd(t, tx)
}

// Case 5: a transaction that wrote what is there in the meantime must not be told that it succeeded.
func TestPeerCase05_InsertBecomesADuplicateOnData(t *testing.T) {
	t.Parallel()
	a, sim := newSimArena(t)
	tx := a.begin(t)
	mustExec(t, tx, "INSERT INTO kv VALUES ($1, $2)", 5, 50)
	sim.Inject(
		crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("ABORT_REASON_PUSHER_ABORTED")}),
		crdbsim.On("^insert", crdbsim.Action{Call: func() { mustExec(t, a.rival, "INSERT INTO kv VALUES (5, 51)") }}),
	)
	err := tx.Commit()
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
	a.mustEnd(t, tx)
	assert.Equal(t, 51, a.value(t, 5))
}

// Case 6 with data: an error becomes success with 0 rows → divergence.
func TestPeerCase06_ErrorBecomesSuccessOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	mustExec(t, a.rival, "UPDATE kv SET v = 0 WHERE k = 1")
	tx := a.begin(t)
	mustExec(t, tx, "SAVEPOINT app")
	_, err := tx.ExecContext(t.Context(), "SELECT 1000 / v FROM kv WHERE k = 1")
	requireCode(t, err, "22012")
	mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
	err = a.provoke(t, tx, "DELETE FROM kv WHERE k = 1")
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
	a.mustEnd(t, tx)
}

// Case 7 with data: an error becomes another SQLSTATE → divergence.
func TestPeerCase07_ErrorBecomesAnotherOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	mustExec(t, a.rival, "UPDATE kv SET v = 0 WHERE k = 1")
	tx := a.begin(t)
	mustExec(t, tx, "SAVEPOINT app")
	_, err := tx.ExecContext(t.Context(), "SELECT (1 / v + v)::INT2 FROM kv WHERE k = 1")
	requireCode(t, err, "22012")
	mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
	err = a.provoke(t, tx, "UPDATE kv SET v = 100000 WHERE k = 1")
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
	assert.ErrorContains(t, err, "SQLSTATE 22003 where it had answered SQLSTATE 22012")
	a.mustEnd(t, tx)
}

// Case 7: an error of Parse, too, is held against the replay.
func TestPeerCase07_ErrorOfParse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after    func(asked int) fakepg.Reply
		diverges bool
	}{
		"stays":           {func(int) fakepg.Reply { return parseError("42P01") }, false},
		"becomes another": {func(n int) fakepg.Reply { return parseError([]string{"42P01", "42703"}[n]) }, true},
		"becomes success": {func(n int) fakepg.Reply { return []fakepg.Reply{parseError("42P01"), {}}[n] }, true},
	} {
		for form, args := range map[string][]any{"exec": nil, "prepare": {secret}} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				var replay atomicOnce
				st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
					switch {
					case s.SQL == "MISSING" && s.Describing && !replay.done.Load():
						return tc.after(0)
					case s.SQL == "MISSING":
						return tc.after(1)
					case s.SQL == releaseSQL && s.Nth == 1:
						return lost
					case s.SQL == rollbackToSQL:
						replay.first()
					}
					return won
				})
				tx := st.begin(t)
				mustExec(t, tx, update(1))
				mustExec(t, tx, "SAVEPOINT app")
				_, err := tx.ExecContext(t.Context(), "MISSING", args...)
				requireCode(t, err, "42P01")
				mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
				mustExec(t, tx, update(2))
				err = tx.Commit()
				if !tc.diverges {
					require.NoError(t, err)
					assert.Equal(t, update(2), st.lastAttempt()[len(st.lastAttempt())-1])
					return
				}
				requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 3, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
				st.mustEnd(t, tx)
			})
		}
	}
}

func parseError(code string) fakepg.Reply {
	return fakepg.Reply{Err: fakepg.Error(code, "refused"), ErrAt: fakepg.AtParse}
}

// Case 8: the same error, inside an application savepoint → goes on. An error ends a pipeline: one round trip more for each.
func TestPeerCase08_SameErrorInASavepoint(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"DUPLICATE": {failing("23505")}, "DIVIDE": {failing("22012")}, update(3): {lost, won}, releaseSQL: {lost, won}})
	tx := st.begin(t)
	mustExec(t, tx, update(1))
	for _, bad := range []string{"DUPLICATE", "DIVIDE"} {
		mustExec(t, tx, "SAVEPOINT app")
		_, err := tx.ExecContext(t.Context(), bad)
		require.Error(t, err)
		mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
		assert.Equal(t, 1, affected(t, tx, update(2)))
	}
	st.srv.Forget()
	assert.Equal(t, 1, affected(t, tx, update(3)))
	require.NoError(t, tx.Commit())
	replay := [][]string{
		{rollbackToSQL, update(1), "SAVEPOINT app", "DUPLICATE"},
		{"ROLLBACK TO SAVEPOINT app", update(2), "SAVEPOINT app", "DIVIDE"},
		{"ROLLBACK TO SAVEPOINT app", update(2), update(3)},
	}
	want := append([][]string{{update(3)}}, replay...)
	want = append(want, []string{releaseSQL, "COMMIT"}, []string{"ROLLBACK"}, []string{"BEGIN", savepointSQL, update(1), "SAVEPOINT app", "DUPLICATE"})
	want = append(append(want, replay[1:]...), []string{releaseSQL, "COMMIT"})
	assert.Equal(t, want, st.srv.Statements())
	st.mustBeUsable(t)
}

// Case 8, where the conflict strikes between an error and the ROLLBACK TO that answers it, or at that.
func TestPeerCase08_ConflictRightAfterAnError(t *testing.T) {
	t.Parallel()
	const back = "ROLLBACK TO SAVEPOINT app"
	st := newStage(t, playbook{"DUPLICATE": {failing("23505")}, back: {lost, lost, won}})
	tx := st.begin(t)
	mustExec(t, tx, "SAVEPOINT app")
	_, err := tx.ExecContext(t.Context(), "DUPLICATE")
	requireCode(t, err, "23505")
	mustExec(t, tx, back)
	mustExec(t, tx, update(1))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"SAVEPOINT app", "DUPLICATE", back, update(1)}, st.lastAttempt())
	st.mustBeUsable(t)
}

// Case 8: a failed transaction in which nobody goes back to a savepoint stays failed, and its COMMIT says so.
func TestPeerCase08_WithoutASavepoint(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"DUPLICATE": {failing("23505")}})
	tx := st.begin(t)
	mustExec(t, tx, update(1))
	_, err := tx.ExecContext(t.Context(), "DUPLICATE")
	requireCode(t, err, "23505")
	_, err = tx.ExecContext(t.Context(), update(2))
	requireCode(t, err, "25P02")
	require.Error(t, tx.Commit())
	assert.NotContains(t, st.ran(), releaseSQL)
	st.mustEnd(t, tx)
}

// Case 8 with data, twice, with prepared statements.
func TestPeerCase08_SameErrorInASavepointOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	for i := range 2 {
		mustExec(t, tx, "SAVEPOINT app")
		mustExec(t, tx, "UPDATE kv SET v = v + 1000 WHERE k = $1", 1)
		_, err := tx.ExecContext(t.Context(), "INSERT INTO kv VALUES ($1, $2)", 2, 99)
		requireCode(t, err, "23505")
		mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
		mustExec(t, tx, "UPDATE kv SET v = v + $1 WHERE k = 1", i+1)
	}
	require.NoError(t, a.provoke(t, tx))
	a.mustCommit(t, tx)
	assert.Equal(t, []int{13, 20}, []int{a.value(t, 1), a.value(t, 2)})
}

// Case 9: empty result stays empty → fine.
func TestPeerCase09_EmptyStaysEmpty(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"QUERY": {vs()}, update(1): {lost, won}, releaseSQL: {lost, won}})
	tx := st.begin(t)
	require.ErrorIs(t, tx.QueryRowContext(t.Context(), "QUERY").Scan(new(string)), sql.ErrNoRows)
	assert.Empty(t, query(t, tx, "QUERY").mustRest())
	mustExec(t, tx, update(1))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"QUERY", "QUERY", update(1)}, st.lastAttempt())

	a := newRealArena(t)
	tx = a.begin(t)
	assert.Empty(t, query(t, tx, "SELECT v FROM kv WHERE k = $1", 50).mustRest())
	require.NoError(t, a.provoke(t, tx, "INSERT INTO kv VALUES (51, 0)"))
	a.mustCommit(t, tx)
}

// Case 10: empty result gains a column → divergence. So does one whose column is renamed, or is of another type.
func TestPeerCase10_ColumnsChange(t *testing.T) {
	t.Parallel()
	column := func(name string, oid uint32) fakepg.Column { return fakepg.Column{Name: name, OID: oid} }
	k, v := column("k", pgtype.Int8OID), column("v", pgtype.TextOID)
	for name, columns := range map[string][][]fakepg.Column{
		"one more":            {{k}, {k, v}},
		"one less":            {{k, v}, {k}},
		"another name":        {{v}, {column("w", pgtype.TextOID)}},
		"another type":        {{v}, {column("v", pgtype.VarcharOID)}},
		"another order":       {{k, v}, {v, k}},
		"shifted names":       {{column("ab", 25), column("c", 25)}, {column("a", 25), column("bc", 25)}},
		"no columns any more": {{k}, nil},
	} {
		for _, mode := range []string{"exec", "describe_exec", "cache_describe", "simple_protocol"} { // those that describe each result anew
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				st := newStage(t, playbook{"SELECT": {{Columns: columns[0]}, {Columns: columns[1]}}, releaseSQL: {lost, won}}, "default_query_exec_mode="+mode)
				tx := st.begin(t)
				rows := query(t, tx, "SELECT")
				assert.Empty(t, rows.mustRest())
				requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedColumns, Attempts: 2})
				st.mustEnd(t, tx)
			})
		}
	}
}

// Case 10, where nobody has seen the columns: an Exec of a query shows none.
func TestPeerCase10_ColumnsThatWereNotShownChange(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT": {vs(), {Columns: []fakepg.Column{{Name: "w"}, {Name: "x"}}}}, releaseSQL: {lost, won}}, "default_query_exec_mode=exec")
	tx := st.begin(t)
	mustExec(t, tx, "SELECT")
	require.NoError(t, tx.Commit())
}

// Case 10 with data, on a prepared statement: the server refuses to run the plan it has. In every mode.
func TestPeerCase10_ColumnsChangeOnData(t *testing.T) {
	t.Parallel()
	for _, mode := range queryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			a, sim := newSimArena(t)
			tx, err := open(t, withParams(a.dsn, noWaits+"&default_query_exec_mode="+mode)).BeginTx(t.Context(), nil)
			require.NoError(t, err)
			assert.Empty(t, query(t, tx, "SELECT * FROM kv WHERE k > 1000").mustRest())
			sim.Inject(
				crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}),
			)
			alter := sync.OnceFunc(func() { mustExec(t, a.rival, "ALTER TABLE kv ADD COLUMN w INT") })
			for _, stage := range []crdbsim.Stage{crdbsim.AtParse, crdbsim.AtBind, crdbsim.AtExecute} { // before anything takes a lock
				f := crdbsim.On(`^select \*`, crdbsim.Action{Call: alter})
				f.At = stage
				sim.Inject(f)
			}
			err = tx.Commit()
			requireConflict(t, err)
			var diverged *cockroachdb.DivergenceError
			require.ErrorAs(t, err, &diverged)
			assert.Equal(t, cockroachdb.DivergedColumns, diverged.Kind, err)
			assert.Equal(t, 1, diverged.Statement)
		})
	}
}
