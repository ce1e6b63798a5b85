package failover_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// cuts are the ways in which a statement's connection can end.
func cuts() map[string]fakepg.Reply {
	return map[string]fakepg.Reply{
		"before": {Cut: fakepg.CutBefore}, "half": {Cut: fakepg.CutHalf},
		"after": {Cut: fakepg.CutAfter}, "shut down": {Cut: fakepg.CutShutDown}, "unsent": {Cut: fakepg.CutUnsent},
		"FATAL 57P01": kit.Fatal("57P01", "refused"), "FATAL 57P02": kit.Fatal("57P02", "refused"),
		"FATAL 08006": kit.Fatal("08006", "refused"), "ERROR 57P01": kit.Fails("57P01", "refused"),
		"FATAL 08P01": kit.Fatal("08P01", "server conn crashed?"),
	}
}

// movedOnce checks that one other connection has taken over, on which everything has run again, and been committed
// once.
func movedOnce(t *testing.T, st *kit.Rig, statements ...string) {
	t.Helper()
	assert.Equal(t, statements, st.LastAttempt())
	assert.Equal(t, 2, st.Server.Connections())
	assert.Equal(t, 1, st.Times(kit.Release))
}

func TestFailover_UnderAStatement_Unseen(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		for _, first := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{"UPDATE b": {cut, kit.OK}})
				tx := st.Begin(t)
				if !first {
					kit.Exec(t, tx, "UPDATE a")
				}
				kit.Exec(t, tx, "UPDATE b")
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

// The new connection has prepared none of the texts.
func TestFailover_CostsOneRoundTrip(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE last": {{Cut: fakepg.CutBefore}, kit.OK}})
	tx := st.Begin(t)
	for i := range 100 {
		kit.Exec(t, tx, fmt.Sprintf("UPDATE t%d SET v = $1", i), 1)
	}
	kit.Query(t, tx, "SELECT v FROM a WHERE k = $1", 1).MustRest()
	kit.Exec(t, tx, "UPDATE last")
	assert.Len(t, st.Server.OfConn(2), 1, "BEGIN, the savepoint and all statements")
	assert.Len(t, st.LastAttempt(), 102)
	require.NoError(t, tx.Commit())
}

func TestFailover_InTheMiddleOfRows_GoesOnAfterThem(t *testing.T) {
	t.Parallel()
	broken := kit.Texts("a", "b", "c")
	broken.Err, broken.ErrAfterRows = kit.Fatal("57P01", "refused").Err, 2
	st := kit.New(t, kit.Script{"SELECT v": {broken, kit.Texts("a", "b", "c")}})
	tx := st.Begin(t)
	rows := kit.Query(t, tx, "SELECT v")
	assert.Equal(t, []string{"a", "b"}, rows.Read(2))
	assert.Equal(t, []string{"c"}, rows.MustRest())
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "SELECT v")
}

func TestFailover_BetweenStatements_Unseen(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	st.Server.Disconnect()
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "UPDATE b")
}

func TestFailover_BeforeTheCommitIsSent_Unseen(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	st.Server.Disconnect()
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a")
}

func TestFailover_OnceTheCommitIsSent_Ambiguous(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		if name == "after" || name == "shut down" || name == "ERROR 57P01" {
			continue // that is an answer
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{kit.Release: {cut, kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			kit.As[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
			assert.Equal(t, 1, st.Times("UPDATE a"))
		})
	}
}

// commitsNothing are the ways to commit a transaction that has only read.
var commitsNothing = map[string]func(tx *sql.Tx) error{
	kit.Release:             (*sql.Tx).Commit,
	"COMMIT":                func(tx *sql.Tx) error { return kit.ExecAll(tx, "COMMIT") },
	"SHOW COMMIT TIMESTAMP": func(tx *sql.Tx) error { return kit.ExecAll(tx, "SHOW COMMIT TIMESTAMP") },
}

// A commit that has changed nothing only says that what was read may be believed. It can be repeated.
func TestFailover_CommitOfWhatWasOnlyRead_IsRepeated(t *testing.T) {
	t.Parallel()
	for sql, commit := range commitsNothing {
		for _, cut := range []fakepg.Cut{fakepg.CutBefore, fakepg.CutHalf, fakepg.CutUnsent} {
			t.Run(sql, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{"SELECT v": {kit.Texts("a")}, sql: {{Cut: cut}, kit.OK}})
				tx := st.Begin(t)
				kit.Query(t, tx, "SELECT v").MustRest()
				require.NoError(t, commit(tx))
				assert.Equal(t, 2, st.Times("SELECT v"))
				assert.Equal(t, 2, st.Server.Connections())
			})
		}
	}
}

