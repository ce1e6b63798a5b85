package observe_test

import (
	"context"
	"database/sql"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// series are counts, by name and label values.
type series map[string]float64

// transaction is what one that ended has moved, with attempts attempts.
func transaction(outcome string, attempts int, more ...series) series {
	s := series{
		"transactions_total " + outcome: 1,
		"transaction_attempts count":    1,
		"transaction_attempts sum":      float64(attempts),
	}
	if attempts > 1 {
		s["transaction_duration_seconds true count"] = 1
	} else {
		s["transaction_duration_seconds false count"] = 1
	}
	for _, m := range more {
		maps.Copy(s, m)
	}
	return s
}

// replays is what replays have moved that took no time.
func replays(n, statements int) series {
	return series{"replay_duration_seconds count": float64(n), "replayed_statements_total": float64(statements)}
}

func retries(at string, n int) series {
	return series{"transaction_retries_total " + at + " serializable": float64(n)}
}

// A metricsCase is one transaction, with what it moves. Its time is virtual: none, unless it says otherwise.
type metricsCase struct {
	script kit.Script
	option any
	run    func(t *testing.T, r *kit.Rig)
	want   series
}

// ofTx is a metricsCase of a transaction that its caller ends.
func ofTx(s kit.Script, want series, run func(t *testing.T, tx *sql.Tx)) metricsCase {
	return metricsCase{script: s, want: want, run: func(t *testing.T, r *kit.Rig) { run(t, r.Begin(t)) }}
}

func (s metricsCase) with(option any) metricsCase {
	s.option = option
	return s
}

func commits(t *testing.T, tx *sql.Tx) {
	require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
	require.NoError(t, tx.Commit())
}

func failsThenRollsBack(t *testing.T, tx *sql.Tx) {
	require.Error(t, kit.ExecAll(tx, "UPDATE a"))
	require.NoError(t, tx.Rollback())
}

func reads(t *testing.T, tx *sql.Tx) {
	t.Helper()
	require.NoError(t, tx.QueryRow("SELECT v").Scan(new(int)))
}

func metricsCases() map[string]metricsCase {
	const release = "RELEASE SAVEPOINT cockroach_restart"
	readThenCommit := func(t *testing.T, tx *sql.Tx) { reads(t, tx); require.NoError(t, tx.Commit()) }
	return map[string]metricsCase{
		"nothing done":   ofTx(nil, series{}, func(t *testing.T, tx *sql.Tx) { require.NoError(t, tx.Commit()) }),
		"nothing undone": ofTx(nil, series{}, func(t *testing.T, tx *sql.Tx) { require.NoError(t, tx.Rollback()) }),
		"committed":      ofTx(nil, transaction("committed", 1), commits),
		"without retries": {want: transaction("committed", 1), run: func(t *testing.T, r *kit.Rig) {
			commits(t, r.BeginIn(t, cockroachdb.WithoutRetries(t.Context())))
		}},
		"retried at a statement": ofTx(
			kit.Script{"UPDATE a": {kit.Conflict}}, transaction("committed", 2, retries("statement", 1), replays(1, 1)), commits,
		),
		"retried in rows": ofTx(kit.Script{"SELECT v": {kit.BreakOff(kit.Ints(1, 2), 1), kit.Ints(1)}},
			transaction("committed", 2, retries("rows", 1), replays(1, 1)), func(t *testing.T, tx *sql.Tx) {
				rows, err := tx.Query("SELECT v")
				require.NoError(t, err)
				for rows.Next() {
				}
				require.NoError(t, rows.Err())
				require.NoError(t, tx.Commit())
			}),
		"retried at the commit": ofTx(
			kit.Script{release: {kit.Conflict, kit.OK}},
			transaction("committed", 2, retries("commit", 1), replays(1, 1)), commits,
		),
		"retried on PostgreSQL": ofTx(kit.Script{"COMMIT": {kit.Conflict, kit.OK}},
			transaction("committed", 2, retries("commit", 1), replays(1, 1)), commits).with(fakepg.PlainPostgreSQL()),
		"retried in three places": ofTx(kit.Script{
			"UPDATE a": {kit.Conflict, kit.Conflict, kit.OK}, release: {kit.Conflict, kit.OK},
		}, transaction("committed", 4, retries("statement", 2), retries("commit", 1), replays(3, 3)), commits).with(four),
		"duration": ofTx(kit.Script{"UPDATE a": {{Delay: 3 * time.Second}}},
			transaction("committed", 1, series{"transaction_duration_seconds false sum": 3}), commits),
		"duration of a replay": ofTx(kit.Script{"UPDATE a": {kit.Conflict, {Delay: 3 * time.Second}}},
			transaction("committed", 2, retries("statement", 1), replays(1, 1),
				series{"transaction_duration_seconds true sum": 3, "replay_duration_seconds sum": 3}), commits),
		"failed at a statement": ofTx(
			kit.Script{"UPDATE a": {kit.Fails("23505", "duplicate")}}, transaction("failed", 1),
			func(t *testing.T, tx *sql.Tx) {
				require.Error(t, kit.ExecAll(tx, "UPDATE a"))
				require.Error(t, tx.Commit())
			},
		),
		"failed at the commit": ofTx(kit.Script{"COMMIT": {kit.Fails("23505", "deferred")}}, transaction("failed", 1),
			func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				require.Error(t, tx.Commit())
			}).with(fakepg.PlainPostgreSQL()),
		"failed to begin": ofTx(
			kit.Script{"BEGIN": {kit.Fails("53300", "too many")}}, transaction("failed", 1), failsThenRollsBack,
		),
		"rolled back": ofTx(nil, transaction("rolled_back", 1), func(t *testing.T, tx *sql.Tx) {
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			require.NoError(t, tx.Rollback())
		}),
		"rolled back after an error": ofTx(
			kit.Script{"UPDATE a": {kit.Fails("23505", "duplicate")}}, transaction("rolled_back", 1), failsThenRollsBack,
		),
		"diverged": ofTx(kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Conflict}},
			transaction("diverged", 2, retries("statement", 1), replays(1, 2), series{"replay_divergences_total row": 1}),
			func(t *testing.T, tx *sql.Tx) {
				reads(t, tx)
				failsThenRollsBack(t, tx)
			}),
		"diverged at the commit": ofTx(kit.Script{"SELECT v": {kit.Ints(1), kit.Ints()}, release: {kit.Conflict}},
			transaction("diverged", 2, retries("commit", 1), replays(1, 1), series{"replay_divergences_total end_of_rows": 1}),
			func(t *testing.T, tx *sql.Tx) {
				reads(t, tx)
				require.Error(t, tx.Commit())
			}),
		"exhausted": ofTx(kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.Conflict}},
			transaction("exhausted", 3, retries("statement", 2), replays(2, 2)), failsThenRollsBack).with(kit.Attempts(3)),
		"exhausted at the commit": ofTx(kit.Script{release: {kit.Conflict, kit.Conflict, kit.Conflict}},
			transaction("exhausted", 3, retries("commit", 2), replays(2, 2)), func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				require.Error(t, tx.Commit())
			}).with(kit.Attempts(3)),
		"not replayable": ofTx(kit.Script{"UPDATE a": {kit.Conflict}},
			transaction("not_replayable", 1, series{"not_replayable_total as_of_system_time": 1}),
			func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'"))
				failsThenRollsBack(t, tx)
			}),
		"not replayable, and committed all the same": ofTx(nil,
			transaction("committed", 1, series{"not_replayable_total as_of_system_time": 1}), func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'"))
				commits(t, tx)
			}),
		"restarted by the application": ofTx(nil,
			transaction("committed", 1, series{"not_replayable_total application_savepoint": 1}),
			func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "SAVEPOINT cockroach_restart", "UPDATE a",
					"RELEASE SAVEPOINT cockroach_restart"))
				require.NoError(t, tx.Commit())
			}),
		"ambiguous": ofTx(
			kit.Script{release: {kit.CutOff}}, transaction("ambiguous", 1, series{"ambiguous_commits_total": 1}),
			func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				require.Error(t, tx.Commit())
			},
		),
		"ambiguous after a retry": ofTx(kit.Script{release: {kit.Conflict, kit.Fails("40003", "unknown")}},
			transaction("ambiguous", 2, retries("commit", 1), replays(1, 1), series{"ambiguous_commits_total": 1}),
			func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				require.Error(t, tx.Commit())
			}),
		"connection lost": ofTx(
			kit.Script{"UPDATE b": {kit.CutOff}}, transaction("connection_lost", 1),
			func(t *testing.T, tx *sql.Tx) {
				require.Error(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
				require.NoError(t, tx.Rollback())
			},
		),
		"connection lost at once": ofTx(
			kit.Script{"UPDATE a": {kit.CutOff}}, transaction("connection_lost", 1), failsThenRollsBack,
		),
		"connection lost at BEGIN": ofTx(
			kit.Script{"BEGIN": {kit.CutOff}}, transaction("connection_lost", 1), failsThenRollsBack,
		),
		"connection lost, replayed": ofTx(
			kit.Script{"UPDATE a": {kit.Conflict, kit.CutOff}},
			transaction("connection_lost", 2, retries("statement", 1), replays(1, 1)), failsThenRollsBack,
		),
		"ended by COMMIT": ofTx(nil, transaction("ended_by_application", 1), func(t *testing.T, tx *sql.Tx) {
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "COMMIT"))
			_ = tx.Commit()
		}),
		"ended by ROLLBACK": ofTx(nil, transaction("ended_by_application", 1), func(t *testing.T, tx *sql.Tx) {
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "ROLLBACK"))
			require.NoError(t, tx.Rollback())
		}),
		"ended by ROLLBACK on PostgreSQL": ofTx(nil, transaction("ended_by_application", 1), func(t *testing.T, tx *sql.Tx) {
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "ROLLBACK"))
			_ = tx.Commit()
		}).with(fakepg.PlainPostgreSQL()),
		"RunTx": {want: transaction("committed", 1), run: func(t *testing.T, r *kit.Rig) {
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				return kit.ExecAll(tx, "UPDATE a")
			}))
		}},
		"RunTx starts over": {
			script: kit.Script{bump: {kit.Ints(1), kit.Ints(2), kit.Ints(2)}, release: {kit.Conflict, kit.OK}},
			want: transaction(
				"committed", 3, retries("commit", 1), replays(1, 1),
				series{"replay_divergences_total row": 1, "transaction_retries_total statement diverged": 1},
			),
			run: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					return tx.QueryRow(bump).Scan(new(int))
				}))
			},
		},
		"RunTx starts over at once": {
			script: kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, release: {kit.Conflict, kit.OK}},
			want:   transaction("committed", 2, retries("commit", 1)),
			run: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					return tx.QueryRow("SELECT v").Scan(new(int))
				}))
			},
		},
		"waits for the lane": {
			script: kit.Script{"UPDATE a": {kit.Conflict}},
			want: series{
				"transactions_total committed": 2, "transaction_attempts count": 2, "transaction_attempts sum": 4,
				"transaction_duration_seconds true count": 2, "transaction_duration_seconds true sum": 4,
				"transaction_retries_total statement serializable": 2, "backoff_seconds_total lane": 2,
				"replay_duration_seconds count": 2, "replayed_statements_total": 2,
			},
			run: func(t *testing.T, r *kit.Rig) {
				holder := r.HoldLane(t)
				time.AfterFunc(2*time.Second, func() { assert.NoError(t, holder.Commit()) })
				commits(t, r.Begin(t))
				synctest.Wait() // for the holder, which leaves the lane before it is counted
			},
		},
		"is cancelled in the backoff": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict}}, option: kit.Patient,
			want: transaction(
				"cancelled", 2, retries("statement", 1), replays(1, 1),
				series{"backoff_seconds_total backoff": 1, "transaction_duration_seconds true sum": 1},
			),
			run: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, tx.Rollback())
			},
		},
		"is cancelled while it waits for the lane": {
			script: kit.Script{"UPDATE a": {kit.Conflict}},
			want: series{
				"transactions_total committed": 1, "transactions_total cancelled": 1,
				"transaction_attempts count": 2, "transaction_attempts sum": 3,
				"transaction_duration_seconds true count": 1, "transaction_duration_seconds true sum": 1,
				"transaction_duration_seconds false count": 1, "transaction_duration_seconds false sum": 1,
				"transaction_retries_total statement serializable": 1, "backoff_seconds_total lane": 1,
				"replay_duration_seconds count": 1, "replayed_statements_total": 1,
			},
			run: func(t *testing.T, r *kit.Rig) {
				holder, tx := r.HoldLane(t), r.Begin(t)
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, tx.Rollback())
				require.NoError(t, holder.Commit())
			},
		},
		"is cancelled in a statement": ofTx(kit.Script{"UPDATE a": {kit.Slow}},
			transaction("cancelled", 1, series{"transaction_duration_seconds false sum": 1}), func(t *testing.T, tx *sql.Tx) {
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, tx.Rollback())
			}),
		"is out of time in a statement": ofTx(kit.Script{"UPDATE a": {kit.Slow}},
			transaction("cancelled", 1, series{"transaction_duration_seconds false sum": 1}), func(t *testing.T, tx *sql.Tx) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := tx.ExecContext(ctx, "UPDATE a")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NoError(t, tx.Rollback())
			}),
		"is cancelled in a replay": ofTx(kit.Script{"UPDATE a": {kit.Conflict, kit.Slow}},
			transaction("cancelled", 2, retries("statement", 1), replays(1, 1), series{
				"transaction_duration_seconds true sum": 1, "replay_duration_seconds sum": 1,
			}),
			func(t *testing.T, tx *sql.Tx) {
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, tx.Rollback())
			}),
		"is cancelled between two statements": {want: transaction("cancelled", 1), run: func(t *testing.T, r *kit.Rig) {
			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, kit.ExecAll(r.BeginIn(t, ctx), "UPDATE a"))
			cancel()
			synctest.Wait() // for database/sql, which rolls it back
		}},
		"is cancelled in the commit": {
			script: kit.Script{release: {kit.Slow}},
			want: transaction(
				"ambiguous", 1, series{"ambiguous_commits_total": 1, "transaction_duration_seconds false sum": 1},
			),
			run: func(t *testing.T, r *kit.Rig) {
				tx := r.BeginIn(t, kit.CancelledSoon(t))
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				require.ErrorIs(t, tx.Commit(), context.Canceled)
			},
		},
		"a statement that was not sent, its context being done": ofTx(
			nil, transaction("committed", 1),
			func(t *testing.T, tx *sql.Tx) {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_, err := tx.ExecContext(ctx, "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				commits(t, tx)
			},
		),
		"reads": ofTx(kit.Script{"SELECT v": {kit.Ints(1)}}, transaction("committed", 1), readThenCommit),
	}
}

