package commit_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// wrote begins a transaction and writes something.
func wrote(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx := kit.Begin(t, db)
	kit.Exec(t, tx, kit.Update(1))
	kit.Exec(t, tx, "UPDATE kv SET s = $1", kit.Secret)
	return tx
}

// The answer to RELEASE is lost, or is 40003 → ambiguous error, no replay.
func TestCommit_AnswerToReleaseLost_IsAmbiguous(t *testing.T) {
	t.Parallel()
	ambiguous := func(t *testing.T, r *kit.Rig, err error) {
		t.Helper()
		kit.As[*cockroachdb.AmbiguousCommitError](t, err)
		var lost *cockroachdb.ConnectionLostError
		assert.NotErrorAs(t, err, &lost, "that one says that nothing was committed")
		assert.NotContains(t, err.Error(), kit.Secret)
		assert.NotContains(t, err.Error(), "UPDATE")
		kit.WantUsable(t, r.DB)
		assert.Equal(t, 1, r.Times(kit.Update(1)), "nothing may be replayed")
		assert.Zero(t, r.Times(kit.RollbackTo))
	}
	for name, cut := range map[string]fakepg.Cut{
		"cut before it": fakepg.CutBefore, "nothing answered": fakepg.CutUnsent, "half answered": fakepg.CutHalf,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{kit.Release: {fakepg.Reply{Cut: cut}, kit.OK}})
			err := wrote(t, r.DB).Commit()
			assert.True(t, errorIsEOF(err), "%v", err)
			ambiguous(t, r, err)
			assert.EqualValues(t, 1, r.Count(t, "ambiguous_commits_total", ""))
			assert.EqualValues(t, 1, r.Count(t, "transactions_total", "ambiguous"))
		})
	}
	// An answer that says no more than that something went wrong hides the outcome as well.
	for _, code := range []string{
		"40003", "57014", "XX000", "08006", "57P01", "58C00", "53300", "23505", "25000", "XXUUU",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{
				kit.Release: {fakepg.Reply{Err: fakepg.Error(code, "result is ambiguous")}, kit.OK},
			})
			err := wrote(t, r.DB).Commit()
			kit.WantCodeWithin(t, err, code)
			ambiguous(t, r, err)
		})
	}
	t.Run("FATAL", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{kit.Release: {kit.Fatal("57P01", "server is shutting down"), kit.OK}})
		err := wrote(t, r.DB).Commit()
		kit.WantCodeWithin(t, err, "57P01")
		ambiguous(t, r, err)
	})
	// After a replay the commit is as ambiguous as before.
	t.Run("at the second RELEASE", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{
			kit.Release: {fakepg.Reply{Err: fakepg.Conflict()}, fakepg.Reply{Err: fakepg.Error("40003", "")}, fakepg.Reply{}},
		})
		err := wrote(t, r.DB).Commit()
		kit.As[*cockroachdb.AmbiguousCommitError](t, err)
		assert.Equal(t, 2, r.Times(kit.Update(1)))
		kit.WantUsable(t, r.DB)
	})
	for _, tc := range []struct {
		name string
		end  func(context.Context) (context.Context, context.CancelFunc)
		is   error
	}{
		{"context cancelled", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Minute, cancel)
			return ctx, cancel
		}, context.Canceled},
		{"deadline exceeded", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Minute)
		}, context.DeadlineExceeded},
	} {
		t.Run(tc.name+" while RELEASE is under way", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := kit.New(t, kit.Script{kit.Release: {fakepg.Reply{Delay: time.Hour}, kit.OK}}, fakepg.InMemory())
				ctx, cancel := tc.end(t.Context())
				defer cancel()
				tx, err := r.BeginTx(ctx, nil)
				require.NoError(t, err)
				kit.Exec(t, tx, kit.Update(1))
				err = tx.Commit()
				require.ErrorIs(t, err, tc.is)
				ambiguous(t, r, err)
				_ = r.DB.Close()
			})
		})
	}
	// What is not sent is not ambiguous.
	t.Run("context cancelled before", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{})
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := r.BeginTx(ctx, nil)
		require.NoError(t, err)
		kit.Exec(t, tx, kit.Update(1))
		cancel()
		err = tx.Commit()
		var a *cockroachdb.AmbiguousCommitError
		require.NotErrorAs(t, err, &a)
		require.Error(t, err)
		kit.WantUsable(t, r.DB)
		assert.Equal(t, 1, r.Times(kit.Release), "only that of usable")
	})
	// The server that knows for certain says so, and is believed.
	for _, code := range []string{"25P02", "3B001"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{kit.Release: {fakepg.Reply{Err: fakepg.Error(code, "")}, kit.OK}})
			err := wrote(t, r.DB).Commit()
			var a *cockroachdb.AmbiguousCommitError
			require.NotErrorAs(t, err, &a)
			kit.WantCodeWithin(t, err, code)
			kit.WantUsable(t, r.DB)
		})
	}
	for name, tc := range map[string]struct {
		then      crdbsim.Then
		committed bool
	}{
		"the commit went through": {crdbsim.ExecuteCut, true},
		"the commit did not":      {crdbsim.Cut, false},
	} {
		t.Run("on the engine, "+name, func(t *testing.T) {
			t.Parallel()
			sim, db := kit.NewSimTable(t)
			tx := kit.Begin(t, db)
			kit.Exec(t, tx, kit.Update(1))
			sim.Inject(crdbsim.On("^release", crdbsim.Action{Then: tc.then}))
			kit.As[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
			assert.Equal(t, map[bool]string{true: "1=1 2=0", false: "1=0 2=0"}[tc.committed], kit.Table(t, db))
			kit.WantUsable(t, db)
		})
	}
	// On PostgreSQL COMMIT is the commit.
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{"COMMIT": {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}}, fakepg.PlainPostgreSQL())
		ambiguous(t, r, wrote(t, r.DB).Commit())
	})
}

