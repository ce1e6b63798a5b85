package cockroachdb_test

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// The tests named TestPeerCase… pass the cases on which this driver's peers were seen to fail, by their numbers. Here: how a
// transaction is run again.

// Case 1: 40001 at RELEASE → replay, RELEASE again; one BEGIN on the wire.
func TestPeerCase01_ConflictAtRelease(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{releaseSQL: {lost, won}})
	tx := st.begin(t)
	mustExec(t, tx, update(1))
	mustExec(t, tx, update(2))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", savepointSQL, update(1)},
		{update(2)},
		{releaseSQL, "COMMIT"},
		{rollbackToSQL, update(1), update(2)},
		{releaseSQL, "COMMIT"},
	}, st.srv.Statements())
	st.mustBeUsable(t)
}

// Case 1 with data: what is committed is there once.
func TestPeerCase01_ConflictAtReleaseOnData(t *testing.T) {
	t.Parallel()
	a, sim := newSimArena(t)
	release := crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
	release.Times = 3
	sim.Inject(release)
	tx := a.begin(t)
	assert.Equal(t, 1, affected(t, tx, "UPDATE kv SET v = v + $1 WHERE k = $2", 1, 1))
	assert.Equal(t, []string{"20"}, query(t, tx, "SELECT v FROM kv WHERE k = $1", 2).mustRest())
	require.NoError(t, tx.Commit())
	assert.Equal(t, 3, release.Hits())
	assert.Equal(t, 11, a.value(t, 1))
}

// Case 1, on a transaction that only began: there is nothing to commit, and nothing is sent.
func TestPeerCase01_NothingToCommit(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{})
	require.NoError(t, st.begin(t).Commit())
	require.NoError(t, st.begin(t).Rollback())
	assert.Zero(t, st.srv.RoundTrips())
}

// Case 2: 40001 on the first Exec → right count, sent twice.
func TestPeerCase02_ConflictOnTheFirstExec(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {lost, tagged("UPDATE 7")}})
	tx := st.begin(t)
	assert.Equal(t, 7, affected(t, tx, update(1)))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", savepointSQL, update(1)},
		{rollbackToSQL, update(1)},
		{releaseSQL, "COMMIT"},
	}, st.srv.Statements())
	st.mustBeUsable(t)
}

// Case 2, in each query mode, with an argument and a cold statement cache.
func TestPeerCase02_ConflictOnTheFirstExecWithAnArgument(t *testing.T) {
	t.Parallel()
	const sql = "UPDATE kv SET v = $1 + 0"
	for _, mode := range queryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			text := sql
			if mode == "simple_protocol" {
				text = "UPDATE kv SET v =  '5'  + 0" // as pgx interpolates it
			}
			st := newStage(t, playbook{text: {lost, tagged("UPDATE 7")}}, "default_query_exec_mode="+mode)
			tx := st.begin(t)
			assert.Equal(t, 7, affected(t, tx, sql, "5"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN", savepointSQL, text, rollbackToSQL, text, releaseSQL, "COMMIT"}, st.ran())
			st.mustBeUsable(t)
		})
	}
}

var queryModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

// Case 2 outside of a transaction: the statement is run again by itself.
func TestPeerCase02_ConflictOutsideOfATransaction(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {lost, lost, tagged("UPDATE 7")}})
	assert.Equal(t, 7, affected(t, st, update(1)))
	assert.Equal(t, []string{update(1), update(1), update(1)}, st.ran())
	mustExec(t, st, update(2))
	assert.Equal(t, 1, st.srv.Connections())
}

// Case 3: 40001 on the second Exec → both run again.
func TestPeerCase03_ConflictOnTheSecondExec(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(2): {lost, tagged("UPDATE 7")}})
	tx := st.begin(t)
	assert.Equal(t, 1, affected(t, tx, update(1)))
	assert.Equal(t, 7, affected(t, tx, update(2)))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", savepointSQL, update(1)},
		{update(2)},
		{rollbackToSQL, update(1), update(2)},
		{releaseSQL, "COMMIT"},
	}, st.srv.Statements())
	st.mustBeUsable(t)
}

