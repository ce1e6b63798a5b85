package restart_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// Without retries everything is as through pgx: no savepoint, the server's own errors, and its transaction left as it
// is.
func TestPolicy_OneAttempt_IsAsThroughPgx(t *testing.T) {
	t.Parallel()
	one := cockroachdb.RetryPolicy{MaxAttempts: 1}
	for name, tc := range map[string]struct {
		option any
		ctx    func(context.Context) context.Context
	}{
		"by DSN":          {"retry_max_attempts=1", func(ctx context.Context) context.Context { return ctx }},
		"WithRetryPolicy": {nil, func(ctx context.Context) context.Context { return cockroachdb.WithRetryPolicy(ctx, one) }},
		"WithoutRetries":  {nil, cockroachdb.WithoutRetries},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
				tx := r.BeginIn(t, tc.ctx(t.Context()))
				kit.WantCode(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"), "40001")
				assert.Equal(t, "25P02", kit.StateOf(kit.ExecAll(tx, "UPDATE c")))
				require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
				assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "UPDATE c", "ROLLBACK"}, r.Trips(first))
			}, tc.option)
			kit.InBubble(t, kit.Script{"COMMIT": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
				tx := r.BeginIn(t, tc.ctx(t.Context()))
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				kit.WantCode(t, tx.Commit(), "40001")
				assert.Equal(t, []string{"BEGIN; UPDATE a", "COMMIT"}, r.Trips(first))
			}, tc.option)
			script := kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict}, "SELECT v": {kit.BreakOff(kit.Ints(1, 2), 1)}}
			kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
				ctx := tc.ctx(t.Context())
				_, err := r.DB.ExecContext(ctx, "UPDATE a")
				kit.WantCode(t, err, "40001")
				rows, err := r.DB.QueryContext(ctx, "SELECT v")
				require.NoError(t, err)
				assert.True(t, rows.Next())
				assert.False(t, rows.Next())
				kit.WantCode(t, rows.Err(), "40001")
				require.NoError(t, rows.Close())
				kit.WantCode(t, r.DB.QueryRowContext(ctx, "UPDATE a").Err(), "40001")
			}, tc.option)
		})
	}
	t.Run("RunTx", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			calls := 0
			kit.WantCode(t, cockroachdb.RunTx(cockroachdb.WithoutRetries(t.Context()), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				return kit.ExecAll(tx, "UPDATE a")
			}), "40001")
			assert.Equal(t, 1, calls)
			r.WantUsable(t)
		})
	})
	t.Run("a savepoint of the application's can be rolled back to", func(t *testing.T) {
		kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
			tx := r.BeginIn(t, cockroachdb.WithoutRetries(t.Context()))
			require.NoError(t, kit.ExecAll(tx, "SAVEPOINT cockroach_restart", "UPDATE a",
				"ROLLBACK TO SAVEPOINT cockroach_restart",
				"UPDATE a", "RELEASE SAVEPOINT cockroach_restart"))
			require.NoError(t, tx.Commit())
		})
	})
}

func TestPolicy_MaxAttempts_AreRun(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 7} {
		attempts := kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxAttempts = n })
		for name, texts := range map[string][]string{
			"the first statement": {"UPDATE b"}, "the second": {"UPDATE a", "UPDATE b"},
		} {
			t.Run(name, func(t *testing.T) {
				kit.InBubble(t, kit.Script{"UPDATE b": kit.Always(kit.Conflict)}, func(t *testing.T, r *kit.Rig) {
					tx := r.Begin(t)
					e := kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, texts...))
					assert.Equal(t, cockroachdb.BoundAttempts, e.Bound)
					assert.Equal(t, n, e.Attempts)
					assert.Equal(t, time.Since(r.Started), e.Elapsed)
					assert.Equal(t, n, r.Ran("UPDATE b"))
					assert.Equal(t, "25P02", kit.StateOf(kit.ExecAll(tx, "UPDATE c")), "nothing more until it is rolled back")
					err := tx.Commit()
					require.ErrorIs(t, err, pgx.ErrTxCommitRollback)
					require.ErrorAs(t, err, &e)
					assert.Equal(t, n, r.Ran("UPDATE b"))
					assert.Zero(t, r.Ran("UPDATE c")+r.Ran("COMMIT"))
					r.WantUsable(t)
				}, attempts)
			})
		}
		t.Run("the commit", func(t *testing.T) {
			script := kit.Script{"RELEASE SAVEPOINT cockroach_restart": kit.Always(kit.Conflict)[:n]}
			kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				assert.Equal(t, n, kit.As[*cockroachdb.RetriesExhaustedError](t, tx.Commit()).Attempts)
				assert.Equal(t, n, r.Ran("UPDATE a"))
				assert.Equal(t, n, r.Ran(kit.Release))
				r.WantUsable(t)
			}, attempts)
		})
		t.Run("outside", func(t *testing.T) {
			kit.InBubble(t, kit.Script{"UPDATE b": kit.Always(kit.Conflict)}, func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE b")
				assert.Equal(t, n, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
				assert.Equal(t, n, r.Ran("UPDATE b"))
				r.WantUsable(t)
			}, attempts)
		})
		t.Run("RunTx", func(t *testing.T) {
			kit.InBubble(t, kit.Script{"UPDATE b": kit.Always(kit.Conflict)}, func(t *testing.T, r *kit.Rig) {
				calls := 0
				err := cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					calls++
					return kit.ExecAll(tx, "UPDATE b")
				})
				assert.Equal(t, n, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
				assert.Equal(t, 1, calls)
				assert.Equal(t, n, r.Ran("UPDATE b"))
				r.WantUsable(t)
			}, attempts)
		})
	}
}

