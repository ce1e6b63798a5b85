package cockroachdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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
)

// A listener keeps the events of a rig.
type listener struct {
	mu             sync.Mutex
	retries, ended []cockroachdb.RetryEvent
}

// hooks is an option of newRig.
func (l *listener) hooks(c *cockroachdb.Config) {
	c.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.retries = append(l.retries, e)
	}
	c.OnRetried = func(_ context.Context, e cockroachdb.RetryEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = append(l.ended, e)
	}
}

// said is what events say, in a line for each.
func said(events ...cockroachdb.RetryEvent) []string {
	lines := []string{}
	for _, e := range events {
		line := fmt.Sprintf("%d %s at %s %d", e.Attempt, e.Reason, e.At, e.Statement)
		if e.Wait > 0 {
			line += fmt.Sprintf(" waited %v", e.Wait)
		}
		if e.Outcome != "" {
			line += ": " + e.Outcome
		}
		if e.Err != nil {
			line += fmt.Sprintf(" %T", e.Err)
		}
		lines = append(lines, line)
	}
	return lines
}

// OnRetry is called as often as a retry is counted; OnRetried once for each transaction that lost, with the outcome that is counted.
func TestEventsFitTheMetrics(t *testing.T) {
	t.Parallel()
	for name, s := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &listener{}
			inBubble(t, s.script, func(t *testing.T, r *rig) {
				s.run(t, r)
				counts := r.counts(t)
				retries := map[string]float64{}
				for _, e := range l.retries {
					retries["transaction_retries_total "+e.At+" "+e.Reason]++
					assert.Greater(t, e.Attempt, 1)
					assert.Empty(t, e.Outcome)
					assert.Error(t, e.Err)
				}
				total := 0.0
				for name, n := range counts {
					if strings.HasPrefix(name, "transaction_retries_total ") {
						assert.Equal(t, n, retries[name], name)
						total += n
					}
				}
				assert.Equal(t, total, counts["transaction_attempts sum"]-counts["transaction_attempts count"], "all of them in transactions")
				for _, e := range l.ended {
					assert.Positive(t, counts["transactions_total "+e.Outcome], e.Outcome)
				}
				if retried := counts["transaction_duration_seconds true count"]; retried > 0 {
					assert.GreaterOrEqual(t, len(l.ended), int(retried))
				}
			}, s.option, l.hooks)
		})
	}
}

// An account is one transaction, and what the hooks are told of it.
type account struct {
	script  script
	option  any
	do      func(t *testing.T, r *rig)
	retries []string
	ended   []string
}

