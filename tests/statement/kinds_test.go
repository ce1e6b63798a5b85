package statement_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// SET and SET LOCAL inside the transaction → applied again.
func TestStatement_Set_IsReplayed(t *testing.T) {
	t.Parallel()
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		// The engine's restart undoes what was set, as newer versions of CockroachDB do.
		sim, db := kit.NewSimTable(t)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, "SET application_name = 'mine'")
		kit.Exec(t, tx, "SET LOCAL statement_timeout = '77s'")
		kit.Exec(t, tx, kit.Update(1))
		statement, release := kit.ConflictAt("WHERE k = 2$"), kit.ConflictAt("^release")
		sim.Inject(statement, release)
		kit.Exec(t, tx, kit.Update(2))
		assert.Equal(t, "mine", kit.Scan[string](t, tx, "SHOW application_name"))
		assert.Equal(t, "77s", kit.Scan[string](t, tx, "SHOW statement_timeout"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []int{1, 1}, []int{statement.Hits(), release.Hits()})
		var name, timeout string
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW application_name").Scan(&name))
		require.NoError(t, db.QueryRowContext(t.Context(), "SHOW statement_timeout").Scan(&timeout))
		assert.Equal(t, "mine", name, "SET outlives the transaction that commits")
		assert.Equal(t, "0", timeout, "SET LOCAL does not")
		kit.WantUsable(t, db)
	})
	t.Run("set by a function", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		tx := kit.Begin(t, db)
		assert.Equal(t, "88s", kit.Scan[string](t, tx, "SELECT set_config('statement_timeout', $1, true)", "88s"))
		sim.Inject(kit.ConflictAt("WHERE k = 2$"))
		kit.Exec(t, tx, kit.Update(2))
		assert.Equal(t, "88s", kit.Scan[string](t, tx, "SHOW statement_timeout"))
		require.NoError(t, tx.Commit())
	})
	t.Run("on the wire", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Release: kit.ConflictOn(1)})
		tx := r.Begin(t)
		for _, q := range []string{"SET a = 1", kit.Update(1), "SET LOCAL b = 2", kit.Update(2)} {
			kit.Exec(t, tx, q)
		}
		require.NoError(t, tx.Commit())
		assert.Contains(t, r.Statements(), []string{
			kit.RollbackTo, "SET a = 1", kit.Update(1), "SET LOCAL b = 2", kit.Update(2), kit.Release, "COMMIT",
		})
	})
}

// An AS OF SYSTEM TIME transaction → not restarted.
func TestStatement_AsOfSystemTime_IsNotRestarted(t *testing.T) {
	t.Parallel()
	const past, read = "SET TRANSACTION AS OF SYSTEM TIME '-1s'", "SELECT v FROM kv"
	t.Run("SET TRANSACTION", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{read: {kit.Ints(1), kit.BreakOff(kit.Ints(1), 0)}})
		tx := r.Begin(t)
		kit.Exec(t, tx, past)
		assert.EqualValues(t, 1, kit.Scan[int64](t, tx, read))
		var v int64
		err := tx.QueryRowContext(t.Context(), read).Scan(&v)
		n := kit.As[*cockroachdb.NotReplayableError](t, err)
		assert.Equal(t, cockroachdb.CauseAsOfSystemTime, n.Cause)
		kit.WantCodeWithin(t, err, "40001")
		assert.Equal(t, 2, r.Times(read))
		assert.Zero(t, r.Times(kit.RollbackTo))
		require.ErrorContains(t, tx.Commit(), "rollback")
		assert.EqualValues(t, 1, r.Count(t, "not_replayable_total", "as_of_system_time"))
		assert.EqualValues(t, 1, r.Count(t, "transactions_total", "not_replayable"))
		kit.WantUsable(t, r.DB)
	})
	t.Run("BEGIN as text, outside", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Update(1): kit.ConflictOn(1)})
		conn, err := r.Conn(t.Context())
		require.NoError(t, err)
		kit.Exec(t, conn, "BEGIN AS OF SYSTEM TIME '-1s'")
		_, err = conn.ExecContext(t.Context(), kit.Update(1))
		_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		assert.True(t, bare, "%T", err)
		assert.Equal(t, 1, r.Times(kit.Update(1)))
		kit.Exec(t, conn, "ROLLBACK")
		require.NoError(t, conn.Close())
		kit.WantUsable(t, r.DB)
	})
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, past)
		assert.Equal(t, 0, kit.Scan[int](t, tx, "SELECT v FROM kv WHERE k = 1"))
		fault := crdbsim.On("WHERE k = 2$", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
		sim.Inject(fault)
		err := tx.QueryRowContext(t.Context(), "SELECT v FROM kv WHERE k = 2").Scan(new(int))
		kit.As[*cockroachdb.NotReplayableError](t, err)
		require.NoError(t, tx.Rollback())
		kit.WantUsable(t, db)
	})
}

