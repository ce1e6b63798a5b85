package runtx_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// TestRunTx_ErrTxDoneOfAnotherTransaction_RollsBack: sql.ErrTxDone in an error of fn need not be about fn's own
// transaction. Taken for that, the transaction would stay open, and its connection be lost to the pool.
func TestRunTx_ErrTxDoneOfAnotherTransaction_RollsBack(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{})
	for name, db := range map[string]*sql.DB{"this driver": r.DB, "another driver": kit.OpenBy(t, "pgx", r.DSN())} {
		t.Run(name, func(t *testing.T) {
			own := fmt.Errorf("another transaction: %w", sql.ErrTxDone)
			err := cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
				kit.Exec(t, tx, kit.Update(1))
				return own
			})
			assert.Equal(t, own, err)
			require.Zero(t, db.Stats().InUse)
			kit.Exec(t, db, kit.Update(2))
		})
	}
}

const readKV = "SELECT v FROM kv"

// Conflicts that do not say that what was read was written since: RunTx tries a replay. See at_once_test.go.
var (
	aborted          = []fakepg.Reply{kit.Aborted}
	lostOnPostgreSQL = []fakepg.Reply{kit.Fails("40001", "could not serialize access due to concurrent update")}
)

// readThenWrite reads a number and writes it, and counts the calls.
func readThenWrite(calls *int) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		*calls++
		var v int64
		if err := tx.QueryRow(readKV).Scan(&v); err != nil {
			return err
		}
		_, err := tx.Exec(kit.Update(int(v)))
		return err
	}
}

func TestRunTx_EachConflict_CallsAsOftenAsNeeded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script kit.Script
		opts   []any
		calls  int
		trips  [][]string
	}{
		"no conflict": {
			script: kit.Script{readKV: kit.IntOfEachRun(1)}, calls: 1,
			trips: [][]string{{"BEGIN", kit.Savepoint}, {readKV}, {kit.Update(1)}, {kit.Release, "COMMIT"}},
		},
		"a replay that nobody sees": {
			script: kit.Script{readKV: kit.IntOfEachRun(1), kit.Update(1): aborted}, calls: 1,
			trips: [][]string{
				{"BEGIN", kit.Savepoint},
				{readKV},
				{kit.Update(1)},
				{"ROLLBACK", "BEGIN PRIORITY HIGH", kit.Savepoint, readKV, kit.Update(1)},
				{kit.Release, "COMMIT"},
			},
		},
		"a replay that diverges": {
			script: kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): aborted}, calls: 2,
			trips: [][]string{
				{"BEGIN", kit.Savepoint},
				{readKV},
				{kit.Update(1)},
				{"ROLLBACK", "BEGIN PRIORITY HIGH", kit.Savepoint, readKV, kit.Update(1)},
				{kit.RollbackTo, readKV},
				{kit.Update(2)},
				{kit.Release, "COMMIT"},
			},
		},
		"a replay that diverges at the commit": {
			script: kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Release: aborted}, calls: 2,
			trips: [][]string{
				{"BEGIN", kit.Savepoint},
				{readKV},
				{kit.Update(1)},
				{kit.Release, "COMMIT"},
				{"ROLLBACK", "BEGIN PRIORITY HIGH", kit.Savepoint, readKV, kit.Update(1)},
				{kit.RollbackTo, readKV},
				{kit.Update(2)},
				{kit.Release, "COMMIT"},
			},
		},
		"the same on PostgreSQL": {
			script: kit.Script{readKV: kit.IntOfEachRun(1, 2), "COMMIT": lostOnPostgreSQL},
			opts:   []any{fakepg.PlainPostgreSQL()},
			calls:  2,
			trips: [][]string{
				{"BEGIN"},
				{readKV},
				{kit.Update(1)},
				{"COMMIT"},
				{"BEGIN", readKV, kit.Update(1)},
				{"ROLLBACK", "BEGIN", readKV},
				{kit.Update(2)},
				{"COMMIT"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, tc.script, tc.opts...)
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls)))
			assert.Equal(t, tc.calls, calls)
			assert.Equal(t, tc.trips, r.Statements())
			kit.WantUsable(t, r.DB)
		})
	}
}

// A divergence means that fn is called again inside of the same server transaction, which keeps its locks: there is
// one BEGIN.
func TestRunTx_Divergence_KeepsTheServerTransaction(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"at a statement": kit.Update(1), "at the commit": kit.Release} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), at: aborted})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls)))
			assert.Equal(t, 2, calls)
			assert.Equal(t, 1, r.Times("BEGIN PRIORITY HIGH"), r.Statements())
			assert.Equal(t, 1, r.Times("ROLLBACK"), "of what was aborted; another would give up the locks")
			kit.WantUsable(t, r.DB)
		})
	}
}

