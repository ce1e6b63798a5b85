package observe_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A listener keeps the events of a pool.
type listener struct {
	mu      sync.Mutex
	Retries []cockroachdb.RetryEvent
	Ended   []cockroachdb.OutcomeEvent
}

// hooks sets a Config's.
func (l *listener) hooks(c *cockroachdb.Config) {
	c.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.Retries = append(l.Retries, e)
	}
	c.OnSettled = func(_ context.Context, e cockroachdb.OutcomeEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.Ended = append(l.Ended, e)
	}
}

// said is what retries say, in a line for each.
func said(events ...cockroachdb.RetryEvent) []string {
	lines := []string{}
	for _, e := range events {
		lines = append(lines, saidOf(e.Attempt, e.Reason, e.At, e.Statement, e.Wait, "", e.Err))
	}
	return lines
}

// settled is what the ends of transactions say, in a line for each.
func settled(events ...cockroachdb.OutcomeEvent) []string {
	lines := []string{}
	for _, e := range events {
		lines = append(lines, saidOf(e.Attempts, e.Reason, e.At, e.Statement, e.Wait, e.Outcome, e.Err))
	}
	return lines
}

func saidOf(
	attempt int, reason cockroachdb.Reason, at cockroachdb.Place, statement int, wait time.Duration,
	o cockroachdb.Outcome, err error,
) string {
	line := fmt.Sprintf("%d %s at %s %d", attempt, reason, at, statement)
	if wait > 0 {
		line += fmt.Sprintf(" waited %v", wait)
	}
	if o != "" {
		line += ": " + string(o)
	}
	if err != nil {
		line += fmt.Sprintf(" %T", err)
	}
	return line
}

// OnRetry is called as often as a retry is counted; OnSettled once for each transaction that lost, with the outcome
// that is counted.
func TestEvents_EachOutcome_FitsTheMetrics(t *testing.T) {
	t.Parallel()
	for name, s := range metricsCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &listener{}
			kit.InBubble(t, s.script, func(t *testing.T, r *kit.Rig) {
				s.run(t, r)
				counts := r.Counts(t)
				retries := map[string]float64{}
				for _, e := range l.Retries {
					retries["transaction_retries_total "+string(e.At)+" "+string(e.Reason)]++
					assert.Greater(t, e.Attempt, 1)
					assert.Error(t, e.Err)
				}
				total := 0.0
				for name, n := range counts {
					if strings.HasPrefix(name, "transaction_retries_total ") {
						assert.Equal(t, n, retries[name], name)
						total += n
					}
				}
				assert.Equal(t, total, counts["transaction_attempts sum"]-counts["transaction_attempts count"],
					"all of them in transactions")
				for _, e := range l.Ended {
					assert.Positive(t, counts["transactions_total "+string(e.Outcome)], e.Outcome)
				}
				if retried := counts["transaction_duration_seconds true count"]; retried > 0 {
					assert.GreaterOrEqual(t, len(l.Ended), int(retried))
				}
			}, s.option, l.hooks)
		})
	}
}

// An account is one transaction, and what the hooks are told of it.
type account struct {
	script  kit.Script
	option  any
	do      func(t *testing.T, r *kit.Rig)
	retries []string
	ended   []string
}

// accountOf is that of a transaction that runs these, and commits if it can.
func accountOf(s kit.Script, retries, ended []string, texts ...string) account {
	return account{script: s, retries: retries, ended: ended, do: func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		if kit.ExecAll(tx, texts...) == nil {
			_ = tx.Commit()
		}
		_ = tx.Rollback()
	}}
}

func (a account) with(option any) account {
	a.option = option
	return a
}

