package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Here: where retrying ends, by a bound or by a context.

func requireExhausted(t testing.TB, err error, attempts int, bound cockroachdb.Bound) *cockroachdb.RetriesExhaustedError {
	t.Helper()
	requireConflict(t, err)
	var exhausted *cockroachdb.RetriesExhaustedError
	require.ErrorAs(t, err, &exhausted)
	assert.Equal(t, attempts, exhausted.Attempts)
	assert.Equal(t, bound, exhausted.Bound)
	return exhausted
}

// Case 21: attempts used up → typed error that unwraps to the 40001; the connection is usable.
func TestPeerCase21_AttemptsUsedUp(t *testing.T) {
	t.Parallel()
	for _, at := range []string{update(1), update(2), releaseSQL} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{at: {lost}}, "retry_max_attempts=3")
			tx := st.begin(t)
			var err error
			for _, sql := range []string{update(1), update(2)} {
				if err == nil {
					_, err = tx.ExecContext(t.Context(), sql)
				}
			}
			if err == nil {
				err = tx.Commit()
			}
			requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
			ran := 0
			for _, sql := range st.ran() {
				if sql == at {
					ran++
				}
			}
			assert.Equal(t, 3, ran)
			st.mustEnd(t, tx)
		})
	}
}

// Case 21, in the middle of rows, and in the Close of those.
func TestPeerCase21_AttemptsUsedUpInMidStream(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT": {breakingOff(vs("a", "b"), 1)}}, "retry_max_attempts=3")
	tx := st.begin(t)
	rows := query(t, tx, "SELECT")
	values, err := rows.rest()
	assert.Equal(t, []string{"a"}, values)
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
	st.mustEnd(t, tx)

	tx = st.begin(t)
	requireExhausted(t, query(t, tx, "SELECT").Close(), 3, cockroachdb.BoundAttempts)
	_, err = tx.ExecContext(t.Context(), update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts) // Close's error may have been ignored
	_, err = tx.ExecContext(t.Context(), update(1))
	requireCode(t, err, "25P02")
	st.mustEnd(t, tx)
}

// Case 21 outside of a transaction.
func TestPeerCase21_OutsideOfATransaction(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {lost}}, "retry_max_attempts=3")
	_, err := st.ExecContext(t.Context(), update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
	assert.Equal(t, []string{update(1), update(1), update(1)}, st.ran())
	mustExec(t, st, update(2))
	assert.Equal(t, 1, st.srv.Connections())
}

// Case 21: MaxAttempts counts the first try, so 1 switches retries off; the error is then the server's own, as through pgx.
func TestPeerCase21_RetriesOff(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, stage) (*sql.Tx, error){
		"by DSN": func(t *testing.T, st stage) (*sql.Tx, error) { return st.BeginTx(t.Context(), nil) },
		"by context": func(t *testing.T, st stage) (*sql.Tx, error) {
			return st.BeginTx(cockroachdb.WithoutRetries(t.Context()), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := []string{}
			if name == "by DSN" {
				params = append(params, "retry_max_attempts=1")
			}
			st := newStage(t, playbook{update(1): {lost}}, params...)
			tx, err := begin(t, st)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), update(1))
			requireCode(t, err, "40001")
			assert.Equal(t, []string{"BEGIN", update(1)}, st.ran())
			st.mustEnd(t, tx)
		})
	}
}

// Case 21: when the connector's tokens are used up, nobody retries until something commits.
func TestPeerCase21_TokensUsedUp(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {lost}, update(2): {lost, won}}, "retry_throttle_tokens=2&retry_throttle_tokens_per_commit=1")
	tx := st.begin(t)
	_, err := tx.ExecContext(t.Context(), update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundThrottle)
	st.mustEnd(t, tx)

	tx = st.begin(t) // a commit earns a token
	mustExec(t, tx, update(3))
	require.NoError(t, tx.Commit())
	tx = st.begin(t)
	mustExec(t, tx, update(2))
	require.NoError(t, tx.Commit())
}

