package cockroachdb_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// No server is known to do so; but nothing has run, and so there is nothing to be told about.
func TestBeginThatLoses(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(stage, *testing.T) error{
		"exec":  func(st stage, t *testing.T) error { return execAll(st.begin(t), "UPDATE a") },
		"texts": func(st stage, t *testing.T) error { return execAll(st.begin(t), "UPDATE a; UPDATE b") },
		"query": func(st stage, t *testing.T) error {
			_, err := st.begin(t).QueryContext(t.Context(), "SELECT v")
			return err
		},
		"parse": func(st stage, t *testing.T) error {
			_, err := st.begin(t).PrepareContext(t.Context(), "SELECT v")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"BEGIN": {lost, lost, lost, won}, "SELECT v": {vs("a")}})
			require.NoError(t, first(st, t))
		})
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, playbook{"BEGIN": {lost}}, "retry_max_attempts=5")
		tx := st.begin(t)
		isA[*cockroachdb.RetriesExhaustedError](t, execAll(tx, "UPDATE a"))
		require.NoError(t, tx.Rollback())
		mustExec(t, st, "UPDATE b")
		assert.Equal(t, 1, st.srv.Connections())
	})
	t.Run("without retries", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, playbook{"BEGIN": {lost}})
		tx, err := st.BeginTx(cockroachdb.WithoutRetries(t.Context()), nil)
		require.NoError(t, err)
		require.Equal(t, "40001", stateOf(execAll(tx, "UPDATE a")))
		require.Error(t, execAll(tx, "UPDATE b"), "it would run by itself")
		require.Error(t, tx.Commit())
		assert.Zero(t, times(st.srv, "UPDATE b"))
	})
}
