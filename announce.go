package cockroachdb

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// announceRetry tells Config.OnRetry of the attempt that begins.
func (t *tx) announceRetry(ctx context.Context, wait time.Duration, err error) {
	hook, a := t.pool.onRetry, &t.attempt
	if hook == nil {
		return
	}
	e := RetryEvent{
		Attempt: a.number, Reason: a.reason, At: a.site.at, Statement: a.site.statement,
		Wait: wait, Elapsed: time.Since(a.started), Err: err,
	}
	t.tell(ctx, "OnRetry", func() { hook(ctx, e) })
}

// announceEnd tells Config.OnSettled of the end of a transaction that met a conflict.
func (t *tx) announceEnd(ctx context.Context, o Outcome, err error) {
	hook, a := t.pool.onSettled, &t.attempt
	if hook == nil || a.number == 1 && a.conflict == nil {
		return
	}
	e := OutcomeEvent{
		Attempts: a.number, Outcome: o, Reason: a.reason, At: a.site.at, Statement: a.site.statement,
		Wait: a.waited, Elapsed: time.Since(a.started), Err: err,
	}
	t.tell(ctx, "OnSettled", func() { hook(ctx, e) })
}

// announceAnswer tells Config.OnCommitAsked of the answer.
func (t *tx) announceAnswer(ctx context.Context, e CommitEvent) {
	if hook := t.pool.onAsked; hook != nil {
		t.tell(ctx, "OnCommitAsked", func() { hook(ctx, e) })
	}
}

// lockChanged counts what has become of a text, and tells Config.OnLockChanged.
func (t *tx) lockChanged(ctx context.Context, text *lockText, change LockChange, err error) {
	t.pool.metrics().lockChanged(change)
	if hook := t.pool.onLock; hook != nil {
		e := LockEvent{Change: change, Text: sqltext.Shape(text.sql), Err: err}
		t.tell(ctx, "OnLockChanged", func() { hook(ctx, e) })
	}
}

var errHookGone = errors.New("cockroachdb: Config.OnRetry ended its goroutine, and with it the transaction")

// tell calls a hook. A panic of it would lose more than the transaction: out of Commit, database/sql would never give
// the connection back. So it is logged. runtime.Goexit can't be recovered; then nothing may be added to the
// transaction, of which half is missing, and others must not wait for it.
func (t *tx) tell(ctx context.Context, name string, hook func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if reason := recover(); reason != nil {
			slog.ErrorContext(ctx, "cockroachdb: Config."+name+" panicked; the transaction goes on",
				"panic", reason, "stack", string(debug.Stack()))
			return
		}
		t.leaveLane()
		if t.explicit && t.state <= stateRestarting {
			t.rollback()
			_ = t.fail(errHookGone)
		}
	}()
	hook()
	returned = true
}