// Case 21: a transaction that has given up leaves the retry lane, with its rollback at the latest: the next one to lose restarts at once,
// by savepoint, without a wait.
func TestPeerCase21_TheLaneIsLeft(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{update(1): {lost}, update(2): {lost, won}}, "retry_max_attempts=3&retry_lane_wait=1h")
	tx := st.begin(t)
	_, err := tx.ExecContext(t.Context(), update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
	st.mustEnd(t, tx)
	st.srv.Forget()
	tx = st.begin(t)
	mustExec(t, tx, update(2))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"BEGIN", savepointSQL, update(2), rollbackToSQL, update(2), releaseSQL, "COMMIT"}, st.ran())
}

// Case 21 with data.
func TestPeerCase21_AttemptsUsedUpOnData(t *testing.T) {
	t.Parallel()
	a, sim := newSimArena(t)
	release := crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
	release.Times = -1
	sim.Inject(release)
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts, policy.InitialBackoff, policy.MaxBackoff = 4, 0, 0
	tx, err := a.BeginTx(cockroachdb.WithRetryPolicy(t.Context(), policy), nil)
	require.NoError(t, err)
	mustExec(t, tx, "UPDATE kv SET v = v + 1 WHERE k = 100")
	requireExhausted(t, tx.Commit(), 4, cockroachdb.BoundAttempts)
	assert.Equal(t, 4, release.Hits())
	sim.ClearFaults()
	assert.Zero(t, a.value(t, 100))
	mustExec(t, a.rival, "UPDATE kv SET v = 1 WHERE k = 100") // nobody holds its lock
	a.mustEnd(t, tx)
}

// slowly makes each reply take that long.
func slowly(d time.Duration, replies ...fakepg.Reply) []fakepg.Reply {
	for i := range replies {
		replies[i].Delay = d
	}
	return replies
}

func policyOf(change func(*cockroachdb.RetryPolicy)) cockroachdb.RetryPolicy {
	p := cockroachdb.DefaultRetryPolicy()
	p.InitialBackoff, p.MaxBackoff = 0, 0
	change(&p)
	return p
}

// Case 22: MaxElapsed spans all attempts: those of one restart, and those of all restarts of the transaction together.
func TestPeerCase22_MaxElapsed(t *testing.T) {
	t.Parallel()
	policy := policyOf(func(p *cockroachdb.RetryPolicy) { p.MaxElapsed = 10 * time.Second })
	const s = time.Second
	for name, tc := range map[string]struct {
		book     playbook
		attempts int
		elapsed  time.Duration
	}{
		"one statement":                 {playbook{update(1): slowly(3*s, lost)}, 4, 12 * s},
		"exactly at the bound":          {playbook{update(1): slowly(5*s, lost)}, 2, 10 * s},
		"two statements":                {playbook{update(1): slowly(s, won), update(2): slowly(2*s, lost)}, 4, 12 * s},
		"a statement, then the commit":  {playbook{update(1): slowly(3*s, lost, lost, won), releaseSQL: slowly(s, lost)}, 3, 10 * s},
		"time is the application's too": {playbook{update(2): slowly(11*s, won), releaseSQL: {lost}}, 1, 11 * s},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newMemoryStage(t, tc.book, policy)
				time.Sleep(time.Hour) // what comes before the first statement does not count
				tx := st.begin(t)
				time.Sleep(time.Hour)
				began := time.Now()
				_, err := tx.ExecContext(t.Context(), update(1))
				if err == nil {
					_, err = tx.ExecContext(t.Context(), update(2))
				}
				if err == nil {
					err = tx.Commit()
				}
				exhausted := requireExhausted(t, err, tc.attempts, cockroachdb.BoundElapsed)
				assert.Equal(t, tc.elapsed, exhausted.Elapsed)
				assert.Equal(t, tc.elapsed, time.Since(began))
				st.mustEnd(t, tx)
			})
		})
	}
}

