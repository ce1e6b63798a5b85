package restart_test

import (
	"database/sql"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// Here: where retrying ends, by a bound or by a context.

func requireExhausted(
	t testing.TB, err error, attempts int, bound cockroachdb.Bound,
) *cockroachdb.RetriesExhaustedError {
	t.Helper()
	kit.WantConflict(t, err)
	var exhausted *cockroachdb.RetriesExhaustedError
	require.ErrorAs(t, err, &exhausted)
	assert.Equal(t, attempts, exhausted.Attempts)
	assert.Equal(t, bound, exhausted.Bound)
	return exhausted
}

// Attempts used up → typed error that unwraps to the 40001; the connection is usable.
func TestRestart_AttemptsUsedUp_Exhausted(t *testing.T) {
	t.Parallel()
	for _, at := range []string{kit.Update(1), kit.Update(2), kit.Release} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{at: kit.Always(kit.Conflict)}, "retry_max_attempts=3")
			tx := st.Begin(t)
			var err error
			for _, sql := range []string{kit.Update(1), kit.Update(2)} {
				if err == nil {
					_, err = tx.ExecContext(t.Context(), sql)
				}
			}
			if err == nil {
				err = tx.Commit()
			}
			requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
			ran := 0
			for _, sql := range st.Sent() {
				if sql == at {
					ran++
				}
			}
			assert.Equal(t, 3, ran)
			st.WantEnded(t, tx)
		})
	}
}

// In the middle of rows, and in the Close of those.
func TestRestart_AttemptsUsedUpInMidStream_Exhausted(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT": kit.Always(kit.BreakOff(kit.Texts("a", "b"), 1))}, "retry_max_attempts=3")
	tx := st.Begin(t)
	rows := kit.Query(t, tx, "SELECT")
	values, err := rows.Rest()
	assert.Equal(t, []string{"a"}, values)
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
	st.WantEnded(t, tx)

	tx = st.Begin(t)
	requireExhausted(t, kit.Query(t, tx, "SELECT").Close(), 3, cockroachdb.BoundAttempts)
	_, err = tx.ExecContext(t.Context(), kit.Update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts) // Close's error may have been ignored
	_, err = tx.ExecContext(t.Context(), kit.Update(1))
	kit.WantCode(t, err, "25P02")
	st.WantEnded(t, tx)
}

func TestRestart_AttemptsUsedUpOutside_Exhausted(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{kit.Update(1): kit.Always(kit.Conflict)}, "retry_max_attempts=3")
	_, err := st.ExecContext(t.Context(), kit.Update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
	assert.Equal(t, []string{kit.Update(1), kit.Update(1), kit.Update(1)}, st.Sent())
	kit.Exec(t, st, kit.Update(2))
	assert.Equal(t, 1, st.Server.Connections())
}

// MaxAttempts counts the first try, so 1 switches retries off; the error is then the server's own, as through pgx.
func TestRestart_RetriesOff_ErrorIsTheServers(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, *kit.Rig) (*sql.Tx, error){
		"by DSN": func(t *testing.T, st *kit.Rig) (*sql.Tx, error) { return st.BeginTx(t.Context(), nil) },
		"by context": func(t *testing.T, st *kit.Rig) (*sql.Tx, error) {
			return st.BeginTx(cockroachdb.WithoutRetries(t.Context()), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := []any{}
			if name == "by DSN" {
				params = append(params, "retry_max_attempts=1")
			}
			st := kit.New(t, kit.Script{kit.Update(1): kit.Always(kit.Conflict)}, params...)
			tx, err := begin(t, st)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), kit.Update(1))
			kit.WantCode(t, err, "40001")
			assert.Equal(t, []string{"BEGIN", kit.Update(1)}, st.Sent())
			st.WantEnded(t, tx)
		})
	}
}

// When the connector's tokens are used up, nobody retries until something commits.
func TestRestart_TokensUsedUp_Exhausted(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		kit.Update(1): kit.Always(kit.Conflict), kit.Update(2): {kit.Conflict, kit.OK},
	}, "retry_throttle_tokens=2&retry_throttle_tokens_per_commit=1")
	tx := st.Begin(t)
	_, err := tx.ExecContext(t.Context(), kit.Update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundThrottle)
	st.WantEnded(t, tx)

	tx = st.Begin(t) // a commit earns a token
	kit.Exec(t, tx, kit.Update(3))
	require.NoError(t, tx.Commit())
	tx = st.Begin(t)
	kit.Exec(t, tx, kit.Update(2))
	require.NoError(t, tx.Commit())
}

// A transaction that has given up leaves the retry lane, with its rollback at the latest: the next one to lose
// restarts at once, by savepoint, without a wait.
func TestRestart_Exhausted_LeavesTheLane(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		kit.Update(1): kit.Always(kit.Conflict), kit.Update(2): {kit.Conflict, kit.OK},
	}, "retry_max_attempts=3&retry_lane_wait=1h")
	tx := st.Begin(t)
	_, err := tx.ExecContext(t.Context(), kit.Update(1))
	requireExhausted(t, err, 3, cockroachdb.BoundAttempts)
	st.WantEnded(t, tx)
	st.Server.Forget()
	tx = st.Begin(t)
	kit.Exec(t, tx, kit.Update(2))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, kit.Update(2), kit.RollbackTo, kit.Update(2), kit.Release, "COMMIT"},
		st.Sent())
}

