package cockroachdb_test

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
)

var errOfTheCaller = errors.New("the caller's own")

// slow is a reply that does not come while the test runs.
var slow = fakepg.Reply{Delay: time.Hour}

// cancelled is a context that is cancelled in a second.
func cancelled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	t.Cleanup(cancel)
	return ctx
}

// patient never gives up by itself, and waits for years before it tries again in the lane: the jitter won't make that a second.
var patient = withPolicy(func(p *cockroachdb.RetryPolicy) {
	p.InitialBackoff, p.MaxBackoff, p.MaxElapsed = 1e6*time.Hour, 1e6*time.Hour, 2e6*time.Hour
})

// three attempts, and no waits.
var three = withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxAttempts, p.InitialBackoff = 3, 0 })

var five = withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxAttempts, p.InitialBackoff = 5, 0 })

// A wayOut is how a transaction that has lost, and has entered the lane, comes to its end.
type wayOut struct {
	script script
	leave  func(t *testing.T, r *rig)
	option any
}

// held makes a way out of what a caller does with a transaction that is in the lane.
func held(s script, leave func(t *testing.T, tx *sql.Tx)) wayOut {
	return wayOut{script: s, leave: func(t *testing.T, r *rig) { leave(t, r.holdLane(t)) }}
}

// heldOnPostgreSQL is held on a plain PostgreSQL.
func heldOnPostgreSQL(s script, leave func(t *testing.T, tx *sql.Tx)) wayOut {
	w := held(s, leave)
	w.option = plainPostgreSQL
	return w
}