// A cursor's query may call a function that writes, when it is fetched from, or at the commit.
func TestFailover_CommitAfterACursor_Ambiguous(t *testing.T) {
	t.Parallel()
	for tag, sql := range map[string]string{
		"FETCH 1": "FETCH c", "MOVE 1": "MOVE c", "DECLARE CURSOR": "DECLARE c CURSOR WITH HOLD FOR SELECT f()",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{sql: {kit.Tag(tag)}, kit.Release: {kit.CutOff}})
			tx := st.Begin(t)
			kit.Exec(t, tx, sql)
			kit.As[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
		})
	}
}

func TestFailover_CommitOfWhatHasChangedSince_Diverges(t *testing.T) {
	t.Parallel()
	for sql, commit := range commitsNothing {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT v": {kit.Texts("a"), kit.Texts("b")}, sql: {kit.CutOff}})
			tx := st.Begin(t)
			kit.Query(t, tx, "SELECT v").MustRest()
			kit.As[*cockroachdb.DivergenceError](t, commit(tx))
		})
	}
}

func TestFailover_CommitOfWhatWasOnlyRead_Cancelled_IsNotAmbiguous(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT v": {kit.Texts("a")}, kit.Release: {kit.Slow}})
	tx := st.BeginIn(t, kit.CancelledSoon(t))
	kit.Query(t, tx, "SELECT v").MustRest()
	err := tx.Commit()
	require.ErrorIs(t, err, context.Canceled)
	_, ambiguous := errors.AsType[*cockroachdb.AmbiguousCommitError](err)
	assert.False(t, ambiguous)
}

func TestFailover_UnderWhatMayCommit_Ambiguous(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"CREATE TABLE t ()", "CALL p()", "COMMIT", "SHOW COMMIT TIMESTAMP", "DO $$ BEGIN COMMIT; END $$", "EXECUTE p",
	} {
		for first, cut := range map[bool]fakepg.Cut{false: fakepg.CutBefore, true: fakepg.CutUnsent} {
			_, commits := commitsNothing[sql]
			if first && commits {
				continue
			}
			t.Run(sql, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{sql: {{Cut: cut}}})
				tx := st.Begin(t)
				if !first {
					kit.Exec(t, tx, "UPDATE a")
				}
				kit.As[*cockroachdb.AmbiguousCommitError](t, kit.ExecAll(tx, sql))
				require.Error(t, tx.Commit())
				assert.LessOrEqual(t, st.Times(sql), 1)
			})
		}
	}
}

// What a node has answered before it went away is no reason for the end of the connection.
func TestFailover_AfterAnError_StatementIsRunAgain(t *testing.T) {
	t.Parallel()
	duplicate := kit.Fails("23505", "duplicate key")
	duplicate.Cut = fakepg.CutAfter
	st := kit.New(t, kit.Script{"UPDATE b": {duplicate, kit.Fails("23505", "duplicate key")}})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "SAVEPOINT s")
	require.IsType(t, &pgconn.PgError{}, kit.ExecAll(tx, "UPDATE b"))
	kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT s")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "SAVEPOINT s", "UPDATE b", "ROLLBACK TO SAVEPOINT s")
}

func TestFailover_DuringAReplay_StartsItAgain(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": {kit.OK, {Cut: fakepg.CutBefore}, kit.OK}, "UPDATE b": {kit.Conflict, kit.OK}})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "UPDATE b")
}

func TestFailover_TwiceInARow_Unseen(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE b": {{Cut: fakepg.CutBefore}, {Cut: fakepg.CutHalf}, kit.OK}})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"UPDATE a", "UPDATE b"}, st.LastAttempt())
	assert.Equal(t, 3, st.Server.Connections())
}

func TestFailover_ConflictOnTheNewConnection_Absorbed(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": {kit.OK, kit.Conflict, kit.OK}, "UPDATE b": {{Cut: fakepg.CutBefore}, kit.OK}})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a", "UPDATE b")
}