func TestRunTx_AlwaysFails_IsBounded(t *testing.T) {
	t.Parallel()
	diverging := func(n int) fakepg.Reply { return kit.Ints(int64(n)) }
	losing := kit.Script{kit.Release: kit.Always(kit.Aborted)}.Calling(readKV, diverging)
	t.Run("attempts", func(t *testing.T) {
		t.Parallel()
		r := kit.Answering(t, losing)
		policy := cockroachdb.DefaultRetryPolicy()
		policy.MaxAttempts, policy.InitialBackoff = 5, 0
		calls := 0
		err := cockroachdb.RunTx(cockroachdb.WithRetryPolicy(t.Context(), policy), r.DB, nil, readThenWrite(&calls))
		exhausted := kit.As[*cockroachdb.RetriesExhaustedError](t, err)
		assert.Equal(t, cockroachdb.BoundAttempts, exhausted.Bound)
		assert.Equal(t, 5, exhausted.Attempts)
		kit.WantCodeWithin(t, err, "40001")
		assert.LessOrEqual(t, r.Times(readKV), 5, "replays and calls of fn count alike")
		assert.Greater(t, calls, 1)
		assert.Zero(t, r.Stats().InUse)
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := kit.Answering(t, losing, fakepg.InMemory())
			policy := cockroachdb.DefaultRetryPolicy()
			policy.MaxAttempts, policy.MaxElapsed = 1_000_000, 10*time.Second
			calls, began := 0, time.Now()
			err := cockroachdb.RunTx(cockroachdb.WithRetryPolicy(t.Context(), policy), r.DB, nil, func(tx *sql.Tx) error {
				time.Sleep(time.Second) // in the bubble: fn takes its time
				return readThenWrite(&calls)(tx)
			})
			exhausted := kit.As[*cockroachdb.RetriesExhaustedError](t, err)
			assert.Equal(t, cockroachdb.BoundElapsed, exhausted.Bound)
			assert.InDelta(t, 11, time.Since(began).Seconds(), 3)
			_ = r.DB.Close()
		})
	})
}

func TestRunTx_FunctionFails_ReturnsItsError(t *testing.T) {
	t.Parallel()
	own := errors.New("no funds")
	const ended = "RunTx ended the transaction itself"
	for name, tc := range map[string]struct {
		fn      func(*sql.Tx) error
		message string // "" means own
	}{
		"its own":           {fn: func(tx *sql.Tx) error { kit.Exec(t, tx, kit.Update(1)); return own }},
		"before any":        {fn: func(*sql.Tx) error { return own }},
		"Rollback, its own": {fn: func(tx *sql.Tx) error { kit.Exec(t, tx, kit.Update(1)); _ = tx.Rollback(); return own }},
		"Commit, its own":   {fn: func(tx *sql.Tx) error { kit.Exec(t, tx, kit.Update(1)); _ = tx.Commit(); return own }},

		"Commit":           {func(tx *sql.Tx) error { kit.Exec(t, tx, kit.Update(1)); return tx.Commit() }, ended},
		"Rollback":         {func(tx *sql.Tx) error { kit.Exec(t, tx, kit.Update(1)); return tx.Rollback() }, ended},
		"COMMIT as text":   {func(tx *sql.Tx) error { return kit.ExecAll(tx, kit.Update(1), "COMMIT") }, ended},
		"ROLLBACK as text": {func(tx *sql.Tx) error { return kit.ExecAll(tx, kit.Update(1), "ROLLBACK") }, ended},
		"ErrTxDone": {func(tx *sql.Tx) error {
			_ = tx.Commit()
			_, err := tx.Exec(kit.Update(1))
			return err
		}, ended},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{})
			calls := 0
			err := cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error { calls++; return tc.fn(tx) })
			if tc.message == "" {
				require.True(t, err == own, "%v", err) //nolint:errorlint // unchanged
			} else {
				require.ErrorContains(t, err, tc.message)
			}
			assert.Equal(t, 1, calls)
			kit.WantUsable(t, r.DB)
			if name == "its own" {
				assert.Equal(t, 1, r.Times("ROLLBACK"))
				assert.Equal(t, 1, r.Times(kit.Release), "only that of usable")
			}
		})
	}
}

func TestRunTx_FunctionPanics_RollsBack(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{})
	assert.PanicsWithValue(t, "oh", func() {
		_ = cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			kit.Exec(t, tx, kit.Update(1))
			panic("oh")
		})
	})
	assert.Equal(t, 1, r.Times("ROLLBACK"))
	kit.WantUsable(t, r.DB)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			_, _ = tx.Exec(kit.Update(1))
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	assert.Equal(t, 2, r.Times("ROLLBACK"), "Goexit too, as t.FailNow does it")
	kit.WantUsable(t, r.DB)
}

