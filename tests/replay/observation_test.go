package replay_test

import (
	"database/sql"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A row count that was read differs on replay → divergence; the connection is usable afterwards.
func TestReplay_CountReadThenChanged_Diverges(t *testing.T) {
	t.Parallel()
	for _, at := range []string{kit.Update(9), kit.Release} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{kit.Update(2): {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2")}, at: {kit.Conflict, kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, kit.Update(1))
			assert.Equal(t, 1, kit.Affected(t, tx, kit.Update(2)))
			kit.Exec(t, tx, kit.Update(3))
			_, err := tx.ExecContext(t.Context(), kit.Update(9))
			if at == kit.Release {
				require.NoError(t, err)
				err = tx.Commit()
			}
			kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedCount, Attempts: 2})
			st.WantEnded(t, tx)
		})
	}
}

// Of every statement that affects rows, to the simple protocol's several statements in one text.
func TestReplay_CountReadThenChangedInAnyForm_Diverges(t *testing.T) {
	t.Parallel()
	for sql, replies := range map[string][]fakepg.Reply{
		"UPDATE kv SET v = 1 WHERE k = $1":               {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 0")},
		"INSERT INTO kv SELECT $1":                       {kit.Tag("INSERT 0 1"), kit.Tag("INSERT 0 2")},
		"DELETE FROM kv WHERE k > $1":                    {kit.Tag("DELETE 10"), kit.Tag("DELETE 1")},
		"UPDATE kv SET v = 1 WHERE k = $1 RETURNING now": {kit.Texts("a"), kit.Texts("a", kit.Secret)},
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{sql: kit.Always(replies...), kit.Release: {kit.Conflict, kit.OK}})
			tx := st.Begin(t)
			kit.Affected(t, tx, sql, kit.Secret)
			kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
				Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2,
			})
			st.WantEnded(t, tx)
		})
	}
	t.Run("several statements", func(t *testing.T) {
		t.Parallel()
		st := kit.New(t, kit.Script{
			kit.Update(2): {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2")}, kit.Release: {kit.Conflict, kit.OK},
		})
		tx := st.Begin(t)
		kit.Affected(t, tx, kit.Update(1)+";"+kit.Update(2))
		kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
			Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2,
		})
		st.WantEnded(t, tx)
	})
}

func TestReplay_CountReadThenChangedOnData_Diverges(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	assert.Equal(t, 3, kit.Affected(t, tx, "UPDATE kv SET v = v + 1 WHERE k < 10"))
	err := a.Provoke(t, tx, "INSERT INTO kv VALUES (4, 40)")
	kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
	a.WantEnded(t, tx)
	assert.Equal(t, 10, a.Value(t, 1))
}

// The count stays the same, so the new attempt is as good, whatever rows it found.
func TestReplay_CountUnchangedOnData_GoesOn(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	assert.Equal(t, 3, kit.Affected(t, tx, "UPDATE kv SET v = v + 1 WHERE k BETWEEN 1 AND 10"))
	require.NoError(t, a.Provoke(t, tx, "INSERT INTO kv VALUES (11, 40)"))
	a.MustCommit(t, tx)
	assert.Equal(t, 11, a.Value(t, 1))
}

