package observe_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

type eventKey struct{}

// The context is that of the statement, or BeginTx's.
func TestEvents_Context_IsThatOfTheStatement(t *testing.T) {
	t.Parallel()
	var contexts []any
	note := func(ctx context.Context, _ cockroachdb.RetryEvent) {
		attempt, replay := cockroachdb.AttemptFrom(ctx)
		contexts = append(contexts, fmt.Sprint(ctx.Value(eventKey{}), attempt, replay))
	}
	named := func(t *testing.T, name string) context.Context {
		return context.WithValue(t.Context(), eventKey{}, name)
	}
	script := kit.Script{"UPDATE a": {kit.Conflict}, "UPDATE b": {kit.Conflict}, kit.Release: {kit.Conflict, kit.OK}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		tx := r.BeginIn(t, named(t, "BeginTx"))
		_, err := tx.ExecContext(named(t, "a"), "UPDATE a")
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		_, err = r.DB.ExecContext(named(t, "b"), "UPDATE b")
		require.NoError(t, err)
		assert.Equal(t, []any{"a1 false", "BeginTx1 false", "BeginTx1 false", "b1 false", "b1 false"}, contexts)
	}, func(c *cockroachdb.Config) {
		c.OnRetry, c.OnSettled = note, func(ctx context.Context, _ cockroachdb.OutcomeEvent) {
			note(ctx, cockroachdb.RetryEvent{})
		}
	}, kit.Attempts(5))
}

// Blocking costs time and nothing else: the time counts, and a statement on the pool goes through, even one that loses
// itself.
func TestEvents_HookBlocks_OnlyTimePasses(t *testing.T) {
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
			assert.NoError(t, kit.ExecAll(tx, "INSERT INTO log"))
			assert.NoError(t, tx.Commit())
		}
	}
	script := kit.Script{"UPDATE a": {kit.Conflict, kit.OK}, "UPDATE hold": {kit.Conflict, kit.OK}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		db = r.DB
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
		assert.Equal(t, 15*time.Second, time.Since(r.Started), "ten, and five for the lane")
		require.NoError(t, tx.Commit())
		assert.Equal(t, 25*time.Second, time.Since(r.Started), "the lane is free by now")
		inside = true // not once more
		r.WantUsable(t)
	}, func(c *cockroachdb.Config) {
		c.OnRetry, c.OnSettled = hook, func(ctx context.Context, _ cockroachdb.OutcomeEvent) {
			hook(ctx, cockroachdb.RetryEvent{})
		}
	})

	kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict, kit.Conflict, kit.OK}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		e := kit.As[*cockroachdb.RetriesExhaustedError](t, kit.ExecAll(tx, "UPDATE a"))
		assert.Equal(t, cockroachdb.BoundElapsed, e.Bound)
		assert.Equal(t, time.Hour, e.Elapsed)
		require.NoError(t, tx.Rollback())
		r.WantUsable(t)
	}, func(c *cockroachdb.Config) {
		var asked atomic.Bool
		c.OnRetry = func(context.Context, cockroachdb.RetryEvent) {
			if !asked.Swap(true) {
				time.Sleep(time.Hour)
			}
		}
	})
}

// A hook that has the context end stops the transaction: nothing more is sent for it.
func TestEvents_HookCancels_StopsTheTransaction(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := &listener{}
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.BeginIn(t, ctx)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
		_, err := tx.ExecContext(ctx, "UPDATE b")
		require.ErrorIs(t, err, context.Canceled)
		require.Error(t, tx.Commit())
		synctest.Wait()
		assert.Equal(t, 1, r.Ran("UPDATE a"))
		assert.Equal(t, []string{"2 serializable at statement 2: cancelled *errors.errorString"}, settled(l.Ended...))
		r.WantUsable(t)
	}, l.hooks, func(c *cockroachdb.Config) {
		c.OnRetry = func(context.Context, cockroachdb.RetryEvent) { cancel() }
	})
}

// A hook that panics harms nobody. It is heard of in the log.
var errOfTheCaller = errors.New("the caller's own")

func TestEvents_HookPanics_TransactionGoesOn(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)

	hook := func(context.Context, cockroachdb.RetryEvent) { panic(errOfTheCaller) }
	panicking := func(c *cockroachdb.Config) {
		c.OnRetry, c.OnSettled = hook, func(ctx context.Context, _ cockroachdb.OutcomeEvent) {
			hook(ctx, cockroachdb.RetryEvent{})
		}
	}
	for name, s := range map[string]kit.Script{
		"in a statement": {"UPDATE b": {kit.Conflict}},
		"in the commit":  {kit.Release: {kit.Conflict, kit.OK}},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
				log.Reset()
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
				require.NoError(t, tx.Commit())
				assert.Equal(t, 2, r.Ran("UPDATE a"))
				assert.Equal(t, 1, strings.Count(log.String(), "Config.OnRetry panicked; the transaction goes on"), log.String())
				assert.Equal(t, 1, strings.Count(log.String(), "Config.OnSettled panicked"))
				assert.Contains(t, log.String(), errOfTheCaller.Error())
				assert.Contains(t, log.String(), "TestEvents_HookPanics_TransactionGoesOn", "the stack")
				r.WantUsable(t)
			}, panicking)
		})
	}
	t.Run("outside", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			_, err := r.DB.Exec("UPDATE a")
			require.NoError(t, err)
			r.WantUsable(t)
		}, panicking)
	})
}

// A hook that ends its goroutine, as t.FailNow does, ends the transaction: nothing of it is committed, and nobody
// waits for it.
func TestEvents_HookEndsItsGoroutine_NothingIsCommitted(t *testing.T) {
	t.Parallel()
	quitting := func(c *cockroachdb.Config) {
		var asked atomic.Bool
		c.OnRetry = func(context.Context, cockroachdb.RetryEvent) {
			if !asked.Swap(true) {
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
			assert.Equal(t, "25P02", kit.StateOf(kit.ExecAll(tx, "UPDATE c")))
			assert.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
		},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
				inAGoroutine(func() {
					tx := r.Begin(t)
					defer func() { end(t, tx) }()
					_ = kit.ExecAll(tx, "UPDATE a", "UPDATE b")
				})
				assert.Zero(t, r.Ran("COMMIT")+r.Ran(kit.Release)+r.Ran("UPDATE c"))
				r.WantUsable(t)
			}, quitting)
		})
	}
	t.Run("in the commit", func(t *testing.T) {
		kit.InBubble(t, kit.Script{kit.Release: {kit.Conflict, kit.OK}}, func(t *testing.T, r *kit.Rig) {
			inAGoroutine(func() {
				tx := r.Begin(t)
				_ = kit.ExecAll(tx, "UPDATE a")
				_ = tx.Commit()
			})
			assert.Equal(t, []string{"BEGIN", kit.Savepoint, "UPDATE a", kit.Release, "COMMIT", "ROLLBACK"}, r.Sent())
			assert.Zero(t, r.Ran("COMMIT"), "it is skipped after the conflict")
			r.WantFreeLane(t) // the connection is database/sql's, and lost to it
		}, quitting)
	})
	t.Run("outside", func(t *testing.T) {
		kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
			inAGoroutine(func() { _, _ = r.DB.Exec("UPDATE a") })
			r.WantUsable(t)
		}, quitting)
	})
}
