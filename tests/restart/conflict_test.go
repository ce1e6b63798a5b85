package restart_test

import (
	"database/sql"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// 40001 at RELEASE → replay, RELEASE again; one BEGIN on the wire.
func TestRestart_ConflictAtRelease_StatementsRunAgain(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{kit.Release: {kit.Conflict, kit.OK}})
	tx := st.Begin(t)
	kit.Exec(t, tx, kit.Update(1))
	kit.Exec(t, tx, kit.Update(2))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", kit.Savepoint, kit.Update(1)},
		{kit.Update(2)},
		{kit.Release, "COMMIT"},
		{kit.RollbackTo, kit.Update(1), kit.Update(2), kit.Release, "COMMIT"},
	}, st.Server.Statements())
	st.WantKept(t)
}

// What is committed is there once.
func TestRestart_ConflictAtReleaseOnData_Commits(t *testing.T) {
	t.Parallel()
	a, sim := kit.NewKVSim(t)
	release := crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
	release.Times = 3
	sim.Inject(release)
	tx := a.Begin(t)
	assert.Equal(t, 1, kit.Affected(t, tx, "UPDATE kv SET v = v + $1 WHERE k = $2", 1, 1))
	assert.Equal(t, []string{"20"}, kit.Query(t, tx, "SELECT v FROM kv WHERE k = $1", 2).MustRest())
	require.NoError(t, tx.Commit())
	assert.Equal(t, 3, release.Hits())
	assert.Equal(t, 11, a.Value(t, 1))
}

// On a transaction that only began: there is nothing to commit, and nothing is sent.
func TestRestart_NothingRan_CommitSendsNothing(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{})
	require.NoError(t, st.Begin(t).Commit())
	require.NoError(t, st.Begin(t).Rollback())
	assert.Zero(t, st.Server.RoundTrips())
}

// 40001 on the first Exec → right count, sent twice.
func TestRestart_FirstExecLoses_IsAbsorbed(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{kit.Update(1): {kit.Conflict, kit.Tag("UPDATE 7")}})
	tx := st.Begin(t)
	assert.Equal(t, 7, kit.Affected(t, tx, kit.Update(1)))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", kit.Savepoint, kit.Update(1)},
		{kit.RollbackTo, kit.Update(1)},
		{kit.Release, "COMMIT"},
	}, st.Server.Statements())
	st.WantKept(t)
}

// In each query mode, with an argument and a cold statement cache.
func TestRestart_FirstExecWithAnArgumentLoses_IsAbsorbed(t *testing.T) {
	t.Parallel()
	const sql = "UPDATE kv SET v = $1 + 0"
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			text := sql
			if mode == "simple_protocol" {
				text = "UPDATE kv SET v =  '5'  + 0" // as pgx interpolates it
			}
			st := kit.New(t, kit.Script{text: {kit.Conflict, kit.Tag("UPDATE 7")}}, "default_query_exec_mode="+mode)
			tx := st.Begin(t)
			assert.Equal(t, 7, kit.Affected(t, tx, sql, "5"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN", kit.Savepoint, text, kit.RollbackTo, text, kit.Release, "COMMIT"}, st.Sent())
			st.WantKept(t)
		})
	}
}

// Only the statement is run again.
func TestRestart_OutsideOfATransaction_RunsTheStatementAgain(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{kit.Update(1): {kit.Conflict, kit.Conflict, kit.Tag("UPDATE 7")}})
	assert.Equal(t, 7, kit.Affected(t, st, kit.Update(1)))
	assert.Equal(t, []string{kit.Update(1), kit.Update(1), kit.Update(1)}, st.Sent())
	kit.Exec(t, st, kit.Update(2))
	assert.Equal(t, 1, st.Server.Connections())
}

// 40001 on the second Exec → both run again.
func TestRestart_SecondExecLoses_BothRunAgain(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{kit.Update(2): {kit.Conflict, kit.Tag("UPDATE 7")}})
	tx := st.Begin(t)
	assert.Equal(t, 1, kit.Affected(t, tx, kit.Update(1)))
	assert.Equal(t, 7, kit.Affected(t, tx, kit.Update(2)))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", kit.Savepoint, kit.Update(1)},
		{kit.Update(2)},
		{kit.RollbackTo, kit.Update(1), kit.Update(2)},
		{kit.Release, "COMMIT"},
	}, st.Server.Statements())
	st.WantKept(t)
}

