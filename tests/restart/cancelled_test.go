package restart_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// endingAfter is a context that ends after d, cancelled or by its deadline.
func endingAfter(t testing.TB, how string, d time.Duration) (context.Context, error) {
	if how == "deadline" {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx, context.DeadlineExceeded
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(d, cancel)
	return ctx, context.Canceled
}

// waits are how a transaction comes to wait before it retries: after another one in the lane, or because it lost in
// it.
var waits = map[string]kit.Script{
	"backoff": {kit.Update(1): kit.Always(kit.Conflict), kit.Release: kit.Always(kit.Conflict)},
	"lane": {
		kit.Update(1): kit.Always(kit.Conflict), kit.Release: kit.Always(kit.Conflict), kit.Update(9): {kit.Conflict, kit.OK},
	},
}

func longWaits(p *cockroachdb.RetryPolicy) {
	p.MaxElapsed, p.LaneWait = 100000*time.Hour, 10000*time.Hour
	p.InitialBackoff, p.MaxBackoff = 10000*time.Hour, 10000*time.Hour
}

// Cancelled during backoff, or while it waits for the lane → the context's error, rolled back.
func TestRestart_CancelledWhileWaiting_ReturnsAtOnce(t *testing.T) {
	t.Parallel()
	for wait, book := range waits {
		for _, whose := range []string{"statement's", "BeginTx's", "commit's"} {
			for _, how := range []string{"cancel", "deadline"} {
				t.Run(wait+"/"+whose+"/"+how, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						st := newMemoryRig(t, book, policyOf(longWaits))
						conns := 1
						if wait == "lane" {
							conns = 2
							st.SetMaxOpenConns(2)
							holder := st.Begin(t)
							kit.Exec(t, holder, kit.Update(9))
							st.Server.Forget()
						}
						ctx, want := endingAfter(t, how, time.Second)
						began := time.Now()
						txCtx, stmtCtx, sql := t.Context(), ctx, kit.Update(1)
						if whose != "statement's" {
							txCtx, stmtCtx = ctx, t.Context()
						}
						if whose == "commit's" {
							sql = kit.Update(2)
						}
						tx, err := st.BeginTx(txCtx, nil)
						require.NoError(t, err)
						_, err = tx.ExecContext(stmtCtx, sql)
						if whose == "commit's" {
							require.NoError(t, err)
							err = tx.Commit()
						}
						require.ErrorIs(t, err, want)
						assert.Equal(t, time.Second, time.Since(began))
						all := st.Sent()
						require.NotEmpty(t, all)
						assert.Equal(t, "ROLLBACK", all[len(all)-1], "no locks while it waits, and nothing after it: %q", all)
						_ = tx.Rollback() // database/sql may have been quicker
						kit.Exec(t, st, kit.Update(3))
						assert.Equal(t, conns, st.Server.Connections(), "the connection was thrown away")
						assert.Zero(t, st.Server.Cancels())
					})
				})
			}
		}
	}
}

// Who is cancelled in the queue leaves it, and who holds the lane leaves it.
func TestRestart_Cancelled_LeavesTheLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryRig(t, kit.Script{
			kit.Update(1): {kit.Conflict, kit.Conflict, kit.OK}, kit.Update(2): {kit.Conflict, kit.OK},
		}, policyOf(longWaits))
		ctx, want := endingAfter(t, "cancel", time.Second)
		tx := st.Begin(t)
		_, err := tx.ExecContext(ctx, kit.Update(1))
		require.ErrorIs(t, err, want)
		require.NoError(t, tx.Rollback())
		began := time.Now()
		tx = st.Begin(t)
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		assert.Zero(t, time.Since(began))
		st.WantKept(t)
	})
}

// A context that is done already when the conflict comes.
func TestRestart_CancelledBeforeTheRetry_DoesNotRetry(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == kit.Release {
			cancel()
			return kit.Conflict
		}
		return kit.OK
	})
	tx, err := st.BeginTx(ctx, nil)
	require.NoError(t, err)
	kit.Exec(t, tx, kit.Update(1))
	err = tx.Commit()
	require.ErrorIs(t, err, context.Canceled)
	// It may have been cancelled before the answer came: then nobody knows, and that has to be said.
	if _, ok := errors.AsType[*cockroachdb.AmbiguousCommitError](err); !ok {
		assert.Equal(t, "ROLLBACK", st.Sent()[len(st.Sent())-1])
	}
	assert.NotContains(t, st.Sent(), kit.RollbackTo)
	kit.Exec(t, st, kit.Update(2))
}

// BeginTx's context ends while a statement with a context of its own is under way, and that then meets a conflict.
func TestRestart_BeginsContextEndsDuringAStatement_DoesNotRetry(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == kit.Update(1) && !s.Describing {
			cancel()
			return kit.Conflict
		}
		return kit.OK
	})
	tx, err := st.BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), kit.Update(1))
	require.ErrorIs(t, err, context.Canceled)
	kit.Exec(t, st, kit.Update(2)) // waits for database/sql's rollback
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, kit.Update(1), "ROLLBACK", kit.Update(2)}, st.Sent())
	assert.Equal(t, 1, st.Server.Connections())
}

// The context of an *earlier* statement is already cancelled → replay works.
func TestRestart_EarlierContextsDone_ReplaysAllTheSame(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"SELECT": {kit.Texts("a", "b")}, kit.Update(3): {kit.Conflict, kit.Conflict, kit.OK},
				kit.Release: {kit.Conflict, kit.OK},
			}, "default_query_exec_mode="+mode)
			tx := st.Begin(t)
			short := func(do func(context.Context) error) {
				t.Helper()
				ctx, cancel := context.WithCancel(t.Context())
				require.NoError(t, do(ctx))
				cancel()
			}
			short(func(ctx context.Context) error { _, err := tx.ExecContext(ctx, kit.Update(1)); return err })
			short(func(ctx context.Context) error { return tx.QueryRowContext(ctx, "SELECT").Scan(new(string)) })
			short(func(ctx context.Context) error {
				stmt, err := tx.PrepareContext(ctx, kit.Update(2))
				if err == nil {
					_, err = stmt.ExecContext(ctx)
				}
				return err
			})
			kit.Exec(t, tx, kit.Update(3))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{kit.Update(1), "SELECT", kit.Update(2), kit.Update(3)}, st.LastAttempt())
			st.WantKept(t)
		})
	}
}

// With deadlines: that of an earlier statement passes while the replay runs.
func TestRestart_EarlierDeadlinePassed_ReplaysAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryRig(t, kit.Script{
			kit.Update(1): kit.Always(slowly(3*time.Second, kit.OK)...),
			kit.Update(2): kit.Always(slowly(3*time.Second, kit.Conflict, kit.OK)...),
		}, policyOf(func(*cockroachdb.RetryPolicy) {}))
		tx := st.Begin(t)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		_, err := tx.ExecContext(ctx, kit.Update(1))
		require.NoError(t, err)
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{kit.Update(1), kit.Update(2)}, st.LastAttempt())
		st.WantKept(t)
	})
}
