package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// fatally is an error that ends the connection.
func fatally(code string) fakepg.Reply {
	r := failing(code)
	r.Err.Severity, r.Err.SeverityUnlocalized = "FATAL", "FATAL"
	return r
}

// cuts are the ways in which a statement's connection can end.
func cuts() map[string]fakepg.Reply {
	return map[string]fakepg.Reply{
		"before": {Cut: fakepg.CutBefore}, "half": {Cut: fakepg.CutHalf}, "after": {Cut: fakepg.CutAfter}, "unsent": {Cut: fakepg.CutUnsent},
		"FATAL 57P01": fatally("57P01"), "FATAL 57P02": fatally("57P02"), "FATAL 08006": fatally("08006"), "ERROR 57P01": failing("57P01"),
	}
}

// movedOnce checks that one other connection has taken over, on which everything has run again, and been committed once.
func movedOnce(t *testing.T, st stage, statements ...string) {
	t.Helper()
	assert.Equal(t, statements, st.lastAttempt())
	assert.Equal(t, 2, st.srv.Connections())
	assert.Equal(t, 1, times(st.srv, releaseSQL))
}

func TestFailover_UnderAStatement_Unseen(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		for _, first := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				st := newStage(t, playbook{"UPDATE b": {cut, won}})
				tx := st.begin(t)
				if !first {
					mustExec(t, tx, "UPDATE a")
				}
				mustExec(t, tx, "UPDATE b")
				require.NoError(t, tx.Commit())
				if first {
					movedOnce(t, st, "UPDATE b")
				} else {
					movedOnce(t, st, "UPDATE a", "UPDATE b")
				}
			})
		}
	}
}

func TestFailover_CostsOneRoundTrip(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE d": {{Cut: fakepg.CutBefore}, won}})
	tx := st.begin(t)
	for _, sql := range []string{"UPDATE a", "UPDATE b SET v = 1", "UPDATE c"} {
		mustExec(t, tx, sql)
	}
	query(t, tx, "SELECT v FROM a WHERE k = $1", 1).mustRest()
	mustExec(t, tx, "UPDATE d")
	assert.Len(t, st.srv.OfConn(2), 1, "BEGIN, the savepoint and five statements, one of which was prepared")
	assert.Len(t, st.lastAttempt(), 5)
	require.NoError(t, tx.Commit())
}

func TestFailover_InTheMiddleOfRows_GoesOnAfterThem(t *testing.T) {
	t.Parallel()
	broken := vs("a", "b", "c")
	broken.Err, broken.ErrAfterRows = fatally("57P01").Err, 2
	st := newStage(t, playbook{"SELECT v": {broken, vs("a", "b", "c")}})
	tx := st.begin(t)
	rows := query(t, tx, "SELECT v")
	assert.Equal(t, []string{"a", "b"}, rows.read(2))
	assert.Equal(t, []string{"c"}, rows.mustRest())
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "SELECT v")
}

func TestFailover_BetweenStatements_Unseen(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	st.srv.Disconnect()
	mustExec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "UPDATE b")
}

func TestFailover_BeforeTheCommitIsSent_Unseen(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	st.srv.Disconnect()
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a")
}

func TestFailover_OnceTheCommitIsSent_Ambiguous(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		if name == "after" || name == "ERROR 57P01" {
			continue // that is an answer
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{releaseSQL: {cut, won}})
			tx := st.begin(t)
			mustExec(t, tx, "UPDATE a")
			isA[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
			assert.Equal(t, 1, times(st.srv, "UPDATE a"))
		})
	}
}

func TestFailover_UnderWhatMayCommit_Ambiguous(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"CREATE TABLE t ()", "CALL p()", "COMMIT", "SHOW COMMIT TIMESTAMP", "DO $$ BEGIN COMMIT; END $$", "EXECUTE p",
	} {
		for first, cut := range map[bool]fakepg.Cut{false: fakepg.CutBefore, true: fakepg.CutUnsent} {
			t.Run(sql, func(t *testing.T) {
				t.Parallel()
				st := newStage(t, playbook{sql: {{Cut: cut}, won}})
				tx := st.begin(t)
				if !first {
					mustExec(t, tx, "UPDATE a")
				}
				isA[*cockroachdb.AmbiguousCommitError](t, execAll(tx, sql))
				require.Error(t, tx.Commit())
				assert.LessOrEqual(t, times(st.srv, sql), 1)
			})
		}
	}
}