// accountOf is that of a transaction that runs these, and commits if it can.
func accountOf(s script, retries, ended []string, texts ...string) account {
	return account{script: s, retries: retries, ended: ended, do: func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		if execAll(tx, texts...) == nil {
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
	queryOutside := func(t *testing.T, r *rig) {
		rows, err := r.db.Query("SELECT v")
		require.NoError(t, err)
		for rows.Next() {
		}
		_ = rows.Err()
		require.NoError(t, rows.Close())
	}
	return map[string]account{
		"nothing lost":           accountOf(nil, []string{}, []string{}, "UPDATE a"),
		"the first statement":    accountOf(script{"UPDATE a": {lost}}, once("statement 1"), committed(2, "statement 1"), "UPDATE a", "UPDATE b"),
		"the second statement":   accountOf(script{"UPDATE b": {lost}}, once("statement 2"), committed(2, "statement 2"), "UPDATE a", "UPDATE b"),
		"BEGIN":                  accountOf(script{"BEGIN": {lost, success}}, once("statement 1"), committed(2, "statement 1"), "UPDATE a", "UPDATE b"),
		"the commit":             accountOf(script{release: {lost, success}}, once("commit 0"), committed(2, "commit 0"), "UPDATE a"),
		"the commit, PostgreSQL": accountOf(script{"COMMIT": {lost, success}}, once("commit 0"), committed(2, "commit 0"), "UPDATE a").with(plainPostgreSQL),
		"a replay": accountOf(script{"UPDATE a": {success, lost, success}, "UPDATE b": {success, lost, success}, "UPDATE c": {lost, success}},
			[]string{
				"2 serializable at statement 3 *pgconn.PgError", "3 serializable at statement 1 *pgconn.PgError", "4 serializable at statement 2 *pgconn.PgError",
			}, committed(4, "statement 2"), "UPDATE a", "UPDATE b", "UPDATE c").with(five),
		"a statement that was not sent is none": {script: script{"UPDATE b": {lost}}, retries: once("statement 2"), ended: committed(2, "statement 2"), do: func(t *testing.T, r *rig) {
			done, cancel := context.WithCancel(t.Context())
			cancel()
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a"))
			_, err := tx.ExecContext(done, "UPDATE b")
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, execAll(tx, "UPDATE b"))
			require.NoError(t, tx.Commit())
		}},
		"a statement that is being prepared": {
			script: script{"UPDATE b SET v = $1": {{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}}}, option: three,
			retries: []string{"2 serializable at statement 2 *pgconn.PgError", "3 serializable at statement 2 *pgconn.PgError"},
			ended:   []string{"3 serializable at statement 2: exhausted *cockroachdb.RetriesExhaustedError"},
			do: func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a"))
				_, err := tx.Exec("UPDATE b SET v = $1", "7")
				_ = exhausted(t, err)
				require.NoError(t, tx.Rollback())
			},
		},
		"rows": {script: script{"SELECT v": {halfway(1, 2), numbers(1)}}, retries: once("rows 2"), ended: committed(2, "rows 2"), do: func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a"))
			rows, err := tx.Query("SELECT v")
			require.NoError(t, err)
			for rows.Next() {
			}
			require.NoError(t, rows.Err())
			require.NoError(t, tx.Commit())
		}},
		"a stale plan": {
			script:  script{"SELECT v": {numbers(1), {Err: stale.Err}, numbers(1)}},
			retries: []string{"2 stale_plan at statement 2 *pgconn.PgError"}, ended: []string{"2 stale_plan at statement 2: committed"},
			do: func(t *testing.T, r *rig) {
				r.db.SetMaxOpenConns(1)
				require.NoError(t, r.db.QueryRow("SELECT v").Scan(new(int)))
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a"))
				reads(t, tx)
				require.NoError(t, tx.Commit())
			},
		},
		"diverged": {
			script:  script{"SELECT v": {numbers(1), numbers(2)}, "UPDATE a": {lost}},
			retries: once("statement 2"), ended: []string{"2 serializable at statement 2: diverged *cockroachdb.DivergenceError"},
			do: func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				reads(t, tx)
				failsThenRollsBack(t, tx)
			},
		},
		"exhausted": accountOf(script{"UPDATE a": {lost, lost, lost}},
			[]string{"2 serializable at statement 1 *pgconn.PgError", "3 serializable at statement 1 *pgconn.PgError"},
			[]string{"3 serializable at statement 1: exhausted *cockroachdb.RetriesExhaustedError"}, "UPDATE a").with(three),
		"exhausted at once": accountOf(script{"UPDATE a": {{Err: lost.Err, Delay: 2 * time.Minute}}}, []string{},
			[]string{"1 serializable at statement 1: exhausted *cockroachdb.RetriesExhaustedError"}, "UPDATE a"),
		"not replayable": accountOf(script{"UPDATE c": {lost}}, []string{},
			[]string{"1 serializable at statement 3: not_replayable *cockroachdb.NotReplayableError"}, "UPDATE a", "UPDATE b", "UPDATE c").
			with(withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 })),
		"without retries": {script: script{"UPDATE a": {lost}}, retries: []string{}, ended: []string{}, do: func(t *testing.T, r *rig) {
			failsThenRollsBack(t, r.begin(t, cockroachdb.WithoutRetries(t.Context())))
		}},
		"failed afterwards": accountOf(script{"UPDATE a": {lost}, "COMMIT": {refused("23505", "deferred")}}, once("statement 1"),
			[]string{"2 serializable at statement 1: failed *pgconn.PgError"}, "UPDATE a").with(plainPostgreSQL),
		"rolled back afterwards": accountOf(script{"UPDATE a": {lost}, "UPDATE b": {refused("23505", "duplicate")}}, once("statement 1"),
			[]string{"2 serializable at statement 1: rolled_back"}, "UPDATE a", "UPDATE b"),
		"lost afterwards": accountOf(script{"UPDATE a": {lost}, "UPDATE b": {cutOff}}, once("statement 1"),
			[]string{"2 serializable at statement 1: connection_lost *cockroachdb.ConnectionLostError"}, "UPDATE a", "UPDATE b"),
		"ambiguous afterwards": accountOf(script{"UPDATE a": {lost}, release: {cutOff}}, once("statement 1"),
			[]string{"2 serializable at statement 1: ambiguous *cockroachdb.AmbiguousCommitError"}, "UPDATE a"),
		"a wait for the lane": {
			script:  script{"UPDATE a": {lost}},
			retries: []string{"2 serializable at statement 1 *pgconn.PgError", "2 serializable at statement 1 waited 2s *pgconn.PgError"},
			ended:   []string{"2 serializable at statement 1: committed", "2 serializable at statement 1 waited 2s: committed"},
			do: func(t *testing.T, r *rig) {
				holder := r.holdLane(t)
				time.AfterFunc(2*time.Second, func() { assert.NoError(t, holder.Commit()) })
				commits(t, r.begin(t, t.Context()))
			},
		},
		"cancelled in a backoff": {
			script: script{"UPDATE a": {lost, lost}}, option: patient, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1 waited 1s: cancelled *errors.errorString"},
			do: func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				_, err := tx.ExecContext(cancelled(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, tx.Rollback())
			},
		},
		"rolled back by database/sql": {
			script: script{"UPDATE a": {lost}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: cancelled"}, do: func(t *testing.T, r *rig) {
				ctx, cancel := context.WithCancel(t.Context())
				require.NoError(t, execAll(r.begin(t, ctx), "UPDATE a"))
				cancel()
				synctest.Wait()
			},
		},

		"outside": {script: script{"UPDATE a": {lost}}, retries: once("statement 1"), ended: committed(2, "statement 1"), do: func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE a")
			require.NoError(t, err)
		}},
		"outside, rows": {script: script{"SELECT v": {halfway(1, 2), numbers(1)}}, retries: once("rows 1"), ended: committed(2, "rows 1"), do: queryOutside},
		"outside, diverged": {
			script: script{"SELECT v": {halfway(1, 2), numbers(7)}}, retries: once("rows 1"), do: queryOutside,
			ended: []string{"2 serializable at rows 1: diverged *cockroachdb.DivergenceError"},
		},
		"outside, failed": {
			script: script{"UPDATE a": {lost, refused("23505", "duplicate")}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: failed *pgconn.PgError"}, do: func(t *testing.T, r *rig) {
				_, err := r.db.Exec("UPDATE a")
				require.Error(t, err)
			},
		},
		"outside, cut": {
			script: script{"UPDATE a": {lost, cutOff}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: connection_lost *fmt.wrapError"}, do: func(t *testing.T, r *rig) {
				_, err := r.db.Exec("UPDATE a")
				require.Error(t, err)
			},
		},
		"outside, cancelled": {
			script: script{"UPDATE a": {lost, slow}}, retries: once("statement 1"),
			ended: []string{"2 serializable at statement 1: cancelled *errors.errorString"}, do: func(t *testing.T, r *rig) {
				_, err := r.db.ExecContext(cancelled(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
			},
		},
		"outside, prepared": {
			script: script{"UPDATE a SET v = $1": {{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}}}, option: three,
			retries: []string{"2 serializable at statement 1 *pgconn.PgError", "3 serializable at statement 1 *pgconn.PgError"},
			ended:   []string{"3 serializable at statement 1: exhausted *cockroachdb.RetriesExhaustedError"},
			do: func(t *testing.T, r *rig) {
				_, err := r.db.Prepare("UPDATE a SET v = $1")
				_ = exhausted(t, err)
			},
		},
		"outside, a stale plan": {
			script:  script{"SELECT v": {numbers(1), {Err: stale.Err}, numbers(1)}},
			retries: []string{"2 stale_plan at statement 1 *pgconn.PgError"}, ended: []string{"2 stale_plan at statement 1: committed"},
			do: func(t *testing.T, r *rig) {
				r.db.SetMaxOpenConns(1)
				for range 2 {
					require.NoError(t, r.db.QueryRow("SELECT v").Scan(new(int)))
				}
			},
		},

		"RunTx calls again behind a divergence": {
			script:  script{"SELECT v": {numbers(1), numbers(2), numbers(2)}, release: {lost, success}},
			retries: []string{"2 serializable at commit 0 *pgconn.PgError", "3 diverged at statement 2 *cockroachdb.DivergenceError"},
			ended:   []string{"3 diverged at statement 2: committed"},
			do: func(t *testing.T, r *rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error {
					if err := execAll(tx, "UPDATE a"); err != nil {
						return err
					}
					return tx.QueryRow("SELECT v").Scan(new(int))
				}))
			},
		},
		"RunTx calls again what is not replayable": {
			script: script{release: {lost, success}}, option: withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 }),
			retries: once("commit 0"), ended: committed(2, "commit 0"),
			do: func(t *testing.T, r *rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error { return execAll(tx, "UPDATE a", "UPDATE b") }))
			},
		},
		"RunTx calls again, and loses again": {
			script: script{"UPDATE c": {lost, lost, success}}, option: withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements, p.InitialBackoff = 1, 0 }),
			retries: []string{"2 serializable at statement 3 *pgconn.PgError", "3 serializable at statement 3 *pgconn.PgError"},
			ended:   committed(3, "statement 3"),
			do: func(t *testing.T, r *rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error { return execAll(tx, "UPDATE a", "UPDATE b", "UPDATE c") }))
			},
		},
		"RunTx's function has a conflict of its own": {
			retries: once("statement 0"), ended: committed(2, "statement 0"),
			do: func(t *testing.T, r *rig) {
				calls := 0
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error {
					if calls++; calls == 1 {
						return errors.Join(execAll(tx, "UPDATE a"), &pgconn.PgError{Code: "40001", Message: "restart transaction: RETRY_SERIALIZABLE"})
					}
					return execAll(tx, "UPDATE a")
				}))
			},
		},
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for name, a := range accounts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &listener{}
			inBubble(t, a.script, func(t *testing.T, r *rig) {
				a.do(t, r)
				assert.Equal(t, a.retries, said(l.retries...))
				assert.Equal(t, a.ended, said(l.ended...))
				assert.Equal(t, float64(len(a.retries)), sumOf(r.counts(t), "transaction_retries_total "))
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

type eventKey struct{}

// The context is that of the statement, or BeginTx's.
func TestEventsHaveTheContext(t *testing.T) {
	t.Parallel()
	var contexts []any
	note := func(ctx context.Context, _ cockroachdb.RetryEvent) {
		attempt, replay := cockroachdb.AttemptFrom(ctx)
		contexts = append(contexts, fmt.Sprint(ctx.Value(eventKey{}), attempt, replay))
	}
	named := func(t *testing.T, name string) context.Context {
		return context.WithValue(t.Context(), eventKey{}, name)
	}
	inBubble(t, script{"UPDATE a": {lost}, "UPDATE b": {lost}, releaseSQL: {lost, success}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, named(t, "BeginTx"))
		_, err := tx.ExecContext(named(t, "a"), "UPDATE a")
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		_, err = r.db.ExecContext(named(t, "b"), "UPDATE b")
		require.NoError(t, err)
		assert.Equal(t, []any{"a1 false", "BeginTx1 false", "BeginTx1 false", "b1 false", "b1 false"}, contexts)
	}, func(c *cockroachdb.Config) { c.OnRetry, c.OnRetried = note, note }, five)
}

// Blocking costs time and nothing else: the time counts, and a statement on the pool goes through, even one that loses itself.
func TestEventsMayBlock(t *testing.T) {
	t.Parallel()
	var db *sql.DB
	inside := false
	hook := func(ctx context.Context, _ cockroachdb.RetryEvent) {
		if inside {
			return
		}
		inside = true
		defer func() { inside = false }()
		time.Sleep(10 * time.Second)
		_, err := db.ExecContext(ctx, "INSERT INTO log")
		assert.NoError(t, err)
		_, err = db.ExecContext(ctx, "UPDATE hold")
		assert.NoError(t, err)
		tx, err := db.BeginTx(ctx, nil)
		if assert.NoError(t, err) {
			assert.NoError(t, execAll(tx, "INSERT INTO log"))
			assert.NoError(t, tx.Commit())
		}
	}
	inBubble(t, script{"UPDATE a": {lost, success}, "UPDATE hold": {lost, success}}, func(t *testing.T, r *rig) {
		db = r.db
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a"))
		assert.Equal(t, 15*time.Second, time.Since(r.started), "ten, and five for the lane")
		require.NoError(t, tx.Commit())
		assert.Equal(t, 25*time.Second, time.Since(r.started), "the lane is free by now")
		inside = true // not once more
		r.usable(t)
	}, func(c *cockroachdb.Config) { c.OnRetry, c.OnRetried = hook, hook })

	inBubble(t, script{"UPDATE a": {lost, lost, success}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		e := exhausted(t, execAll(tx, "UPDATE a"))
		assert.Equal(t, cockroachdb.BoundElapsed, e.Bound)
		assert.Equal(t, time.Hour, e.Elapsed)
		require.NoError(t, tx.Rollback())
		r.usable(t)
	}, func(c *cockroachdb.Config) {
		once := atomicOnce{}
		c.OnRetry = func(context.Context, cockroachdb.RetryEvent) {
			if once.first() {
				time.Sleep(time.Hour)
			}
		}
	})
}

// A hook that has the context end stops the transaction: nothing more is sent for it.
func TestEventsMayCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := &listener{}
	inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, ctx)
		require.NoError(t, execAll(tx, "UPDATE a"))
		_, err := tx.ExecContext(ctx, "UPDATE b")
		require.ErrorIs(t, err, context.Canceled)
		require.Error(t, tx.Commit())
		synctest.Wait()
		assert.Equal(t, 1, r.times("UPDATE a"))
		assert.Equal(t, []string{"2 serializable at statement 2: cancelled *errors.errorString"}, said(l.ended...))
		r.usable(t)
	}, l.hooks, func(c *cockroachdb.Config) {
		c.OnRetry = func(context.Context, cockroachdb.RetryEvent) { cancel() }
	})
}

