package cockroachdb_test

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
)

const readKV = "SELECT v FROM kv"

// readThenWrite reads a number and writes it, and counts the calls.
func readThenWrite(calls *int) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		*calls++
		var v int64
		if err := tx.QueryRow(readKV).Scan(&v); err != nil {
			return err
		}
		_, err := tx.Exec(update(int(v)))
		return err
	}
}

func TestRunTx(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		plays plays
		opts  []fakepg.Option
		calls int
		trips [][]string
	}{
		"no conflict": {
			plays: plays{readKV: number(1)}, calls: 1,
			trips: [][]string{{"BEGIN", sqlOurs}, {readKV}, {update(1)}, {sqlFree, "COMMIT"}},
		},
		"a replay that nobody sees": {
			plays: plays{readKV: number(1), update(1): loses(1)}, calls: 1,
			trips: [][]string{{"BEGIN", sqlOurs}, {readKV}, {update(1)}, {sqlRestart, readKV, update(1)}, {sqlFree, "COMMIT"}},
		},
		"a replay that diverges": {
			plays: plays{readKV: number(1, 2), update(1): loses(1)}, calls: 2,
			trips: [][]string{
				{"BEGIN", sqlOurs},
				{readKV},
				{update(1)},
				{sqlRestart, readKV, update(1)},
				{sqlRestart, readKV},
				{update(2)},
				{sqlFree, "COMMIT"},
			},
		},
		"a replay that diverges at the commit": {
			plays: plays{readKV: number(1, 2), sqlFree: loses(1)}, calls: 2,
			trips: [][]string{
				{"BEGIN", sqlOurs},
				{readKV},
				{update(1)},
				{sqlFree, "COMMIT"},
				{sqlRestart, readKV, update(1)},
				{sqlRestart, readKV},
				{update(2)},
				{sqlFree, "COMMIT"},
			},
		},
		"the same on PostgreSQL": {
			plays: plays{readKV: number(1, 2), "COMMIT": loses(1)}, opts: []fakepg.Option{fakepg.PlainPostgreSQL()}, calls: 2,
			trips: [][]string{
				{"BEGIN"},
				{readKV},
				{update(1)},
				{"COMMIT"},
				{"BEGIN", readKV, update(1)},
				{"ROLLBACK", "BEGIN", readKV},
				{update(2)},
				{"COMMIT"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, tc.plays.handler(), tc.opts...)
			db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.InitialBackoff = 0 })
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, readThenWrite(&calls)))
			assert.Equal(t, tc.calls, calls)
			assert.Equal(t, tc.trips, srv.Statements())
			usable(t, db)
		})
	}
}

// A divergence means that fn is called again inside of the same server transaction, which keeps its locks: there is one BEGIN.
func TestRunTxKeepsTheServerTransaction(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"at a statement": update(1), "at the commit": sqlFree} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, plays{readKV: number(1, 2), at: loses(1)}.handler())
			db := poolOf(t, srv)
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, readThenWrite(&calls)))
			assert.Equal(t, 2, calls)
			assert.Equal(t, 1, times(srv, "BEGIN"), srv.Statements())
			assert.Zero(t, times(srv, "ROLLBACK"), "which would give up the locks")
			usable(t, db)
		})
	}
}