func TestRunTx_ConflictSwallowedOrReturned_IsRetried(t *testing.T) {
	t.Parallel()
	t.Run("swallowed", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): aborted})
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			_ = readThenWrite(&calls)(tx)
			return nil
		}))
		assert.Equal(t, 2, calls)
		assert.Equal(t, 1, r.Times(kit.Update(2)))
		kit.WantUsable(t, r.DB)
	})
	t.Run("wrapped", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): aborted})
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			if err := readThenWrite(&calls)(tx); err != nil {
				return fmt.Errorf("transfer: %w", err)
			}
			return nil
		}))
		assert.Equal(t, 2, calls)
		kit.WantUsable(t, r.DB)
	})
	t.Run("rows left open", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Release: aborted})
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			calls++
			rows, err := tx.Query(readKV) // that is the test
			if err == nil {
				rows.Next()
			}
			return err
		}))
		assert.Equal(t, 2, calls)
		kit.WantUsable(t, r.DB)
	})
	t.Run("WithoutRetries", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): kit.ConflictOn(1)})
		calls := 0
		err := cockroachdb.RunTx(cockroachdb.WithoutRetries(t.Context()), r.DB, nil, readThenWrite(&calls))
		kit.WantCodeWithin(t, err, "40001")
		assert.Equal(t, 1, calls)
		assert.Equal(t, 1, r.Times(kit.Update(1)))
		kit.WantUsable(t, r.DB)
	})
	t.Run("not replayable inside", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1), kit.Release: kit.ConflictOn(1)},
			"retry_max_statements=1")
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls)))
		assert.Equal(t, 2, calls)
		assert.Equal(t, 1, r.Times("BEGIN"))
		kit.WantUsable(t, r.DB)
	})
	t.Run("a prepared statement is outgrown, and the rerun diverges", func(t *testing.T) {
		t.Parallel()
		// No conflict, but a divergence all the same: fn has to be called again.
		outgrown := []fakepg.Reply{kit.Fails("0A000", "cached plan must not change result type")}
		r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), "UPDATE kv SET v = $1": outgrown})
		stmt, err := r.PrepareContext(t.Context(), "UPDATE kv SET v = $1")
		require.NoError(t, err)
		defer stmt.Close()
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			calls++
			var v int64
			if err := tx.QueryRow(readKV).Scan(&v); err != nil {
				return err
			}
			_, err := tx.Stmt(stmt).Exec("x")
			return err
		}))
		assert.Equal(t, 2, calls)
		kit.WantUsable(t, r.DB)
	})
}

func TestRunTx_AmbiguousOrLost_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script kit.Script
		is     func(error) bool
	}{
		"40003": {
			kit.Script{kit.Release: {fakepg.Reply{Err: fakepg.Error("40003", "")}, kit.OK}},
			kit.IsA[*cockroachdb.AmbiguousCommitError],
		},
		"RELEASE lost": {
			kit.Script{kit.Release: {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}}, kit.IsA[*cockroachdb.AmbiguousCommitError],
		},
		"connection lost": {
			kit.Script{kit.Update(1): {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}}, kit.IsA[*cockroachdb.ConnectionLostError],
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.script[readKV] = kit.IntOfEachRun(1)
			r := kit.New(t, tc.script, kit.NoFailover)
			calls := 0
			err := cockroachdb.RunTx(t.Context(), r.DB, nil, readThenWrite(&calls))
			require.True(t, tc.is(err), "%v", err)
			assert.Equal(t, 1, calls, "never again")
			kit.WantUsable(t, r.DB)
		})
	}
}

// Transactions inside transactions that both retry would wait for each other in the lane, but for its bound.
func TestRunTx_Nested_End(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := kit.New(t, kit.Script{kit.Update(1): kit.ConflictOn(1), kit.Update(2): kit.ConflictOn(1)}, fakepg.InMemory())
		r.SetMaxOpenConns(2)
		began := time.Now()
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			if _, err := tx.Exec(kit.Update(1)); err != nil {
				return err
			}
			return cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				_, err := tx.Exec(kit.Update(2))
				return err
			})
		}))
		assert.Equal(t, cockroachdb.DefaultRetryPolicy().LaneWait, time.Since(began))
		_ = r.DB.Close()
	})
}