// A hook that panics harms nobody. It is heard of in the log.
func TestEventsMayPanic(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)

	hook := func(context.Context, cockroachdb.RetryEvent) { panic(errOfTheCaller) }
	panicking := func(c *cockroachdb.Config) { c.OnRetry, c.OnRetried = hook, hook }
	for name, s := range map[string]script{
		"in a statement": {"UPDATE b": {lost}},
		"in the commit":  {releaseSQL: {lost, success}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, s, func(t *testing.T, r *rig) {
				log.Reset()
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, 2, r.times("UPDATE a"))
				assert.Equal(t, 1, strings.Count(log.String(), "Config.OnRetry panicked; the transaction goes on"), log.String())
				assert.Equal(t, 1, strings.Count(log.String(), "Config.OnRetried panicked"))
				assert.Contains(t, log.String(), errOfTheCaller.Error())
				assert.Contains(t, log.String(), "TestEventsMayPanic", "the stack")
				r.usable(t)
			}, panicking)
		})
	}
	t.Run("outside", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {lost}}, func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE a")
			require.NoError(t, err)
			r.usable(t)
		}, panicking)
	})
}

// A hook that ends its goroutine, as t.FailNow does, ends the transaction: nothing of it is committed, and nobody waits for it.
func TestEventsMayEndTheirGoroutine(t *testing.T) {
	t.Parallel()
	quitting := func(c *cockroachdb.Config) {
		first := atomicOnce{}
		c.OnRetry = func(context.Context, cockroachdb.RetryEvent) {
			if first.first() {
				runtime.Goexit()
			}
		}
	}
	inAGoroutine := func(do func()) {
		var wg sync.WaitGroup
		wg.Go(do)
		wg.Wait()
	}
	for name, end := range map[string]func(t *testing.T, tx *sql.Tx){
		"rolled back": func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Rollback()) },
		"committed in spite of it": func(t *testing.T, tx *sql.Tx) {
			assert.Equal(t, "25P02", stateOf(execAll(tx, "UPDATE c")))
			assert.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
				inAGoroutine(func() {
					tx := r.begin(t, t.Context())
					defer func() { end(t, tx) }()
					_ = execAll(tx, "UPDATE a", "UPDATE b")
				})
				assert.Zero(t, r.times("COMMIT")+r.times("RELEASE")+r.times("UPDATE c"))
				r.usable(t)
			}, quitting)
		})
	}
	t.Run("in the commit", func(t *testing.T) {
		inBubble(t, script{releaseSQL: {lost, success}}, func(t *testing.T, r *rig) {
			inAGoroutine(func() {
				tx := r.begin(t, t.Context())
				_ = execAll(tx, "UPDATE a")
				_ = tx.Commit()
			})
			assert.Equal(t, []string{"BEGIN", "SAVEPOINT", "UPDATE a", "RELEASE", "ROLLBACK"}, r.ran)
			r.laneIsFree(t) // the connection is database/sql's, and lost to it
		}, quitting)
	})
	t.Run("outside", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {lost}}, func(t *testing.T, r *rig) {
			inAGoroutine(func() { _, _ = r.db.Exec("UPDATE a") })
			r.usable(t)
		}, quitting)
	})
}

