package failover_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// An application that retries by a savepoint of its own is told a conflict in place of a lost connection.

const (
	itsSavepoint = "SAVEPOINT cockroach_restart"
	itsWayBack   = "ROLLBACK TO SAVEPOINT cockroach_restart"
	itsRelease   = "RELEASE SAVEPOINT cockroach_restart"
)

// loops runs statements in a loop of the application's own, and returns how often it has begun.
func loops(t *testing.T, db *sql.DB, statements ...string) (calls int, err error) {
	t.Helper()
	err = kit.ExecuteTx(t.Context(), db, "cockroach_restart", func(tx *sql.Tx) error {
		calls++
		return kit.ExecAll(tx, statements...)
	})
	return calls, err
}

// afterItsSavepoint begins a transaction as such a loop does.
func afterItsSavepoint(t *testing.T, st *kit.Rig) *sql.Tx {
	t.Helper()
	tx := st.Begin(t)
	kit.Exec(t, tx, itsSavepoint)
	return tx
}

func TestLoop_ConnectionLost_GoesOnOnAnother(t *testing.T) {
	t.Parallel()
	for at, calls := range map[string]int{itsSavepoint: 1, "UPDATE a": 2, "UPDATE b": 2} {
		for name, cut := range cuts() {
			t.Run(at+" "+name, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{at: {cut, kit.OK}})
				n, err := loops(t, st.DB, "UPDATE a", "UPDATE b")
				require.NoError(t, err)
				assert.Equal(t, calls, n)
				assert.Equal(t, 2, st.Server.Connections())
				assert.Equal(t, 1, st.Times(itsRelease))
				assert.Equal(t, 1, st.Times("COMMIT"))
			})
		}
	}
}

// After a conflict of the server's the application is on its way back when the connection is lost.
func TestLoop_ConnectionLostOnTheWayBack_Unseen(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"UPDATE b": {kit.Conflict, kit.OK}, itsWayBack: {cut, kit.OK}})
			n, err := loops(t, st.DB, "UPDATE a", "UPDATE b")
			require.NoError(t, err)
			assert.Equal(t, 2, n)
			assert.Equal(t, 2, st.Server.Connections())
		})
	}
}

func TestLoop_BeginsOnTheOtherConnectionWithItsSavepoint(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE b": {{Cut: fakepg.CutBefore}, kit.OK}})
	_, err := loops(t, st.DB, "SET a.b = 1", "UPDATE a", "UPDATE b")
	require.NoError(t, err)
	second := strings.Join(st.Server.OfConn(2)[1], "\n")
	assert.Equal(t, "Query SET a.b = 1", st.Server.OfConn(2)[0][0], "CockroachDB undoes no SET")
	assert.Less(t, strings.Index(second, "BEGIN"), strings.Index(second, "sql="+itsSavepoint))
	assert.Less(t, strings.Index(second, "sql="+itsSavepoint), strings.Index(second, itsWayBack), "%s", second)
}

func TestLoop_HasSetWhatTheServerReports_GoesOnOnAnother(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"SET application_name = 'x'", "SET LOCAL application_name = 'x'"} {
		sim, db := kit.NewSimTable(t)
		sim.Inject(crdbsim.On("k = 1$", crdbsim.Action{Then: crdbsim.Cut}))
		n, err := loops(t, db, set, kit.Update(1))
		require.NoError(t, err, set)
		assert.Equal(t, 2, n, set)
	}
}

func TestLoop_ConnectionLost_IsToldAsAConflict(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": {kit.Fatal("57P01", "planted")}})
	tx := afterItsSavepoint(t, st)
	err := kit.ExecAll(tx, "UPDATE a")
	assert.Equal(t, "40001", kit.StateOf(err))
	lost := kit.As[*cockroachdb.ConnectionLostError](t, err)
	assert.Empty(t, lost.Cause)
	assert.ErrorContains(t, err, "go back to the savepoint cockroach_restart")
	assert.NotContains(t, err.Error(), "planted")
	kit.WantCode(t, kit.ExecAll(tx, "UPDATE a"), "25P02")
	require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
	assert.Equal(t, 1, st.Server.Connections(), "nobody has gone back")
	kit.WantUsable(t, st.DB)
}

func TestLoop_ConnectionLost_Rollback_DialsNoOther(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": {{Cut: fakepg.CutBefore}}})
	tx := afterItsSavepoint(t, st)
	require.Error(t, kit.ExecAll(tx, "UPDATE a"))
	require.NoError(t, tx.Rollback())
	assert.Equal(t, 1, st.Server.Connections())
	kit.WantUsable(t, st.DB)
}