func TestFailover_WhileItGivesUpItsLocks_Unseen(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"UPDATE a": {kit.Conflict, kit.Conflict, kit.OK}, "ROLLBACK": {{Cut: fakepg.CutBefore}, kit.OK},
	})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	require.NoError(t, tx.Commit())
	movedOnce(t, st, "UPDATE a")
}

func TestFailover_WhileItGivesUpItsLocks_SaysWhyItCant(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE b": {kit.Conflict, kit.Conflict, kit.OK}, "ROLLBACK": {{Cut: fakepg.CutBefore}}})
	kit.Exec(t, st.DB, "CREATE TEMP TABLE t (v INT)")
	tx := st.Begin(t)
	lost := kit.As[*cockroachdb.ConnectionLostError](t, kit.ExecAll(tx, "UPDATE b"))
	assert.Equal(t, cockroachdb.CauseSession, lost.Cause)
	assert.Equal(t, "40001", kit.StateOf(lost), "the conflict is in it")
}

func TestFailover_WhileAConnectionIsPrepared_Unseen(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a SET v = $1": {{Cut: fakepg.CutBefore}, kit.OK}})
	prepared, err := st.PrepareContext(t.Context(), "UPDATE a SET v = $1")
	require.NoError(t, err)
	defer prepared.Close()
	tx := st.Begin(t)
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
	st := kit.New(t, kit.Script{
		"SELECT v": {kit.Texts("a"), kit.Texts("b")}, "UPDATE b": {{Cut: fakepg.CutBefore}, kit.OK},
	})
	tx := st.Begin(t)
	assert.Equal(t, []string{"a"}, kit.Query(t, tx, "SELECT v").MustRest())
	d := kit.As[*cockroachdb.DivergenceError](t, kit.ExecAll(tx, "UPDATE b"))
	assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
	require.Error(t, tx.Commit())
	assert.Zero(t, st.Times(kit.Release))
}

func TestFailover_RunTx_CallsAgainOnlyWhereItDiverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second fakepg.Reply
		calls  int
	}{"the same": {kit.Texts("a"), 1}, "something else": {kit.Texts("b"), 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"SELECT v": kit.Always(kit.Texts("a"), tc.second), "UPDATE b": {{Cut: fakepg.CutBefore}, kit.OK},
			})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), st.DB, nil, func(tx *sql.Tx) error {
				calls++
				kit.Query(t, tx, "SELECT v").MustRest()
				return kit.ExecAll(tx, "UPDATE b")
			}))
			assert.Equal(t, tc.calls, calls)
			movedOnce(t, st, "SELECT v", "UPDATE b")
		})
	}
}

func TestFailover_Cancelled_IsNone(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE b": {{Delay: time.Hour}}})
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := tx.ExecContext(ctx, "UPDATE b")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Error(t, tx.Commit())
	assert.Equal(t, 1, st.Times("UPDATE a"))
}

func TestFailover_EndThatSomebodyWanted_IsTold(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"25P03", "25P04", "57P05", "40001"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"UPDATE b": {kit.Fatal(code, "refused"), kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			err := kit.ExecAll(tx, "UPDATE b")
			require.Equal(t, code, kit.StateOf(err))
			require.Error(t, tx.Commit())
			assert.Equal(t, 1, st.Times("UPDATE a"))
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
			st := kit.New(t, kit.Script{"UPDATE poison": kit.Always(fakepg.Reply{Cut: fakepg.CutBefore})}, tc.param)
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			kit.As[*cockroachdb.ConnectionLostError](t, kit.ExecAll(tx, "UPDATE poison"))
			require.Error(t, tx.Commit())
			assert.Equal(t, tc.conns, st.Server.Connections())
		})
	}
}

func TestFailover_NoServer_SaysWhy(t *testing.T) {
	t.Parallel()
	unreachable := false
	r := kit.New(t, kit.Script{}, func(cfg *cockroachdb.Config) {
		cfg.RetryPolicy.MaxElapsed, cfg.RetryPolicy.InitialBackoff = time.Second, 0
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if unreachable {
				return nil, errors.New("no route to host")
			}
			return dial(ctx, network, addr)
		}
	})
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	unreachable = true
	r.Disconnect()
	err := kit.ExecAll(tx, "UPDATE b")
	kit.As[*cockroachdb.ConnectionLostError](t, err)
	require.ErrorContains(t, err, "no route to host")
	assert.ErrorIs(t, tx.Commit(), err)
}