func TestFailover_DuringAReplay_StartsItAgain(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE a": {won, {Cut: fakepg.CutBefore}, won}, "UPDATE b": {lost, won}})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	mustExec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "UPDATE b")
}

func TestFailover_TwiceInARow_Unseen(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE b": {{Cut: fakepg.CutBefore}, {Cut: fakepg.CutHalf}, won}})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	mustExec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"UPDATE a", "UPDATE b"}, st.lastAttempt())
	assert.Equal(t, 3, st.srv.Connections())
}

func TestFailover_ConflictOnTheNewConnection_Absorbed(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE a": {won, lost, won}, "UPDATE b": {{Cut: fakepg.CutBefore}, won}})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	mustExec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "UPDATE b")
}

func TestFailover_WhileItGivesUpItsLocks_Unseen(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE a": {lost, lost, won}, "ROLLBACK": {{Cut: fakepg.CutBefore}, won}})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a")
}

func TestFailover_WhileAConnectionIsPrepared_Unseen(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE a SET v = $1": {{Cut: fakepg.CutBefore}, won}})
	prepared, err := st.PrepareContext(t.Context(), "UPDATE a SET v = $1")
	require.NoError(t, err)
	defer prepared.Close()
	tx := st.begin(t)
	for range 3 {
		_, err = tx.StmtContext(t.Context(), prepared).ExecContext(t.Context(), 1)
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
	_, err = prepared.ExecContext(t.Context(), 2)
	require.NoError(t, err)
}

func TestFailover_ShowsSomethingElse_Diverges(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT v": {vs("a"), vs("b")}, "UPDATE b": {{Cut: fakepg.CutBefore}, won}})
	tx := st.begin(t)
	assert.Equal(t, []string{"a"}, query(t, tx, "SELECT v").mustRest())
	d := isA[*cockroachdb.DivergenceError](t, execAll(tx, "UPDATE b"))
	assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
	require.Error(t, tx.Commit())
	assert.Zero(t, times(st.srv, releaseSQL))
}

func TestFailover_RunTx_CallsAgainOnlyWhereItDiverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second fakepg.Reply
		calls  int
	}{"the same": {vs("a"), 1}, "something else": {vs("b"), 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT v": {vs("a"), tc.second}, "UPDATE b": {{Cut: fakepg.CutBefore}, won}})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), st.DB, nil, func(tx *sql.Tx) error {
				calls++
				query(t, tx, "SELECT v").mustRest()
				return execAll(tx, "UPDATE b")
			}))
			assert.Equal(t, tc.calls, calls)
			movedOnce(t, st, "SELECT v", "UPDATE b")
		})
	}
}

func TestFailover_Cancelled_IsNone(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE b": {{Delay: time.Hour}}})
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := tx.ExecContext(ctx, "UPDATE b")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Error(t, tx.Commit())
	assert.Equal(t, 1, times(st.srv, "UPDATE a"))
}

func TestFailover_EndThatSomebodyWanted_IsTold(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"25P03", "25P04", "57P05"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"UPDATE b": {fatally(code), won}})
			tx := st.begin(t)
			mustExec(t, tx, "UPDATE a")
			err := execAll(tx, "UPDATE b")
			require.Equal(t, code, stateOf(err))
			require.Error(t, tx.Commit())
			assert.Equal(t, 1, times(st.srv, "UPDATE a"))
		})
	}
}

func TestFailover_Bounds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		param string
		conns int
	}{
		"failovers": {"retry_max_failovers=2", 3},
		"attempts":  {"retry_max_attempts=2", 2},
		"none":      {"retry_max_failovers=0", 1},
		"no retry":  {"retry_max_attempts=1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"UPDATE poison": {{Cut: fakepg.CutBefore}}}, tc.param)
			tx := st.begin(t)
			mustExec(t, tx, "UPDATE a")
			isA[*cockroachdb.ConnectionLostError](t, execAll(tx, "UPDATE poison"))
			require.Error(t, tx.Commit())
			assert.Equal(t, tc.conns, st.srv.Connections())
		})
	}
}

func TestFailover_NoServer_SaysWhy(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(playbook{}.answer))
	unreachable := false
	db := poolOf(t, srv, func(cfg *cockroachdb.Config) {
		cfg.RetryPolicy.MaxElapsed, cfg.RetryPolicy.InitialBackoff = 50*time.Millisecond, 0
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if unreachable {
				return nil, errors.New("no route to host")
			}
			return srv.Dial(ctx, network, addr)
		}
	})
	tx := begun(t, db)
	mustExec(t, tx, "UPDATE a")
	unreachable = true
	srv.Disconnect()
	err := execAll(tx, "UPDATE b")
	isA[*cockroachdb.ConnectionLostError](t, err)
	require.ErrorContains(t, err, "no route to host")
	assert.ErrorIs(t, tx.Commit(), err)
}

