package replay_test

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// BeginTx's context cancelled during a replay → database/sql's rollback, without a race.
func TestReplay_CancelledDuringIt_RollsBack(t *testing.T) {
	t.Parallel()
	for name, atCommit := range map[string]bool{"at a statement": false, "at the commit": true} {
		t.Run("the statement has it too, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := kit.Script{kit.Update(1): {fakepg.Reply{}, fakepg.Reply{Delay: time.Hour}}, kit.Update(2): kit.ConflictOn(1)}
				if atCommit {
					p[kit.Update(2)], p[kit.Release] = nil, kit.ConflictOn(1)
				}
				r := kit.New(t, p, fakepg.InMemory())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tx, err := r.BeginTx(ctx, nil)
				require.NoError(t, err)
				kit.Affected(t, tx, kit.Update(1))  // so that the commit waits for the end of the replay
				time.AfterFunc(time.Minute, cancel) // in the middle of the replay's first statement
				began := time.Now()
				_, err = tx.ExecContext(ctx, kit.Update(2))
				if atCommit {
					require.NoError(t, err)
					err = tx.Commit()
				}
				require.ErrorIs(t, err, context.Canceled)
				var ambiguous *cockroachdb.AmbiguousCommitError
				require.NotErrorAs(t, err, &ambiguous, "the commit had lost")
				assert.Equal(t, time.Minute, time.Since(began))
				synctest.Wait()
				assert.Zero(t, r.Stats().InUse, "database/sql has rolled back")
				require.ErrorIs(t, tx.Rollback(), sql.ErrTxDone)
				assert.Equal(t, map[bool]int{true: 1}[atCommit], r.Times(kit.Release))
				kit.WantUsable(t, r.DB)
				_ = r.DB.Close()
			})
		})
	}
	t.Run("the statement has a context of its own", func(t *testing.T) {
		t.Parallel()
		// Not in a bubble: database/sql's rollback waits for the statement on a mutex. The replay that runs is not cut
		// short, but no other begins.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := kit.Answering(t, kit.Script{
			kit.Update(2): kit.Always(kit.Conflict),
		}.Calling(kit.Update(1), func(n int) fakepg.Reply {
			if n == 2 {
				cancel()
			}
			return kit.OK
		}))
		tx, err := r.BeginTx(ctx, nil)
		require.NoError(t, err)
		kit.Exec(t, tx, kit.Update(1))
		_, err = tx.ExecContext(t.Context(), kit.Update(2))
		require.ErrorIs(t, err, context.Canceled)
		kit.WantUsable(t, r.DB)
		require.ErrorIs(t, tx.Rollback(), sql.ErrTxDone)
		assert.Equal(t, 2, r.Times(kit.Update(1)))
	})
	// Without a bubble, many times, for the race detector: cancellation at any moment.
	t.Run("at any moment", func(t *testing.T) {
		t.Parallel()
		var runs atomic.Int64
		r := kit.Answering(t, kit.Script{}.Calling(kit.Update(2), func(int) fakepg.Reply {
			if runs.Add(1)%3 != 0 {
				return kit.Conflict
			}
			return kit.OK
		}), fakepg.Quiet())
		for i := range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			tx, err := r.BeginTx(ctx, nil)
			require.NoError(t, err)
			time.AfterFunc(time.Duration(i)*20*time.Microsecond, cancel)
			for range 3 {
				_, _ = tx.ExecContext(t.Context(), kit.Update(1))
				_, _ = tx.ExecContext(t.Context(), kit.Update(2))
			}
			_ = tx.Commit()
			cancel()
			kit.WantUsable(t, r.DB)
		}
	})
}
