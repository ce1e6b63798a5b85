package lane_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

var errOfTheCaller = errors.New("the caller's own")

// A wayOut is how a transaction that has lost, and has entered the lane, comes to its end.
type wayOut struct {
	script kit.Script
	leave  func(t *testing.T, r *kit.Rig)
	option any
}

// held makes a way out of what a caller does with a transaction that is in the lane.
func held(s kit.Script, leave func(t *testing.T, tx *sql.Tx)) wayOut {
	return wayOut{script: s, leave: func(t *testing.T, r *kit.Rig) { leave(t, r.HoldLane(t)) }}
}

// heldOnPostgreSQL is held on a plain PostgreSQL.
func heldOnPostgreSQL(s kit.Script, leave func(t *testing.T, tx *sql.Tx)) wayOut {
	w := held(s, leave)
	w.option = fakepg.PlainPostgreSQL()
	return w
}

// runTx makes a way out of what a function given to RunTx does, once its first statement has lost.
func runTx(s kit.Script, fn func(ctx context.Context, tx *sql.Tx) error, want string) wayOut {
	return wayOut{script: s, option: kit.Attempts(5), leave: func(t *testing.T, r *kit.Rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := cockroachdb.RunTx(ctx, r.DB, nil, func(tx *sql.Tx) error {
			if err := kit.ExecAll(tx, "UPDATE hold"); err != nil {
				return err
			}
			return fn(ctx, tx)
		})
		if want == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, want)
		}
	}}
}

