package runtx_test

import (
	"database/sql"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const commitsUntilCalm = 256

func updateInRunTx(t *testing.T, r *kit.Rig) {
	t.Helper()
	require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
		return kit.ExecAll(tx, kit.Update(1))
	}))
}

func TestRunTx_WhileNothingConflicts_GoesWithoutSavepoint(t *testing.T) {
	t.Parallel()
	replies := append(slices.Repeat([]fakepg.Reply{kit.OK}, commitsUntilCalm+1), kit.Conflict, kit.OK)
	r := kit.New(t, kit.Script{kit.Update(1): replies})
	first := "BEGIN; SAVEPOINT; " + kit.Update(1)
	trips := func(run func(*testing.T, *kit.Rig)) []string {
		r.Forget()
		run(t, r)
		return r.Trips(1)
	}
	for range commitsUntilCalm {
		assert.Equal(t, []string{first, "RELEASE; COMMIT"}, trips(updateInRunTx))
	}
	assert.Equal(t, []string{"BEGIN; " + kit.Update(1), "COMMIT"}, trips(updateInRunTx))
	assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "RELEASE; COMMIT"}, trips(func(t *testing.T, r *kit.Rig) {
		require.NoError(t, kit.InTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a") }))
	}), "unchanged code")
	assert.Equal(t, []string{"BEGIN; " + kit.Update(1), "ROLLBACK; BEGIN; " + kit.Update(1), "COMMIT"},
		trips(updateInRunTx))
	assert.Equal(t, []string{first, "RELEASE; COMMIT"}, trips(updateInRunTx), "after a conflict")
}

// A call after a conflict is in a new server transaction: there is no savepoint to go back to.
func TestRunTx_WithoutSavepoint_BeginsAnew(t *testing.T) {
	t.Parallel()
	replies := append(slices.Repeat([]fakepg.Reply{kit.OK}, commitsUntilCalm), tooOld, kit.OK)
	r := kit.New(t, kit.Script{kit.Update(1): replies, readKV: kit.IntOfEachRun(1)})
	for range commitsUntilCalm {
		updateInRunTx(t, r)
	}
	r.Forget()
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls)))
	assert.Equal(t, 2, calls)
	sent := r.Sent()
	assert.NotContains(t, sent, kit.RollbackTo)
	assert.NotContains(t, sent, kit.Savepoint)
	assert.Equal(t, []string{"BEGIN", readKV, kit.Update(1), "ROLLBACK", "BEGIN", readKV, kit.Update(1), "COMMIT"}, sent)
}