// DDL in a PRIORITY HIGH transaction → the original error surfaces. That is the application's own priority: the
// driver's own, which it chose for a restart after a wait in the lane, is the driver's to take back, and nobody hears
// of it.
func TestStatement_DDLInPriorityHigh_IsTheApplicationsError(t *testing.T) {
	t.Parallel()
	const ddl, high = "CREATE TABLE t (v INT)", "BEGIN PRIORITY HIGH"
	refused := fakepg.Reply{Err: fakepg.Error("0A000", "unimplemented: cannot run DDL in a HIGH PRIORITY transaction")}
	t.Run("the application's own", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{ddl: kit.Always(refused)})
		tx := r.Begin(t)
		kit.Exec(t, tx, "SET TRANSACTION PRIORITY HIGH")
		kit.Exec(t, tx, kit.Update(1))
		_, err := tx.ExecContext(t.Context(), ddl)
		pgErr, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		require.True(t, bare, "%T", err)
		assert.Equal(t, "0A000", pgErr.Code)
		assert.Equal(t, 1, r.Times(ddl))
		assert.Equal(t, 1, r.Times(kit.Update(1)))
		_ = tx.Rollback() // an error, if something is committed
		kit.WantUsable(t, r.DB)
	})
	// A transaction that was aborted comes back with PRIORITY HIGH.
	lost := func(t *testing.T, p kit.Script) (*kit.Rig, *sql.Tx, error) {
		t.Helper()
		p[kit.Update(2)] = []fakepg.Reply{kit.Aborted}
		if p[kit.Update(1)] == nil {
			p[kit.Update(1)] = kit.Always(kit.Tag("UPDATE 1"))
		}
		r := kit.New(t, p)
		tx := r.Begin(t)
		assert.Equal(t, 1, kit.Affected(t, tx, kit.Update(1)))
		kit.Exec(t, tx, kit.Update(2))
		require.Equal(t, 1, r.Times(high), "the driver's own priority")
		_, err := tx.ExecContext(t.Context(), ddl)
		return r, tx, err
	}
	t.Run("the driver's own", func(t *testing.T) {
		t.Parallel()
		r, tx, err := lost(t, kit.Script{ddl: {refused, kit.OK}})
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.Contains(t, r.Statements(), []string{"ROLLBACK", "BEGIN", kit.Savepoint, kit.Update(1), kit.Update(2)})
		assert.Equal(t, 2, r.Times(ddl), "in a round trip of its own, since on some servers it commits")
		assert.Equal(t, 1, r.Times(high))
		kit.WantUsable(t, r.DB)
	})
	t.Run("the driver's own, and it would not have worked anyway", func(t *testing.T) {
		t.Parallel()
		r, tx, err := lost(t, kit.Script{ddl: kit.Always(refused)})
		_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		require.True(t, bare, "%T", err)
		assert.Equal(t, 2, r.Times(ddl))
		_ = tx.Rollback() // an error, if something is committed
		kit.WantUsable(t, r.DB)
	})
	t.Run("the driver's own, and the restart for it diverges", func(t *testing.T) {
		t.Parallel()
		one := kit.Tag("UPDATE 1")
		r, tx, err := lost(t, kit.Script{ddl: {refused, kit.OK}, kit.Update(1): {one, one, kit.Tag("UPDATE 2")}})
		d := kit.As[*cockroachdb.DivergenceError](t, err)
		assert.Equal(t, cockroachdb.DivergedCount, d.Kind)
		assert.NotZero(t, d.Attempts)
		require.Error(t, d.Unwrap())
		assert.NotContains(t, err.Error(), "%!")
		require.Error(t, tx.Commit(), "it must not commit half of the transaction")
		assert.Zero(t, r.Times(kit.Release))
		kit.WantUsable(t, r.DB)
	})
	t.Run("the driver's own, and the restart for it loses", func(t *testing.T) {
		t.Parallel()
		r, tx, err := lost(t, kit.Script{ddl: {refused, kit.OK}, kit.Update(1): kit.ConflictOn(3)})
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, r.Times(kit.Release))
		kit.WantUsable(t, r.DB)
	})
}

