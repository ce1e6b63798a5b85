package cockroachdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

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
	}, func(c *cockroachdb.Config) {
		c.OnRetry, c.OnSettled = note, func(ctx context.Context, _ cockroachdb.OutcomeEvent) { note(ctx, cockroachdb.RetryEvent{}) }
	}, five)
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
	}, func(c *cockroachdb.Config) {
		c.OnRetry, c.OnSettled = hook, func(ctx context.Context, _ cockroachdb.OutcomeEvent) { hook(ctx, cockroachdb.RetryEvent{}) }
	})

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
		assert.Equal(t, []string{"2 serializable at statement 2: cancelled *errors.errorString"}, settled(l.ended...))
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
	panicking := func(c *cockroachdb.Config) {
		c.OnRetry, c.OnSettled = hook, func(ctx context.Context, _ cockroachdb.OutcomeEvent) { hook(ctx, cockroachdb.RetryEvent{}) }
	}
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
				assert.Equal(t, 1, strings.Count(log.String(), "Config.OnSettled panicked"))
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
