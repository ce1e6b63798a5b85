package runtx_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

var tooOld = kit.Fails("40001", "restart transaction: TransactionRetryWithProtoRefreshError: "+
	"WriteTooOldError: write for key /Table/104/1/1/0 at timestamp 1.0,0 too old; wrote at 2.0,1")

// CockroachDB says by these reasons that what the transaction had read was written since. The function was shown it, so
// that a replay could only differ: the function is called at once, in the same server transaction.
func TestRunTx_ShownReadWasWrittenSince_CallsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at       string
		conflict fakepg.Reply
		read     []fakepg.Reply // the answers to the first call's read and to the second's
		trips    [][]string     // between the first call's read and the end
	}{
		"WriteTooOld": {
			kit.Update(1), tooOld, kit.IntOfEachRun(1, 2),
			[][]string{{kit.Update(1)}, {kit.RollbackTo, readKV}, {kit.Update(2)}},
		},
		"RETRY_SERIALIZABLE": {
			kit.Update(1), kit.Conflict, kit.IntOfEachRun(1, 2),
			[][]string{{kit.Update(1)}, {kit.RollbackTo, readKV}, {kit.Update(2)}},
		},
		"at the commit": {
			kit.Release, kit.Conflict, kit.IntOfEachRun(1, 2),
			[][]string{{kit.Update(1)}, {kit.Release, "COMMIT"}, {kit.RollbackTo, readKV}, {kit.Update(2)}},
		},
		"it was shown that there is no row": {
			kit.Update(0), kit.Conflict,
			[]fakepg.Reply{kit.Ints(), kit.Ints(2)},
			[][]string{{kit.Update(0)}, {kit.RollbackTo, readKV}, {kit.Update(2)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{readKV: tc.read, tc.at: {tc.conflict}})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				var v int
				if err := tx.QueryRow(readKV).Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
					return err
				}
				_, err := tx.Exec(kit.Update(v))
				return err
			}))
			assert.Equal(t, 2, calls)
			trips := append([][]string{{"BEGIN", kit.Savepoint}, {readKV}}, tc.trips...)
			assert.Equal(t, append(trips, []string{kit.Release, "COMMIT"}), r.Statements())
			kit.WantUsable(t, r.DB)
		})
	}
}

// On PostgreSQL a statement that loses has mostly lost a row to others, which the function was shown as it was. A
// commit may have lost although all that was shown is as before, and is replayed first.
func TestRunTx_LostOnPostgreSQL_CallsAtOnceUnlessItWasTheCommit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at    string
		read  []fakepg.Reply
		calls int
		trips [][]string // from the conflict on
	}{
		"at a statement": {
			kit.Update(1), kit.IntOfEachRun(1, 2), 2,
			[][]string{{"ROLLBACK", "BEGIN", readKV}, {kit.Update(2)}, {"COMMIT"}},
		},
		"at the commit": {
			"COMMIT", kit.IntOfEachRun(1, 1), 1,
			[][]string{{"BEGIN", readKV, kit.Update(1)}, {"COMMIT"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{readKV: tc.read, tc.at: lostOnPostgreSQL}, fakepg.PlainPostgreSQL())
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				var v int
				if err := tx.QueryRow(readKV).Scan(&v); err != nil {
					return err
				}
				return kit.ExecAll(tx, kit.Update(v))
			}))
			assert.Equal(t, tc.calls, calls)
			sent := r.Statements()
			assert.Equal(t, tc.trips, sent[len(sent)-len(tc.trips):])
			kit.WantUsable(t, r.DB)
		})
	}
}

// Where a replay may show the function the same, it is not called again.
func TestRunTx_NothingUnlockedWasShown_Replays(t *testing.T) {
	t.Parallel()
	const returning = "UPDATE n SET v = v + 1 RETURNING v"
	read := func(tx *sql.Tx, query string) error { return tx.QueryRow(query).Scan(new(int)) }
	exec := func(tx *sql.Tx, text string) error { return kit.ExecAll(tx, text) }
	for name, tc := range map[string]struct {
		conflict fakepg.Reply
		first    string // the first statement
		do       func(tx *sql.Tx, first string) error
	}{
		"nothing was read":               {kit.Conflict, kit.Update(2), exec},
		"it is locked":                   {tooOld, readKV + " FOR UPDATE", read},
		"it is locked against writes":    {tooOld, readKV + " FOR NO KEY UPDATE", read},
		"it is locked with others":       {tooOld, readKV + " FOR SHARE", read},
		"it comes from a write":          {tooOld, returning, read},
		"the function has not looked":    {tooOld, readKV, closeUnread},
		"another transaction aborted it": {kit.Aborted, readKV, read},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{tc.first: {kit.Ints(1)}, kit.Update(1): {tc.conflict}})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				if err := tc.do(tx, tc.first); err != nil {
					return err
				}
				return kit.ExecAll(tx, kit.Update(1))
			}))
			assert.Equal(t, 1, calls)
			opening := []string{kit.RollbackTo}
			if name == "another transaction aborted it" {
				opening = []string{"ROLLBACK", "BEGIN PRIORITY HIGH", kit.Savepoint}
			}
			assert.Contains(t, r.Statements(), append(opening, tc.first, kit.Update(1)))
			kit.WantUsable(t, r.DB)
		})
	}
}

