package kinds

import (
	"context"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// cutting is a pool on a server that plays a script, and cuts the connection at the first run of "UPDATE lost".
func cutting(t *testing.T, script kit.Script) *kit.Rig {
	t.Helper()
	s := kit.Script{"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}}
	maps.Copy(s, script)
	return kit.New(t, s)
}

func TestConnectionLost_UnderWhatMayCommit_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	var payments atomic.Int64
	r := kit.Answering(t, kit.Script{}.Calling("CALL pay()", func(n int) fakepg.Reply {
		if n > 0 { // it is run, not described
			payments.Add(1)
		}
		return fakepg.Reply{Cut: fakepg.CutAfter}
	}))
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	require.Error(t, kit.ExecAll(tx, "CALL pay()"))
	require.Error(t, tx.Commit())
	assert.EqualValues(t, 1, payments.Load())
}

func TestConnectionLost_SettingsAreMadeAgain(t *testing.T) {
	t.Parallel()
	r := cutting(t, nil)
	kit.Exec(t, r.DB, "SET search_path = a")
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE lost")
	require.NoError(t, tx.Commit())
	assert.Equal(t, 2, r.Times("SET search_path = a"))
}

func TestConnectionLost_TemporaryTable_EndsTheTransaction(t *testing.T) {
	t.Parallel()
	r := cutting(t, nil)
	kit.Exec(t, r.DB, "CREATE TEMP TABLE t (v INT)")
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	lost := kit.As[*cockroachdb.ConnectionLostError](t, kit.ExecAll(tx, "UPDATE lost"))
	assert.Equal(t, cockroachdb.CauseSession, lost.Cause)
	assert.Equal(t, 1, r.Times("UPDATE a"))
}

func TestConnectionLost_RowHasChanged_Diverges(t *testing.T) {
	t.Parallel()
	r := cutting(t, kit.Script{"SELECT v": {kit.Texts("a"), kit.Texts("b")}})
	tx := r.Begin(t)
	require.Equal(t, "a", kit.Scan[string](t, tx, "SELECT v"))
	kit.As[*cockroachdb.DivergenceError](t, kit.ExecAll(tx, "UPDATE lost"))
}

func TestConnectionLost_Cancelled_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	r := cutting(t, kit.Script{"UPDATE slow": {{Delay: time.Hour}, kit.OK}})
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := tx.ExecContext(ctx, "UPDATE slow")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Error(t, tx.Commit())
	assert.Equal(t, 1, r.Times("UPDATE a"))
	assert.Equal(t, 1, r.Connections())
}

// What the application has read to its end must end there in a replay, too.
func TestEndOfRowsSeen_MoreInTheReplay_Diverges(t *testing.T) {
	t.Parallel()
	r := cutting(t, kit.Script{"SELECT v": {kit.Texts("a"), kit.Texts("a", "b")}})
	tx := r.Begin(t)
	require.Equal(t, []string{"a"}, kit.Query(t, tx, "SELECT v").MustRest())
	diverged := kit.As[*cockroachdb.DivergenceError](t, kit.ExecAll(tx, "UPDATE lost"))
	assert.Equal(t, cockroachdb.DivergedEndOfRows, diverged.Kind)
}

// A statement that is refused because rows are open tells the application that there is another row.
func TestStatementRefusedForOpenRows_NoRowInTheReplay_Diverges(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{"SELECT v": {kit.BreakOff(kit.Texts("a"), 1), kit.Texts()}})
	tx := r.Begin(t)
	rows, err := tx.QueryContext(t.Context(), "SELECT v")
	require.NoError(t, err)
	require.Error(t, kit.ExecAll(tx, "UPDATE a"), "the rows are open")
	diverged := kit.As[*cockroachdb.DivergenceError](t, rows.Close())
	assert.Equal(t, cockroachdb.DivergedEndOfRows, diverged.Kind)
}