func TestFailover_ServerRefusesTheLogin_DoesNotDialAgain(t *testing.T) {
	t.Parallel()
	dials := 0
	r := kit.New(t, kit.Script{}, func(cfg *cockroachdb.Config) {
		cfg.AfterConnect = func(context.Context, *pgx.Conn) error {
			if dials++; dials > 1 {
				return errNoEntry
			}
			return nil
		}
	})
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	r.Disconnect()
	lost := kit.As[*cockroachdb.ConnectionLostError](t, kit.ExecAll(tx, "UPDATE b"))
	require.ErrorIs(t, lost, errNoEntry)
	assert.Equal(t, 2, dials)
}

func TestFailover_ClosedThroughRaw_SaysWhy(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(*sql.Tx) error{
		"by a statement": func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE b") },
		"by the commit":  (*sql.Tx).Commit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{})
			c, err := st.Conn(t.Context())
			require.NoError(t, err)
			defer c.Close()
			tx, err := c.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			kit.Exec(t, tx, "UPDATE a")
			require.NoError(t, c.Raw(func(c any) error { return c.(cockroachdb.Conn).Conn().Close(t.Context()) }))
			lost := kit.As[*cockroachdb.ConnectionLostError](t, next(tx))
			assert.Equal(t, cockroachdb.CauseRaw, lost.Cause)
		})
	}
}

func TestFailover_OutsideATransaction_ReadIsRunAgain(t *testing.T) {
	t.Parallel()
	broken := kit.Texts("a", "b", "c")
	broken.Err, broken.ErrAfterRows = kit.Fatal("57P01", "refused").Err, 2
	for name, first := range map[string]fakepg.Reply{
		"before rows": {Columns: kit.Texts().Columns, Cut: fakepg.CutBefore}, "after rows": broken,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT v FROM t": {first, kit.Texts("a", "b", "c")}})
			assert.Equal(t, []string{"a", "b", "c"}, kit.Query(t, st, "SELECT v FROM t").MustRest())
			assert.Equal(t, 2, st.Server.Connections())
		})
	}
	t.Run("after rows that have changed", func(t *testing.T) {
		t.Parallel()
		st := kit.New(t, kit.Script{"SELECT v FROM t": {broken, kit.Texts("a", "x", "c")}})
		rows := kit.Query(t, st, "SELECT v FROM t")
		rows.Read(2)
		_, err := rows.Rest()
		kit.As[*cockroachdb.DivergenceError](t, err)
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
			st := kit.New(t, kit.Script{"UPDATE a": {cut, kit.OK}})
			kit.As[*cockroachdb.AmbiguousCommitError](t, kit.ExecAll(st, "UPDATE a"))
			assert.LessOrEqual(t, st.Times("UPDATE a"), 1)
			kit.Exec(t, st, "UPDATE b")
		})
	}
}

// Nothing of a SET outlives its session, and so it is run again on another one, after what was set before.
func TestFailover_OutsideATransaction_SetIsRunAgain(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SET a = 2": {cut, kit.OK}})
			c, err := st.Conn(t.Context())
			require.NoError(t, err)
			defer c.Close()
			kit.Exec(t, c, "SET a = 1")
			kit.Exec(t, c, "SET a = 2")
			kit.Exec(t, c, "UPDATE a")
			assert.Equal(t, 2, st.Times("SET a = 1"))
			assert.Equal(t, 2, st.Times("SET a = 2"))
		})
	}
}

// A statement that was only parsed was not run, whatever it does.
func TestFailover_OutsideATransaction_WhileItIsPrepared_Unseen(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"UPDATE a SET v = $1", "SELECT v FROM a WHERE k = $1", "ALTER TABLE a RENAME TO b"} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			parsed := 0
			r := kit.Answering(t, kit.Script{}.Calling(sql, func(n int) fakepg.Reply {
				if n > 0 {
					return kit.OK
				}
				if parsed++; parsed > 1 {
					return kit.OK
				}
				gone := kit.Fatal("57P01", "refused")
				gone.ErrAt = fakepg.AtParse
				return gone
			}))
			st, err := r.PrepareContext(t.Context(), sql)
			require.NoError(t, err)
			defer st.Close()
			var args []any
			if strings.Contains(sql, "$1") {
				args = append(args, 1)
			}
			_, err = st.ExecContext(t.Context(), args...)
			require.NoError(t, err)
			assert.Equal(t, 1, r.Times(sql))
			assert.Equal(t, 2, r.Connections())
		})
	}
}