func closeUnread(tx *sql.Tx, query string) error {
	rows, err := tx.Query(query)
	if err != nil {
		return err
	}
	return rows.Close()
}

// Only RunTx has a function to call.
func TestBeginTx_ShownReadWasWrittenSince_Replays(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1), kit.Update(1): {tooOld}})
	tx := r.Begin(t)
	calls := 0
	require.NoError(t, readThenWrite(&calls)(tx))
	require.NoError(t, tx.Commit())
	assert.Contains(t, r.Statements(), []string{kit.RollbackTo, readKV, kit.Update(1)})
}

// Calls and replays share the policy's bounds. In the lane too the function is called at once if the place was yielded
// to the next, which happens twice.
func TestRunTx_CalledAtOnceAndThenReplayed_IsBounded(t *testing.T) {
	t.Parallel()
	changing := func(n int) fakepg.Reply { return kit.Ints(int64(n)) }
	losing := kit.Script{kit.Release: kit.Always(kit.Conflict)}.Calling(readKV, changing)
	r := kit.Answering(t, losing)
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts, policy.InitialBackoff = 5, 0
	calls := 0
	err := cockroachdb.RunTx(cockroachdb.WithRetryPolicy(t.Context(), policy), r.DB, nil, readThenWrite(&calls))
	exhausted := kit.As[*cockroachdb.RetriesExhaustedError](t, err)
	assert.Equal(t, cockroachdb.BoundAttempts, exhausted.Bound)
	assert.Equal(t, 5, exhausted.Attempts)
	kit.WantCodeWithin(t, err, "40001")
	assert.Equal(t, 5, r.Times(readKV))
	assert.Equal(t, 4, calls, "the first, and one at once after each of three commits; then there is a replay")
	assert.Zero(t, r.Stats().InUse)
}

// A function that swallows the conflict is called again all the same, and what it sends meanwhile is not sent.
func TestRunTx_CalledAtOnce_SwallowsTheConflict_IsRetried(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): {tooOld}})
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
		if readThenWrite(&calls)(tx) != nil {
			_, err := tx.Exec(kit.Update(7))
			kit.WantCode(t, err, "25P02")
		}
		return nil
	}))
	assert.Equal(t, 2, calls)
	assert.Zero(t, r.Times(kit.Update(7)))
	assert.Equal(t, 1, r.Times("BEGIN"))
	kit.WantUsable(t, r.DB)
}

// Who hides the conflict in an error of another kind is called again too: without the call at once there would be
// a replay, of which the function hears nothing.
func TestRunTx_CalledAtOnce_HidesTheConflict_IsRetried(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): {tooOld}})
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
		if err := readThenWrite(&calls)(tx); err != nil {
			return errors.New("interest: " + err.Error())
		}
		return nil
	}))
	assert.Equal(t, 2, calls)
	kit.WantUsable(t, r.DB)
}

// Some versions of CockroachDB answer a statement after the savepoint with an internal error. Here it is the function's
// first.
func TestRunTx_CalledAtOnce_FailsAfterTheSavepoint_BeginsAnew(t *testing.T) {
	t.Parallel()
	no := kit.Fails("XX000", "no such thing")
	r := kit.New(t, kit.Script{readKV: {kit.Ints(1), no, kit.Ints(2)}, kit.Update(1): {tooOld}})
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls)))
	assert.Equal(t, 2, calls)
	assert.Equal(t, [][]string{
		{"BEGIN", kit.Savepoint},
		{readKV},
		{kit.Update(1)},
		{kit.RollbackTo, readKV},
		{"ROLLBACK", "BEGIN", kit.Savepoint, readKV},
		{kit.Update(2)},
		{kit.Release, "COMMIT"},
	}, r.Statements())
}

// A transaction that loses again in the lane is replayed: what differs then has taken the locks for the call after it.
func TestRunTx_LosesAgainInTheLane_Replays(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{
		readKV: kit.IntOfEachRun(1, 2, 3), kit.Update(1): {tooOld}, kit.Update(2): {tooOld},
	}, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.InitialBackoff = 0 })
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls)))
	assert.Equal(t, 3, calls)
	assert.Equal(t, [][]string{
		{"BEGIN", kit.Savepoint},
		{readKV},
		{kit.Update(1)},
		{kit.RollbackTo, readKV},
		{kit.Update(2)},
		{"ROLLBACK"},
		{"BEGIN", kit.Savepoint, readKV, kit.Update(2)},
		{kit.RollbackTo, readKV},
		{kit.Update(3)},
		{kit.Release, "COMMIT"},
	}, r.Statements())
}