func TestLoop_ConnectionLostAtTheRelease_Ambiguous(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"before", "half", "FATAL 57P01", "FATAL 57P02", "FATAL 08006"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{itsRelease: {cuts()[how]}})
			n, err := loops(t, st.DB, "UPDATE a")
			kit.As[*cockroachdb.AmbiguousCommitError](t, err)
			assert.Equal(t, 1, n)
			assert.NotEqual(t, "40001", kit.StateOf(err))
		})
	}
}

func TestLoop_ConnectionLostAfterTheRelease_IsCommitted(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"COMMIT": {{Cut: fakepg.CutBefore}}})
	n, err := loops(t, st.DB, "UPDATE a")
	require.NoError(t, err)
	assert.Equal(t, 1, n)
}

// The Commit of a loop that was not released is too late to go back.
func TestLoop_ConnectionLostBeforeCommit_IsTold(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{})
	tx := afterItsSavepoint(t, st)
	st.Server.Disconnect()
	err := tx.Commit()
	require.Error(t, err)
	assert.NotEqual(t, "40001", kit.StateOf(err))
	kit.WantUsable(t, st.DB)
}

func TestLoop_Cancelled_IsNoConflict(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "UPDATE a" {
			return fakepg.Reply{}
		}
		cancel()
		return fakepg.Reply{Cut: fakepg.CutBefore}
	})
	err := kit.ExecuteTx(ctx, st.DB, "cockroach_restart", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE a")
		return err
	})
	require.Error(t, err)
	assert.NotEqual(t, "40001", kit.StateOf(err), "%v", err)
}

func TestLoop_LosesOneConnectionAfterTheOther_EndsWithinItsBounds(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": kit.Always(fakepg.Reply{Cut: fakepg.CutBefore})}, "retry_max_failovers=3")
	n, err := loops(t, st.DB, "UPDATE a")
	lost := kit.As[*cockroachdb.ConnectionLostError](t, err)
	assert.Empty(t, lost.Cause)
	assert.ErrorContains(t, err, "RetryPolicy.MaxFailovers is 3")
	assert.Equal(t, 4, n)
	assert.Equal(t, 4, st.Server.Connections())
}

func TestLoop_ThatCantGoOn_IsToldWhy(t *testing.T) {
	t.Parallel()
	cut := kit.Script{"UPDATE a": {{Cut: fakepg.CutBefore}}}
	told := func(t *testing.T, err error, cause cockroachdb.Cause) {
		t.Helper()
		assert.Equal(t, cause, kit.As[*cockroachdb.ConnectionLostError](t, err).Cause)
		assert.NotEqual(t, "40001", kit.StateOf(err))
	}
	t.Run("its session can't be made again", func(t *testing.T) {
		t.Parallel()
		_, err := loops(t, kit.New(t, cut).DB, "CREATE TEMP TABLE t (v INT)", "UPDATE a")
		told(t, err, cockroachdb.CauseSession)
	})
	t.Run("no failovers", func(t *testing.T) {
		t.Parallel()
		_, err := loops(t, kit.New(t, cut, kit.NoFailover).DB, "UPDATE a")
		told(t, err, "")
	})
	t.Run("retries are off", func(t *testing.T) {
		t.Parallel()
		err := kit.ExecuteTx(cockroachdb.WithoutRetries(t.Context()), kit.New(t, cut).DB, "cockroach_restart",
			func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a") })
		told(t, err, "")
	})
	t.Run("another name", func(t *testing.T) { // a server takes it for a restart savepoint by its setting
		t.Parallel()
		err := kit.ExecuteTx(t.Context(), kit.New(t, cut, "force_savepoint_restart=on").DB, "x",
			func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a") })
		told(t, err, cockroachdb.CauseApplicationSavepoint)
	})
	t.Run("PostgreSQL", func(t *testing.T) { // it can't be retried by a savepoint
		t.Parallel()
		_, err := loops(t, kit.New(t, cut, fakepg.PlainPostgreSQL()).DB, "UPDATE a")
		told(t, err, cockroachdb.CauseApplicationSavepoint)
	})
	t.Run("in RunTx", func(t *testing.T) {
		t.Parallel()
		err := cockroachdb.RunTx(t.Context(), kit.New(t, cut).DB, nil, func(tx *sql.Tx) error {
			return kit.ExecAll(tx, itsSavepoint, "UPDATE a")
		})
		told(t, err, cockroachdb.CauseApplicationSavepoint)
	})
}

// TestLoop_LostAtEachStatement_CommitsOnce loses the connection before and after each statement, with a conflict on
// the way and without.
func TestLoop_LostAtEachStatement_CommitsOnce(t *testing.T) {
	t.Parallel()
	const simple, marked = "default_query_exec_mode=simple_protocol", "retry_commit_marker=on"
	for _, params := range []string{"", simple, marked, simple + "&" + marked} {
		for _, conflict := range []bool{false, true} {
			for _, then := range []crdbsim.Then{crdbsim.Cut, crdbsim.ExecuteCut} {
				t.Run(fmt.Sprintf("conflict %v, cut %v, %s", conflict, then, params), func(t *testing.T) {
					t.Parallel()
					sim, db, _ := withCommitTable(t, params)
					loseAtEachStatement(t, sim, db, conflict, then, strings.Contains(params, marked))
				})
			}
		}
	}
}

// withCommitTable is kit.NewSimTable with a table of markers, and a pool besides.
func withCommitTable(t *testing.T, params string) (sim *crdbsim.Sim, db, plain *sql.DB) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	plain = kit.Open(t, dsn)
	require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), plain))
	kit.Exec(t, plain, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	kit.Exec(t, plain, "INSERT INTO kv VALUES (1, 0), (2, 0)")
	db = kit.Open(t, dsn, params, kit.NoWaits)
	db.SetMaxOpenConns(1)
	return sim, db, plain
}