// four allows four attempts without waits.
// bump is a write whose answer RunTx's function is shown: what others have written since may be the same to it.
const bump = "UPDATE n SET v = v + 1 RETURNING v"

var four = kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxAttempts, p.InitialBackoff = 4, 0 })

func TestMetrics_EachOutcome_IsCounted(t *testing.T) {
	t.Parallel()
	for name, s := range metricsCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.InBubble(t, s.script, func(t *testing.T, r *kit.Rig) {
				before := r.Counts(t)
				s.run(t, r)
				moved := series(r.Moved(t, before))
				maps.DeleteFunc(moved, func(name string, _ float64) bool { // report_test.go has those of protection
					return name == "dials_total opened" || strings.HasPrefix(name, "protection")
				})
				assert.Equal(t, s.want, moved)
				assert.Zero(t, r.Counts(t)["history_bytes"])
				problems, err := testutil.GatherAndLint(r.Registry)
				require.NoError(t, err)
				assert.Empty(t, problems)
			}, s.option)
		})
	}
}

// The record's memory goes up with each statement and down to nothing, whatever becomes of the transaction.
func TestMetrics_BytesOfTheRecord_ReturnToZero(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		held := 0.0
		for range 3 {
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			now := r.Counts(t)["history_bytes"]
			assert.Greater(t, now, held)
			held = now
		}
		require.NoError(t, tx.Commit())
		assert.Zero(t, r.Counts(t)["history_bytes"])
	})
}