// Case 22: no attempt begins after MaxElapsed because of a wait: not a long backoff,
func TestPeerCase22_BackoffEndsAtMaxElapsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStage(t, playbook{update(1): {lost}}, policyOf(func(p *cockroachdb.RetryPolicy) {
			p.MaxElapsed, p.InitialBackoff, p.MaxBackoff = 10*time.Millisecond, 1000*time.Hour, 1000*time.Hour
		}))
		tx := st.begin(t)
		began := time.Now()
		_, err := tx.ExecContext(t.Context(), update(1))
		requireExhausted(t, err, 2, cockroachdb.BoundElapsed)
		assert.LessOrEqual(t, time.Since(began), 10*time.Millisecond)
		assert.Equal(t, []string{"BEGIN", savepointSQL, update(1), rollbackToSQL, update(1), "ROLLBACK"}, st.ran())
		st.mustEnd(t, tx)
	})
}

// nor one for the lane.
func TestPeerCase22_LaneWaitEndsAtMaxElapsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStage(t, playbook{update(1): {lost, won}, update(2): {lost}}, policyOf(func(p *cockroachdb.RetryPolicy) {
			p.MaxElapsed, p.LaneWait = 10*time.Second, time.Hour
		}))
		st.SetMaxOpenConns(2)
		holder := st.begin(t)
		mustExec(t, holder, update(1))
		tx := st.begin(t)
		began := time.Now()
		_, err := tx.ExecContext(t.Context(), update(2))
		exhausted := requireExhausted(t, err, 1, cockroachdb.BoundElapsed)
		assert.Equal(t, 10*time.Second, exhausted.Elapsed)
		assert.Equal(t, 10*time.Second, time.Since(began))
		require.NoError(t, tx.Rollback())
		require.NoError(t, holder.Commit())
	})
}

// endingAfter is a context that ends after d, by itself or by its deadline.
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

// waits are how a transaction comes to wait before it retries: behind another one in the lane, or because it lost in it.
var waits = map[string]playbook{
	"backoff": {update(1): {lost}, releaseSQL: {lost}},
	"lane":    {update(1): {lost}, releaseSQL: {lost}, update(9): {lost, won}},
}

func longWaits(p *cockroachdb.RetryPolicy) {
	p.MaxElapsed, p.LaneWait, p.InitialBackoff, p.MaxBackoff = 100000*time.Hour, 10000*time.Hour, 10000*time.Hour, 10000*time.Hour
}

// Case 23: cancelled during backoff, or while it waits for the lane → the context's error, rolled back.
func TestPeerCase23_CancelledWhileWaiting(t *testing.T) {
	t.Parallel()
	for wait, book := range waits {
		for _, whose := range []string{"statement's", "BeginTx's", "commit's"} {
			for _, how := range []string{"cancel", "deadline"} {
				t.Run(wait+"/"+whose+"/"+how, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						st := newMemoryStage(t, book, policyOf(longWaits))
						conns := 1
						if wait == "lane" {
							conns = 2
							st.SetMaxOpenConns(2)
							holder := st.begin(t)
							mustExec(t, holder, update(9))
							st.srv.Forget()
						}
						ctx, want := endingAfter(t, how, time.Second)
						began := time.Now()
						txCtx, stmtCtx, sql := t.Context(), ctx, update(1)
						if whose != "statement's" {
							txCtx, stmtCtx = ctx, t.Context()
						}
						if whose == "commit's" {
							sql = update(2)
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
						all := st.ran()
						require.NotEmpty(t, all)
						assert.Equal(t, "ROLLBACK", all[len(all)-1], "no locks while it waits, and nothing after it: %q", all)
						_ = tx.Rollback() // database/sql may have been quicker
						mustExec(t, st, update(3))
						assert.Equal(t, conns, st.srv.Connections(), "the connection was thrown away")
						assert.Zero(t, st.srv.Cancels())
					})
				})
			}
		}
	}
}