// And a conflict that is the server's own.
func TestRestart_SecondExecLosesOnData_BothRunAgain(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	tx := a.Begin(t)
	assert.Equal(t, 1, kit.Affected(t, tx, "UPDATE kv SET v = v + 1 WHERE k = 1"))
	require.NoError(t, a.Provoke(t, tx))
	a.MustCommit(t, tx)
	assert.Equal(t, 11, a.Value(t, 1))
}

// A statement that had not been answered may answer with an error in the new attempt. That is no divergence: it is the
// statement's own error, and the transaction goes on from it like from any other.
func TestRestart_NewAttemptFails_ErrorIsTheStatements(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		kit.Update(2): kit.Always(kit.Conflict, kit.Fails("23505", "refused")), kit.Release: {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	kit.Exec(t, tx, kit.Update(1))
	kit.Exec(t, tx, "SAVEPOINT app")
	_, err := tx.ExecContext(t.Context(), kit.Update(2))
	kit.WantCode(t, err, "23505")
	kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
	kit.Exec(t, tx, kit.Update(3))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{kit.Update(1), "SAVEPOINT app", kit.Update(2), "ROLLBACK TO SAVEPOINT app", kit.Update(3)},
		st.LastAttempt())
	st.WantKept(t)
}

// A conflict while a statement is parsed is absorbed like any other, be it the first thing in the transaction
// or not, and whether the application prepares or the driver does.
func TestRestart_PrepareLoses_IsAbsorbed(t *testing.T) {
	t.Parallel()
	const prepared = "UPDATE kv SET v = $1"
	for name, tc := range map[string]struct {
		before []string
		run    func(*testing.T, *sql.Tx)
		want   [][]string
	}{
		"first, by the application": {nil, func(t *testing.T, tx *sql.Tx) {
			stmt, err := tx.PrepareContext(t.Context(), prepared)
			require.NoError(t, err)
			defer stmt.Close()
			_, err = stmt.ExecContext(t.Context(), "1")
			require.NoError(t, err)
		}, [][]string{{"BEGIN", kit.Savepoint}, {kit.RollbackTo}, {prepared}, {kit.Release, "COMMIT"}}},
		"first, by the driver": {nil, func(t *testing.T, tx *sql.Tx) {
			kit.Exec(t, tx, prepared, "1")
		}, [][]string{{"BEGIN", kit.Savepoint}, {kit.RollbackTo}, {prepared}, {kit.Release, "COMMIT"}}},
		"later": {[]string{kit.Update(1), kit.Update(2)}, func(t *testing.T, tx *sql.Tx) {
			kit.Exec(t, tx, prepared, "1")
		}, [][]string{
			{"BEGIN", kit.Savepoint, kit.Update(1)},
			{kit.Update(2)},
			nil,
			{kit.RollbackTo, kit.Update(1), kit.Update(2)},
			nil,
			{prepared},
			{kit.Release, "COMMIT"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lost atomic.Bool
			st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
				if s.Describing && s.SQL == prepared && !lost.Swap(true) {
					return fakepg.Reply{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}
				}
				return fakepg.Reply{}
			})
			tx := st.Begin(t)
			for _, sql := range tc.before {
				kit.Exec(t, tx, sql)
			}
			tc.run(t, tx)
			require.NoError(t, tx.Commit())
			assert.Equal(t, tc.want, st.Server.Statements(), st.Server.Exchanges())
			st.WantKept(t)
		})
	}
}

// Several statements in one text are run again together.
func TestRestart_TextOfSeveralStatementsLoses_IsAbsorbed(t *testing.T) {
	t.Parallel()
	texts := kit.Update(1) + "; " + kit.Update(2)
	for _, at := range []string{kit.Update(1), kit.Update(2), kit.Update(3), kit.Release} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				at: {kit.Conflict, kit.Conflict, kit.OK}, kit.Update(2): kit.Always(at2(at, kit.Update(2), kit.Tag("UPDATE 7"))...),
			})
			tx := st.Begin(t)
			kit.Exec(t, tx, kit.Update(0))
			assert.Equal(t, 7, kit.Affected(t, tx, texts))
			kit.Exec(t, tx, kit.Update(3))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{kit.Update(0), texts, kit.Update(3)}, st.LastAttempt(), st.Server.Statements())
			st.WantKept(t)
		})
	}
}

// at2 is a reply that comes at once, or after two conflicts where the conflict is to be there.
func at2(at, sql string, reply fakepg.Reply) []fakepg.Reply {
	if at == sql {
		return []fakepg.Reply{kit.Conflict, kit.Conflict, reply}
	}
	return []fakepg.Reply{reply}
}

