package restart_test

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

// Why the server has closed the connection is in the error, at every place at which it can be noticed.
func TestConnectionClosedByTheServer_TheReasonIsFound(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"25P03", "57P01", "40001"} {
		for name, book := range map[string]kit.Script{
			"in a statement": {"UPDATE b": kit.Always(kit.Fatal(code, "terminating connection"))},
			"in a replay": {
				"UPDATE a": kit.Always(kit.OK, kit.Fatal(code, "terminating connection")), "UPDATE b": kit.Always(kit.Conflict),
			},
		} {
			t.Run(name+"/"+code, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, book)
				tx := st.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				err := kit.ExecAll(tx, "UPDATE b")
				kit.As[*cockroachdb.ConnectionLostError](t, err)
				want := code
				if name == "in a replay" {
					want = "40001" // which the replay was for, and which loops look for
				}
				kit.WantCodeWithin(t, err, want)
				require.Error(t, tx.Commit())
			})
		}
	}
}

// A server that is being drained ends each connection with its transaction: the ROLLBACK before a wait is the last.
func TestConflict_OnADrainingNode_IsRunAgainElsewhere(t *testing.T) {
	t.Parallel()
	for name, rollback := range map[string]fakepg.Reply{
		"answered": {Cut: fakepg.CutAfter}, "not answered": {Cut: fakepg.CutBefore}, "half": {Cut: fakepg.CutHalf},
		"said": kit.Fatal("57P01", "shutting down"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.OK}, "ROLLBACK": {rollback, kit.OK}})
			tx := st.Begin(t)
			err := kit.ExecAll(tx, "UPDATE a")
			if err != nil {
				assert.Equal(t, "40001", kit.StateOf(err), "%T: %v", err, err)
			}
			_ = tx.Rollback()
			st = kit.New(t, kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.OK}, "ROLLBACK": {rollback, kit.OK}})
			write := func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a") }
			require.NoError(t, cockroachdb.RunTx(t.Context(), st.DB, nil, write))
			assert.Equal(t, 1, kit.Times(st.Server, kit.Release))
		})
	}
}

// What the server has refused was not set.
func TestSetForceSavepoint_Refused_KeepsOurs(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"SET force_savepoint_restart = nonsense", "SET force_savepoint_restart = on"} {
		st := kit.New(t, kit.Script{set: kit.Always(kit.Fails("22023", "refused"))})
		_, err := st.ExecContext(t.Context(), set)
		kit.WantCode(t, err, "22023")
		tx := st.Begin(t)
		kit.Exec(t, tx, "UPDATE a")
		require.NoError(t, tx.Commit())
		assert.Contains(t, st.Sent(), kit.Savepoint)
	}
}

// Before the first statement there was nothing to be committed.
func TestFirstDDL_Loses_IsRunAgain(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, func(c *fakepg.Conn) {
		kit.Answer(c, kit.Raw{Tag: "BEGIN"}, kit.Raw{Tag: "SAVEPOINT"}, kit.Raw{Err: "40001", Status: 'I'})
		kit.Script{}.Serve(c)
	})
	db := kit.Open(t, srv.DSN()+"&"+kit.NoWaits)
	tx := kit.Begin(t, db)
	err := kit.ExecAll(tx, "CREATE INDEX ON kv (v)")
	var ambiguous *cockroachdb.AmbiguousCommitError
	require.False(t, errors.As(err, &ambiguous), "%v", err)
	require.NoError(t, err)
	assert.Equal(t, 2, kit.Times(srv, "CREATE INDEX ON kv (v)"))
}
