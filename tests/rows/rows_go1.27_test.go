//go:build go1.27

package rows_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func TestRows_ScanIntoSlices_NeedsNoHelp(t *testing.T) {
	t.Parallel()
	db := kit.Open(t, enginetest.NewDB(t))
	var ints []int64
	var words []*string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT '{1,2}'::int8[], '{a,NULL}'::text[]").Scan(&ints, &words))
	assert.Equal(t, []int64{1, 2}, ints)
	require.Len(t, words, 2)
	assert.Equal(t, "a", *words[0])
	assert.Nil(t, words[1])
}

// database/sql calls NextRow and never Next: a row handed over that way has been observed, even if nobody scans it.
func TestRows_NextRowNotScanned_IsObserved(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"SELECT v": {kit.Texts("a", "b"), kit.Texts("a", "c")}, "UPDATE b": kit.Always(kit.Conflict),
	})
	tx := st.Begin(t)
	rows, err := tx.QueryContext(t.Context(), "SELECT v")
	require.NoError(t, err)
	require.True(t, rows.Next())
	require.True(t, rows.Next())
	require.NoError(t, rows.Close())
	_, err = tx.ExecContext(t.Context(), "UPDATE b")
	d := kit.As[*cockroachdb.DivergenceError](t, err)
	assert.EqualValues(t, 2, d.Row)
	st.WantEnded(t, tx)
}