func waysOutOfTheLane() map[string]wayOut {
	const release = "RELEASE SAVEPOINT cockroach_restart"
	return map[string]wayOut{
		"commit":               held(nil, func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Commit()) }),
		"commit on PostgreSQL": heldOnPostgreSQL(nil, func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Commit()) }),
		"commit refused": held(
			kit.Script{release: {kit.Fails("3B001", "no such savepoint")}},
			func(t *testing.T, tx *sql.Tx) {
				assert.Equal(t, "3B001", kit.StateOf(tx.Commit()))
			},
		),
		"commit refused on PostgreSQL": heldOnPostgreSQL(
			kit.Script{"COMMIT": {kit.Fails("23505", "deferred")}},
			func(t *testing.T, tx *sql.Tx) {
				assert.Equal(t, "23505", kit.StateOf(tx.Commit()))
			},
		),
		"commit ambiguous": held(kit.Script{release: {kit.Fails("40003", "unknown")}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), tx.Commit())
		}),
		"commit cut": held(kit.Script{release: {kit.CutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), tx.Commit())
		}),
		"commit whose replay is cut": held(
			kit.Script{release: {kit.Aborted}, "BEGIN PRIORITY HIGH": {kit.CutOff}},
			func(t *testing.T, tx *sql.Tx) {
				assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), tx.Commit())
			},
		),
		"commit of a failed one": held(
			kit.Script{"UPDATE a": {kit.Fails("23505", "duplicate")}},
			func(t *testing.T, tx *sql.Tx) {
				assert.Error(t, kit.ExecAll(tx, "UPDATE a"))
				assert.Error(t, tx.Commit())
			},
		),
		"rollback": held(nil, func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Rollback()) }),
		"rollback cut": held(kit.Script{"ROLLBACK": {kit.CutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.NoError(t, tx.Rollback())
		}),
		"panic": held(nil, func(t *testing.T, tx *sql.Tx) {
			assert.Panics(t, func() {
				defer func() { _ = tx.Rollback() }()
				panic(errOfTheCaller)
			})
		}),
		"panic in a Valuer": held(nil, func(t *testing.T, tx *sql.Tx) {
			assert.Panics(t, func() {
				defer func() { _ = tx.Rollback() }()
				_, _ = tx.Exec("UPDATE a SET v = $1", panicker{})
			})
		}),

		"BeginTx's context cancelled": {leave: func(t *testing.T, r *kit.Rig) {
			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, kit.ExecAll(r.BeginIn(t, ctx), "UPDATE hold"))
			cancel()
			synctest.Wait()
		}},
		"BeginTx's context cancelled in a statement": {
			script: kit.Script{"UPDATE a": {kit.Slow}},
			leave: func(t *testing.T, r *kit.Rig) {
				ctx := kit.CancelledSoon(t) // the statement's too: database/sql has a rollback wait for it otherwise
				tx := r.BeginIn(t, ctx)
				require.NoError(t, kit.ExecAll(tx, "UPDATE hold"))
				_, err := tx.ExecContext(ctx, "UPDATE a")
				assert.ErrorIs(t, err, context.Canceled)
				synctest.Wait()
			},
		},
		"cancelled in a statement": held(kit.Script{"UPDATE a": {kit.Slow}}, func(t *testing.T, tx *sql.Tx) {
			_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			assert.NoError(t, tx.Rollback())
		}),
		"cancelled in a replay": held(kit.Script{"UPDATE a": {kit.Conflict, kit.Slow}}, func(t *testing.T, tx *sql.Tx) {
			_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			assert.NoError(t, tx.Rollback())
		}),
		"cancelled in a commit's replay": {
			script: kit.Script{release: {kit.Conflict}, "UPDATE hold": {kit.Conflict, kit.OK, kit.Slow}},
			leave: func(t *testing.T, r *kit.Rig) {
				tx := r.BeginIn(t, kit.CancelledSoon(t))
				require.NoError(t, kit.ExecAll(tx, "UPDATE hold"))
				assert.ErrorIs(t, tx.Commit(), context.Canceled)
			},
		},
		"cancelled in the backoff": {
			script: kit.Script{"UPDATE a": {kit.Conflict}}, option: kit.Patient,
			leave: func(t *testing.T, r *kit.Rig) {
				tx := r.HoldLane(t)
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				assert.Equal(t, context.Canceled, err)
				assert.NoError(t, tx.Rollback())
			},
		},
		"cancelled in the ROLLBACK before the backoff": held(
			kit.Script{"UPDATE a": {kit.Conflict}, "ROLLBACK": {kit.Slow}},
			func(t *testing.T, tx *sql.Tx) {
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				assert.ErrorIs(t, err, context.Canceled)
				assert.NoError(t, tx.Rollback())
			},
		),
		"BeginTx's context cancelled in the backoff": {
			script: kit.Script{"UPDATE a": {kit.Conflict}}, option: kit.Patient,
			leave: func(t *testing.T, r *kit.Rig) {
				tx := r.BeginIn(t, kit.CancelledSoon(t))
				require.NoError(t, kit.ExecAll(tx, "UPDATE hold"))
				_, err := tx.ExecContext(t.Context(), "UPDATE a")
				assert.ErrorIs(t, err, context.Canceled)
				synctest.Wait()
			},
		},
		"cancelled in the wait for the lane": {
			script: kit.Script{"UPDATE a": {kit.Conflict}},
			leave: func(t *testing.T, r *kit.Rig) {
				holder, tx := r.HoldLane(t), r.Begin(t)
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				assert.Equal(t, context.Canceled, err)
				assert.Error(t, tx.Commit())
				assert.NoError(t, holder.Rollback())
			},
		},
		"its turn comes while it is cancelled": {
			script: kit.Script{"UPDATE a": {kit.Conflict}},
			leave: func(t *testing.T, r *kit.Rig) {
				holder, tx := r.HoldLane(t), r.Begin(t)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() {
					_, err := tx.ExecContext(ctx, "UPDATE a")
					done <- err
				}()
				synctest.Wait()
				cancel()
				assert.NoError(t, holder.Rollback())
				<-done //nolint:errcheck // either way
				assert.NoError(t, tx.Rollback())
			},
		},

		"connection cut in a statement": held(kit.Script{"UPDATE a": {kit.CutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), kit.ExecAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}),
		"connection cut in a replay": held(
			kit.Script{"UPDATE a": {kit.Conflict, kit.CutOff}},
			func(t *testing.T, tx *sql.Tx) {
				assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), kit.ExecAll(tx, "UPDATE a"))
				assert.Error(t, tx.Commit())
			},
		),
		"connection cut before the wait": held(
			kit.Script{"UPDATE a": {kit.Conflict}, "ROLLBACK": {kit.CutOff}},
			func(t *testing.T, tx *sql.Tx) {
				assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), kit.ExecAll(tx, "UPDATE a"))
				assert.Error(t, tx.Commit())
			},
		),
		"all connections cut": {leave: func(t *testing.T, r *kit.Rig) {
			tx := r.HoldLane(t)
			r.Disconnect()
			assert.Error(t, kit.ExecAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}},
		"connection closed": {leave: func(t *testing.T, r *kit.Rig) {
			conn, err := r.Connector.Connect(t.Context())
			require.NoError(t, err)
			_, err = conn.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
			require.NoError(t, err)
			_, err = conn.(driver.ExecerContext).ExecContext(t.Context(), "UPDATE hold", nil)
			require.NoError(t, err)
			assert.NoError(t, conn.Close())
		}},
		"connection closed within rows": {
			script: kit.Script{"SELECT v": {kit.Conflict, kit.Ints(1, 2)}},
			leave: func(t *testing.T, r *kit.Rig) {
				conn, err := r.Connector.Connect(t.Context())
				require.NoError(t, err)
				_, err = conn.(driver.QueryerContext).QueryContext(t.Context(), "SELECT v", nil)
				require.NoError(t, err)
				assert.NoError(t, conn.Close())
			},
		},

		"exhausted": held(kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.Conflict}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.RetriesExhaustedError)(nil), kit.ExecAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}).with(kit.Attempts(3)),
		"exhausted and committed": held(kit.Script{
			"UPDATE a": {kit.Conflict, kit.Conflict, kit.Conflict},
		}, func(t *testing.T, tx *sql.Tx) {
			assert.Error(t, kit.ExecAll(tx, "UPDATE a"))
			assert.Error(t, tx.Commit())
		}).with(kit.Attempts(3)),
		"diverged": held(
			kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Conflict}},
			func(t *testing.T, tx *sql.Tx) {
				var v int
				assert.NoError(t, tx.QueryRow("SELECT v").Scan(&v))
				assert.IsType(t, (*cockroachdb.DivergenceError)(nil), kit.ExecAll(tx, "UPDATE a"))
				assert.NoError(t, tx.Rollback())
			},
		),
		"diverged and committed": held(
			kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, release: {kit.Conflict}},
			func(t *testing.T, tx *sql.Tx) {
				var v int
				assert.NoError(t, tx.QueryRow("SELECT v").Scan(&v))
				assert.IsType(t, (*cockroachdb.DivergenceError)(nil), tx.Commit())
			},
		),
		"not replayable": held(kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, tx *sql.Tx) {
			assert.NoError(t, kit.ExecAll(tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'"))
			assert.IsType(t, (*cockroachdb.NotReplayableError)(nil), kit.ExecAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}),
		"COMMIT as text": {leave: func(t *testing.T, r *kit.Rig) {
			tx := r.HoldLane(t)
			require.NoError(t, kit.ExecAll(tx, "COMMIT"))
			r.WantFreeLane(t) // without waiting for the caller
			_ = tx.Commit()
		}},
		"ROLLBACK as text": {leave: func(t *testing.T, r *kit.Rig) {
			tx := r.HoldLane(t)
			require.NoError(t, kit.ExecAll(tx, "ROLLBACK"))
			r.WantFreeLane(t)
			assert.NoError(t, tx.Rollback())
		}},
		"COMMIT as text, lost": held(kit.Script{"COMMIT": {kit.Conflict}}, func(t *testing.T, tx *sql.Tx) {
			require.NoError(t, kit.ExecAll(tx, "COMMIT"), "absorbed: it had committed nothing")
			assert.Error(t, tx.Rollback(), "it is committed")
		}),

		"RunTx commits": runTx(nil, func(context.Context, *sql.Tx) error { return nil }, ""),
		"RunTx loses at commit": runTx(
			kit.Script{release: {kit.Conflict, kit.OK}}, func(context.Context, *sql.Tx) error { return nil }, "",
		),
		"RunTx fails": runTx(nil, func(context.Context, *sql.Tx) error { return errOfTheCaller }, "the caller's own"),
		"RunTx's function commits": runTx(nil, func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
			"ended the transaction itself"),
		"RunTx's function rolls back": runTx(nil, func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
			"ended the transaction itself"),
		"RunTx's function says COMMIT": runTx(
			nil, func(_ context.Context, tx *sql.Tx) error { return kit.ExecAll(tx, "COMMIT") },
			"ended the transaction itself",
		),
		"RunTx is exhausted": runTx(
			kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.Conflict, kit.Conflict, kit.Conflict, kit.Conflict}},
			func(_ context.Context, tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a") }, "bound: attempts",
		),
		"RunTx is cut": runTx(kit.Script{"UPDATE a": {kit.CutOff}},
			func(_ context.Context, tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a") }, "connection was lost"),
		"RunTx is ambiguous": runTx(
			kit.Script{release: {kit.CutOff}}, func(context.Context, *sql.Tx) error { return nil }, "outcome is unknown",
		),
		"RunTx is cancelled": runTx(kit.Script{"UPDATE a": {kit.Slow}}, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE a")
			return err
		}, "context deadline exceeded"),
		"RunTx is cancelled idle": runTx(nil, func(ctx context.Context, _ *sql.Tx) error {
			<-ctx.Done()
			synctest.Wait()
			return nil
		}, "context deadline exceeded"),
		"RunTx starts over": runTx(
			kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2), kit.Ints(2)}, "UPDATE a": {kit.Conflict, kit.OK}},
			func(_ context.Context, tx *sql.Tx) error {
				var v int
				if err := tx.QueryRow("SELECT v").Scan(&v); err != nil {
					return err
				}
				return kit.ExecAll(tx, "UPDATE a")
			}, "",
		),
		"RunTx panics": {leave: func(t *testing.T, r *kit.Rig) {
			assert.PanicsWithValue(t, errOfTheCaller, func() {
				_ = cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					assert.NoError(t, kit.ExecAll(tx, "UPDATE hold"))
					panic(errOfTheCaller)
				})
			})
		}},
		"RunTx's goroutine exits": {leave: func(t *testing.T, r *kit.Rig) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					assert.NoError(t, kit.ExecAll(tx, "UPDATE hold"))
					runtime.Goexit()
					return nil
				})
			}()
			<-done
		}},

		"outside": {leave: func(t *testing.T, r *kit.Rig) {
			_, err := r.DB.Exec("UPDATE hold")
			assert.NoError(t, err)
		}},
		"outside, failed": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Fails("23505", "duplicate")}},
			leave: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE a")
				assert.Equal(t, "23505", kit.StateOf(err))
			},
		},
		"outside, with arguments": {
			script: kit.Script{"UPDATE a SET v = $1": {kit.Conflict}},
			leave: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE a SET v = $1", "x")
				assert.NoError(t, err)
			},
		},
		"outside, exhausted": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.Conflict}}, option: kit.Attempts(3),
			leave: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.Exec("UPDATE a")
				assert.IsType(t, (*cockroachdb.RetriesExhaustedError)(nil), err)
			},
		},
		"outside, cut": {script: kit.Script{"UPDATE a": {kit.Conflict, kit.CutOff}}, leave: func(t *testing.T, r *kit.Rig) {
			_, err := r.DB.Exec("UPDATE a")
			assert.Error(t, err)
		}},
		"outside, cancelled": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Slow}},
			leave: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				assert.ErrorIs(t, err, context.Canceled)
			},
		},
		"outside, cancelled in the backoff": {
			script: kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict}}, option: kit.Patient,
			leave: func(t *testing.T, r *kit.Rig) {
				_, err := r.DB.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				assert.ErrorIs(t, err, context.Canceled)
			},
		},
		"outside, rows": outsideRows(func(rows *sql.Rows) {
			for rows.Next() {
			}
		}),
		"outside, rows closed early": outsideRows(func(rows *sql.Rows) { rows.Next() }),
		"outside, no rows read":      outsideRows(func(*sql.Rows) {}),
		"outside, rows changed": {
			script: kit.Script{"SELECT v": {kit.BreakOff(kit.Ints(1, 2), 1), kit.Ints(7)}},
			leave: func(t *testing.T, r *kit.Rig) {
				rows, err := r.DB.Query("SELECT v")
				require.NoError(t, err)
				assert.True(t, rows.Next())
				assert.False(t, rows.Next())
				assert.IsType(t, (*cockroachdb.DivergenceError)(nil), rows.Err())
				assert.NoError(t, rows.Close())
			},
		},
		"outside, context cancelled within rows": {
			script: kit.Script{"SELECT v": {kit.Conflict, kit.Ints(1, 2)}},
			leave: func(t *testing.T, r *kit.Rig) {
				ctx, cancel := context.WithCancel(t.Context())
				rows, err := r.DB.QueryContext(ctx, "SELECT v")
				require.NoError(t, err)
				assert.True(t, rows.Next())
				cancel()
				synctest.Wait()
				_ = rows.Close()
			},
		},
		"outside, prepared": {script: kit.Script{"UPDATE a": {kit.Conflict}}, leave: func(t *testing.T, r *kit.Rig) {
			stmt, err := r.DB.PrepareContext(t.Context(), "UPDATE a")
			require.NoError(t, err)
			_, err = stmt.Exec()
			assert.NoError(t, err)
			assert.NoError(t, stmt.Close())
		}},
	}
}

