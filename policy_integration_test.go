package cockroachdb_test

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
)

// always is a reply that a text gets each time.
func always(r fakepg.Reply) []fakepg.Reply {
	all := make([]fakepg.Reply, 1000)
	for i := range all {
		all[i] = r
	}
	return all
}

func exhausted(t testing.TB, err error) *cockroachdb.RetriesExhaustedError {
	t.Helper()
	require.IsType(t, (*cockroachdb.RetriesExhaustedError)(nil), err)
	assert.Equal(t, "40001", stateOf(err))
	return err.(*cockroachdb.RetriesExhaustedError) //nolint:errorlint // it has just been seen to be
}

// Without retries everything is as through pgx: no savepoint, the server's own errors, and its transaction left as it is.
func TestPolicyOfOneAttempt(t *testing.T) {
	t.Parallel()
	one := cockroachdb.RetryPolicy{MaxAttempts: 1}
	for name, tc := range map[string]struct {
		option any
		ctx    func(context.Context) context.Context
	}{
		"by DSN":          {"&retry_max_attempts=1", func(ctx context.Context) context.Context { return ctx }},
		"WithRetryPolicy": {nil, func(ctx context.Context) context.Context { return cockroachdb.WithRetryPolicy(ctx, one) }},
		"WithoutRetries":  {nil, cockroachdb.WithoutRetries},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
				tx := r.begin(t, tc.ctx(t.Context()))
				bareConflict(t, execAll(tx, "UPDATE a", "UPDATE b"))
				assert.Equal(t, "25P02", stateOf(execAll(tx, "UPDATE c")))
				require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
				assert.Equal(t, []string{"BEGIN; UPDATE a", "UPDATE b", "UPDATE c", "ROLLBACK"}, r.trips(first))
			}, tc.option)
			inBubble(t, script{"COMMIT": {lost}}, func(t *testing.T, r *rig) {
				tx := r.begin(t, tc.ctx(t.Context()))
				require.NoError(t, execAll(tx, "UPDATE a"))
				bareConflict(t, tx.Commit())
				assert.Equal(t, []string{"BEGIN; UPDATE a", "COMMIT"}, r.trips(first))
			}, tc.option)
			inBubble(t, script{"UPDATE a": {lost, lost}, "SELECT v": {halfway(1, 2)}}, func(t *testing.T, r *rig) {
				ctx := tc.ctx(t.Context())
				_, err := r.db.ExecContext(ctx, "UPDATE a")
				bareConflict(t, err)
				rows, err := r.db.QueryContext(ctx, "SELECT v")
				require.NoError(t, err)
				assert.True(t, rows.Next())
				assert.False(t, rows.Next())
				bareConflict(t, rows.Err())
				require.NoError(t, rows.Close())
				bareConflict(t, r.db.QueryRowContext(ctx, "UPDATE a").Err())
			}, tc.option)
		})
	}
	t.Run("RunTx", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {lost}}, func(t *testing.T, r *rig) {
			calls := 0
			bareConflict(t, cockroachdb.RunTx(cockroachdb.WithoutRetries(t.Context()), r.db, nil, func(tx *sql.Tx) error {
				calls++
				return execAll(tx, "UPDATE a")
			}))
			assert.Equal(t, 1, calls)
			r.usable(t)
		})
	})
	t.Run("a savepoint of the application's can be rolled back to", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, r *rig) {
			tx := r.begin(t, cockroachdb.WithoutRetries(t.Context()))
			require.NoError(t, execAll(tx, "SAVEPOINT cockroach_restart", "UPDATE a", "ROLLBACK TO SAVEPOINT cockroach_restart",
				"UPDATE a", "RELEASE SAVEPOINT cockroach_restart"))
			require.NoError(t, tx.Commit())
		})
	})
}