// runTx makes a way out of what a function given to RunTx does, once its first statement has lost.
func runTx(s script, fn func(ctx context.Context, tx *sql.Tx) error, want string) wayOut {
	return wayOut{script: s, option: five, leave: func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := cockroachdb.RunTx(ctx, r.db, nil, func(tx *sql.Tx) error {
			if err := execAll(tx, "UPDATE hold"); err != nil {
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
		"commit refused": held(script{release: {refused("3B001", "no such savepoint")}}, func(t *testing.T, tx *sql.Tx) {
			assert.Equal(t, "3B001", stateOf(tx.Commit()))
		}),
		"commit refused on PostgreSQL": heldOnPostgreSQL(script{"COMMIT": {refused("23505", "deferred")}}, func(t *testing.T, tx *sql.Tx) {
			assert.Equal(t, "23505", stateOf(tx.Commit()))
		}),
		"commit ambiguous": held(script{release: {refused("40003", "unknown")}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), tx.Commit())
		}),
		"commit cut": held(script{release: {cutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), tx.Commit())
		}),
		"commit whose replay is cut": held(script{release: {aborted}, "BEGIN PRIORITY HIGH": {cutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), tx.Commit())
		}),
		"commit of a failed one": held(script{"UPDATE a": {refused("23505", "duplicate")}}, func(t *testing.T, tx *sql.Tx) {
			assert.Error(t, execAll(tx, "UPDATE a"))
			assert.Error(t, tx.Commit())
		}),
		"rollback": held(nil, func(t *testing.T, tx *sql.Tx) { assert.NoError(t, tx.Rollback()) }),
		"rollback cut": held(script{"ROLLBACK": {cutOff}}, func(t *testing.T, tx *sql.Tx) {
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

		"BeginTx's context cancelled": {leave: func(t *testing.T, r *rig) {
			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, execAll(r.begin(t, ctx), "UPDATE hold"))
			cancel()
			synctest.Wait()
		}},
		"BeginTx's context cancelled in a statement": {script: script{"UPDATE a": {slow}}, leave: func(t *testing.T, r *rig) {
			ctx := cancelled(t) // the statement's too: database/sql has a rollback wait for it otherwise
			tx := r.begin(t, ctx)
			require.NoError(t, execAll(tx, "UPDATE hold"))
			_, err := tx.ExecContext(ctx, "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			synctest.Wait()
		}},
		"cancelled in a statement": held(script{"UPDATE a": {slow}}, func(t *testing.T, tx *sql.Tx) {
			_, err := tx.ExecContext(cancelled(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			assert.NoError(t, tx.Rollback())
		}),
		"cancelled in a replay": held(script{"UPDATE a": {lost, slow}}, func(t *testing.T, tx *sql.Tx) {
			_, err := tx.ExecContext(cancelled(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			assert.NoError(t, tx.Rollback())
		}),
		"cancelled in a commit's replay": {script: script{release: {lost}, "UPDATE hold": {lost, success, slow}}, leave: func(t *testing.T, r *rig) {
			tx := r.begin(t, cancelled(t))
			require.NoError(t, execAll(tx, "UPDATE hold"))
			assert.ErrorIs(t, tx.Commit(), context.Canceled)
		}},
		"cancelled in the backoff": {script: script{"UPDATE a": {lost}}, option: patient, leave: func(t *testing.T, r *rig) {
			tx := r.holdLane(t)
			_, err := tx.ExecContext(cancelled(t), "UPDATE a")
			assert.Equal(t, context.Canceled, err)
			assert.NoError(t, tx.Rollback())
		}},
		"cancelled in the ROLLBACK before the backoff": held(script{"UPDATE a": {lost}, "ROLLBACK": {slow}}, func(t *testing.T, tx *sql.Tx) {
			_, err := tx.ExecContext(cancelled(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			assert.NoError(t, tx.Rollback())
		}),
		"BeginTx's context cancelled in the backoff": {script: script{"UPDATE a": {lost}}, option: patient, leave: func(t *testing.T, r *rig) {
			tx := r.begin(t, cancelled(t))
			require.NoError(t, execAll(tx, "UPDATE hold"))
			_, err := tx.ExecContext(t.Context(), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
			synctest.Wait()
		}},
		"cancelled in the wait for the lane": {script: script{"UPDATE a": {lost}}, leave: func(t *testing.T, r *rig) {
			holder, tx := r.holdLane(t), r.begin(t, t.Context())
			_, err := tx.ExecContext(cancelled(t), "UPDATE a")
			assert.Equal(t, context.Canceled, err)
			assert.Error(t, tx.Commit())
			assert.NoError(t, holder.Rollback())
		}},
		"its turn comes while it is cancelled": {script: script{"UPDATE a": {lost}}, leave: func(t *testing.T, r *rig) {
			holder, tx := r.holdLane(t), r.begin(t, t.Context())
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
		}},

		"connection cut in a statement": held(script{"UPDATE a": {cutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), execAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}),
		"connection cut in a replay": held(script{"UPDATE a": {lost, cutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), execAll(tx, "UPDATE a"))
			assert.Error(t, tx.Commit())
		}),
		"connection cut before the wait": held(script{"UPDATE a": {lost}, "ROLLBACK": {cutOff}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.ConnectionLostError)(nil), execAll(tx, "UPDATE a"))
			assert.Error(t, tx.Commit())
		}),
		"all connections cut": {leave: func(t *testing.T, r *rig) {
			tx := r.holdLane(t)
			r.Disconnect()
			assert.Error(t, execAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}},
		"connection closed": {leave: func(t *testing.T, r *rig) {
			conn, err := r.connector.Connect(t.Context())
			require.NoError(t, err)
			_, err = conn.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
			require.NoError(t, err)
			_, err = conn.(driver.ExecerContext).ExecContext(t.Context(), "UPDATE hold", nil)
			require.NoError(t, err)
			assert.NoError(t, conn.Close())
		}},
		"connection closed within rows": {script: script{"SELECT v": {lost, numbers(1, 2)}}, leave: func(t *testing.T, r *rig) {
			conn, err := r.connector.Connect(t.Context())
			require.NoError(t, err)
			_, err = conn.(driver.QueryerContext).QueryContext(t.Context(), "SELECT v", nil)
			require.NoError(t, err)
			assert.NoError(t, conn.Close())
		}},

		"exhausted": held(script{"UPDATE a": {lost, lost, lost}}, func(t *testing.T, tx *sql.Tx) {
			assert.IsType(t, (*cockroachdb.RetriesExhaustedError)(nil), execAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}).with(three),
		"exhausted and committed": held(script{"UPDATE a": {lost, lost, lost}}, func(t *testing.T, tx *sql.Tx) {
			assert.Error(t, execAll(tx, "UPDATE a"))
			assert.Error(t, tx.Commit())
		}).with(three),
		"diverged": held(script{"SELECT v": {numbers(1), numbers(2)}, "UPDATE a": {lost}}, func(t *testing.T, tx *sql.Tx) {
			var v int
			assert.NoError(t, tx.QueryRow("SELECT v").Scan(&v))
			assert.IsType(t, (*cockroachdb.DivergenceError)(nil), execAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}),
		"diverged and committed": held(script{"SELECT v": {numbers(1), numbers(2)}, release: {lost}}, func(t *testing.T, tx *sql.Tx) {
			var v int
			assert.NoError(t, tx.QueryRow("SELECT v").Scan(&v))
			assert.IsType(t, (*cockroachdb.DivergenceError)(nil), tx.Commit())
		}),
		"not replayable": held(script{"UPDATE a": {lost}}, func(t *testing.T, tx *sql.Tx) {
			assert.NoError(t, execAll(tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'"))
			assert.IsType(t, (*cockroachdb.NotReplayableError)(nil), execAll(tx, "UPDATE a"))
			assert.NoError(t, tx.Rollback())
		}),
		"COMMIT as text": {leave: func(t *testing.T, r *rig) {
			tx := r.holdLane(t)
			require.NoError(t, execAll(tx, "COMMIT"))
			r.laneIsFree(t) // without waiting for the caller
			_ = tx.Commit()
		}},
		"ROLLBACK as text": {leave: func(t *testing.T, r *rig) {
			tx := r.holdLane(t)
			require.NoError(t, execAll(tx, "ROLLBACK"))
			r.laneIsFree(t)
			assert.NoError(t, tx.Rollback())
		}},
		"COMMIT as text, lost": held(script{"COMMIT": {lost}}, func(t *testing.T, tx *sql.Tx) {
			require.NoError(t, execAll(tx, "COMMIT"), "absorbed: it had committed nothing")
			assert.Error(t, tx.Rollback(), "it is committed")
		}),

		"RunTx commits":         runTx(nil, func(context.Context, *sql.Tx) error { return nil }, ""),
		"RunTx loses at commit": runTx(script{release: {lost, success}}, func(context.Context, *sql.Tx) error { return nil }, ""),
		"RunTx fails":           runTx(nil, func(context.Context, *sql.Tx) error { return errOfTheCaller }, "the caller's own"),
		"RunTx's function commits": runTx(nil, func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
			"ended the transaction by itself"),
		"RunTx's function rolls back": runTx(nil, func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
			"ended the transaction by itself"),
		"RunTx's function says COMMIT": runTx(nil, func(_ context.Context, tx *sql.Tx) error { return execAll(tx, "COMMIT") },
			"ended the transaction by itself"),
		"RunTx is exhausted": runTx(script{"UPDATE a": {lost, lost, lost, lost, lost, lost}},
			func(_ context.Context, tx *sql.Tx) error { return execAll(tx, "UPDATE a") }, "bound: attempts"),
		"RunTx is cut": runTx(script{"UPDATE a": {cutOff}},
			func(_ context.Context, tx *sql.Tx) error { return execAll(tx, "UPDATE a") }, "connection was lost"),
		"RunTx is ambiguous": runTx(script{release: {cutOff}}, func(context.Context, *sql.Tx) error { return nil }, "outcome is unknown"),
		"RunTx is cancelled": runTx(script{"UPDATE a": {slow}}, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE a")
			return err
		}, "context deadline exceeded"),
		"RunTx is cancelled idle": runTx(nil, func(ctx context.Context, _ *sql.Tx) error {
			<-ctx.Done()
			synctest.Wait()
			return nil
		}, "context deadline exceeded"),
		"RunTx starts over": runTx(script{"SELECT v": {numbers(1), numbers(2), numbers(2)}, "UPDATE a": {lost, success}},
			func(_ context.Context, tx *sql.Tx) error {
				var v int
				if err := tx.QueryRow("SELECT v").Scan(&v); err != nil {
					return err
				}
				return execAll(tx, "UPDATE a")
			}, ""),
		"RunTx panics": {leave: func(t *testing.T, r *rig) {
			assert.PanicsWithValue(t, errOfTheCaller, func() {
				_ = cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error {
					assert.NoError(t, execAll(tx, "UPDATE hold"))
					panic(errOfTheCaller)
				})
			})
		}},
		"RunTx's goroutine exits": {leave: func(t *testing.T, r *rig) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error {
					assert.NoError(t, execAll(tx, "UPDATE hold"))
					runtime.Goexit()
					return nil
				})
			}()
			<-done
		}},

		"outside": {leave: func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE hold")
			assert.NoError(t, err)
		}},
		"outside, failed": {script: script{"UPDATE a": {lost, refused("23505", "duplicate")}}, leave: func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE a")
			assert.Equal(t, "23505", stateOf(err))
		}},
		"outside, with arguments": {script: script{"UPDATE a SET v = $1": {lost}}, leave: func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE a SET v = $1", "x")
			assert.NoError(t, err)
		}},
		"outside, exhausted": {script: script{"UPDATE a": {lost, lost, lost}}, option: three, leave: func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE a")
			assert.IsType(t, (*cockroachdb.RetriesExhaustedError)(nil), err)
		}},
		"outside, cut": {script: script{"UPDATE a": {lost, cutOff}}, leave: func(t *testing.T, r *rig) {
			_, err := r.db.Exec("UPDATE a")
			assert.Error(t, err)
		}},
		"outside, cancelled": {script: script{"UPDATE a": {lost, slow}}, leave: func(t *testing.T, r *rig) {
			_, err := r.db.ExecContext(cancelled(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
		}},
		"outside, cancelled in the backoff": {script: script{"UPDATE a": {lost, lost}}, option: patient, leave: func(t *testing.T, r *rig) {
			_, err := r.db.ExecContext(cancelled(t), "UPDATE a")
			assert.ErrorIs(t, err, context.Canceled)
		}},
		"outside, rows": outsideRows(func(rows *sql.Rows) {
			for rows.Next() {
			}
		}),
		"outside, rows closed early": outsideRows(func(rows *sql.Rows) { rows.Next() }),
		"outside, no rows read":      outsideRows(func(*sql.Rows) {}),
		"outside, rows changed": {script: script{"SELECT v": {halfway(1, 2), numbers(7)}}, leave: func(t *testing.T, r *rig) {
			rows, err := r.db.Query("SELECT v")
			require.NoError(t, err)
			assert.True(t, rows.Next())
			assert.False(t, rows.Next())
			assert.IsType(t, (*cockroachdb.DivergenceError)(nil), rows.Err())
			assert.NoError(t, rows.Close())
		}},
		"outside, context cancelled within rows": {script: script{"SELECT v": {lost, numbers(1, 2)}}, leave: func(t *testing.T, r *rig) {
			ctx, cancel := context.WithCancel(t.Context())
			rows, err := r.db.QueryContext(ctx, "SELECT v")
			require.NoError(t, err)
			assert.True(t, rows.Next())
			cancel()
			synctest.Wait()
			_ = rows.Close()
		}},
		"outside, prepared": {script: script{"UPDATE a": {lost}}, leave: func(t *testing.T, r *rig) {
			stmt, err := r.db.PrepareContext(t.Context(), "UPDATE a")
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

// halfway is an answer that loses after its first row.
func halfway(values ...int64) fakepg.Reply {
	r := numbers(values...)
	r.Err, r.ErrAfterRows = lost.Err, 1
	return r
}

func outsideRows(read func(*sql.Rows)) wayOut {
	return wayOut{script: script{"SELECT v": {halfway(1, 2, 3), numbers(1, 2, 3)}}, leave: func(t *testing.T, r *rig) {
		rows, err := r.db.Query("SELECT v")
		require.NoError(t, err)
		read(rows)
		assert.NoError(t, rows.Err())
		assert.NoError(t, rows.Close())
	}}
}

// Whatever the way out of a transaction that was in the lane, the next one enters it at once, one connection is enough to go on,
// and no goroutine is left: the bubble would not end.
func TestLaneIsLeftOnEveryWayOut(t *testing.T) {
	t.Parallel()
	for name, way := range waysOutOfTheLane() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, way.script, func(t *testing.T, r *rig) {
				before := r.counts(t)
				way.leave(t, r)
				var retries float64
				for series, n := range r.moved(t, before) {
					if strings.HasPrefix(series, "transaction_retries_total") {
						retries += n
					}
				}
				assert.NotZero(t, retries, "it never was in the lane")
				r.usable(t)
			}, way.option)
		})
	}
}

// A statement whose answer is lost may have been executed: nobody may run it again, not even database/sql.
func TestStatementOutsideIsNotRunAgainWhenItsAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, cutAt := range map[string]fakepg.Cut{
		"before": fakepg.CutBefore, "half": fakepg.CutHalf, "after": fakepg.CutAfter, "unsent": fakepg.CutUnsent,
	} {
		for _, losesFirst := range []bool{false, true} {
			replies := []fakepg.Reply{{Cut: cutAt}}
			if losesFirst {
				replies = []fakepg.Reply{lost, {Cut: cutAt}}
			}
			const text, withArgument, several = "UPDATE a", "UPDATE a SET v = $1", "UPDATE a; UPDATE b"
			for what, exec := range map[string]func(db *sql.DB) error{
				"text":     func(db *sql.DB) error { _, err := db.Exec(text); return err },
				"argument": func(db *sql.DB) error { _, err := db.Exec(withArgument, "x"); return err },
				"query":    func(db *sql.DB) error { return db.QueryRow(text).Scan(new(int)) },
				"several":  func(db *sql.DB) error { _, err := db.Exec(several); return err },
			} {
				t.Run(name+" "+what, func(t *testing.T) {
					inBubble(t, script{text: replies, withArgument: replies}, func(t *testing.T, r *rig) {
						assert.Error(t, exec(r.db))
						runs := r.times(text) + r.times(withArgument)
						if losesFirst && what == "several" {
							assert.Equal(t, 1, runs, "a part of it may be committed")
						} else {
							assert.Equal(t, len(replies), runs)
						}
						r.usable(t)
					})
				})
			}
		}
	}
}