// Once the transaction has diverged it is failed to the application as one that the server has failed, until it rolls
// back.
func TestReplay_Diverged_RefusesAllButRollback(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		kit.Update(1): {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2")}, kit.Update(2): {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	kit.Affected(t, tx, kit.Update(1))
	_, err := tx.ExecContext(t.Context(), kit.Update(2))
	kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
	_, err = tx.ExecContext(t.Context(), kit.Update(3))
	kit.WantCode(t, err, "25P02")
	_, err = tx.ExecContext(t.Context(), "ROLLBACK TO SAVEPOINT app")
	kit.WantCode(t, err, "25P02")
	require.Error(t, tx.QueryRowContext(t.Context(), "SELECT 1").Scan(new(int)))
	require.Error(t, tx.Commit(), "nothing was committed")
	assert.Equal(t, []string{
		"BEGIN; SAVEPOINT; " + kit.Update(1), kit.Update(2), "ROLLBACK TO; " + kit.Update(1) + "; " + kit.Update(2),
		"ROLLBACK",
	}, st.Trips(1), "the others were not sent")
	st.WantEnded(t, tx)
}

// Success becomes an error on replay, an error becomes success with 0 rows, or another SQLSTATE → divergence.
func TestReplay_OutcomeChanges_Diverges(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string][]fakepg.Reply{
		"success becomes an error":             {kit.OK, kit.Fails("23505", "refused")},
		"success becomes an error, of a query": {kit.Texts("a"), kit.Fails("23505", "refused")},
		"success becomes an error, after the rows": {
			kit.Texts("a"),
			{
				Columns: kit.Texts().Columns, Values: kit.Texts("a").Values,
				Err: fakepg.Error("22012", kit.Secret), ErrAfterRows: 1,
			},
		},
		"success without rows becomes an error": {kit.Texts(), kit.Fails("22012", "refused")},
		"an error becomes success with 0 rows":  {kit.Fails("22012", "refused"), kit.Texts()},
		"an error becomes success with rows":    {kit.Fails("22012", "refused"), kit.Texts(kit.Secret)},
		"an error becomes success, of no query": {kit.Fails("23505", "refused"), kit.OK},
		"an error becomes another SQLSTATE":     {kit.Fails("23505", "refused"), kit.Fails("23503", "refused")},
		"another SQLSTATE of the same class":    {kit.Fails("42P01", "refused"), kit.Fails("42P02", "refused")},
		"a conflict in between is not an outcome": {
			kit.Fails("23505", "refused"), kit.Conflict, kit.Fails("23503", "refused"),
		},
		"a conflict in between, then success ends": {kit.OK, kit.Conflict, kit.Fails("23503", "refused")},
		// It is sent as text then, too.
		"an error that a missing statement may cause": {
			kit.Fails("23505", "refused"), kit.Fails("26000", "refused"), kit.Fails("26000", "refused"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"QUERY": kit.Always(replies...), kit.Release: {kit.Conflict, kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, "SAVEPOINT app")
			rows, err := tx.QueryContext(t.Context(), "QUERY")
			if err == nil {
				for rows.Next() {
				}
				require.NoError(t, rows.Err())
			} else {
				kit.WantCode(t, err, replies[0].Err.Code)
				kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
			}
			kit.Exec(t, tx, kit.Update(1))
			attempts := len(replies)
			if strings.Contains(name, "missing statement") {
				attempts-- // sending it as text is no attempt of its own
			}
			kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
				Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: attempts,
			})
			st.WantEnded(t, tx)
		})
	}
}

// Success becomes an error on replay → divergence.
func TestReplay_SuccessBecomesAnErrorOnData_Diverges(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	kit.Exec(t, tx, "SELECT 1000 / v FROM kv WHERE k = 1")
	err := a.Provoke(t, tx, "UPDATE kv SET v = 0 WHERE k = 1")
	kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
	assert.ErrorContains(t, err, "22012")
	a.WantEnded(t, tx)
}

// A transaction that wrote what is there in the meantime must not be told that it succeeded.
func TestReplay_InsertBecomesADuplicateOnData_Diverges(t *testing.T) {
	t.Parallel()
	a, sim := kit.NewKVSim(t)
	tx := a.Begin(t)
	kit.Exec(t, tx, "INSERT INTO kv VALUES ($1, $2)", 5, 50)
	sim.Inject(
		crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("ABORT_REASON_PUSHER_ABORTED")}),
		crdbsim.On("^insert", crdbsim.Action{Call: func() { kit.Exec(t, a.Rival, "INSERT INTO kv VALUES (5, 51)") }}),
	)
	err := tx.Commit()
	kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 2})
	a.WantEnded(t, tx)
	assert.Equal(t, 51, a.Value(t, 5))
}

