package statement_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A statement after the application's own COMMIT loses: what is committed must not look as if it can be run again.
func TestStatementAfterACommit_Loses_IsNoConflict(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"COMMIT", "END", "commit work", "COMMIT; BEGIN", "COMMIT AND CHAIN", kit.Release} {
		t.Run(commit, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"UPDATE two": kit.Always(kit.Conflict)})
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE one", commit))
			err := kit.ExecAll(tx, "UPDATE two")
			require.Error(t, err)
			assert.NotEqual(t, "40001", kit.StateOf(err), "%T: %v", err, err)
			assert.Error(t, tx.Rollback(), "a part is committed")
			assert.Equal(t, 1, st.Times("UPDATE one"))
		})
	}
}

// Rollback returns nil only where nothing is committed for certain.
func TestRollback_AfterACommit_SaysThatItIsCommitted(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"COMMIT", "END", "COMMIT; BEGIN", kit.Release} {
		st := kit.New(t, kit.Script{})
		tx := st.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE one", commit))
		require.ErrorContains(t, tx.Rollback(), "has committed it", commit)
		kit.WantUsable(t, st.DB)
	}
}

// ABORT and ROLLBACK commit nothing.
func TestStatementAfterARollback_Loses_IsAConflict(t *testing.T) {
	t.Parallel()
	for _, rollback := range []string{"ROLLBACK", "ROLLBACK WORK"} {
		st := kit.New(t, kit.Script{"UPDATE two": {kit.Conflict, kit.OK}})
		tx := st.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE one", rollback))
		require.NoError(t, kit.ExecAll(tx, "UPDATE two"), "it stands alone, and is run again")
		assert.Equal(t, 2, st.Times("UPDATE two"))
		require.ErrorContains(t, tx.Rollback(), "has committed it", "the one that stands alone is")
	}
}

// What only reads leaves nothing that could be committed.
func TestReadAfterARollback_RollbackReturnsNil(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT v": {kit.Ints(1)}})
	tx := st.Begin(t)
	require.NoError(t, kit.ExecAll(tx, "UPDATE one", "ROLLBACK"))
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v").Scan(new(int)))
	require.NoError(t, tx.Rollback())
}
