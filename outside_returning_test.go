package cockroachdb_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Outside of a transaction a statement commits as it ends. Run again to be compared with what the application has seen, it is
// committed before it can be found to differ: so what may write is not run again once it has shown something.
func TestOutsideWriteThatHasShownRowsIsNotRunAgain(t *testing.T) {
	t.Parallel()
	for _, insert := range []string{
		"INSERT INTO kv VALUES (1) RETURNING id",
		"SELECT id FROM [INSERT INTO kv VALUES (1) RETURNING id]",
		"WITH i AS (INSERT INTO kv VALUES (1) RETURNING id) SELECT id FROM i",
	} {
		t.Run(insert, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{insert: {breakingOff(vs("5"), 1), vs("6")}})
			var id string
			err := st.QueryRowContext(t.Context(), insert).Scan(&id)
			requireCode(t, err, "40001")
			var diverged *cockroachdb.DivergenceError
			require.NotErrorAs(t, err, &diverged, "it says that nothing was committed")
			assert.Equal(t, 1, times(st.srv, insert), "the second one was committed")
		})
	}
	t.Run("nothing shown", func(t *testing.T) {
		t.Parallel()
		const insert = "INSERT INTO kv VALUES (1) RETURNING id"
		st := newStage(t, playbook{insert: {{Columns: vs("").Columns, Err: fakepg.Conflict()}, vs("6")}})
		var id string
		require.NoError(t, st.QueryRowContext(t.Context(), insert).Scan(&id))
		assert.Equal(t, "6", id)
	})
}