// Case 23: who is cancelled in the queue leaves it, and who holds the lane leaves it.
func TestPeerCase23_CancelledLeavesTheLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStage(t, playbook{update(1): {lost, lost, won}, update(2): {lost, won}}, policyOf(longWaits))
		ctx, want := endingAfter(t, "cancel", time.Second)
		tx := st.begin(t)
		_, err := tx.ExecContext(ctx, update(1))
		require.ErrorIs(t, err, want)
		require.NoError(t, tx.Rollback())
		began := time.Now()
		tx = st.begin(t)
		mustExec(t, tx, update(2))
		require.NoError(t, tx.Commit())
		assert.Zero(t, time.Since(began))
		st.mustBeUsable(t)
	})
}

// Case 23: a context that is done already when the conflict comes.
func TestPeerCase23_CancelledBeforeTheRetry(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == releaseSQL {
			cancel()
			return lost
		}
		return won
	})
	tx, err := st.BeginTx(ctx, nil)
	require.NoError(t, err)
	mustExec(t, tx, update(1))
	err = tx.Commit()
	require.ErrorIs(t, err, context.Canceled)
	// It may have been cancelled before the answer came: then nobody knows, and that has to be said.
	if _, ok := errors.AsType[*cockroachdb.AmbiguousCommitError](err); !ok {
		assert.Equal(t, "ROLLBACK", st.ran()[len(st.ran())-1])
	}
	assert.NotContains(t, st.ran(), rollbackToSQL)
	mustExec(t, st, update(2))
}

// Case 23: BeginTx's context ends while a statement with a context of its own is under way, and that then meets a conflict.
func TestPeerCase23_BeginsContextEndsDuringAStatement(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == update(1) && !s.Describing {
			cancel()
			return lost
		}
		return won
	})
	tx, err := st.BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), update(1))
	require.ErrorIs(t, err, context.Canceled)
	mustExec(t, st, update(2)) // waits for database/sql's rollback
	assert.Equal(t, []string{"BEGIN", savepointSQL, update(1), "ROLLBACK", update(2)}, st.ran())
	assert.Equal(t, 1, st.srv.Connections())
}

// Case 24: the context of an *earlier* statement is already cancelled → replay works.
func TestPeerCase24_EarlierContextsAreDone(t *testing.T) {
	t.Parallel()
	for _, mode := range queryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"SELECT": {vs("a", "b")}, update(3): {lost, lost, won}, releaseSQL: {lost, won}}, "default_query_exec_mode="+mode)
			tx := st.begin(t)
			short := func(do func(context.Context) error) {
				t.Helper()
				ctx, cancel := context.WithCancel(t.Context())
				require.NoError(t, do(ctx))
				cancel()
			}
			short(func(ctx context.Context) error { _, err := tx.ExecContext(ctx, update(1)); return err })
			short(func(ctx context.Context) error { return tx.QueryRowContext(ctx, "SELECT").Scan(new(string)) })
			short(func(ctx context.Context) error {
				stmt, err := tx.PrepareContext(ctx, update(2))
				if err == nil {
					_, err = stmt.ExecContext(ctx)
				}
				return err
			})
			mustExec(t, tx, update(3))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{update(1), "SELECT", update(2), update(3)}, st.lastAttempt())
			st.mustBeUsable(t)
		})
	}
}

// Case 24 with deadlines: that of an earlier statement passes while the replay runs.
func TestPeerCase24_EarlierDeadlinePasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStage(t, playbook{update(1): slowly(3*time.Second, won), update(2): slowly(3*time.Second, lost, won)}, policyOf(func(*cockroachdb.RetryPolicy) {}))
		tx := st.begin(t)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		_, err := tx.ExecContext(ctx, update(1))
		require.NoError(t, err)
		mustExec(t, tx, update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{update(1), update(2)}, st.lastAttempt())
		st.mustBeUsable(t)
	})
}
