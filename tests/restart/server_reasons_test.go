package restart_test

import (
	"context"
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

// A node that is being drained may say so by an error that is not FATAL, and close the connection after it.
func TestConnectionClosedByTheServer_AfterAnError_TheReasonIsFound(t *testing.T) {
	t.Parallel()
	closing := kit.Fails("57P01", "server is shutting down")
	closing.Cut = fakepg.CutAfter
	for _, mode := range kit.QueryModes {
		for _, where := range []string{"BEGIN", "UPDATE a", "UPDATE b"} {
			t.Run(mode+"/"+where, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{where: kit.Always(closing)}, kit.NoFailover, "default_query_exec_mode="+mode)
				tx := st.Begin(t)
				err := kit.ExecAll(tx, "UPDATE a", "UPDATE b")
				kit.As[*cockroachdb.ConnectionLostError](t, err)
				kit.WantCodeWithin(t, err, "57P01")
				require.Error(t, tx.Commit())
			})
		}
	}
}

// Outside a transaction the reason comes as the server has said it, in no type of the driver's own. A conflict that
// ends the connection is a hot standby's with recovery.
func TestConnectionClosedByTheServer_OutsideATransaction_TheReasonIsFound(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"25P03", "40001"} {
		broken := kit.Texts("a", "b", "c")
		broken.Err, broken.ErrAfterRows = kit.Fatal(code, "terminating connection").Err, 2
		for name, reply := range map[string]fakepg.Reply{
			"before rows": {Columns: broken.Columns, Err: broken.Err}, "after rows": broken,
		} {
			for _, text := range []string{"SELECT v FROM kv", "UPDATE kv SET v = v RETURNING v", "SELECT pay(v) FROM kv"} {
				t.Run(code+"/"+name+"/"+text, func(t *testing.T) {
					t.Parallel()
					st := kit.New(t, kit.Script{text: {reply, kit.OK}})
					_, err := kit.ReadAll(t.Context(), st, text)
					kit.WantCode(t, err, code)
					assert.Equal(t, 1, st.Ran(text))
					kit.Exec(t, st, "UPDATE a")
					assert.Equal(t, 2, st.Server.Connections())
				})
			}
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
			assert.Equal(t, 1, st.Times(kit.Release))
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
	const ddl = "CREATE INDEX ON kv (v)"
	r := kit.New(t, kit.Script{ddl: {{Err: fakepg.Conflict(), EndsTx: true}}})
	tx := r.Begin(t)
	err := kit.ExecAll(tx, ddl)
	var ambiguous *cockroachdb.AmbiguousCommitError
	require.False(t, errors.As(err, &ambiguous), "%v", err)
	require.NoError(t, err)
	assert.Equal(t, 2, r.Times(ddl))
}

// Nor is there without retries, and a loop around the transaction must know.
func TestFirstDDL_LosesWithoutRetries_IsAConflict(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE INDEX ON kv (v)"
	r := kit.New(t, kit.Script{ddl: {{Err: fakepg.Conflict(), EndsTx: true}}})
	tx, err := r.BeginTx(cockroachdb.WithoutRetries(t.Context()), nil)
	require.NoError(t, err)
	kit.WantConflict(t, kit.ExecAll(tx, ddl))
	require.Error(t, kit.ExecAll(tx, "UPDATE a"))
	require.Error(t, tx.Commit())
	assert.Zero(t, r.Times("UPDATE a"), "it would be committed by itself")
	kit.Exec(t, r, "UPDATE b") // the connection is good
}

// What was done through Raw is not on record, and may be committed before the schema change.
func TestDDLAfterRaw_Loses_IsAmbiguous(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE INDEX ON kv (v)"
	for name, ctx := range map[string]context.Context{
		"": t.Context(), "without retries": cockroachdb.WithoutRetries(t.Context()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{ddl: {{Err: fakepg.Conflict(), EndsTx: true}}})
			c := kit.Conn(t, r.DB)
			tx, err := c.BeginTx(ctx, nil)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			require.NoError(t, c.Raw(func(driverConn any) error {
				_, err := driverConn.(cockroachdb.Conn).Conn().Exec(t.Context(), "UPDATE a")
				return err
			}))
			err = kit.ExecAll(tx, ddl)
			assert.NotEqual(t, "40001", kit.StateOf(err), "who looks for conflicts would run it again: %v", err)
			kit.As[*cockroachdb.AmbiguousCommitError](t, err)
			assert.Equal(t, 1, r.Times(ddl))
		})
	}
}