func (w wayOut) with(option any) wayOut {
	w.option = option
	return w
}

type panicker struct{}

func (panicker) Value() (driver.Value, error) { panic(errOfTheCaller) }

func outsideRows(read func(*sql.Rows)) wayOut {
	return wayOut{
		script: kit.Script{"SELECT v": {kit.BreakOff(kit.Ints(1, 2, 3), 1), kit.Ints(1, 2, 3)}},
		leave: func(t *testing.T, r *kit.Rig) {
			rows, err := r.DB.Query("SELECT v")
			require.NoError(t, err)
			read(rows)
			assert.NoError(t, rows.Err())
			assert.NoError(t, rows.Close())
		},
	}
}

// Whatever the way out of a transaction that was in the lane, the next one enters it at once, one connection is enough
// to go on, and no goroutine is left: the bubble would not end.
func TestLane_EveryWayOut_LeavesIt(t *testing.T) {
	t.Parallel()
	for name, way := range waysOutOfTheLane() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.InBubble(t, way.script, func(t *testing.T, r *kit.Rig) {
				before := r.Counts(t)
				way.leave(t, r)
				var retries float64
				for series, n := range r.Moved(t, before) {
					if strings.HasPrefix(series, "transaction_retries_total") {
						retries += n
					}
				}
				assert.NotZero(t, retries, "it never was in the lane")
				r.WantUsable(t)
			}, way.option)
		})
	}
}