func TestPolicy_MaxElapsed_BoundsAllAttempts(t *testing.T) {
	t.Parallel()
	aWhile := kit.Policy(func(p *cockroachdb.RetryPolicy) {
		p.MaxElapsed, p.InitialBackoff, p.MaxAttempts, p.LaneWait = 10*time.Second, 0, 1000, time.Minute
	})
	t.Run("of statements", func(t *testing.T) {
		script := kit.Script{"UPDATE a": kit.Always(fakepg.Reply{Err: kit.Conflict.Err, Delay: 3 * time.Second})}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			time.Sleep(time.Hour) // it begins with the first statement
			e := kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a"))
			assert.Equal(t, cockroachdb.RetriesExhaustedError{
				Bound: cockroachdb.BoundElapsed, Attempts: 4, Elapsed: 12 * time.Second,
			},
				cockroachdb.RetriesExhaustedError{Bound: e.Bound, Attempts: e.Attempts, Elapsed: e.Elapsed})
			assert.Equal(t, 4, r.Ran("UPDATE a"), "the last began after 9 s, and was not cut short")
			require.NoError(t, tx.Rollback())
			r.WantUsable(t)
		}, aWhile)
	})
	t.Run("with the caller's own time", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"RELEASE SAVEPOINT cockroach_restart": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			time.Sleep(10 * time.Second)
			assert.Equal(t, 1, kit.As[*cockroachdb.RetriesExhaustedError](t, tx.Commit()).Attempts)
			r.WantUsable(t)
		}, aWhile)
	})
	t.Run("in the wait for the lane", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			holder, tx := r.HoldLane(t), r.Begin(t)
			before := r.Counts(t)
			e := kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a"))
			assert.Equal(t, cockroachdb.BoundElapsed, e.Bound)
			assert.Equal(t, 10*time.Second, e.Elapsed)
			assert.Equal(t, 1, e.Attempts, "the second never began")
			assert.Equal(t, 1, r.Ran("UPDATE a"))
			require.NoError(t, tx.Rollback())
			moved := r.Moved(t, before)
			assert.Zero(t, moved["transaction_retries_total statement serializable"], "nor is it counted")
			assert.Equal(t, 1.0, moved["transaction_attempts sum"])
			require.NoError(t, holder.Commit())
			r.WantUsable(t)
		}, aWhile)
	})
	t.Run("in the backoff", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a": kit.Always(kit.Conflict)}, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			e := kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a"))
			assert.Equal(t, cockroachdb.BoundElapsed, e.Bound)
			assert.Equal(t, r.Ran("UPDATE a"), e.Attempts)
			assert.Zero(t, r.Counts(t)["retries_throttled_total"], "another bound")
			require.NoError(t, tx.Rollback())
			r.WantUsable(t)
		}, kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxElapsed, p.MaxAttempts = 10*time.Second, 1000 }))
	})
}