func TestPolicyCountsAttempts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 7} {
		attempts := withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxAttempts = n })
		for name, texts := range map[string][]string{"the first statement": {"UPDATE b"}, "the second": {"UPDATE a", "UPDATE b"}} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, script{"UPDATE b": always(lost)}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					e := exhausted(t, execAll(tx, texts...))
					assert.Equal(t, cockroachdb.BoundAttempts, e.Bound)
					assert.Equal(t, n, e.Attempts)
					assert.Equal(t, time.Since(r.started), e.Elapsed)
					assert.Equal(t, n, r.times("UPDATE b"))
					assert.Equal(t, "25P02", stateOf(execAll(tx, "UPDATE c")), "nothing more until it is rolled back")
					err := tx.Commit()
					require.ErrorIs(t, err, pgx.ErrTxCommitRollback)
					require.ErrorAs(t, err, &e)
					assert.Equal(t, n, r.times("UPDATE b"))
					assert.Zero(t, r.times("UPDATE c")+r.times("COMMIT"))
					r.usable(t)
				}, attempts)
			})
		}
		t.Run("the commit", func(t *testing.T) {
			inBubble(t, script{"RELEASE SAVEPOINT cockroach_restart": always(lost)[:n]}, func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a"))
				assert.Equal(t, n, exhausted(t, tx.Commit()).Attempts)
				assert.Equal(t, n, r.times("UPDATE a"))
				assert.Equal(t, n, r.times("RELEASE"))
				r.usable(t)
			}, attempts)
		})
		t.Run("outside", func(t *testing.T) {
			inBubble(t, script{"UPDATE b": always(lost)}, func(t *testing.T, r *rig) {
				_, err := r.db.Exec("UPDATE b")
				assert.Equal(t, n, exhausted(t, err).Attempts)
				assert.Equal(t, n, r.times("UPDATE b"))
				r.usable(t)
			}, attempts)
		})
		t.Run("RunTx", func(t *testing.T) {
			inBubble(t, script{"UPDATE b": always(lost)}, func(t *testing.T, r *rig) {
				calls := 0
				assert.Equal(t, n, exhausted(t, cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error {
					calls++
					return execAll(tx, "UPDATE b")
				})).Attempts)
				assert.Equal(t, 1, calls)
				assert.Equal(t, n, r.times("UPDATE b"))
				r.usable(t)
			}, attempts)
		})
	}
}

func TestPolicyBoundsTheTimeOfAllAttempts(t *testing.T) {
	t.Parallel()
	aWhile := withPolicy(func(p *cockroachdb.RetryPolicy) {
		p.MaxElapsed, p.InitialBackoff, p.MaxAttempts, p.LaneWait = 10*time.Second, 0, 1000, time.Minute
	})
	t.Run("of statements", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": always(fakepg.Reply{Err: lost.Err, Delay: 3 * time.Second})}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			time.Sleep(time.Hour) // it begins with the first statement
			e := exhausted(t, execAll(tx, "UPDATE a"))
			assert.Equal(t, cockroachdb.RetriesExhaustedError{Bound: cockroachdb.BoundElapsed, Attempts: 4, Elapsed: 12 * time.Second},
				cockroachdb.RetriesExhaustedError{Bound: e.Bound, Attempts: e.Attempts, Elapsed: e.Elapsed})
			assert.Equal(t, 4, r.times("UPDATE a"), "the last began after 9 s, and was not cut short")
			require.NoError(t, tx.Rollback())
			r.usable(t)
		}, aWhile)
	})
	t.Run("with the caller's own time", func(t *testing.T) {
		inBubble(t, script{"RELEASE SAVEPOINT cockroach_restart": {lost}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a"))
			time.Sleep(10 * time.Second)
			assert.Equal(t, 1, exhausted(t, tx.Commit()).Attempts)
			r.usable(t)
		}, aWhile)
	})
	t.Run("in the wait for the lane", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {lost}}, func(t *testing.T, r *rig) {
			holder, tx := r.holdLane(t), r.begin(t, t.Context())
			before := r.counts(t)
			e := exhausted(t, execAll(tx, "UPDATE a"))
			assert.Equal(t, cockroachdb.BoundElapsed, e.Bound)
			assert.Equal(t, 10*time.Second, e.Elapsed)
			assert.Equal(t, 1, e.Attempts, "the second never began")
			assert.Equal(t, 1, r.times("UPDATE a"))
			require.NoError(t, tx.Rollback())
			moved := r.moved(t, before)
			assert.Zero(t, moved["transaction_retries_total statement serializable"], "nor is it counted")
			assert.Equal(t, 1.0, moved["transaction_attempts sum"])
			require.NoError(t, holder.Commit())
			r.usable(t)
		}, aWhile)
	})
	t.Run("in the backoff", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": always(lost)}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			e := exhausted(t, execAll(tx, "UPDATE a"))
			assert.Equal(t, cockroachdb.BoundElapsed, e.Bound)
			assert.Equal(t, r.times("UPDATE a"), e.Attempts)
			assert.Zero(t, r.counts(t)["retries_throttled_total"], "another bound")
			require.NoError(t, tx.Rollback())
			r.usable(t)
		}, withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxElapsed, p.MaxAttempts = 10*time.Second, 1000 }))
	})
}