// Case 3 with data, and a conflict that is the server's own.
func TestPeerCase03_ConflictOnTheSecondExecOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	tx := a.begin(t)
	assert.Equal(t, 1, affected(t, tx, "UPDATE kv SET v = v + 1 WHERE k = 1"))
	require.NoError(t, a.provoke(t, tx))
	a.mustCommit(t, tx)
	assert.Equal(t, 11, a.value(t, 1))
}

// Case 3: a statement that had not been answered may answer with an error in the new attempt. That is no divergence: it is the
// statement's own error, and the transaction goes on from it like from any other.
func TestPeerCase03_TheNewAttemptFails(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(2): {lost, failing("23505")}, releaseSQL: {lost, won}})
	tx := st.begin(t)
	mustExec(t, tx, update(1))
	mustExec(t, tx, "SAVEPOINT app")
	_, err := tx.ExecContext(t.Context(), update(2))
	requireCode(t, err, "23505")
	mustExec(t, tx, "ROLLBACK TO SAVEPOINT app")
	mustExec(t, tx, update(3))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{update(1), "SAVEPOINT app", update(2), "ROLLBACK TO SAVEPOINT app", update(3)}, st.lastAttempt())
	st.mustBeUsable(t)
}

// Case 3 on Prepare: a conflict while a statement is parsed is absorbed like any other, be it the first thing in the transaction
// or not, and whether the application prepares or the driver does.
func TestPeerCase03_ConflictOnPrepare(t *testing.T) {
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
		}, [][]string{{"BEGIN", savepointSQL}, {rollbackToSQL}, {prepared}, {releaseSQL, "COMMIT"}}},
		"first, by the driver": {nil, func(t *testing.T, tx *sql.Tx) {
			mustExec(t, tx, prepared, "1")
		}, [][]string{{"BEGIN", savepointSQL}, {rollbackToSQL}, {prepared}, {releaseSQL, "COMMIT"}}},
		"later": {[]string{update(1), update(2)}, func(t *testing.T, tx *sql.Tx) {
			mustExec(t, tx, prepared, "1")
		}, [][]string{{"BEGIN", savepointSQL, update(1)}, {update(2)}, nil, {rollbackToSQL, update(1), update(2)}, nil, {prepared}, {releaseSQL, "COMMIT"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conflict atomicOnce
			st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
				if s.Describing && s.SQL == prepared && conflict.first() {
					return fakepg.Reply{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}
				}
				return fakepg.Reply{}
			})
			tx := st.begin(t)
			for _, sql := range tc.before {
				mustExec(t, tx, sql)
			}
			tc.run(t, tx)
			require.NoError(t, tx.Commit())
			assert.Equal(t, tc.want, st.srv.Statements(), st.srv.Exchanges())
			st.mustBeUsable(t)
		})
	}
}

// Case 3 in the simple protocol: several statements in one text are run again together.
func TestPeerCase03_SeveralStatementsInOneText(t *testing.T) {
	t.Parallel()
	texts := update(1) + "; " + update(2)
	for _, at := range []string{update(1), update(2), update(3), releaseSQL} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{at: {lost, lost, won}, update(2): at2(at, update(2), tagged("UPDATE 7"))})
			tx := st.begin(t)
			mustExec(t, tx, update(0))
			assert.Equal(t, 7, affected(t, tx, texts))
			mustExec(t, tx, update(3))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{update(0), texts, update(3)}, st.lastAttempt(), st.srv.Statements())
			st.mustBeUsable(t)
		})
	}
}

// at2 is a reply that comes at once, or after two conflicts where the conflict is to be there.
func at2(at, sql string, reply fakepg.Reply) []fakepg.Reply {
	if at == sql {
		return []fakepg.Reply{lost, lost, reply}
	}
	return []fakepg.Reply{reply}
}