func TestRunTxIsBounded(t *testing.T) {
	t.Parallel()
	diverging := func(n int) fakepg.Reply { return number(int64(n))(1) }
	t.Run("attempts", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{readKV: func(n int) fakepg.Reply { return diverging(n) }, sqlFree: func(n int) fakepg.Reply {
			return fakepg.Reply{Err: fakepg.Conflict()}
		}}.handler())
		db := poolOf(t, srv)
		policy := cockroachdb.DefaultRetryPolicy()
		policy.MaxAttempts, policy.InitialBackoff = 5, 0
		calls := 0
		err := cockroachdb.RunTx(cockroachdb.WithRetryPolicy(t.Context(), policy), db, nil, readThenWrite(&calls))
		exhausted := isA[*cockroachdb.RetriesExhaustedError](t, err)
		assert.Equal(t, cockroachdb.BoundAttempts, exhausted.Bound)
		assert.Equal(t, 5, exhausted.Attempts)
		unwraps(t, err, "40001")
		assert.LessOrEqual(t, times(srv, readKV), 5, "replays and calls of fn count alike")
		assert.Greater(t, calls, 1)
		assert.Zero(t, db.Stats().InUse)
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			srv := fakepg.Start(t, plays{readKV: func(n int) fakepg.Reply { return diverging(n) }, sqlFree: func(int) fakepg.Reply {
				return fakepg.Reply{Err: fakepg.Conflict()}
			}}.handler(), fakepg.InMemory())
			db := poolOf(t, srv)
			policy := cockroachdb.DefaultRetryPolicy()
			policy.MaxAttempts, policy.MaxElapsed = 1_000_000, 10*time.Second
			calls, began := 0, time.Now()
			err := cockroachdb.RunTx(cockroachdb.WithRetryPolicy(t.Context(), policy), db, nil, func(tx *sql.Tx) error {
				time.Sleep(time.Second) // in the bubble: fn takes its time
				return readThenWrite(&calls)(tx)
			})
			exhausted := isA[*cockroachdb.RetriesExhaustedError](t, err)
			assert.Equal(t, cockroachdb.BoundElapsed, exhausted.Bound)
			assert.InDelta(t, 11, time.Since(began).Seconds(), 3)
			_ = db.Close()
		})
	})
}

func TestRunTxErrorOfTheFunction(t *testing.T) {
	t.Parallel()
	own := errors.New("no funds")
	for name, tc := range map[string]struct {
		fn      func(*sql.Tx) error
		message string // "" means own
	}{
		"its own":           {fn: func(tx *sql.Tx) error { mustExec(t, tx, update(1)); return own }},
		"before any":        {fn: func(*sql.Tx) error { return own }},
		"Rollback, its own": {fn: func(tx *sql.Tx) error { mustExec(t, tx, update(1)); _ = tx.Rollback(); return own }},
		"Commit, its own":   {fn: func(tx *sql.Tx) error { mustExec(t, tx, update(1)); _ = tx.Commit(); return own }},

		"Commit":           {func(tx *sql.Tx) error { mustExec(t, tx, update(1)); return tx.Commit() }, "RunTx ended the transaction by itself"},
		"Rollback":         {func(tx *sql.Tx) error { mustExec(t, tx, update(1)); return tx.Rollback() }, "RunTx ended the transaction by itself"},
		"COMMIT as text":   {func(tx *sql.Tx) error { mustExec(t, tx, update(1)); mustExec(t, tx, "COMMIT"); return nil }, "RunTx ended the transaction by itself"},
		"ROLLBACK as text": {func(tx *sql.Tx) error { mustExec(t, tx, update(1)); mustExec(t, tx, "ROLLBACK"); return nil }, "RunTx ended the transaction by itself"},
		"ErrTxDone": {func(tx *sql.Tx) error {
			_ = tx.Commit()
			_, err := tx.Exec(update(1))
			return err
		}, "RunTx ended the transaction by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, plays{}.handler())
			db := poolOf(t, srv)
			calls := 0
			err := cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error { calls++; return tc.fn(tx) })
			if tc.message == "" {
				require.True(t, err == own, "%v", err) //nolint:errorlint // unchanged
			} else {
				require.ErrorContains(t, err, tc.message)
			}
			assert.Equal(t, 1, calls)
			usable(t, db)
			if name == "its own" {
				assert.Equal(t, 1, times(srv, "ROLLBACK"))
				assert.Equal(t, 1, times(srv, sqlFree), "only that of usable")
			}
		})
	}
}

func TestRunTxPanic(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, plays{}.handler())
	db := poolOf(t, srv)
	assert.PanicsWithValue(t, "oh", func() {
		_ = cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			mustExec(t, tx, update(1))
			panic("oh")
		})
	})
	assert.Equal(t, 1, times(srv, "ROLLBACK"))
	usable(t, db)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			_, _ = tx.Exec(update(1))
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	assert.Equal(t, 2, times(srv, "ROLLBACK"), "Goexit too, as t.FailNow does it")
	usable(t, db)
}