func TestRunTx_ContextCancelled_ReturnsItsError(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := cockroachdb.RunTx(ctx, r.DB, nil, func(*sql.Tx) error { t.Error("called"); return nil })
		require.ErrorIs(t, err, context.Canceled)
		kit.WantUsable(t, r.DB)
	})
	t.Run("in fn, which doesn't notice", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{})
		ctx, cancel := context.WithCancel(t.Context())
		err := cockroachdb.RunTx(ctx, r.DB, nil, func(tx *sql.Tx) error {
			kit.Exec(t, tx, kit.Update(1))
			cancel()
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
		kit.WantUsable(t, r.DB)
		assert.Equal(t, 1, r.Times(kit.Release), "only that of usable")
	})
	t.Run("while it waits for another attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := kit.Script{kit.Update(1): kit.Always(kit.Conflict)}
			r := kit.New(t, s, fakepg.InMemory(), func(cfg *cockroachdb.Config) {
				cfg.RetryPolicy.InitialBackoff, cfg.RetryPolicy.MaxBackoff = 240*time.Hour, 240*time.Hour
				cfg.RetryPolicy.MaxElapsed = 480 * time.Hour
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			err := cockroachdb.RunTx(ctx, r.DB, nil, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, kit.Update(1))
				return err
			})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began))
			_ = r.DB.Close()
		})
	})
}

// With another driver, here pgx's own, RunTx restarts the whole transaction.
func TestRunTx_ForeignDriver_RestartsTheTransaction(t *testing.T) {
	t.Parallel()
	foreign := func(t *testing.T, p kit.Script) (*fakepg.Server, *sql.DB) {
		t.Helper()
		srv := fakepg.Start(t, fakepg.Answer(p.Reply))
		db := kit.OpenBy(t, "pgx", srv.DSN())
		db.SetMaxOpenConns(1)
		return srv, db
	}
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts, policy.InitialBackoff = 4, 0
	ctx := cockroachdb.WithRetryPolicy(t.Context(), policy)

	for name, at := range map[string]string{"at a statement": kit.Update(1), "at the commit": "commit"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, db := foreign(t, kit.Script{readKV: kit.IntOfEachRun(1, 1, 2), at: kit.ConflictOn(1, 2)})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(ctx, db, nil, readThenWrite(&calls)))
			assert.Equal(t, 3, calls)
			assert.Equal(t, 3, srv.Times("begin"))
			assert.Zero(t, db.Stats().InUse)
		})
	}
	t.Run("bounded", func(t *testing.T) {
		t.Parallel()
		_, db := foreign(t, kit.Script{
			readKV: kit.IntOfEachRun(1), kit.Update(1): kit.Always(fakepg.Reply{Err: fakepg.Conflict()}),
		})
		calls := 0
		err := cockroachdb.RunTx(ctx, db, nil, readThenWrite(&calls))
		assert.Equal(t, 4, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
		kit.WantCodeWithin(t, err, "40001")
		assert.Equal(t, 4, calls)
		assert.Zero(t, db.Stats().InUse)
	})
	t.Run("its own error, a panic, Commit", func(t *testing.T) {
		t.Parallel()
		srv, db := foreign(t, kit.Script{})
		own := errors.New("no funds")
		err := cockroachdb.RunTx(ctx, db, nil, func(*sql.Tx) error { return own })
		require.True(t, err == own) //nolint:errorlint // unchanged
		assert.Panics(t, func() { _ = cockroachdb.RunTx(ctx, db, nil, func(*sql.Tx) error { panic("oh") }) })
		assert.Equal(t, 2, srv.Times("rollback"))
		err = cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error { return tx.Commit() })
		require.ErrorContains(t, err, "ended the transaction itself")
		assert.Zero(t, db.Stats().InUse)
	})
}

// wrapped is a driver in front of another one, as those that trace are: it passes on what it is given.
type (
	wrapped     struct{ driver.Connector }
	wrappedConn struct{ driver.Conn }
)

func (w wrapped) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := w.Connector.Connect(ctx)
	return wrappedConn{c}, err
}

func (c wrappedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c wrappedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c wrappedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c wrappedConn) CheckNamedValue(v *driver.NamedValue) error {
	return c.Conn.(driver.NamedValueChecker).CheckNamedValue(v)
}

func (c wrappedConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

func (c wrappedConn) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

func TestRunTx_BehindAWrapper_CallsAgain(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{readKV: kit.IntOfEachRun(1, 2), kit.Update(1): kit.ConflictOn(1)})
	db := sql.OpenDB(wrapped{r.Connector})
	defer db.Close()
	db.SetMaxOpenConns(1)
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, readThenWrite(&calls)))
	assert.Equal(t, 2, calls)
	assert.Equal(t, 1, r.Times("BEGIN"), "by the savepoint")
	assert.Equal(t, 1, r.Times(kit.Update(2)))
	kit.WantUsable(t, db)
}