// An error that the application was given becomes success, another SQLSTATE, or the violation of another constraint.
func TestReplay_ErrorIsAnotherOnData_Diverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fails, code string
		rival       []string
		kind        cockroachdb.DivergenceKind
		says        string
	}{
		"success, without a row": {
			fails: "SELECT 1000 / v FROM kv WHERE k = 1", code: "22012",
			rival: []string{"DELETE FROM kv WHERE k = 1"}, kind: cockroachdb.DivergedSQLState,
		},
		"another SQLSTATE": {
			fails: "SELECT (1 / v + v)::INT2 FROM kv WHERE k = 1", code: "22012",
			rival: []string{"UPDATE kv SET v = 100000 WHERE k = 1"}, kind: cockroachdb.DivergedSQLState,
			says: "SQLSTATE 22003 where it had answered SQLSTATE 22012",
		},
		"the name that was taken is free, and the address is not": {
			fails: "INSERT INTO users VALUES ('ann', 'y')", code: "23505",
			rival: []string{"DELETE FROM users", "INSERT INTO users VALUES ('bob', 'y')"}, kind: cockroachdb.DivergedError,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := kit.NewKV(t)
			require.NoError(t, kit.ExecAll(a.Rival, "UPDATE kv SET v = 0 WHERE k = 1",
				"CREATE TABLE users (name TEXT UNIQUE, address TEXT UNIQUE)", "INSERT INTO users VALUES ('ann', 'x')"))
			tx := a.Begin(t)
			kit.Exec(t, tx, "SAVEPOINT app")
			_, err := tx.ExecContext(t.Context(), tc.fails)
			kit.WantCode(t, err, tc.code)
			kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
			err = a.Provoke(t, tx, tc.rival...)
			kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: tc.kind, Attempts: 2})
			require.ErrorContains(t, err, tc.says)
			a.WantEnded(t, tx)
		})
	}
}

// An error of Parse, too, is held against the replay.
func TestReplay_ErrorOfParse_IsVerified(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after    func(asked int) fakepg.Reply
		diverges bool
	}{
		"stays":           {func(int) fakepg.Reply { return parseError("42P01") }, false},
		"becomes another": {func(n int) fakepg.Reply { return parseError([]string{"42P01", "42703"}[n]) }, true},
		"becomes success": {func(n int) fakepg.Reply { return []fakepg.Reply{parseError("42P01"), {}}[n] }, true},
	} {
		for form, args := range map[string][]any{"exec": nil, "prepare": {kit.Secret}} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				var replayed atomic.Bool
				st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
					switch {
					case s.SQL == "MISSING" && s.Describing && !replayed.Load():
						return tc.after(0)
					case s.SQL == "MISSING":
						return tc.after(1)
					case s.SQL == kit.Release && s.Nth == 1:
						return kit.Conflict
					case s.SQL == kit.RollbackTo:
						replayed.Store(true)
					}
					return kit.OK
				})
				tx := st.Begin(t)
				kit.Exec(t, tx, kit.Update(1))
				kit.Exec(t, tx, "SAVEPOINT app")
				_, err := tx.ExecContext(t.Context(), "MISSING", args...)
				kit.WantCode(t, err, "42P01")
				kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
				kit.Exec(t, tx, kit.Update(2))
				err = tx.Commit()
				if !tc.diverges {
					require.NoError(t, err)
					assert.Equal(t, kit.Update(2), st.LastAttempt()[len(st.LastAttempt())-1])
					return
				}
				kit.WantDivergence(t, err, cockroachdb.DivergenceError{
					Statement: 3, Kind: cockroachdb.DivergedSQLState, Attempts: 2,
				})
				st.WantEnded(t, tx)
			})
		}
	}
}

func parseError(code string) fakepg.Reply {
	return fakepg.Reply{Err: fakepg.Error(code, "refused"), ErrAt: fakepg.AtParse}
}