// Case 18: 40001 during a replay → from the top; each statement once in the final attempt.
func TestPeerCase18_ConflictDuringAReplay(t *testing.T) {
	t.Parallel()
	all := []string{update(1), update(2), update(3), update(4)}
	for i, again := range all {
		t.Run(fmt.Sprint("at statement ", i+1), func(t *testing.T) {
			t.Parallel()
			// The last one loses, then the one in question when it runs again, then that one once more.
			book := playbook{all[3]: {lost, won}, again: {won, lost, lost, won}}
			if i == 3 {
				book = playbook{again: {lost, lost, lost, won}}
			}
			st := newStage(t, book)
			tx := st.begin(t)
			for _, sql := range all {
				assert.Equal(t, 1, affected(t, tx, sql))
			}
			require.NoError(t, tx.Commit())
			assert.Equal(t, all, st.lastAttempt())
			again := slices.Concat([]string{"BEGIN", savepointSQL}, all)
			// The first new attempt is at once and by savepoint; those that follow have waited, without locks.
			assert.Equal(t, [][]string{
				{"BEGIN", savepointSQL, all[0]},
				{all[1]},
				{all[2]},
				{all[3]},
				slices.Concat([]string{rollbackToSQL}, all),
				{"ROLLBACK"},
				again,
				{"ROLLBACK"},
				again,
				{releaseSQL, "COMMIT"},
			}, st.srv.Statements())
			st.mustBeUsable(t)
		})
	}
}

// Case 18 with data: in the attempt that commits each statement has run once.
func TestPeerCase18_ConflictDuringAReplayOnData(t *testing.T) {
	t.Parallel()
	a, sim := newSimArena(t)
	tx := a.begin(t)
	mustExec(t, tx, "UPDATE kv SET v = v * 2 + 1 WHERE k = 1")
	mustExec(t, tx, "UPDATE kv SET v = v * 2 + 1 WHERE k = 2")
	conflict := crdbsim.Action{Then: crdbsim.ExecuteFail, Error: crdbsim.Conflict("WriteTooOldError")}
	sim.Inject(
		crdbsim.On("WHERE k = 3", conflict),
		crdbsim.On("WHERE k = 2", conflict),
		crdbsim.On("WHERE k = 1", crdbsim.Action{}), // the second replay comes past it
		crdbsim.On("WHERE k = 1", conflict),
		crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: conflict.Error}),
	)
	mustExec(t, tx, "UPDATE kv SET v = v * 2 + 1 WHERE k = 3")
	require.NoError(t, tx.Commit())
	assert.Equal(t, []int{21, 41, 61}, []int{a.value(t, 1), a.value(t, 2), a.value(t, 3)})
}

// Case 18, where the conflict meets ROLLBACK TO, BEGIN or SAVEPOINT of the new attempt.
func TestPeerCase18_ConflictInTheOpening(t *testing.T) {
	t.Parallel()
	for _, at := range []string{rollbackToSQL, "BEGIN", savepointSQL} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			book := playbook{update(2): {lost, lost, won}, at: {lost, won}}
			if at != rollbackToSQL {
				book[at] = []fakepg.Reply{won, lost, won}
			}
			st := newStage(t, book)
			tx := st.begin(t)
			mustExec(t, tx, update(1))
			mustExec(t, tx, update(2))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{update(1), update(2)}, st.lastAttempt())
			st.mustBeUsable(t)
		})
	}
}

// Case 18, where the restart savepoint can't be gone back to: ROLLBACK and BEGIN in its place, at no attempt's cost.
func TestPeerCase18_NoWayBackToTheSavepoint(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(2): {lost, won}, rollbackToSQL: {failing("0A000")}}, "retry_max_attempts=2")
	tx := st.begin(t)
	mustExec(t, tx, update(1))
	mustExec(t, tx, update(2))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]string{
		{"BEGIN", savepointSQL, update(1)},
		{update(2)},
		{rollbackToSQL, update(1), update(2)},
		{"ROLLBACK", "BEGIN", savepointSQL, update(1), update(2)},
		{releaseSQL, "COMMIT"},
	}, st.srv.Statements())
	st.mustBeUsable(t)
}