// Tx.Exec("COMMIT"), and several statements in one string with BEGIN/COMMIT in it → the record ends where TxStatus
// says so.
func TestStatement_CommitOrRollbackAsText_EndsTheTransaction(t *testing.T) {
	t.Parallel()
	type step = func(context.Context, *sql.Tx) error
	exec := func(q string) step {
		return func(ctx context.Context, tx *sql.Tx) error { _, err := tx.ExecContext(ctx, q); return err }
	}
	for name, tc := range map[string]struct {
		steps []step
		want  string
	}{
		"COMMIT":   {[]step{exec(kit.Update(1)), exec("COMMIT")}, "1=1 2=0"},
		"END":      {[]step{exec(kit.Update(1)), exec("  end transaction ;")}, "1=1 2=0"},
		"ROLLBACK": {[]step{exec(kit.Update(1)), exec("ROLLBACK")}, "1=0 2=0"},
		"COMMIT in a string": {
			[]step{exec(kit.Update(1)), exec(kit.Update(2) + "; COMMIT")}, "1=1 2=1",
		},
		"ROLLBACK in a string": {
			[]step{exec(kit.Update(1)), exec(kit.Update(2) + "; ROLLBACK")}, "1=0 2=0",
		},
		"the string is the first": {[]step{exec(kit.Update(1) + "; COMMIT")}, "1=1 2=0"},
		"COMMIT is the first":     {[]step{exec("COMMIT")}, "1=0 2=0"},
		"a statement after it": {
			[]step{exec(kit.Update(1)), exec("COMMIT"), exec(kit.Update(2))}, "1=1 2=1",
		},
		"COMMIT and BEGIN in a string": {
			[]step{exec(kit.Update(1)), exec("COMMIT; BEGIN"), exec(kit.Update(2))}, "1=1 2=1",
		},
	} {
		t.Run("inside, "+name, func(t *testing.T) {
			t.Parallel()
			_, db := kit.NewSimTable(t)
			tx := kit.Begin(t, db)
			for _, s := range tc.steps {
				require.NoError(t, s(t.Context(), tx))
			}
			err := tx.Commit()
			var ambiguous *cockroachdb.AmbiguousCommitError
			require.NotErrorAs(t, err, &ambiguous, "there was nothing left to commit")
			if name == "COMMIT and BEGIN in a string" {
				require.NoError(t, err, "the application has begun another one")
			}
			assert.Equal(t, tc.want, kit.Table(t, db))
			kit.WantUsable(t, db)
		})
	}
	// What is committed must not be run again.
	for name, tc := range map[string]struct {
		text, at string // the conflict is at
		want     string
	}{
		"after COMMIT; BEGIN, in the next statement": {"COMMIT; BEGIN", "^UPDATE kv SET v = 7", "1=1 2=0"},
		"after COMMIT; BEGIN, at the commit":         {"COMMIT; BEGIN", "^commit$", "1=1 2=0"},
		"after ROLLBACK; BEGIN":                      {"ROLLBACK; BEGIN", "^UPDATE kv SET v = 7", "1=0 2=0"},
		"in the string, after COMMIT":                {"COMMIT; " + kit.Update(2), "WHERE k = 2$", "1=1 2=0"},
		"in the string, after COMMIT; BEGIN": {
			"COMMIT; BEGIN; " + kit.Update(2), "WHERE k = 2$", "1=1 2=0",
		},
	} {
		t.Run("inside, a conflict "+name, func(t *testing.T) {
			t.Parallel()
			sim, db := kit.NewSimTable(t)
			tx := kit.Begin(t, db)
			kit.Exec(t, tx, kit.Update(1))
			fault := kit.ConflictAt(tc.at)
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
				kit.WantCodeWithin(t, err, "40001") // nothing is committed
			} else {
				kit.As[*cockroachdb.AmbiguousCommitError](t, err)
				assert.Empty(t, kit.StateOf(err), "a loop would run again what is committed")
			}
			_ = tx.Rollback()
			assert.Equal(t, tc.want, kit.Table(t, db))
			kit.WantUsable(t, db)
		})
	}
	t.Run("inside, a conflict after COMMIT", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Update(2): kit.ConflictOn(1)})
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		kit.Exec(t, tx, "COMMIT")
		kit.Exec(t, tx, kit.Update(2))
		assert.Equal(t, 2, r.Times(kit.Update(2)), "it stands alone, and is retried alone")
		assert.Equal(t, 1, r.Times(kit.Update(1)), "it is committed")
		_ = tx.Rollback() // an error, if something is committed
		kit.WantUsable(t, r.DB)
	})
	t.Run("inside, the COMMIT loses", func(t *testing.T) {
		t.Parallel()
		// The server has rolled back: what the driver has on record can be run again, COMMIT included.
		r := kit.New(t, kit.Script{"COMMIT": kit.ConflictOn(1)})
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		kit.Exec(t, tx, "COMMIT")
		assert.Equal(t, 2, r.Times(kit.Update(1)))
		assert.Equal(t, 2, r.Times("COMMIT"))
		_ = tx.Rollback() // an error, if something is committed
		kit.WantUsable(t, r.DB)
	})
	t.Run("inside, the COMMIT is lost", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{"COMMIT": {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}})
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		_, err := tx.ExecContext(t.Context(), "COMMIT")
		kit.As[*cockroachdb.AmbiguousCommitError](t, err)
		kit.As[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
		kit.WantUsable(t, r.DB)
	})
	t.Run("inside, a conflict before COMMIT in a string", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, kit.Update(1))
		fault := kit.ConflictAt("^UPDATE kv SET v = v . 1 WHERE k = 2")
		sim.Inject(fault)
		kit.Exec(t, tx, kit.Update(2)+"; COMMIT")
		assert.Equal(t, 1, fault.Hits())
		_ = tx.Rollback()
		assert.Equal(t, "1=1 2=1", kit.Table(t, db))
	})
	for name, text := range map[string]string{
		"BEGIN and COMMIT": "BEGIN; " + kit.Update(1) + "; " + kit.Update(2) + "; COMMIT",
		"COMMIT halfway":   "BEGIN; " + kit.Update(1) + "; COMMIT; " + kit.Update(2),
	} {
		t.Run("outside, "+name, func(t *testing.T) {
			t.Parallel()
			// What is committed must not be run again: the conflict surfaces only where nothing is.
			r := kit.New(t, kit.Script{kit.Update(2): kit.ConflictOn(1)})
			conn, err := r.Conn(t.Context())
			require.NoError(t, err)
			_, err = conn.ExecContext(t.Context(), text)
			if strings.HasPrefix(name, "COMMIT") {
				kit.As[*cockroachdb.AmbiguousCommitError](t, err)
				assert.Empty(t, kit.StateOf(err), "a loop would run again what is committed")
			} else {
				_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
				require.True(t, bare, "%T", err)
			}
			assert.Equal(t, 1, r.Times(text))
			_, _ = conn.ExecContext(t.Context(), "ROLLBACK")
			require.NoError(t, conn.Close())
			kit.WantUsable(t, r.DB)
		})
	}
	t.Run("outside, BEGIN is left open", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Update(1): kit.ConflictOn(1)})
		kit.Exec(t, r, "BEGIN; "+kit.Update(2))
		kit.WantUsable(t, r.DB) // on another connection: this one is in the middle of something
		assert.Equal(t, 2, r.Connections())
	})
}