// The same error, inside an application savepoint → goes on. An error ends a pipeline: one round trip more for each.
func TestReplay_SameErrorInASavepoint_GoesOn(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"DUPLICATE": kit.Always(kit.Fails("23505", "refused")), "DIVIDE": kit.Always(kit.Fails("22012", "refused")),
		kit.Update(3): {kit.Conflict, kit.OK}, kit.Release: {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	kit.Exec(t, tx, kit.Update(1))
	for _, bad := range []string{"DUPLICATE", "DIVIDE"} {
		kit.Exec(t, tx, "SAVEPOINT app")
		_, err := tx.ExecContext(t.Context(), bad)
		require.Error(t, err)
		kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
		assert.Equal(t, 1, kit.Affected(t, tx, kit.Update(2)))
	}
	st.Server.Forget()
	assert.Equal(t, 1, kit.Affected(t, tx, kit.Update(3)))
	require.NoError(t, tx.Commit())
	replay := [][]string{
		{kit.RollbackTo, kit.Update(1), "SAVEPOINT app", "DUPLICATE"},
		{"ROLLBACK TO SAVEPOINT app", kit.Update(2), "SAVEPOINT app", "DIVIDE"},
		{"ROLLBACK TO SAVEPOINT app", kit.Update(2), kit.Update(3)},
	}
	want := append([][]string{{kit.Update(3)}}, replay...)
	want = append(want, []string{kit.Release, "COMMIT"})
	want = append(append(want, replay...), []string{kit.Release, "COMMIT"})
	assert.Equal(t, want, st.Server.Statements())
	st.WantKept(t)
}

// Where the conflict strikes between an error and the ROLLBACK TO that answers it, or at that.
func TestReplay_ConflictRightAfterAnError_GoesOn(t *testing.T) {
	t.Parallel()
	const back = "ROLLBACK TO SAVEPOINT app"
	st := kit.New(t, kit.Script{
		"DUPLICATE": kit.Always(kit.Fails("23505", "refused")), back: {kit.Conflict, kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	kit.Exec(t, tx, "SAVEPOINT app")
	_, err := tx.ExecContext(t.Context(), "DUPLICATE")
	kit.WantCode(t, err, "23505")
	kit.Exec(t, tx, back)
	kit.Exec(t, tx, kit.Update(1))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"SAVEPOINT app", "DUPLICATE", back, kit.Update(1)}, st.LastAttempt())
	st.WantKept(t)
}

// A failed transaction in which nobody goes back to a savepoint stays failed, and its COMMIT says so.
func TestReplay_ErrorWithoutASavepoint_CommitFails(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"DUPLICATE": kit.Always(kit.Fails("23505", "refused"))})
	tx := st.Begin(t)
	kit.Exec(t, tx, kit.Update(1))
	_, err := tx.ExecContext(t.Context(), "DUPLICATE")
	kit.WantCode(t, err, "23505")
	_, err = tx.ExecContext(t.Context(), kit.Update(2))
	kit.WantCode(t, err, "25P02")
	require.Error(t, tx.Commit())
	assert.Equal(t, []string{
		"BEGIN; SAVEPOINT; " + kit.Update(1), "DUPLICATE", "ROLLBACK", "BEGIN; RELEASE", kit.Update(2), "ROLLBACK",
	}, st.Trips(1))
	st.WantEnded(t, tx)
}

// Twice, with prepared statements.
func TestReplay_SameErrorInASavepointOnData_GoesOn(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	for i := range 2 {
		kit.Exec(t, tx, "SAVEPOINT app")
		kit.Exec(t, tx, "UPDATE kv SET v = v + 1000 WHERE k = $1", 1)
		_, err := tx.ExecContext(t.Context(), "INSERT INTO kv VALUES ($1, $2)", 2, 99)
		kit.WantCode(t, err, "23505")
		kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
		kit.Exec(t, tx, "UPDATE kv SET v = v + $1 WHERE k = 1", i+1)
	}
	require.NoError(t, a.Provoke(t, tx))
	a.MustCommit(t, tx)
	assert.Equal(t, []int{13, 20}, []int{a.Value(t, 1), a.Value(t, 2)})
}

// Empty result stays empty → fine.
func TestReplay_NoRowsAgain_GoesOn(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"QUERY": {kit.Texts()}, kit.Update(1): {kit.Conflict, kit.OK}, kit.Release: {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	require.ErrorIs(t, tx.QueryRowContext(t.Context(), "QUERY").Scan(new(string)), sql.ErrNoRows)
	assert.Empty(t, kit.Query(t, tx, "QUERY").MustRest())
	kit.Exec(t, tx, kit.Update(1))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"QUERY", "QUERY", kit.Update(1)}, st.LastAttempt())

	a := kit.NewKV(t)
	tx = a.Begin(t)
	assert.Empty(t, kit.Query(t, tx, "SELECT v FROM kv WHERE k = $1", 50).MustRest())
	require.NoError(t, a.Provoke(t, tx, "INSERT INTO kv VALUES (51, 0)"))
	a.MustCommit(t, tx)
}