func accounts() map[string]account {
	const release = "RELEASE SAVEPOINT cockroach_restart"
	once := func(at string) []string { return []string{"2 serializable at " + at + " *pgconn.PgError"} }
	committed := func(attempts int, at string) []string {
		return []string{fmt.Sprintf("%d serializable at %s: committed", attempts, at)}
	}
	queryOutside := func(t *testing.T, r *kit.Rig) {
		rows, err := r.DB.Query("SELECT v")
		require.NoError(t, err)
		for rows.Next() {
		}
		_ = rows.Err()
		require.NoError(t, rows.Close())
	}
	return map[string]account{
		"nothing lost": accountOf(nil, []string{}, []string{}, "UPDATE a"),
		"the first statement": accountOf(
			kit.Script{"UPDATE a": {kit.Conflict}}, once("statement 1"), committed(2, "statement 1"), "UPDATE a", "UPDATE b",
		),
		"the second statement": accountOf(
			kit.Script{"UPDATE b": {kit.Conflict}}, once("statement 2"), committed(2, "statement 2"), "UPDATE a", "UPDATE b",
		),
		"BEGIN": accountOf(
			kit.Script{"BEGIN": {kit.Conflict, kit.OK}}, once("statement 1"),
			committed(2, "statement 1"), "UPDATE a", "UPDATE b",
		),
		"the commit": accountOf(
			kit.Script{release: {kit.Conflict, kit.OK}}, once("commit 0"), committed(2, "commit 0"), "UPDATE a",
		),
		"the commit, PostgreSQL": accountOf(kit.Script{"COMMIT": {kit.Conflict, kit.OK}}, once("commit 0"),
			committed(2, "commit 0"), "UPDATE a").with(fakepg.PlainPostgreSQL()),
		"a replay": accountOf(kit.Script{
			"UPDATE a": {kit.OK, kit.Conflict, kit.OK},
			"UPDATE b": {kit.OK, kit.Conflict, kit.OK}, "UPDATE c": {kit.Conflict, kit.OK},
		},
			[]string{
				"2 serializable at statement 3 *pgconn.PgError",
				"3 serializable at statement 1 *pgconn.PgError", "4 serializable at statement 2 *pgconn.PgError",
			}, committed(4, "statement 2"), "UPDATE a", "UPDATE b", "UPDATE c").with(kit.Attempts(5)),
		"a statement that was not sent is none": {
			script: kit.Script{"UPDATE b": {kit.Conflict}}, retries: once("statement 2"), ended: committed(2, "statement 2"),
			do: func(t *testing.T, r *kit.Rig) {
				done, cancel := context.WithCancel(t.Context())
				cancel()
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				_, err := tx.ExecContext(done, "UPDATE b")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, kit.ExecAll(tx, "UPDATE b"))
				require.NoError(t, tx.Commit())
			},
		},
		"a statement that is being prepared": {
			script:  kit.Script{"UPDATE b SET v = $1": {{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}}},
			option:  kit.Attempts(3),
			retries: []string{"2 serializable at statement 2 *pgconn.PgError", "3 serializable at statement 2 *pgconn.PgError"},
			ended:   []string{"3 serializable at statement 2: exhausted *cockroachdb.RetriesExhaustedError"},
			do: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				_, err := tx.Exec("UPDATE b SET v = $1", "7")
				_ = kit.As[*cockroachdb.RetriesExhaustedError](t, err)
				require.NoError(t, tx.Rollback())
			},
		},
		"rows": {
			script:  kit.Script{"SELECT v": {kit.BreakOff(kit.Ints(1, 2), 1), kit.Ints(1)}},
			retries: once("rows 2"),
			ended:   committed(2, "rows 2"),
			do: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				rows, err := tx.Query("SELECT v")
				require.NoError(t, err)
				for rows.Next() {
				}
				require.NoError(t, rows.Err())
				require.NoError(t, tx.Commit())
			},
		},
		"a stale plan": {
			script:  kit.Script{"SELECT v": {kit.Ints(1), {Err: kit.Stale.Err}, kit.Ints(1)}},
			retries: []string{"2 stale_plan at statement 2 *pgconn.PgError"},
			ended:   []string{"2 stale_plan at statement 2: committed"},
			do: func(t *testing.T, r *kit.Rig) {
				r.DB.SetMaxOpenConns(1)
				require.NoError(t, r.DB.QueryRow("SELECT v").Scan(new(int)))
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				reads(t, tx)
				require.NoError(t, tx.Commit())
			},
		},
		"diverged": {
			script:  kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Conflict}},
			retries: once("statement 2"),
			ended:   []string{"2 serializable at statement 2: diverged *cockroachdb.DivergenceError"},
			do: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				reads(t, tx)
				failsThenRollsBack(t, tx)
			},
		},
		"exhausted": accountOf(kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.Conflict}},
			[]string{"2 serializable at statement 1 *pgconn.PgError", "3 serializable at statement 1 *pgconn.PgError"},
			[]string{"3 serializable at statement 1: exhausted *cockroachdb.RetriesExhaustedError"},
			"UPDATE a").with(kit.Attempts(3)),
		"exhausted at once": accountOf(kit.Script{"UPDATE a": {{Err: kit.Conflict.Err, Delay: 2 * time.Minute}}}, []string{},
			[]string{"1 serializable at statement 1: exhausted *cockroachdb.RetriesExhaustedError"}, "UPDATE a"),
		"not replayable": accountOf(kit.Script{"UPDATE c": {kit.Conflict}}, []string{},
			[]string{"1 serializable at statement 3: not_replayable *cockroachdb.NotReplayableError"},
			"UPDATE a", "UPDATE b", "UPDATE c").
			with(kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 })),
		"without retries": {
			script: kit.Script{"UPDATE a": {kit.Conflict}}, retries: []string{}, ended: []string{},
			do: func(t *testing.T, r *kit.Rig) {
				failsThenRollsBack(t, r.BeginIn(t, cockroachdb.WithoutRetries(t.Context())))
			},
		},
		"failed afterwards": accountOf(kit.Script{
			"UPDATE a": {kit.Conflict}, "COMMIT": {kit.Fails("23505", "deferred")},
		}, once("statement 1"),
			[]string{"2 serializable at statement 1: failed *pgconn.PgError"}, "UPDATE a").with(fakepg.PlainPostgreSQL()),
		"rolled back afterwards": accountOf(
			kit.Script{"UPDATE a": {kit.Conflict}, "UPDATE b": {kit.Fails("23505", "duplicate")}}, once("statement 1"),
			[]string{"2 serializable at statement 1: rolled_back"}, "UPDATE a", "UPDATE b",
		),
		"lost afterwards": accountOf(kit.Script{"UPDATE a": {kit.Conflict}, "UPDATE b": {kit.CutOff}}, once("statement 1"),
			[]string{"2 serializable at statement 1: connection_lost *cockroachdb.ConnectionLostError"}, "UPDATE a", "UPDATE b"),
		"ambiguous afterwards": accountOf(kit.Script{"UPDATE a": {kit.Conflict}, release: {kit.CutOff}}, once("statement 1"),
			[]string{"2 serializable at statement 1: ambiguous *cockroachdb.AmbiguousCommitError"}, "UPDATE a"),
		"a wait for the lane": {
			script: kit.Script{"UPDATE a": {kit.Conflict}},
			retries: []string{
				"2 serializable at statement 1 *pgconn.PgError", "2 serializable at statement 1 waited 2s *pgconn.PgError",
			},
			ended: []string{"2 serializable at statement 1: committed", "2 serializable at statement 1 waited 2s: committed"},
			do: func(t *testing.T, r *kit.Rig) {
				holder, told := r.HoldLane(t), make(chan struct{})
				time.AfterFunc(2*time.Second, func() {
					assert.NoError(t, holder.Commit())
					close(told)
				})
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				<-told
				require.NoError(t, tx.Commit())
			},
		},
		"cancelled in a backoff": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict}}, option: kit.Patient, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1 waited 1s: cancelled *errors.errorString"},
			do: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, tx.Rollback())
			},
		},
		"rolled back by database/sql": {
			script: kit.Script{"UPDATE a": {kit.Conflict}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: cancelled"}, do: func(t *testing.T, r *kit.Rig) {
				ctx, cancel := context.WithCancel(t.Context())
				require.NoError(t, kit.ExecAll(r.BeginIn(t, ctx), "UPDATE a"))
				cancel()
				synctest.Wait()
			},
		},

		"outside": {
			script: kit.Script{"UPDATE a": {kit.Conflict}}, retries: once("statement 1"), ended: committed(2, "statement 1"),
			do: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE a")
				require.NoError(t, err)
			},
		},
		"outside, rows": {
			script:  kit.Script{"SELECT v": {kit.BreakOff(kit.Ints(1, 2), 1), kit.Ints(1)}},
			retries: once("rows 1"), ended: committed(2, "rows 1"), do: queryOutside,
		},
		"outside, diverged": {
			script:  kit.Script{"SELECT v": {kit.BreakOff(kit.Ints(1, 2), 1), kit.Ints(7)}},
			retries: once("rows 1"),
			do:      queryOutside,
			ended:   []string{"2 serializable at rows 1: diverged *cockroachdb.DivergenceError"},
		},
		"outside, failed": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Fails("23505", "duplicate")}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: failed *pgconn.PgError"}, do: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE a")
				require.Error(t, err)
			},
		},
		"outside, cut": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.CutOff}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: ambiguous *cockroachdb.AmbiguousCommitError"},
			do: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE a")
				require.Error(t, err)
			},
		},
		"outside, cancelled": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Slow}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: cancelled *errors.errorString"}, do: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
			},
		},
		"outside, prepared": {
			script:  kit.Script{"UPDATE a SET v = $1": {{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}}},
			option:  kit.Attempts(3),
			retries: []string{"2 serializable at statement 1 *pgconn.PgError", "3 serializable at statement 1 *pgconn.PgError"},
			ended:   []string{"3 serializable at statement 1: exhausted *cockroachdb.RetriesExhaustedError"},
			do: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Prepare("UPDATE a SET v = $1")
				_ = kit.As[*cockroachdb.RetriesExhaustedError](t, err)
			},
		},
		"outside, a stale plan": {
			script:  kit.Script{"SELECT v": {kit.Ints(1), {Err: kit.Stale.Err}, kit.Ints(1)}},
			retries: []string{"2 stale_plan at statement 1 *pgconn.PgError"},
			ended:   []string{"2 stale_plan at statement 1: committed"},
			do: func(t *testing.T, r *kit.Rig) {
				r.DB.SetMaxOpenConns(1)
				for range 2 {
					require.NoError(t, r.DB.QueryRow("SELECT v").Scan(new(int)))
				}
			},
		},

		"RunTx calls again after a divergence": {
			script: kit.Script{bump: {kit.Ints(1), kit.Ints(2), kit.Ints(2)}, release: {kit.Conflict, kit.OK}},
			retries: []string{
				"2 serializable at commit 0 *pgconn.PgError", "3 diverged at statement 2 *cockroachdb.DivergenceError",
			},
			ended: []string{"3 diverged at statement 2: committed"},
			do: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					if err := kit.ExecAll(tx, "UPDATE a"); err != nil {
						return err
					}
					return tx.QueryRow(bump).Scan(new(int))
				}))
			},
		},
		"RunTx calls again at once": {
			script:  kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Conflict, kit.OK}},
			retries: once("statement 2"), ended: committed(2, "statement 2"),
			do: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					if err := tx.QueryRow("SELECT v").Scan(new(int)); err != nil {
						return err
					}
					return kit.ExecAll(tx, "UPDATE a")
				}))
			},
		},
		"RunTx calls again at once, for its function hides the conflict": {
			script:  kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Conflict, kit.OK}},
			retries: once("statement 2"), ended: committed(2, "statement 2"),
			do: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					if err := tx.QueryRow("SELECT v").Scan(new(int)); err != nil {
						return err
					}
					if err := kit.ExecAll(tx, "UPDATE a"); err != nil {
						return fmt.Errorf("update a: %v", err) //nolint:errorlint // it is to be hidden
					}
					return nil
				}))
			},
		},
		"RunTx calls again what is not replayable": {
			script:  kit.Script{release: {kit.Conflict, kit.OK}},
			option:  kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 }),
			retries: once("commit 0"), ended: committed(2, "commit 0"),
			do: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					return kit.ExecAll(tx, "UPDATE a", "UPDATE b")
				}))
			},
		},
		"RunTx calls again, and loses again": {
			script:  kit.Script{"UPDATE c": {kit.Conflict, kit.Conflict, kit.OK}},
			option:  kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements, p.InitialBackoff = 1, 0 }),
			retries: []string{"2 serializable at statement 3 *pgconn.PgError", "3 serializable at statement 3 *pgconn.PgError"},
			ended:   committed(3, "statement 3"),
			do: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					return kit.ExecAll(tx, "UPDATE a", "UPDATE b", "UPDATE c")
				}))
			},
		},
		"RunTx's function has a conflict of its own": {
			retries: once("statement 0"), ended: committed(2, "statement 0"),
			do: func(t *testing.T, r *kit.Rig) {
				calls := 0
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					if calls++; calls == 1 {
						return errors.Join(kit.ExecAll(tx, "UPDATE a"),
							&pgconn.PgError{Code: "40001", Message: "restart transaction: RETRY_SERIALIZABLE"})
					}
					return kit.ExecAll(tx, "UPDATE a")
				}))
			},
		},
	}
}