func TestMetrics_PoolsOnOneRegistry_AreToldApart(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		same := r.Another(t)
		r.Config.DBName = "other"
		other := r.Another(t)
		for _, db := range []*sql.DB{r.DB, same.DB, other.DB} {
			tx, err := db.Begin()
			require.NoError(t, err)
			commits(t, tx)
		}
		families, err := r.Registry.Gather()
		require.NoError(t, err)
		committed := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == "cockroachdb_transactions_total" && m.GetLabel()[1].GetValue() == "committed" {
					committed[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
		assert.Equal(t, map[string]float64{"fake": 2, "other": 1}, committed)
		problems, err := testutil.GatherAndLint(r.Registry)
		require.NoError(t, err)
		assert.Empty(t, problems)
	})
}

// The reason of a retry is the server's, where it gives one.
func TestMetrics_ReasonOfARetry_IsTheServers(t *testing.T) {
	t.Parallel()
	const restart = "restart transaction: TransactionRetryWithProtoRefreshError: "
	for message, reason := range map[string]string{
		restart + "WriteTooOldError: write at timestamp 1":              "write_too_old",
		restart + "TransactionAbortedError(ABORT_REASON_CLIENT_REJECT)": "aborted",
		"could not serialize access due to concurrent update":           "serialization_failure",
	} {
		kit.InBubble(t, kit.Script{"UPDATE a": {{Err: fakepg.Error("40001", message)}}}, func(t *testing.T, r *kit.Rig) {
			before := r.Counts(t)
			commits(t, r.Begin(t))
			assert.Equal(t, 1.0, r.Moved(t, before)["transaction_retries_total statement "+reason])
		})
	}
}