func TestFailover_ServerRefusesTheLogin_DoesNotDialAgain(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(playbook{}.answer))
	dials := 0
	db := poolOf(t, srv, func(cfg *cockroachdb.Config) {
		cfg.AfterConnect = func(context.Context, *pgx.Conn) error {
			if dials++; dials > 1 {
				return errNoEntry
			}
			return nil
		}
	})
	tx := begun(t, db)
	mustExec(t, tx, "UPDATE a")
	srv.Disconnect()
	lost := isA[*cockroachdb.ConnectionLostError](t, execAll(tx, "UPDATE b"))
	require.ErrorIs(t, lost, errNoEntry)
	assert.Equal(t, 2, dials)
}

func TestFailover_OutsideATransaction_ReadIsRunAgain(t *testing.T) {
	t.Parallel()
	broken := vs("a", "b", "c")
	broken.Err, broken.ErrAfterRows = fatally("57P01").Err, 2
	for name, first := range map[string]fakepg.Reply{"before rows": {Columns: vs().Columns, Cut: fakepg.CutBefore}, "after rows": broken} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT v FROM t": {first, vs("a", "b", "c")}})
			assert.Equal(t, []string{"a", "b", "c"}, query(t, st, "SELECT v FROM t").mustRest())
			assert.Equal(t, 2, st.srv.Connections())
		})
	}
	t.Run("after rows that have changed", func(t *testing.T) {
		t.Parallel()
		st := newStage(t, playbook{"SELECT v FROM t": {broken, vs("a", "x", "c")}})
		rows := query(t, st, "SELECT v FROM t")
		rows.read(2)
		_, err := rows.rest()
		isA[*cockroachdb.DivergenceError](t, err)
	})
}

func TestFailover_OutsideATransaction_WriteIsPerhapsDone(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		if name == "ERROR 57P01" {
			continue // it was refused
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"UPDATE a": {cut, won}})
			isA[*cockroachdb.AmbiguousCommitError](t, execAll(st, "UPDATE a"))
			assert.LessOrEqual(t, times(st.srv, "UPDATE a"), 1)
			mustExec(t, st, "UPDATE b")
		})
	}
}

func TestFailover_IsSeen(t *testing.T) {
	t.Parallel()
	var m *cockroachdb.Metrics
	var told []cockroachdb.RetryEvent
	srv := fakepg.Start(t, plays{"UPDATE b": once(fakepg.Reply{Cut: fakepg.CutBefore})}.handler())
	db := poolOf(t, srv, counted(&m), func(cfg *cockroachdb.Config) {
		cfg.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) { told = append(told, e) }
	})
	tx := begun(t, db)
	mustExec(t, tx, "UPDATE a")
	mustExec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	require.Len(t, told, 1)
	assert.Equal(t, cockroachdb.ReasonConnection, told[0].Reason)
	assert.Equal(t, 2, told[0].Statement)
	require.Error(t, told[0].Err)
	assert.EqualValues(t, 1, metric(t, m, "cockroachdb_failovers_total", "replaced"))
	assert.EqualValues(t, 1, metric(t, m, "cockroachdb_transactions_total", "committed"))
}

var errNoEntry = &pgconn.PgError{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"}

func TestReplay_StatementAfterADivergenceCommits_IsAmbiguous(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT v": {vs("a"), vs("b")}, "SHOW SOMETHING": {lost, tagged("COMMIT")}})
	tx := st.begin(t)
	require.Equal(t, []string{"a"}, query(t, tx, "SELECT v").mustRest())
	mustExec(t, tx, "UPDATE a")
	isA[*cockroachdb.AmbiguousCommitError](t, execAll(tx, "SHOW SOMETHING"))
}

// At driver.ErrBadConn an sql.Conn waits for the end of its transaction, and so for itself.
func TestPing_InATransactionWhoseConnectionIsLost_Returns(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE b": {{Cut: fakepg.CutBefore}}}, "retry_max_failovers=0")
	c, err := st.Conn(t.Context())
	require.NoError(t, err)
	tx, err := c.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, execAll(tx, "UPDATE a"))
	require.Error(t, execAll(tx, "UPDATE b"))
	require.Error(t, c.PingContext(t.Context()))
	require.Error(t, tx.Commit())
	require.NoError(t, c.Close())
}