// 40001 during a replay → from the top; each statement once in the final attempt.
func TestRestart_ReplayLoses_ReplaysAgain(t *testing.T) {
	t.Parallel()
	all := []string{kit.Update(1), kit.Update(2), kit.Update(3), kit.Update(4)}
	for i, again := range all {
		t.Run(fmt.Sprint("at statement ", i+1), func(t *testing.T) {
			t.Parallel()
			// The last one loses, then the one in question when it runs again, then that one once more.
			book := kit.Script{all[3]: {kit.Conflict, kit.OK}, again: {kit.OK, kit.Conflict, kit.Conflict, kit.OK}}
			if i == 3 {
				book = kit.Script{again: {kit.Conflict, kit.Conflict, kit.Conflict, kit.OK}}
			}
			st := kit.New(t, book)
			tx := st.Begin(t)
			for _, sql := range all {
				assert.Equal(t, 1, kit.Affected(t, tx, sql))
			}
			require.NoError(t, tx.Commit())
			assert.Equal(t, all, st.LastAttempt())
			again := slices.Concat([]string{"BEGIN", kit.Savepoint}, all)
			// The first new attempt is at once and by savepoint; those that follow have waited, without locks.
			assert.Equal(t, [][]string{
				{"BEGIN", kit.Savepoint, all[0]},
				{all[1]},
				{all[2]},
				{all[3]},
				slices.Concat([]string{kit.RollbackTo}, all),
				{"ROLLBACK"},
				again,
				{"ROLLBACK"},
				again,
				{kit.Release, "COMMIT"},
			}, st.Server.Statements())
			st.WantKept(t)
		})
	}
}

// In the attempt that commits each statement has run once.
func TestRestart_ReplayLosesOnData_ReplaysAgain(t *testing.T) {
	t.Parallel()
	a, sim := kit.NewKVSim(t)
	tx := a.Begin(t)
	kit.Exec(t, tx, "UPDATE kv SET v = v * 2 + 1 WHERE k = 1")
	kit.Exec(t, tx, "UPDATE kv SET v = v * 2 + 1 WHERE k = 2")
	conflict := crdbsim.Action{Then: crdbsim.ExecuteFail, Error: crdbsim.Conflict("WriteTooOldError")}
	sim.Inject(
		crdbsim.On("WHERE k = 3", conflict),
		crdbsim.On("WHERE k = 2", conflict),
		crdbsim.On("WHERE k = 1", crdbsim.Action{}), // the second replay comes past it
		crdbsim.On("WHERE k = 1", conflict),
		crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: conflict.Error}),
	)
	kit.Exec(t, tx, "UPDATE kv SET v = v * 2 + 1 WHERE k = 3")
	require.NoError(t, tx.Commit())
	assert.Equal(t, []int{21, 41, 61}, []int{a.Value(t, 1), a.Value(t, 2), a.Value(t, 3)})
}

// Where the conflict meets ROLLBACK TO, BEGIN or SAVEPOINT of the new attempt.
func TestRestart_OpeningOfTheReplayLoses_ReplaysAgain(t *testing.T) {
	t.Parallel()
	for _, at := range []string{kit.RollbackTo, "BEGIN", kit.Savepoint} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			book := kit.Script{kit.Update(2): {kit.Conflict, kit.Conflict, kit.OK}, at: {kit.Conflict, kit.OK}}
			if at != kit.RollbackTo {
				book[at] = []fakepg.Reply{kit.OK, kit.Conflict, kit.OK}
			}
			st := kit.New(t, book)
			tx := st.Begin(t)
			kit.Exec(t, tx, kit.Update(1))
			kit.Exec(t, tx, kit.Update(2))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{kit.Update(1), kit.Update(2)}, st.LastAttempt())
			st.WantKept(t)
		})
	}
}

// Where the restart savepoint can't be gone back to: ROLLBACK and BEGIN in its place, at no attempt's cost.
func TestRestart_RollbackToSavepointFails_BeginsAnew(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		kit.Update(2): {kit.Conflict, kit.OK}, kit.RollbackTo: kit.Always(kit.Fails("0A000", "refused")),
	}, "retry_max_attempts=2")
	tx := st.Begin(t)
	kit.Exec(t, tx, kit.Update(1))
	kit.Exec(t, tx, kit.Update(2))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", kit.Savepoint, kit.Update(1)},
		{kit.Update(2)},
		{kit.RollbackTo, kit.Update(1), kit.Update(2)},
		{"ROLLBACK", "BEGIN", kit.Savepoint, kit.Update(1), kit.Update(2)},
		{kit.Release, "COMMIT"},
	}, st.Server.Statements())
	st.WantKept(t)
}