// Empty result gains a column → divergence. So does one whose column is renamed, or is of another type.
func TestReplay_ColumnsChange_Diverges(t *testing.T) {
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
		// These describe each result anew.
		for _, mode := range []string{"exec", "describe_exec", "cache_describe", "simple_protocol"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{
					"SELECT": {{Columns: columns[0]}, {Columns: columns[1]}}, kit.Release: {kit.Conflict, kit.OK},
				}, "default_query_exec_mode="+mode)
				tx := st.Begin(t)
				rows := kit.Query(t, tx, "SELECT")
				assert.Empty(t, rows.MustRest())
				kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
					Statement: 1, Kind: cockroachdb.DivergedColumns, Attempts: 2,
				})
				st.WantEnded(t, tx)
			})
		}
	}
}

// Where nobody has seen the columns: an Exec of a query shows none.
func TestReplay_ColumnsNotShownChange_GoesOn(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"SELECT": {kit.Texts(), {Columns: []fakepg.Column{{Name: "w"}, {Name: "x"}}}}, kit.Release: {kit.Conflict, kit.OK},
	}, "default_query_exec_mode=exec")
	tx := st.Begin(t)
	kit.Exec(t, tx, "SELECT")
	require.NoError(t, tx.Commit())
}

// On a prepared statement: the server refuses to run the plan it has. In every mode.
func TestReplay_ColumnsChangeOnData_Diverges(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			a, sim := kit.NewKVSim(t)
			tx, err := kit.Open(t, a.DSN, kit.NoWaits+"&default_query_exec_mode="+mode).BeginTx(t.Context(), nil)
			require.NoError(t, err)
			assert.Empty(t, kit.Query(t, tx, "SELECT * FROM kv WHERE k > 1000").MustRest())
			sim.Inject(
				crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}),
			)
			alter := sync.OnceFunc(func() { kit.Exec(t, a.Rival, "ALTER TABLE kv ADD COLUMN w INT") })
			// Before anything takes a lock.
			for _, stage := range []crdbsim.Stage{crdbsim.AtParse, crdbsim.AtBind, crdbsim.AtExecute} {
				f := crdbsim.On(`^select \*`, crdbsim.Action{Call: alter})
				f.At = stage
				sim.Inject(f)
			}
			err = tx.Commit()
			kit.WantConflict(t, err)
			var diverged *cockroachdb.DivergenceError
			require.ErrorAs(t, err, &diverged)
			assert.Equal(t, cockroachdb.DivergedColumns, diverged.Kind, err)
			assert.Equal(t, 1, diverged.Statement)
		})
	}
}

// That a Prepare succeeded, or failed, is what the application has seen of it, though it never runs the statement.
func TestReplay_PrepareEndsOtherwise_Diverges(t *testing.T) {
	t.Parallel()
	const sql = "SELECT v FROM made WHERE k = $1"
	refused := kit.Fails("42P01", "no such relation")
	refused.ErrAt = fakepg.AtParse
	for name, parsed := range map[string][2]fakepg.Reply{
		"it succeeded": {kit.OK, refused}, "it failed": {refused, kit.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			times := 0
			r := kit.Answering(t, kit.Script{kit.Update(3): {kit.Conflict}}.Calling(sql, func(int) fakepg.Reply {
				times++
				return parsed[min(times, 2)-1]
			}))
			tx := r.Begin(t)
			kit.Exec(t, tx, kit.Update(1))
			kit.Exec(t, tx, "SAVEPOINT s")
			stmt, err := tx.PrepareContext(t.Context(), sql)
			assert.Equal(t, parsed[0].Err != nil, err != nil)
			if err == nil {
				defer stmt.Close()
			} else {
				kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT s")
			}
			_, err = tx.ExecContext(t.Context(), kit.Update(3))
			kit.WantDivergence(t, err, cockroachdb.DivergenceError{
				Statement: 3, Kind: cockroachdb.DivergedSQLState, Attempts: 2,
			})
			require.NoError(t, tx.Rollback())
		})
	}
}