func TestThrottleStopsTheRetriesOfAConnector(t *testing.T) {
	t.Parallel()
	tokens := func(c *cockroachdb.Config) {
		c.RetryThrottle = cockroachdb.RetryThrottle{MaxTokens: 2, TokensPerCommit: 0.5}
	}
	inBubble(t, script{"UPDATE a": always(lost), "UPDATE ok": nil}, func(t *testing.T, r *rig) {
		lose := func(db *sql.DB) *cockroachdb.RetriesExhaustedError {
			tx, err := db.Begin()
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			return exhausted(t, execAll(tx, "UPDATE a"))
		}
		commit := func(db *sql.DB) {
			tx, err := db.Begin()
			require.NoError(t, err)
			require.NoError(t, execAll(tx, "UPDATE ok"))
			require.NoError(t, tx.Commit())
		}
		e := lose(r.db)
		assert.Equal(t, cockroachdb.BoundThrottle, e.Bound)
		assert.Equal(t, 3, e.Attempts, "two tokens, two retries")
		assert.Equal(t, 1, lose(r.db).Attempts, "none is left")
		_, err := r.db.Exec("UPDATE a")
		assert.Equal(t, 1, exhausted(t, err).Attempts, "nor outside of transactions")

		assert.EqualValues(t, 3, r.counts(t)["retries_throttled_total"], "each retry that there was not")

		_, other := r.pool(t)
		assert.Equal(t, 3, lose(other).Attempts, "another connector has its own")

		commit(r.db)
		assert.Equal(t, 1, lose(r.db).Attempts, "half a token is none")
		commit(r.db)
		assert.Equal(t, 2, lose(r.db).Attempts, "two commits have given one back")
		for range 100 {
			commit(r.db)
		}
		assert.Equal(t, 3, lose(r.db).Attempts, "no more than there is room for")

		tx, err := r.db.Begin() // a rollback earns nothing
		require.NoError(t, err)
		require.NoError(t, execAll(tx, "UPDATE ok"))
		require.NoError(t, tx.Rollback())
		tx, err = r.db.Begin() // nor does a commit of nothing
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, lose(r.db).Attempts)
	}, tokens)
}

func TestPolicyOfAContextThatIsInvalid(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, r *rig) {
		ctx := cockroachdb.WithRetryPolicy(t.Context(), cockroachdb.RetryPolicy{MaxAttempts: 3})
		const want = "cockroachdb: RetryPolicy.MaxElapsed is 0s"
		_, err := r.db.BeginTx(ctx, nil)
		assert.ErrorContains(t, err, want)
		_, err = r.db.ExecContext(ctx, "UPDATE a")
		assert.ErrorContains(t, err, want)
		_, err = r.db.QueryContext(ctx, "SELECT v")
		assert.ErrorContains(t, err, want)
		_, err = r.db.PrepareContext(ctx, "SELECT v")
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, cockroachdb.RunTx(ctx, r.db, nil, func(*sql.Tx) error { return nil }), want)
		assert.Zero(t, r.times("UPDATE a")+r.times("BEGIN"))

		tx := r.begin(t, t.Context())
		_, err = tx.ExecContext(ctx, "UPDATE a")
		assert.NoError(t, err, "in a transaction it is BeginTx's that counts")
		require.NoError(t, tx.Commit())
		r.usable(t)
	})
}

func TestPolicyOfAContextIsThatTransactionsAlone(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE a": always(lost), "UPDATE b": always(lost)}, func(t *testing.T, r *rig) {
		mine := r.cfg.RetryPolicy
		mine.MaxAttempts = 4
		ctx := cockroachdb.WithRetryPolicy(t.Context(), mine)
		tx := r.begin(t, ctx)
		assert.Equal(t, 4, exhausted(t, execAll(tx, "UPDATE a")).Attempts)
		require.NoError(t, tx.Rollback())
		tx = r.begin(t, t.Context())
		_, err := tx.ExecContext(ctx, "UPDATE a")
		assert.Equal(t, 3, exhausted(t, err).Attempts)
		require.NoError(t, tx.Rollback())
		_, err = r.db.ExecContext(ctx, "UPDATE b")
		assert.Equal(t, 4, exhausted(t, err).Attempts)
		_, err = r.db.Exec("UPDATE b")
		assert.Equal(t, 3, exhausted(t, err).Attempts)
	}, three)
}

func TestPolicyBoundsTheRecord(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*cockroachdb.RetryPolicy)
		cause  string
	}{
		"statements": {func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 2 }, "statements"},
		"bytes":      {func(p *cockroachdb.RetryPolicy) { p.MaxBytes = 2000 }, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, script{"UPDATE c": {lost}}, func(t *testing.T, r *rig) {
				before := r.counts(t)
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b", "UPDATE "+strings.Repeat("x", 2000)))
				assert.Zero(t, r.counts(t)["history_bytes"], "what is of no use is not kept")
				err := execAll(tx, "UPDATE c")
				var not *cockroachdb.NotReplayableError
				require.ErrorAs(t, err, &not)
				assert.EqualValues(t, tc.cause, not.Cause)
				assert.Equal(t, "40001", stateOf(err))
				require.NoError(t, tx.Rollback())
				assert.Equal(t, 1.0, r.moved(t, before)["not_replayable_total "+tc.cause])
				r.usable(t)
			}, withPolicy(tc.change))
		})
	}
}
