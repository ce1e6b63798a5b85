package replay_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A limit of time that a replay meets says nothing of the data: it is no divergence, and its own code is there to be
// found.
func TestReplay_MeetsATimeout_SaysSo(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"55P03", "57014"} {
		for _, commit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/at commit=%t", code, commit), func(t *testing.T) {
				t.Parallel()
				book := kit.Script{"UPDATE a": kit.Always(kit.OK, kit.Fails(code, "refused")), "UPDATE b": {kit.Conflict, kit.OK}}
				if commit {
					book = kit.Script{"UPDATE a": kit.Always(kit.OK, kit.Fails(code, "refused")), kit.Release: {kit.Conflict, kit.OK}}
				}
				st := kit.New(t, book)
				tx := st.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				err := kit.ExecAll(tx, "UPDATE b")
				if commit {
					require.NoError(t, err)
					err = tx.Commit()
				}
				kit.WantCodeWithin(t, err, code)
				var diverged *cockroachdb.DivergenceError
				require.NotErrorAs(t, err, &diverged)
				st.WantEnded(t, tx)
			})
		}
	}
}