func TestEvents_EachCase_SayWhatHappened(t *testing.T) {
	t.Parallel()
	for name, a := range accounts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &listener{}
			kit.InBubble(t, a.script, func(t *testing.T, r *kit.Rig) {
				a.do(t, r)
				assert.Equal(t, a.retries, said(l.Retries...))
				assert.Equal(t, a.ended, settled(l.Ended...))
				assert.Equal(t, float64(len(a.retries)), sumOf(r.Counts(t), "transaction_retries_total "))
			}, a.option, l.hooks)
		})
	}
}

func sumOf(counts map[string]float64, prefix string) (sum float64) {
	for name, n := range counts {
		if strings.HasPrefix(name, prefix) {
			sum += n
		}
	}
	return sum
}

// logged is an event as log/slog shows it.
func logged(e slog.LogValuer) string {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("retry", "event", e)
	return log.String()
}

// Of the server's conflict, which quotes keys, only Err tells; a log does not, and neither shows an argument.
func TestEvents_Logged_HoldNoSecrets(t *testing.T) {
	t.Parallel()
	const argument = "the " + kit.Secret
	text := "UPDATE people SET secret = $1"
	conflict := fakepg.Reply{
		Err: fakepg.Error("40001", "restart transaction: RETRY_SERIALIZABLE: key=/Table/52/"+kit.Secret),
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
		l := &listener{}
		script := kit.Script{text: {kit.OK, kit.OK}, "UPDATE b": {conflict, conflict, kit.OK}}
		kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			_, err := tx.Exec(text, mode, argument)
			require.NoError(t, err)
			require.NoError(t, kit.ExecAll(tx, "UPDATE b"))
			require.NoError(t, tx.Commit())

			require.Len(t, l.Retries, 2)
			require.Len(t, l.Ended, 1)
			shown := func(e slog.LogValuer, err error, number string, want int) {
				log := logged(e)
				var line struct{ Event map[string]any }
				require.NoError(t, json.Unmarshal([]byte(log), &line))
				assert.EqualValues(t, want, line.Event[number])
				assert.Equal(t, "statement", line.Event["at"])
				if err != nil {
					assert.Contains(t, err.Error(), kit.Secret, "Err is the server's, as it came")
					assert.Equal(t, "conflict (serializable, SQLSTATE 40001)", line.Event["err"])
				}
				assert.NotContains(t, log, kit.Secret)
			}
			for _, e := range l.Retries {
				shown(e, e.Err, "attempt", e.Attempt)
				e.Err = nil
				assert.NotContains(t, fmt.Sprintf("%+v", e), kit.Secret)
			}
			for _, e := range l.Ended {
				shown(e, e.Err, "attempts", e.Attempts)
				e.Err = nil
				assert.NotContains(t, fmt.Sprintf("%+v", e), kit.Secret)
			}
		}, kit.Attempts(5), l.hooks)
	}
}

// A log of what diverged says what, and where to read on.
func TestEvents_Divergence_SaysWhatDiffered(t *testing.T) {
	t.Parallel()
	l := &listener{}
	script := kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Conflict}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		reads(t, tx)
		failsThenRollsBack(t, tx)
		require.Len(t, l.Ended, 1)
		assert.Contains(t, logged(l.Ended[0]), "statement 1: row 1, already read, changed")
		assert.Contains(t, logged(l.Ended[0]), "/docs/tuning.md#a-row-changed")
	}, l.hooks)
}
