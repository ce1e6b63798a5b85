package cockroachdb_test

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Case 33: SET and SET LOCAL inside the transaction → applied again.
func TestPeerCase33Set(t *testing.T) {
	t.Parallel()
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		// The engine's restart undoes what was set, as newer versions of CockroachDB do.
		sim, db := simTable(t)
		tx := begun(t, db)
		mustExec(t, tx, "SET application_name = 'mine'")
		mustExec(t, tx, "SET LOCAL statement_timeout = '77s'")
		mustExec(t, tx, update(1))
		statement, release := conflictAt("WHERE k = 2$"), conflictAt("^release")
		sim.Inject(statement, release)
		mustExec(t, tx, update(2))
		assert.Equal(t, "mine", scanned[string](t, tx, "SHOW application_name"))
		assert.Equal(t, "77s", scanned[string](t, tx, "SHOW statement_timeout"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []int{1, 1}, []int{statement.Hits(), release.Hits()})
		var name, timeout string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW application_name").Scan(&name))
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW statement_timeout").Scan(&timeout))
		assert.Equal(t, "mine", name, "SET outlives the transaction that commits")
		assert.Equal(t, "0", timeout, "SET LOCAL does not")
		usable(t, db)
	})
	t.Run("set by a function", func(t *testing.T) {
		t.Parallel()
		sim, db := simTable(t)
		tx := begun(t, db)
		assert.Equal(t, "88s", scanned[string](t, tx, "SELECT set_config('statement_timeout', $1, true)", "88s"))
		sim.Inject(conflictAt("WHERE k = 2$"))
		mustExec(t, tx, update(2))
		assert.Equal(t, "88s", scanned[string](t, tx, "SHOW statement_timeout"))
		require.NoError(t, tx.Commit())
	})
	t.Run("on the wire", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{sqlFree: loses(1)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		for _, q := range []string{"SET a = 1", update(1), "SET LOCAL b = 2", update(2)} {
			mustExec(t, tx, q)
		}
		require.NoError(t, tx.Commit())
		assert.Contains(t, srv.Statements(), []string{sqlRestart, "SET a = 1", update(1), "SET LOCAL b = 2", update(2)})
	})
}

// Case 34: an AS OF SYSTEM TIME transaction → not restarted.
func TestPeerCase34AsOfSystemTime(t *testing.T) {
	t.Parallel()
	const past, read = "SET TRANSACTION AS OF SYSTEM TIME '-1s'", "SELECT v FROM kv"
	t.Run("SET TRANSACTION", func(t *testing.T) {
		t.Parallel()
		var m *cockroachdb.Metrics
		srv := fakepg.Start(t, plays{read: func(n int) fakepg.Reply {
			r := number(1)(n)
			if n == 2 {
				r.Err = fakepg.Conflict()
			}
			return r
		}}.handler())
		db := poolOf(t, srv, counted(&m))
		tx := begun(t, db)
		mustExec(t, tx, past)
		assert.EqualValues(t, 1, scanned[int64](t, tx, read))
		var v int64
		err := tx.QueryRowContext(t.Context(), read).Scan(&v)
		n := isA[*cockroachdb.NotReplayableError](t, err)
		assert.Equal(t, cockroachdb.CauseAsOfSystemTime, n.Cause)
		unwraps(t, err, "40001")
		assert.Equal(t, 2, times(srv, read))
		assert.Zero(t, times(srv, sqlRestart))
		require.ErrorContains(t, tx.Commit(), "rollback")
		assert.EqualValues(t, 1, metric(t, m, "cockroachdb_not_replayable_total", "as_of_system_time"))
		assert.EqualValues(t, 1, metric(t, m, "cockroachdb_transactions_total", "not_replayable"))
		usable(t, db)
	})
	t.Run("BEGIN as text, outside", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{update(1): loses(1)}.handler())
		db := poolOf(t, srv)
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		mustExec(t, conn, "BEGIN AS OF SYSTEM TIME '-1s'")
		_, err = conn.ExecContext(t.Context(), update(1))
		_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		assert.True(t, bare, "%T", err)
		assert.Equal(t, 1, times(srv, update(1)))
		mustExec(t, conn, "ROLLBACK")
		require.NoError(t, conn.Close())
		usable(t, db)
	})
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		sim, db := simTable(t)
		tx := begun(t, db)
		mustExec(t, tx, past)
		assert.Equal(t, 0, scanned[int](t, tx, "SELECT v FROM kv WHERE k = 1"))
		fault := crdbsim.On("WHERE k = 2$", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
		sim.Inject(fault)
		err := tx.QueryRowContext(t.Context(), "SELECT v FROM kv WHERE k = 2").Scan(new(int))
		isA[*cockroachdb.NotReplayableError](t, err)
		require.NoError(t, tx.Rollback())
		usable(t, db)
	})
}