// Connection cut before RELEASE → replay on a new connection, or a clean error. Where failovers are switched off it is
// the error: a *ConnectionLostError, which promises that nothing was committed.
func TestCommit_ConnectionCutBefore_IsLost(t *testing.T) {
	t.Parallel()
	clean := func(t *testing.T, err error) {
		t.Helper()
		kit.As[*cockroachdb.ConnectionLostError](t, err)
		var a *cockroachdb.AmbiguousCommitError
		assert.NotErrorAs(t, err, &a)
		assert.NotContains(t, err.Error(), kit.Secret)
		assert.NotContains(t, err.Error(), "UPDATE")
	}
	const last = "UPDATE kv SET last = true"
	for name, cut := range map[string]fakepg.Cut{
		"before": fakepg.CutBefore, "half": fakepg.CutHalf, "after": fakepg.CutAfter, "unsent": fakepg.CutUnsent,
		"shut down": fakepg.CutShutDown,
	} {
		t.Run("in a statement, "+name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{last: {fakepg.Reply{Cut: cut}, kit.OK}}, kit.NoFailover)
			tx := wrote(t, r.DB)
			_, err := tx.ExecContext(t.Context(), last)
			clean(t, err)
			_, err = tx.ExecContext(t.Context(), kit.Update(1))
			clean(t, err)
			clean(t, tx.Commit())
			assert.EqualValues(t, 1, r.Count(t, "transactions_total", "connection_lost"))
			kit.WantUsable(t, r.DB)
			assert.Equal(t, 1, r.Times(kit.Release), "only that of usable")
		})
	}
	t.Run("between the statements and Commit", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{}, kit.NoFailover)
		tx := wrote(t, r.DB)
		r.Disconnect()
		clean(t, tx.Commit())
		assert.Zero(t, r.Times(kit.Release))
		kit.WantUsable(t, r.DB)
	})
	t.Run("during the replay", func(t *testing.T) { // which the commit does not go with, for a count was seen
		t.Parallel()
		r := kit.New(t, kit.Script{
			kit.Release:   kit.ConflictOn(1),
			kit.Update(1): {fakepg.Reply{}, fakepg.Reply{Cut: fakepg.CutBefore}, fakepg.Reply{}},
		}, kit.NoFailover)
		tx := r.Begin(t)
		kit.Affected(t, tx, kit.Update(1))
		clean(t, tx.Commit())
		kit.WantUsable(t, r.DB)
	})
	t.Run("by the server's FATAL", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{last: {kit.Fatal("57P01", "server is shutting down"), kit.OK}}, kit.NoFailover)
		_, err := wrote(t, r.DB).ExecContext(t.Context(), last)
		clean(t, err)
		kit.WantCodeWithin(t, err, "57P01")
	})
	t.Run("Rollback of it is no error", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{last: {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}}, kit.NoFailover)
		tx := wrote(t, r.DB)
		_, err := tx.ExecContext(t.Context(), last)
		clean(t, err)
		require.NoError(t, tx.Rollback())
		kit.WantUsable(t, r.DB)
	})
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t, "retry_max_failovers=0")
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, kit.Update(1))
		sim.CloseConns()
		clean(t, tx.Commit())
		assert.Equal(t, "1=0 2=0", kit.Table(t, db))
		kit.WantUsable(t, db)
	})
}