// On another connection it would be prepared for another session. Who takes any of the pool's is given another one.
func TestFailover_WhileItIsPrepared_SessionCantBeMadeAgain_NotElsewhere(t *testing.T) {
	t.Parallel()
	const text = "SELECT v FROM a WHERE k = $1"
	for _, kept := range []bool{true, false} {
		parsed := 0
		srv := fakepg.Start(t, fakepg.Answer(kit.Script{}.Calling(text, func(int) fakepg.Reply {
			if parsed++; parsed > 1 {
				return kit.OK
			}
			gone := kit.Fatal("57P01", "refused")
			gone.ErrAt = fakepg.AtParse
			return gone
		})))
		db := kit.Open(t, srv.DSN())
		on := interface {
			kit.Querier
			PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
		}(db)
		if kept {
			on = kit.Conn(t, db)
		}
		kit.Exec(t, on, "LISTEN jobs")
		st, err := on.PrepareContext(t.Context(), text)
		if kept {
			assert.Equal(t, cockroachdb.CauseSession, kit.As[*cockroachdb.ConnectionLostError](t, err).Cause)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, st.Close())
	}
}

// A session that can't be made again keeps the connection from being replaced, also where the statement was not run.
func TestFailover_OutsideATransaction_SessionCantBeMadeAgain_IsTold(t *testing.T) {
	t.Parallel()
	gone := kit.Fatal("57P01", "refused")
	gone.ErrAt = fakepg.AtParse
	for name, lose := range map[string]kit.Script{
		"while it is prepared": {"UPDATE a SET v = $1": {gone}},
		"by a pooler":          {"UPDATE a SET v = $1": {kit.Fatal("08P01", "query_wait_timeout"), kit.OK}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, lose)
			conn := kit.Conn(t, st.DB)
			kit.Exec(t, conn, "SELECT set_config('search_path', 'mine', false)")
			_, err := conn.ExecContext(t.Context(), "UPDATE a SET v = $1", 1)
			lost := kit.As[*cockroachdb.ConnectionLostError](t, err)
			assert.Equal(t, cockroachdb.CauseSession, lost.Cause)
			assert.Equal(t, 1, st.Server.Connections())
			require.Error(t, kit.ExecAll(conn, "UPDATE b"), "it is closed")
		})
	}
}

func TestFailover_IsSeen(t *testing.T) {
	t.Parallel()
	var told []cockroachdb.RetryEvent
	r := kit.New(t, kit.Script{"UPDATE b": {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}}, func(cfg *cockroachdb.Config) {
		cfg.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) { told = append(told, e) }
	})
	tx := r.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	require.Len(t, told, 1)
	assert.Equal(t, cockroachdb.ReasonConnection, told[0].Reason)
	assert.Equal(t, 2, told[0].Statement)
	require.Error(t, told[0].Err)
	assert.EqualValues(t, 1, r.Count(t, "failovers_total", "replaced"))
	assert.EqualValues(t, 1, r.Count(t, "transactions_total", "committed"))
}

var errNoEntry = &pgconn.PgError{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"}

func TestReplay_StatementAfterADivergenceCommits_IsAmbiguous(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"SELECT v": {kit.Texts("a"), kit.Texts("b")}, "SHOW SOMETHING": {kit.Conflict, kit.Tag("COMMIT")},
	})
	tx := st.Begin(t)
	require.Equal(t, []string{"a"}, kit.Query(t, tx, "SELECT v").MustRest())
	kit.Exec(t, tx, "UPDATE a")
	kit.As[*cockroachdb.AmbiguousCommitError](t, kit.ExecAll(tx, "SHOW SOMETHING"))
}

// At driver.ErrBadConn an sql.Conn waits for the end of its transaction, and so for itself.
func TestPing_InATransactionWhoseConnectionIsLost_Returns(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE b": {{Cut: fakepg.CutBefore}}}, "retry_max_failovers=0")
	c, err := st.Conn(t.Context())
	require.NoError(t, err)
	tx, err := c.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
	require.Error(t, kit.ExecAll(tx, "UPDATE b"))
	require.Error(t, c.PingContext(t.Context()))
	require.Error(t, tx.Commit())
	require.NoError(t, c.Close())
}

