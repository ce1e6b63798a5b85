package restart_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// No server is known to do so; but nothing has run, and so there is nothing to be told about.
func TestRestart_BeginLoses_IsAbsorbed(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(*kit.Rig, *testing.T) error{
		"exec":  func(st *kit.Rig, t *testing.T) error { return kit.ExecAll(st.Begin(t), "UPDATE a") },
		"texts": func(st *kit.Rig, t *testing.T) error { return kit.ExecAll(st.Begin(t), "UPDATE a; UPDATE b") },
		"query": func(st *kit.Rig, t *testing.T) error {
			_, err := st.Begin(t).QueryContext(t.Context(), "SELECT v")
			return err
		},
		"parse": func(st *kit.Rig, t *testing.T) error {
			_, err := st.Begin(t).PrepareContext(t.Context(), "SELECT v")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"BEGIN": {kit.Conflict, kit.Conflict, kit.Conflict, kit.OK}, "SELECT v": {kit.Texts("a")},
			})
			require.NoError(t, first(st, t))
		})
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		st := kit.New(t, kit.Script{"BEGIN": kit.Always(kit.Conflict)}, "retry_max_attempts=5")
		tx := st.Begin(t)
		kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a"))
		require.NoError(t, tx.Rollback())
		kit.Exec(t, st, "UPDATE b")
		assert.Equal(t, 1, st.Server.Connections())
	})
	t.Run("without retries", func(t *testing.T) {
		t.Parallel()
		st := kit.New(t, kit.Script{"BEGIN": kit.Always(kit.Conflict)})
		tx, err := st.BeginTx(cockroachdb.WithoutRetries(t.Context()), nil)
		require.NoError(t, err)
		require.Equal(t, "40001", kit.StateOf(kit.ExecAll(tx, "UPDATE a")))
		require.Error(t, kit.ExecAll(tx, "UPDATE b"), "it would run outside")
		require.Error(t, tx.Commit())
		assert.Zero(t, st.Times("UPDATE b"))
	})
}