func TestRunTxConflictsOfTheFunction(t *testing.T) {
	t.Parallel()
	t.Run("swallowed", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{readKV: number(1, 2), update(1): loses(1)}.handler())
		db := poolOf(t, srv)
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error { _ = readThenWrite(&calls)(tx); return nil }))
		assert.Equal(t, 2, calls)
		assert.Equal(t, 1, times(srv, update(2)))
		usable(t, db)
	})
	t.Run("wrapped", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{readKV: number(1, 2), update(1): loses(1)}.handler())
		db := poolOf(t, srv)
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			if err := readThenWrite(&calls)(tx); err != nil {
				return fmt.Errorf("transfer: %w", err)
			}
			return nil
		}))
		assert.Equal(t, 2, calls)
		usable(t, db)
	})
	t.Run("rows left open", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{readKV: number(1, 2), sqlFree: loses(1)}.handler())
		db := poolOf(t, srv)
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			calls++
			rows, err := tx.Query(readKV) // that is the test
			if err == nil {
				rows.Next()
			}
			return err
		}))
		assert.Equal(t, 2, calls)
		usable(t, db)
	})
	t.Run("WithoutRetries", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{readKV: number(1, 2), update(1): loses(1)}.handler())
		db := poolOf(t, srv)
		calls := 0
		err := cockroachdb.RunTx(cockroachdb.WithoutRetries(t.Context()), db, nil, readThenWrite(&calls))
		require.True(t, isCode("40001")(err), "%v", err)
		assert.Equal(t, 1, calls)
		assert.Equal(t, 1, times(srv, update(1)))
		usable(t, db)
	})
	t.Run("not replayable inside", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{readKV: number(1), sqlFree: loses(1)}.handler())
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxStatements = 1 })
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, readThenWrite(&calls)))
		assert.Equal(t, 2, calls)
		assert.Equal(t, 1, times(srv, "BEGIN"))
		usable(t, db)
	})
	t.Run("a prepared statement is outgrown, and the rerun diverges", func(t *testing.T) {
		t.Parallel()
		// No conflict, but a divergence all the same: fn has to be called again.
		outgrown := inTurn(fakepg.Reply{Err: fakepg.Error("0A000", "cached plan must not change result type")}, fakepg.Reply{})
		srv := fakepg.Start(t, plays{readKV: number(1, 2), "UPDATE kv SET v = $1": outgrown}.handler())
		db := poolOf(t, srv)
		stmt, err := db.PrepareContext(t.Context(), "UPDATE kv SET v = $1")
		require.NoError(t, err)
		defer stmt.Close()
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			calls++
			var v int64
			if err := tx.QueryRow(readKV).Scan(&v); err != nil {
				return err
			}
			_, err := tx.Stmt(stmt).Exec("x")
			return err
		}))
		assert.Equal(t, 2, calls)
		usable(t, db)
	})
}

func TestRunTxAmbiguousAndLost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		plays plays
		is    func(error) bool
	}{
		"40003":           {plays{sqlFree: once(fakepg.Reply{Err: fakepg.Error("40003", "")})}, isErr[*cockroachdb.AmbiguousCommitError]},
		"RELEASE lost":    {plays{sqlFree: once(fakepg.Reply{Cut: fakepg.CutBefore})}, isErr[*cockroachdb.AmbiguousCommitError]},
		"connection lost": {plays{update(1): once(fakepg.Reply{Cut: fakepg.CutBefore})}, isErr[*cockroachdb.ConnectionLostError]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.plays[readKV] = number(1)
			srv := fakepg.Start(t, tc.plays.handler())
			db := poolOf(t, srv, noFailover)
			calls := 0
			err := cockroachdb.RunTx(t.Context(), db, nil, readThenWrite(&calls))
			require.True(t, tc.is(err), "%v", err)
			assert.Equal(t, 1, calls, "never again")
			usable(t, db)
		})
	}
}

// Transactions inside transactions that both retry would wait for each other in the lane, but for its bound.
func TestRunTxNested(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := fakepg.Start(t, plays{update(1): loses(1), update(2): loses(1)}.handler(), fakepg.InMemory())
		db := poolOf(t, srv)
		db.SetMaxOpenConns(2)
		began := time.Now()
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			if _, err := tx.Exec(update(1)); err != nil {
				return err
			}
			return cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
				_, err := tx.Exec(update(2))
				return err
			})
		}))
		assert.Equal(t, cockroachdb.DefaultRetryPolicy().LaneWait, time.Since(began))
		_ = db.Close()
	})
}