func TestPolicy_ThrottleEmpty_StopsRetriesOfTheConnector(t *testing.T) {
	t.Parallel()
	tokens := func(c *cockroachdb.Config) {
		c.RetryThrottle = cockroachdb.RetryThrottle{MaxTokens: 2, TokensPerCommit: 0.5}
	}
	kit.InBubble(t, kit.Script{"UPDATE a": kit.Always(kit.Conflict), "UPDATE ok": nil}, func(t *testing.T, r *kit.Rig) {
		lose := func(db *sql.DB) *cockroachdb.RetriesExhaustedError {
			tx, err := db.Begin()
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			return kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a"))
		}
		commit := func(db *sql.DB) {
			tx, err := db.Begin()
			require.NoError(t, err)
			require.NoError(t, kit.ExecAll(tx, "UPDATE ok"))
			require.NoError(t, tx.Commit())
		}
		e := lose(r.DB)
		assert.Equal(t, cockroachdb.BoundThrottle, e.Bound)
		assert.Equal(t, 3, e.Attempts, "two tokens, two retries")
		assert.Equal(t, 1, lose(r.DB).Attempts, "none is left")
		_, err := r.DB.Exec("UPDATE a")
		assert.Equal(t, 1, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts, "nor outside of transactions")

		assert.EqualValues(t, 3, r.Counts(t)["retries_throttled_total"], "each retry that there was not")

		other := r.Another(t)
		assert.Equal(t, 3, lose(other.DB).Attempts, "another connector has its own")

		commit(r.DB)
		assert.Equal(t, 1, lose(r.DB).Attempts, "half a token is none")
		commit(r.DB)
		assert.Equal(t, 2, lose(r.DB).Attempts, "two commits have given one back")
		for range 100 {
			commit(r.DB)
		}
		assert.Equal(t, 3, lose(r.DB).Attempts, "no more than there is room for")

		tx, err := r.DB.Begin() // a rollback earns nothing
		require.NoError(t, err)
		require.NoError(t, kit.ExecAll(tx, "UPDATE ok"))
		require.NoError(t, tx.Rollback())
		tx, err = r.DB.Begin() // nor does a commit of nothing
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, lose(r.DB).Attempts)
	}, tokens)
}

func TestPolicy_InvalidInTheContext_IsRefused(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		ctx := cockroachdb.WithRetryPolicy(t.Context(), cockroachdb.RetryPolicy{MaxAttempts: 3})
		const want = "cockroachdb: RetryPolicy.MaxElapsed is 0s"
		_, err := r.DB.BeginTx(ctx, nil)
		assert.ErrorContains(t, err, want)
		_, err = r.DB.ExecContext(ctx, "UPDATE a")
		assert.ErrorContains(t, err, want)
		_, err = r.DB.QueryContext(ctx, "SELECT v")
		assert.ErrorContains(t, err, want)
		_, err = r.DB.PrepareContext(ctx, "SELECT v")
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, cockroachdb.RunTx(ctx, r.DB, nil, func(*sql.Tx) error { return nil }), want)
		assert.Zero(t, r.Ran("UPDATE a")+r.Ran("BEGIN"))

		tx := r.Begin(t)
		_, err = tx.ExecContext(ctx, "UPDATE a")
		assert.NoError(t, err, "in a transaction it is BeginTx's that counts")
		require.NoError(t, tx.Commit())
		r.WantUsable(t)
	})
}

func TestPolicy_InTheContext_IsThatTransactionsAlone(t *testing.T) {
	t.Parallel()
	script := kit.Script{"UPDATE a": kit.Always(kit.Conflict), "UPDATE b": kit.Always(kit.Conflict)}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		mine := r.Config.RetryPolicy
		mine.MaxAttempts = 4
		ctx := cockroachdb.WithRetryPolicy(t.Context(), mine)
		tx := r.BeginIn(t, ctx)
		assert.Equal(t, 4, kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a")).Attempts)
		require.NoError(t, tx.Rollback())
		tx = r.Begin(t)
		_, err := tx.ExecContext(ctx, "UPDATE a")
		assert.Equal(t, 3, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
		require.NoError(t, tx.Rollback())
		_, err = r.DB.ExecContext(ctx, "UPDATE b")
		assert.Equal(t, 4, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
		_, err = r.DB.Exec("UPDATE b")
		assert.Equal(t, 3, kit.As[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
	}, kit.Attempts(3))
}

func TestPolicy_RecordTooLarge_IsNotReplayable(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*cockroachdb.RetryPolicy)
		cause  string
	}{
		"statements": {func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 2 }, "statements"},
		"bytes":      {func(p *cockroachdb.RetryPolicy) { p.MaxBytes = 2000 }, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, kit.Script{"UPDATE c": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
				before := r.Counts(t)
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b", "UPDATE "+strings.Repeat("x", 2000)))
				assert.Zero(t, r.Counts(t)["history_bytes"], "what is of no use is not kept")
				err := kit.ExecAll(tx, "UPDATE c")
				var not *cockroachdb.NotReplayableError
				require.ErrorAs(t, err, &not)
				assert.EqualValues(t, tc.cause, not.Cause)
				assert.Equal(t, "40001", kit.StateOf(err))
				require.NoError(t, tx.Rollback())
				assert.Equal(t, 1.0, r.Moved(t, before)["not_replayable_total "+tc.cause])
				r.WantUsable(t)
			}, kit.Policy(tc.change))
		})
	}
}