// Case 35: DDL in a PRIORITY HIGH transaction → the original error surfaces. That is the application's own priority: the driver's
// own, which it chose for a restart after a wait in the lane, is the driver's to take back, and nobody hears of it.
func TestPeerCase35DDLInPriorityHigh(t *testing.T) {
	t.Parallel()
	const ddl, high = "CREATE TABLE t (v INT)", "BEGIN PRIORITY HIGH"
	refused := fakepg.Reply{Err: fakepg.Error("0A000", "unimplemented: cannot run DDL in a HIGH PRIORITY transaction")}
	t.Run("the application's own", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{ddl: inTurn(refused)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		mustExec(t, tx, "SET TRANSACTION PRIORITY HIGH")
		mustExec(t, tx, update(1))
		_, err := tx.ExecContext(t.Context(), ddl)
		pgErr, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		require.True(t, bare, "%T", err)
		assert.Equal(t, "0A000", pgErr.Code)
		assert.Equal(t, 1, times(srv, ddl))
		assert.Equal(t, 1, times(srv, update(1)))
		usableAfter(t, db, tx)
	})
	// A transaction that is aborted twice in the lane waits, and comes back with PRIORITY HIGH.
	lost := func(t *testing.T, p plays) (*fakepg.Server, *sql.DB, *sql.Tx, error) {
		t.Helper()
		aborted := fakepg.Reply{Err: fakepg.Aborted()}
		p[update(2)] = inTurn(aborted, aborted, fakepg.Reply{})
		srv := fakepg.Start(t, p.handler())
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.InitialBackoff = 0 })
		tx := begun(t, db)
		var v int64
		if p["SELECT v FROM kv"] != nil {
			v = scanned[int64](t, tx, "SELECT v FROM kv")
			assert.EqualValues(t, 1, v)
		}
		mustExec(t, tx, update(1))
		mustExec(t, tx, update(2))
		require.Equal(t, 1, times(srv, high), "the driver's own priority")
		_, err := tx.ExecContext(t.Context(), ddl)
		return srv, db, tx, err
	}
	t.Run("the driver's own", func(t *testing.T) {
		t.Parallel()
		srv, db, tx, err := lost(t, plays{ddl: once(refused)})
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.Contains(t, srv.Statements(), []string{"ROLLBACK", "BEGIN", sqlOurs, update(1), update(2)})
		assert.Equal(t, 2, times(srv, ddl), "in a round trip of its own, since on some servers it commits")
		assert.Equal(t, 1, times(srv, high))
		usable(t, db)
	})
	t.Run("the driver's own, and it would not have worked anyway", func(t *testing.T) {
		t.Parallel()
		srv, db, tx, err := lost(t, plays{ddl: inTurn(refused)})
		_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		require.True(t, bare, "%T", err)
		assert.Equal(t, 2, times(srv, ddl))
		usableAfter(t, db, tx)
	})
	t.Run("the driver's own, and the restart for it diverges", func(t *testing.T) {
		t.Parallel()
		srv, db, tx, err := lost(t, plays{ddl: once(refused), "SELECT v FROM kv": number(1, 1, 1, 2)})
		d := isA[*cockroachdb.DivergenceError](t, err)
		assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
		assert.NotZero(t, d.Attempts)
		require.Error(t, d.Unwrap())
		assert.NotContains(t, err.Error(), "%!")
		require.Error(t, tx.Commit(), "it must not commit half of the transaction")
		assert.Zero(t, times(srv, sqlFree))
		usable(t, db)
	})
	t.Run("the driver's own, and the restart for it loses", func(t *testing.T) {
		t.Parallel()
		srv, db, tx, err := lost(t, plays{ddl: once(refused), update(1): loses(4)})
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, times(srv, sqlFree))
		usable(t, db)
	})
}