func TestRunTxContextCancelled(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{}.handler())
		db := poolOf(t, srv)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, cockroachdb.RunTx(ctx, db, nil, func(*sql.Tx) error { t.Error("called"); return nil }), context.Canceled)
		usable(t, db)
	})
	t.Run("in fn, which doesn't notice", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{}.handler())
		db := poolOf(t, srv)
		ctx, cancel := context.WithCancel(t.Context())
		err := cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error { mustExec(t, tx, update(1)); cancel(); return nil })
		require.ErrorIs(t, err, context.Canceled)
		usable(t, db)
		assert.Equal(t, 1, times(srv, sqlFree), "only that of usable")
	})
	t.Run("while it waits for another attempt", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			srv := fakepg.Start(t, plays{update(1): inTurn(fakepg.Reply{Err: fakepg.Conflict()})}.handler(), fakepg.InMemory())
			db := poolOf(t, srv, func(cfg *cockroachdb.Config) {
				cfg.RetryPolicy.InitialBackoff, cfg.RetryPolicy.MaxBackoff, cfg.RetryPolicy.MaxElapsed = 240*time.Hour, 240*time.Hour, 480*time.Hour
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			err := cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error { _, err := tx.ExecContext(ctx, update(1)); return err })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began))
			_ = db.Close()
		})
	})
}

// With another driver, here pgx's own, RunTx restarts the whole transaction.
func TestRunTxForeignDriver(t *testing.T) {
	t.Parallel()
	foreign := func(t *testing.T, p plays) (*fakepg.Server, *sql.DB) {
		t.Helper()
		srv := fakepg.Start(t, p.handler())
		db, err := sql.Open("pgx", srv.DSN())
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		db.SetMaxOpenConns(1)
		return srv, db
	}
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts, policy.InitialBackoff = 4, 0
	ctx := cockroachdb.WithRetryPolicy(t.Context(), policy)

	for name, at := range map[string]string{"at a statement": update(1), "at the commit": "commit"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, db := foreign(t, plays{readKV: number(1, 1, 2), at: loses(1, 2)})
			calls := 0
			require.NoError(t, cockroachdb.RunTx(ctx, db, nil, readThenWrite(&calls)))
			assert.Equal(t, 3, calls)
			assert.Equal(t, 3, times(srv, "begin"))
			assert.Zero(t, db.Stats().InUse)
		})
	}
	t.Run("bounded", func(t *testing.T) {
		t.Parallel()
		_, db := foreign(t, plays{readKV: number(1), update(1): inTurn(fakepg.Reply{Err: fakepg.Conflict()})})
		calls := 0
		err := cockroachdb.RunTx(ctx, db, nil, readThenWrite(&calls))
		assert.Equal(t, 4, isA[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
		unwraps(t, err, "40001")
		assert.Equal(t, 4, calls)
		assert.Zero(t, db.Stats().InUse)
	})
	t.Run("its own error, a panic, Commit", func(t *testing.T) {
		t.Parallel()
		srv, db := foreign(t, plays{})
		own := errors.New("no funds")
		err := cockroachdb.RunTx(ctx, db, nil, func(*sql.Tx) error { return own })
		require.True(t, err == own) //nolint:errorlint // unchanged
		assert.Panics(t, func() { _ = cockroachdb.RunTx(ctx, db, nil, func(*sql.Tx) error { panic("oh") }) })
		assert.Equal(t, 2, times(srv, "rollback"))
		err = cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error { return tx.Commit() })
		require.ErrorContains(t, err, "ended the transaction by itself")
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

func TestRunTxBehindAWrapper(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, plays{readKV: number(1, 2), update(1): loses(1)}.handler())
	cfg, err := cockroachdb.ParseConfig(srv.DSN())
	require.NoError(t, err)
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(wrapped{connector})
	defer db.Close()
	db.SetMaxOpenConns(1)
	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, readThenWrite(&calls)))
	assert.Equal(t, 2, calls)
	assert.Equal(t, 1, times(srv, "BEGIN"), "by the savepoint")
	assert.Equal(t, 1, times(srv, update(2)))
	usable(t, db)
}