// Two successive replays → the second is verified too.
func TestRestart_SecondReplayDiffers_Diverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first []fakepg.Reply // the first statement, in each attempt
		show  func(*testing.T, *sql.Tx)
		want  cockroachdb.DivergenceError
	}{
		"count": {
			[]fakepg.Reply{kit.Tag("UPDATE 1"), kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2")},
			func(t *testing.T, tx *sql.Tx) { kit.Affected(t, tx, "FIRST") },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 3},
		},
		"row": {
			[]fakepg.Reply{kit.Texts("a", "b"), kit.Texts("a", "b"), kit.Texts("a", kit.Secret)},
			func(t *testing.T, tx *sql.Tx) { kit.Query(t, tx, "FIRST").MustRest() },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 3},
		},
		"end of rows": {
			[]fakepg.Reply{kit.Texts("a"), kit.Texts("a"), kit.Texts("a", kit.Secret)},
			func(t *testing.T, tx *sql.Tx) { kit.Query(t, tx, "FIRST").MustRest() },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 3},
		},
		"success": {
			[]fakepg.Reply{kit.OK, kit.OK, kit.Fails("23505", "refused")},
			func(t *testing.T, tx *sql.Tx) { kit.Exec(t, tx, "FIRST") },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"FIRST": kit.Always(tc.first...), kit.Update(2): {kit.Conflict, kit.OK}, kit.Update(3): {kit.Conflict, kit.OK},
			})
			tx := st.Begin(t)
			tc.show(t, tx)
			kit.Exec(t, tx, kit.Update(2))
			_, err := tx.ExecContext(t.Context(), kit.Update(3))
			kit.WantDivergence(t, err, tc.want)
			st.WantEnded(t, tx)
		})
	}
}

// What is asked for between two replays is what the first of them gave, and the second is held to that.
func TestRestart_CountReadBetweenReplays_IsVerifiedByTheNext(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"UPDATE first": {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2"), kit.Tag("UPDATE 1")},
		kit.Update(2):  {kit.Conflict, kit.OK}, kit.Release: {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	res, err := tx.ExecContext(t.Context(), "UPDATE first")
	require.NoError(t, err)
	kit.Exec(t, tx, kit.Update(2))
	n, err := res.RowsAffected()
	require.NoError(t, err)
	assert.EqualValues(t, 2, n, "the latest attempt's")
	kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
		Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 3,
	})
	st.WantEnded(t, tx)
}

// The second of two conflicts brings rows that the application has not seen.
func TestRestart_SecondReplayDiffersOnData_Diverges(t *testing.T) {
	t.Parallel()
	a := kit.NewKV(t)
	kit.Exec(t, a.Rival, "INSERT INTO kv VALUES (101, 0)")
	tx := a.Begin(t)
	assert.Equal(t, []string{"10", "20", "30"}, kit.Query(t, tx, "SELECT v FROM kv WHERE k < 10 ORDER BY k").MustRest())
	require.NoError(t, a.Provoke(t, tx))
	kit.Exec(t, a.Rival, "UPDATE kv SET v = 31 WHERE k = 3")
	kit.Exec(t, a.Rival, "UPDATE kv SET v = 1 WHERE k = 101")
	_, err := tx.ExecContext(t.Context(), "UPDATE kv SET v = v + 1 WHERE k = 101")
	if err == nil { // the server sees the conflict only now
		err = tx.Commit()
	}
	kit.WantConflict(t, err)
	var diverged *cockroachdb.DivergenceError
	require.ErrorAs(t, err, &diverged)
	assert.Equal(t, []any{1, cockroachdb.DivergedRow, int64(3)}, []any{diverged.Statement, diverged.Kind, diverged.Row})
	a.WantEnded(t, tx)
}

// Conflict, replay, conflict, then divergence → divergence.
func TestRestart_ReplayLosesThenDiffers_Diverges(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"UPDATE first": {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2")},
		kit.Update(2):  {kit.OK, kit.Conflict, kit.OK},
		kit.Release:    {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	kit.Exec(t, tx, kit.Update(0))
	assert.Equal(t, 1, kit.Affected(t, tx, "UPDATE first"))
	assert.Equal(t, 1, kit.Affected(t, tx, kit.Update(2)))
	kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
		Statement: 2, Kind: cockroachdb.DivergedCount, Attempts: 3,
	})
	st.WantEnded(t, tx)
}