// logged is an event as log/slog shows it.
func logged(e cockroachdb.RetryEvent) string {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("retry", "event", e)
	return log.String()
}

// Of the server's conflict, which quotes keys, only Err tells; a log does not, and neither shows an argument.
func TestEventsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	const argument = "the " + secret
	text := "UPDATE people SET secret = $1"
	conflict := fakepg.Reply{Err: fakepg.Error("40001", "restart transaction: RETRY_SERIALIZABLE: key=/Table/52/"+secret)}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
		l := &listener{}
		inBubble(t, script{text: {success, success}, "UPDATE b": {conflict, conflict, success}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			_, err := tx.Exec(text, mode, argument)
			require.NoError(t, err)
			require.NoError(t, execAll(tx, "UPDATE b"))
			require.NoError(t, tx.Commit())

			require.Len(t, l.retries, 2)
			require.Len(t, l.ended, 1)
			for _, e := range append(l.retries, l.ended...) {
				log := logged(e)
				var line struct{ Event map[string]any }
				require.NoError(t, json.Unmarshal([]byte(log), &line))
				assert.EqualValues(t, e.Attempt, line.Event["attempt"])
				assert.Equal(t, "statement", line.Event["at"])
				if e.Err != nil {
					assert.Contains(t, e.Err.Error(), secret, "Err is the server's, as it came")
					assert.Equal(t, "conflict (serializable, SQLSTATE 40001)", line.Event["err"])
				}
				assert.NotContains(t, log, secret)
				e.Err = nil
				assert.NotContains(t, fmt.Sprintf("%+v", e), secret)
			}
		}, five, l.hooks)
	}
}

// A log of what diverged says what, and where to read on.
func TestEventsSayWhatDiverged(t *testing.T) {
	t.Parallel()
	l := &listener{}
	inBubble(t, script{"SELECT v": {numbers(1), numbers(2)}, "UPDATE a": {lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		reads(t, tx)
		failsThenRollsBack(t, tx)
		require.Len(t, l.ended, 1)
		assert.Contains(t, logged(l.ended[0]), "statement 1: row 1, already read, changed")
		assert.Contains(t, logged(l.ended[0]), "/docs/tuning.md#a-row-changed")
	}, l.hooks)
}