func TestFailover_WhileItWaitsForTheLane_Unseen(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict, kit.OK}}, func(t *testing.T, r *kit.Rig) {
		holder, waiter := r.HoldLane(t), r.Begin(t)
		done := make(chan error)
		go func() { done <- kit.ExecAll(waiter, "UPDATE a") }()
		time.Sleep(time.Second)
		r.Disconnect()
		kit.Exec(t, holder, "UPDATE b") // a look can't see that a connection in memory is closed
		require.NoError(t, holder.Commit())
		require.NoError(t, <-done)
		require.NoError(t, waiter.Commit())
		assert.Equal(t, 2, r.Ran(kit.Release))
		assert.Equal(t, 4, r.Connections())
	}, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxFailovers = 4 })
}

// A conflict says that nothing is committed, even if the connection ends with it.
func TestFailover_EndsWithAConflict_Unseen(t *testing.T) {
	t.Parallel()
	for _, cut := range []fakepg.Cut{fakepg.CutAfter, fakepg.CutShutDown} {
		lost, lostLater := kit.Conflict, kit.BreakOff(kit.Texts("a", "b", "c"), 2)
		lost.Cut, lostLater.Cut = cut, cut
		for name, script := range map[string]kit.Script{
			"in a statement":     {"UPDATE a": {lost, kit.OK}},
			"in the commit":      {kit.Release: {lost, kit.OK}},
			"in DDL":             {"CREATE TABLE t ()": {lost, kit.OK}},
			"in DDL inside":      {"CREATE TABLE u ()": {lost, kit.OK}},
			"outside":            {"UPDATE b": {lost, kit.OK}},
			"outside, in a read": {"SELECT v": {lost, kit.Texts("a", "b", "c")}},
			"outside, in rows":   {"SELECT v": {lostLater, kit.Texts("a", "b", "c")}},
		} {
			t.Run(fmt.Sprint(name, ", cut ", cut), func(t *testing.T) {
				t.Parallel()
				if script["SELECT v"] == nil {
					script["SELECT v"] = kit.Always(kit.Texts("a", "b", "c"))
				}
				st := kit.New(t, script)
				tx := st.Begin(t)
				kit.Exec(t, tx, "UPDATE a")
				require.NoError(t, tx.Commit())
				kit.Exec(t, st, "UPDATE b")
				kit.Exec(t, st, "CREATE TABLE t ()")
				tx = st.Begin(t)
				kit.Exec(t, tx, "CREATE TABLE u ()")
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{"a", "b", "c"}, kit.Query(t, st, "SELECT v").MustRest())
				assert.Equal(t, 2, st.Server.Connections())
			})
		}
	}
}

// Where it may not be run again, the application is told that nothing is committed.
func TestFailover_EndsWithAConflict_CantMove_SaysSo(t *testing.T) {
	t.Parallel()
	for _, cut := range []fakepg.Cut{fakepg.CutAfter, fakepg.CutShutDown} {
		lost := kit.Conflict
		lost.Cut = cut
		for name, run := range map[string]func(st *kit.Rig) error{
			"outside": func(st *kit.Rig) error { return kit.ExecAll(st, "UPDATE a") },
			"DDL":     func(st *kit.Rig) error { return kit.ExecAll(st.Begin(t), "CREATE TABLE x ()") },
			"several": func(st *kit.Rig) error { return kit.ExecAll(st, "UPDATE b; UPDATE a") },
			"inside":  func(st *kit.Rig) error { return kit.ExecAll(st.Begin(t), "UPDATE a") },
			"in the commit": func(st *kit.Rig) error {
				tx := st.Begin(t)
				kit.Exec(t, tx, "UPDATE b")
				return tx.Commit()
			},
		} {
			loses := kit.Script{"UPDATE a": {lost}, kit.Release: {lost}, "CREATE TABLE x ()": {lost}}
			err := run(kit.New(t, loses, kit.NoFailover))
			assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), err, name)
			kit.WantCodeWithin(t, err, "40001")
		}
		for _, mode := range kit.QueryModes {
			for _, text := range []string{"CALL p()", "CREATE TABLE t (); CALL p()"} {
				st := kit.New(t, kit.Script{"CALL p()": {lost}}, "default_query_exec_mode="+mode)
				err := kit.ExecAll(st, text)
				assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err, "a part of it may be committed")
				assert.NotEqual(t, "40001", kit.StateOf(err), "who looks for conflicts would run it again")
			}
		}
	}
}