// Case 36: tx.Exec("COMMIT"), and several statements in one string with BEGIN/COMMIT in it → the record ends where TxStatus says so.
func TestPeerCase36TheApplicationEndsIt(t *testing.T) {
	t.Parallel()
	type step = func(context.Context, *sql.Tx) error
	exec := func(q string) step {
		return func(ctx context.Context, tx *sql.Tx) error { _, err := tx.ExecContext(ctx, q); return err }
	}
	for name, tc := range map[string]struct {
		steps []step
		want  map[int]int
	}{
		"COMMIT":                       {[]step{exec(update(1)), exec("COMMIT")}, map[int]int{1: 1, 2: 0}},
		"END":                          {[]step{exec(update(1)), exec("  end transaction ;")}, map[int]int{1: 1, 2: 0}},
		"ROLLBACK":                     {[]step{exec(update(1)), exec("ROLLBACK")}, map[int]int{1: 0, 2: 0}},
		"COMMIT in a string":           {[]step{exec(update(1)), exec(update(2) + "; COMMIT")}, map[int]int{1: 1, 2: 1}},
		"ROLLBACK in a string":         {[]step{exec(update(1)), exec(update(2) + "; ROLLBACK")}, map[int]int{1: 0, 2: 0}},
		"the string is the first":      {[]step{exec(update(1) + "; COMMIT")}, map[int]int{1: 1, 2: 0}},
		"COMMIT is the first":          {[]step{exec("COMMIT")}, map[int]int{1: 0, 2: 0}},
		"a statement after it":         {[]step{exec(update(1)), exec("COMMIT"), exec(update(2))}, map[int]int{1: 1, 2: 1}},
		"COMMIT and BEGIN in a string": {[]step{exec(update(1)), exec("COMMIT; BEGIN"), exec(update(2))}, map[int]int{1: 1, 2: 1}},
	} {
		t.Run("inside, "+name, func(t *testing.T) {
			t.Parallel()
			_, db := simTable(t)
			tx := begun(t, db)
			for _, s := range tc.steps {
				require.NoError(t, s(t.Context(), tx))
			}
			err := tx.Commit()
			var ambiguous *cockroachdb.AmbiguousCommitError
			require.NotErrorAs(t, err, &ambiguous, "there was nothing left to commit")
			if name == "COMMIT and BEGIN in a string" {
				require.NoError(t, err, "the application has begun another one")
			}
			assert.Equal(t, tc.want, table(t, db))
			usable(t, db)
		})
	}
	// What is committed must not be run again.
	for name, tc := range map[string]struct {
		text, at string // the conflict is at
		want     map[int]int
	}{
		"after COMMIT; BEGIN, in the next statement": {"COMMIT; BEGIN", "^UPDATE kv SET v = 7", map[int]int{1: 1, 2: 0}},
		"after COMMIT; BEGIN, at the commit":         {"COMMIT; BEGIN", "^commit$", map[int]int{1: 1, 2: 0}},
		"after ROLLBACK; BEGIN":                      {"ROLLBACK; BEGIN", "^UPDATE kv SET v = 7", map[int]int{1: 0, 2: 0}},
		"in the string, after COMMIT":                {"COMMIT; " + update(2), "WHERE k = 2$", map[int]int{1: 1, 2: 0}},
		"in the string, after COMMIT; BEGIN":         {"COMMIT; BEGIN; " + update(2), "WHERE k = 2$", map[int]int{1: 1, 2: 0}},
	} {
		t.Run("inside, a conflict "+name, func(t *testing.T) {
			t.Parallel()
			sim, db := simTable(t)
			tx := begun(t, db)
			mustExec(t, tx, update(1))
			fault := conflictAt(tc.at)
			if tc.at == "^commit$" {
				fault.Skip = 1
			}
			sim.Inject(fault)
			_, err := tx.ExecContext(t.Context(), tc.text)
			if err == nil {
				_, err = tx.ExecContext(t.Context(), "UPDATE kv SET v = 7 WHERE k = 2")
			}
			if err == nil {
				err = tx.Commit()
			}
			assert.Equal(t, 1, fault.Hits())
			if strings.HasPrefix(tc.text, "ROLLBACK") {
				unwraps(t, err, "40001") // nothing is committed
			} else {
				isA[*cockroachdb.AmbiguousCommitError](t, err)
				assert.Empty(t, stateOf(err), "a loop would run again what is committed")
			}
			_ = tx.Rollback()
			assert.Equal(t, tc.want, table(t, db))
			usable(t, db)
		})
	}
	t.Run("inside, DDL that commits and then loses", func(t *testing.T) {
		t.Parallel()
		// As with autocommit_before_ddl: status 'I' where a conflict leaves 'E'.
		const ddl = "CREATE TABLE t (v INT)"
		idle := func(c *fakepg.Conn) {
			c.ReceiveUntilSync()
			done := func(tag string) []pgproto3.BackendMessage {
				return []pgproto3.BackendMessage{
					&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, &pgproto3.CommandComplete{CommandTag: []byte(tag)},
				}
			}
			c.Send(slices.Concat(done("BEGIN"), done("SAVEPOINT"), done("UPDATE 1"))...)
			c.Ready('T')
			c.ReceiveUntilSync()
			c.Send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, fakepg.Conflict())
			c.Ready('I')
			c.Serve(func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} })
		}
		srv := fakepg.Start(t, idle)
		db, err := sql.Open("cockroachdb", srv.DSN())
		require.NoError(t, err)
		defer db.Close()
		db.SetMaxOpenConns(1)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		_, err = tx.ExecContext(t.Context(), ddl)
		isA[*cockroachdb.AmbiguousCommitError](t, err)
		assert.Equal(t, 1, times(srv, update(1)), "it may be committed")
		usableAfter(t, db, tx)
	})
	t.Run("inside, a conflict after COMMIT", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{update(2): loses(1)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		mustExec(t, tx, "COMMIT")
		mustExec(t, tx, update(2))
		assert.Equal(t, 2, times(srv, update(2)), "it stands alone, and is retried alone")
		assert.Equal(t, 1, times(srv, update(1)), "it is committed")
		usableAfter(t, db, tx)
	})
	t.Run("inside, the COMMIT loses", func(t *testing.T) {
		t.Parallel()
		// The server has rolled back: what the driver has on record can be run again, COMMIT included.
		srv := fakepg.Start(t, plays{"COMMIT": loses(1)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		mustExec(t, tx, "COMMIT")
		assert.Equal(t, 2, times(srv, update(1)))
		assert.Equal(t, 2, times(srv, "COMMIT"))
		usableAfter(t, db, tx)
	})
	t.Run("inside, the COMMIT is lost", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{"COMMIT": once(fakepg.Reply{Cut: fakepg.CutBefore})}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		_, err := tx.ExecContext(t.Context(), "COMMIT")
		isA[*cockroachdb.AmbiguousCommitError](t, err)
		isA[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
		usable(t, db)
	})
	t.Run("inside, a conflict before COMMIT in a string", func(t *testing.T) {
		t.Parallel()
		sim, db := simTable(t)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		fault := conflictAt("^UPDATE kv SET v = v . 1 WHERE k = 2")
		sim.Inject(fault)
		mustExec(t, tx, update(2)+"; COMMIT")
		assert.Equal(t, 1, fault.Hits())
		_ = tx.Rollback()
		assert.Equal(t, map[int]int{1: 1, 2: 1}, table(t, db))
	})
	for name, text := range map[string]string{
		"BEGIN and COMMIT": "BEGIN; " + update(1) + "; " + update(2) + "; COMMIT",
		"COMMIT halfway":   "BEGIN; " + update(1) + "; COMMIT; " + update(2),
	} {
		t.Run("outside, "+name, func(t *testing.T) {
			t.Parallel()
			// What is committed must not be run again: the conflict surfaces only where nothing is.
			srv := fakepg.Start(t, plays{update(2): loses(1)}.handler())
			db := poolOf(t, srv)
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			_, err = conn.ExecContext(t.Context(), text)
			if strings.HasPrefix(name, "COMMIT") {
				isA[*cockroachdb.AmbiguousCommitError](t, err)
				assert.Empty(t, stateOf(err), "a loop would run again what is committed")
			} else {
				_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
				require.True(t, bare, "%T", err)
			}
			assert.Equal(t, 1, times(srv, text))
			_, _ = conn.ExecContext(t.Context(), "ROLLBACK")
			require.NoError(t, conn.Close())
			usable(t, db)
		})
	}
	t.Run("outside, BEGIN is left open", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{update(1): loses(1)}.handler())
		db := poolOf(t, srv)
		mustExec(t, db, "BEGIN; "+update(2))
		usable(t, db) // on another connection: this one is in the middle of something
		assert.Equal(t, 2, srv.Connections())
	})
}