func loseAtEachStatement(t *testing.T, sim *crdbsim.Sim, db *sql.DB, conflict bool, then crdbsim.Then, markers bool) {
	t.Helper()
	for n := 0; ; n++ {
		kit.Exec(t, db, "UPDATE kv SET v = 0")
		fault := &crdbsim.Fault{Skip: n, Action: crdbsim.Action{Then: then}}
		struck := ""
		fault.Do = func(p crdbsim.Point) crdbsim.Action {
			struck = p.SQL
			return fault.Action
		}
		if conflict {
			sim.Inject(kit.ConflictAt("k = 2$"))
		}
		sim.Inject(fault)
		_, err := loops(t, db, kit.Update(1), kit.Update(2))
		sim.ClearFaults()
		if fault.Hits() == 0 {
			require.NoError(t, err)
			assert.Greater(t, n, 4)
			return
		}
		if struck != itsRelease || markers {
			require.NoError(t, err, "%s", struck)
			assert.Equal(t, "1=1 2=1", kit.Table(t, db), "%s", struck)
			continue
		}
		kit.As[*cockroachdb.AmbiguousCommitError](t, err)
		want := map[crdbsim.Then]string{crdbsim.Cut: "1=0 2=0", crdbsim.ExecuteCut: "1=1 2=1"}[then]
		assert.Equal(t, want, kit.Table(t, db))
	}
}

func TestLoop_MarkerOfItsRelease_CantBePlaced_GoesBack(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*testing.T, *crdbsim.Sim, *sql.DB){
		"it loses a conflict": func(_ *testing.T, sim *crdbsim.Sim, _ *sql.DB) {
			sim.Inject(kit.ConflictAt("INSERT INTO .*commit_markers"))
		},
		"the table was emptied and made again": func(t *testing.T, _ *crdbsim.Sim, plain *sql.DB) {
			kit.Exec(t, plain, "TRUNCATE commit_markers")
			require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), plain))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, db, plain := withCommitTable(t, "retry_commit_marker=on")
			kit.Exec(t, db, kit.Update(2)) // and learns what the markers are
			harm(t, sim, plain)
			n, err := loops(t, db, kit.Update(1))
			require.NoError(t, err)
			assert.Equal(t, 2, n)
			assert.Equal(t, "1=1 2=1", kit.Table(t, plain))
		})
	}
}

func TestLoop_ThatOnlyReads_ConnectionLostAtTheRelease_GoesOnOnAnother(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{itsRelease: {{Cut: fakepg.CutBefore}, kit.OK}})
	n := 0
	err := kit.ExecuteTx(t.Context(), st.DB, "cockroach_restart", func(tx *sql.Tx) error {
		n++
		kit.Query(t, tx, "SELECT v").MustRest()
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 2, n)
}