// Case 19: two successive replays → the second is verified too.
func TestPeerCase19_TheSecondReplayIsVerified(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first []fakepg.Reply // the first statement, in each attempt
		show  func(*testing.T, *sql.Tx)
		want  cockroachdb.DivergenceError
	}{
		"count": {
			[]fakepg.Reply{tagged("UPDATE 1"), tagged("UPDATE 1"), tagged("UPDATE 2")},
			func(t *testing.T, tx *sql.Tx) { affected(t, tx, "FIRST") },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 3},
		},
		"row": {
			[]fakepg.Reply{vs("a", "b"), vs("a", "b"), vs("a", secret)},
			func(t *testing.T, tx *sql.Tx) { query(t, tx, "FIRST").mustRest() },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 3},
		},
		"end of rows": {
			[]fakepg.Reply{vs("a"), vs("a"), vs("a", secret)},
			func(t *testing.T, tx *sql.Tx) { query(t, tx, "FIRST").mustRest() },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 3},
		},
		"success": {
			[]fakepg.Reply{won, won, failing("23505")},
			func(t *testing.T, tx *sql.Tx) { mustExec(t, tx, "FIRST") },
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"FIRST": tc.first, update(2): {lost, won}, update(3): {lost, won}})
			tx := st.begin(t)
			tc.show(t, tx)
			mustExec(t, tx, update(2))
			_, err := tx.ExecContext(t.Context(), update(3))
			requireDivergence(t, err, tc.want)
			st.mustEnd(t, tx)
		})
	}
}

// Case 19: what is asked for between two replays is what the first of them gave, and the second is held to that.
func TestPeerCase19_AskedBetweenTwoReplays(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE first": {tagged("UPDATE 1"), tagged("UPDATE 2"), tagged("UPDATE 1")}, update(2): {lost, won}, releaseSQL: {lost, won}})
	tx := st.begin(t)
	res, err := tx.ExecContext(t.Context(), "UPDATE first")
	require.NoError(t, err)
	mustExec(t, tx, update(2))
	n, err := res.RowsAffected()
	require.NoError(t, err)
	assert.EqualValues(t, 2, n, "the latest attempt's")
	requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 3})
	st.mustEnd(t, tx)
}

// Case 19 with data: the second of two conflicts brings rows that the application has not seen.
func TestPeerCase19_TheSecondReplayIsVerifiedOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	mustExec(t, a.rival, "INSERT INTO kv VALUES (101, 0)")
	tx := a.begin(t)
	assert.Equal(t, []string{"10", "20", "30"}, query(t, tx, "SELECT v FROM kv WHERE k < 10 ORDER BY k").mustRest())
	require.NoError(t, a.provoke(t, tx))
	mustExec(t, a.rival, "UPDATE kv SET v = 31 WHERE k = 3")
	mustExec(t, a.rival, "UPDATE kv SET v = 1 WHERE k = 101")
	_, err := tx.ExecContext(t.Context(), "UPDATE kv SET v = v + 1 WHERE k = 101")
	if err == nil { // the server sees the conflict only now
		err = tx.Commit()
	}
	requireConflict(t, err)
	var diverged *cockroachdb.DivergenceError
	require.ErrorAs(t, err, &diverged)
	assert.Equal(t, []any{1, cockroachdb.DivergedRow, int64(3)}, []any{diverged.Statement, diverged.Kind, diverged.Row})
	a.mustEnd(t, tx)
}

// Case 20: conflict, replay, conflict, then divergence → divergence.
func TestPeerCase20_DivergenceAfterAReplayThatLost(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{
		"UPDATE first": {tagged("UPDATE 1"), tagged("UPDATE 1"), tagged("UPDATE 2")},
		update(2):      {won, lost, won},
		releaseSQL:     {lost, won},
	})
	tx := st.begin(t)
	mustExec(t, tx, update(0))
	assert.Equal(t, 1, affected(t, tx, "UPDATE first"))
	assert.Equal(t, 1, affected(t, tx, update(2)))
	requireDivergence(t, tx.Commit(), cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedCount, Attempts: 3})
	st.mustEnd(t, tx)
}