// RELEASE went through, COMMIT's answer is lost → success.
func TestCommit_OnlyTheAnswerToCommitLost_IsCommitted(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]fakepg.Reply{
		"lost":       {Cut: fakepg.CutBefore},
		"half of it": {Cut: fakepg.CutHalf},
		"40001":      {Err: fakepg.Conflict()}, // not that it could be
		"40003":      {Err: fakepg.Error("40003", "")},
		"57P01":      {Err: fakepg.Error("57P01", "server is shutting down")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{"COMMIT": {reply, kit.OK}})
			require.NoError(t, wrote(t, r.DB).Commit())
			assert.EqualValues(t, 1, r.Count(t, "transactions_total", "committed"))
			kit.WantUsable(t, r.DB)
			assert.Equal(t, 1, r.Times(kit.Update(1)), "nothing may be replayed")
		})
	}
	t.Run("RunTx", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{"COMMIT": {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}})
		calls := 0
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
			calls++
			kit.Exec(t, tx, kit.Update(1))
			return nil
		}))
		assert.Equal(t, 1, calls)
		kit.WantUsable(t, r.DB)
	})
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, kit.Update(1))
		cut := crdbsim.On("^commit", crdbsim.Action{Then: crdbsim.ExecuteHalf}) // RELEASE has been answered
		sim.Inject(cut)
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, cut.Hits())
		assert.Equal(t, "1=1 2=0", kit.Table(t, db))
		kit.WantUsable(t, db)
	})
}

// The caller's cancellation is never taken for a network failure: it comes back as the context's error, without a
// replay.
func TestCommit_CallerCancelled_IsNoNetworkFailure(t *testing.T) {
	t.Parallel()
	const slow = "UPDATE kv SET slow = true"
	for name, tc := range map[string]struct {
		script kit.Script
		run    func(context.Context, *sql.Tx) error
	}{
		"in a statement": {
			kit.Script{slow: {fakepg.Reply{Delay: time.Hour}, kit.OK}},
			func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, slow)
				return err
			},
		},
		"in a replay": {
			kit.Script{slow: {fakepg.Reply{}, fakepg.Reply{Delay: time.Hour}}, kit.Update(2): kit.ConflictOn(1)},
			func(ctx context.Context, tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, slow); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, kit.Update(2))
				return err
			},
		},
		"between the rows": {
			kit.Script{slow: kit.Always(fakepg.Reply{Columns: kit.Column("v", 0), RowsFunc: func(yield func([][]byte) bool) {
				for i := range 50_000 {
					if !yield([][]byte{[]byte(strconv.Itoa(i) + "................................")}) {
						return
					}
				}
			}})},
			func(ctx context.Context, tx *sql.Tx) error {
				rows, err := tx.QueryContext(ctx, slow)
				if err != nil {
					return err
				}
				defer rows.Close()
				<-ctx.Done()
				for rows.Next() {
				}
				return rows.Err()
			},
		},
	} {
		for _, is := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(name+", "+is.Error(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := kit.New(t, tc.script, fakepg.InMemory())
					ctx, cancel := context.WithCancel(t.Context())
					if is == context.DeadlineExceeded { //nolint:errorlint // it is itself
						ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
					} else {
						time.AfterFunc(time.Minute, cancel)
					}
					defer cancel()
					tx := r.Begin(t)
					kit.Exec(t, tx, kit.Update(1))
					connections := r.Connections()
					before := r.Times(kit.Update(1))
					err := tc.run(ctx, tx)
					require.ErrorIs(t, err, is)
					var lost *cockroachdb.ConnectionLostError
					require.NotErrorAs(t, err, &lost)
					var ambiguous *cockroachdb.AmbiguousCommitError
					require.NotErrorAs(t, err, &ambiguous)
					assert.LessOrEqual(t, r.Times(kit.Update(1)), before+1)
					assert.Equal(t, connections, r.Connections(), "no failover")
					require.Error(t, tx.Commit(), "the connection went with the statement")
					for _, reason := range []string{"connection"} {
						assert.Zero(t, r.Count(t, "transaction_retries_total", reason))
					}
					kit.WantUsable(t, r.DB)
					_ = r.DB.Close()
				})
			})
		}
	}
	// The server's word for it, 57014, is an ordinary error of a statement.
	t.Run("57014", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{
			slow: {fakepg.Reply{Err: fakepg.Error("57014", "query execution canceled")}, kit.OK},
		})
		tx := r.Begin(t)
		_, err := tx.ExecContext(t.Context(), slow)
		_, bare := err.(*pgconn.PgError) //nolint:errorlint // that is the question
		require.True(t, bare, "%T", err)
		kit.WantCodeWithin(t, err, "57014")
		assert.Equal(t, 1, r.Times(slow))
		_ = tx.Rollback() // an error, if something is committed
		kit.WantUsable(t, r.DB)
	})
}

func errorIsEOF(err error) bool {
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr)
}