func TestRestart_AttemptsUsedUpOnData_Exhausted(t *testing.T) {
	t.Parallel()
	a, sim := kit.NewKVSim(t)
	release := crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
	release.Times = -1
	sim.Inject(release)
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts, policy.InitialBackoff, policy.MaxBackoff = 4, 0, 0
	tx, err := a.BeginTx(cockroachdb.WithRetryPolicy(t.Context(), policy), nil)
	require.NoError(t, err)
	kit.Exec(t, tx, "UPDATE kv SET v = v + 1 WHERE k = 100")
	requireExhausted(t, tx.Commit(), 4, cockroachdb.BoundAttempts)
	assert.Equal(t, 4, release.Hits())
	sim.ClearFaults()
	assert.Zero(t, a.Value(t, 100))
	kit.Exec(t, a.Rival, "UPDATE kv SET v = 1 WHERE k = 100") // nobody holds its lock
	a.WantEnded(t, tx)
}

// slowly makes each reply take that long.
func slowly(d time.Duration, replies ...fakepg.Reply) []fakepg.Reply {
	for i := range replies {
		replies[i].Delay = d
	}
	return replies
}

// newMemoryRig is a rig of one connection in a bubble.
func newMemoryRig(t testing.TB, s kit.Script, policy cockroachdb.RetryPolicy) *kit.Rig {
	t.Helper()
	return kit.New(t, s, fakepg.InMemory(), kit.NoLifetime, kit.Policy(func(p *cockroachdb.RetryPolicy) { *p = policy }))
}

func policyOf(change func(*cockroachdb.RetryPolicy)) cockroachdb.RetryPolicy {
	p := cockroachdb.DefaultRetryPolicy()
	p.InitialBackoff, p.MaxBackoff = 0, 0
	change(&p)
	return p
}

// MaxElapsed spans all attempts: those of one restart, and those of all restarts of the transaction together.
func TestRestart_MaxElapsed_BoundsAllAttempts(t *testing.T) {
	t.Parallel()
	policy := policyOf(func(p *cockroachdb.RetryPolicy) { p.MaxElapsed = 10 * time.Second })
	const s = time.Second
	for name, tc := range map[string]struct {
		book     kit.Script
		attempts int
		elapsed  time.Duration
	}{
		"one statement":        {kit.Script{kit.Update(1): kit.Always(slowly(3*s, kit.Conflict)...)}, 4, 12 * s},
		"exactly at the bound": {kit.Script{kit.Update(1): kit.Always(slowly(5*s, kit.Conflict)...)}, 2, 10 * s},
		"two statements": {
			kit.Script{kit.Update(1): kit.Always(slowly(s, kit.OK)...), kit.Update(2): kit.Always(slowly(2*s, kit.Conflict)...)},
			4, 12 * s,
		},
		"a statement, then the commit": {
			kit.Script{
				kit.Update(1): kit.Always(slowly(3*s, kit.Conflict, kit.Conflict, kit.OK)...),
				kit.Release:   kit.Always(slowly(s, kit.Conflict)...),
			}, 3, 10 * s,
		},
		"time is the application's too": {
			kit.Script{kit.Update(2): kit.Always(slowly(11*s, kit.OK)...), kit.Release: kit.Always(kit.Conflict)}, 1, 11 * s,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newMemoryRig(t, tc.book, policy)
				time.Sleep(time.Hour) // what comes before the first statement does not count
				tx := st.Begin(t)
				time.Sleep(time.Hour)
				began := time.Now()
				_, err := tx.ExecContext(t.Context(), kit.Update(1))
				if err == nil {
					_, err = tx.ExecContext(t.Context(), kit.Update(2))
				}
				if err == nil {
					err = tx.Commit()
				}
				exhausted := requireExhausted(t, err, tc.attempts, cockroachdb.BoundElapsed)
				assert.Equal(t, tc.elapsed, exhausted.Elapsed)
				assert.Equal(t, tc.elapsed, time.Since(began))
				st.WantEnded(t, tx)
			})
		})
	}
}

// No attempt begins after MaxElapsed because of a wait: not a long backoff,
func TestRestart_Backoff_EndsAtMaxElapsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryRig(t, kit.Script{kit.Update(1): kit.Always(kit.Conflict)}, policyOf(func(p *cockroachdb.RetryPolicy) {
			p.MaxElapsed, p.InitialBackoff, p.MaxBackoff = 10*time.Millisecond, 1000*time.Hour, 1000*time.Hour
		}))
		tx := st.Begin(t)
		began := time.Now()
		_, err := tx.ExecContext(t.Context(), kit.Update(1))
		requireExhausted(t, err, 2, cockroachdb.BoundElapsed)
		assert.LessOrEqual(t, time.Since(began), 10*time.Millisecond)
		assert.Equal(t, []string{"BEGIN", kit.Savepoint, kit.Update(1), kit.RollbackTo, kit.Update(1), "ROLLBACK"}, st.Sent())
		st.WantEnded(t, tx)
	})
}

// nor one for the lane.
func TestRestart_LaneWait_EndsAtMaxElapsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryRig(t, kit.Script{
			kit.Update(1): {kit.Conflict, kit.OK}, kit.Update(2): kit.Always(kit.Conflict),
		}, policyOf(func(p *cockroachdb.RetryPolicy) {
			p.MaxElapsed, p.LaneWait = 10*time.Second, time.Hour
		}))
		st.SetMaxOpenConns(2)
		holder := st.Begin(t)
		kit.Exec(t, holder, kit.Update(1))
		tx := st.Begin(t)
		began := time.Now()
		_, err := tx.ExecContext(t.Context(), kit.Update(2))
		exhausted := requireExhausted(t, err, 1, cockroachdb.BoundElapsed)
		assert.Equal(t, 10*time.Second, exhausted.Elapsed)
		assert.Equal(t, 10*time.Second, time.Since(began))
		require.NoError(t, tx.Rollback())
		require.NoError(t, holder.Commit())
	})
}
