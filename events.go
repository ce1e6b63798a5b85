package cockroachdb

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"
)

// RetryEvent is what [Config.OnRetry] and [Config.OnRetried] are told of a transaction, or of a statement outside of one. It holds no
// argument, no value and no statement's text. Err may, if it is the server's or wraps one of the server's: CockroachDB's conflicts
// quote keys.
type RetryEvent struct {
	// Attempt is, for OnRetry, the number of the attempt that is about to begin: 2 at the first retry. For OnRetried it is
	// the number of attempts that there were: 1 if it was given up at once.
	Attempt int

	// Reason says why the attempt before this one, or for OnRetried the latest that lost, came to nothing, in the words of
	// the metrics' label reason: "serializable", "write_too_old", …
	Reason string

	// At says where that was, in the words of the metrics' label at: "statement", "rows" (behind rows that had been
	// handed over) or "commit".
	At string

	// Statement is the number of the statement that met it, from 1, as in DivergenceError. It is 0 where it was the commit, and
	// where RunTx's function has returned a conflict that none of the transaction's statements met.
	Statement int

	// Wait is for how long the transaction has waited for its turn, in the retry lane's queue or by a backoff: for OnRetry
	// before this attempt, for OnRetried all together.
	Wait time.Duration

	// Elapsed is the time since the first statement.
	Elapsed time.Duration

	// Outcome is how it ended, for OnRetried, in the words of the metrics' label outcome: "committed", "diverged", …; a statement
	// outside a transaction that succeeded is "committed". For OnRetry it is empty.
	Outcome string

	// Err is, for OnRetry, what the attempt before came to, as it came: the server's conflict in most cases. For OnRetried
	// it is the error that ended the transaction, as the application was given it, and nil if none did.
	Err error
}

// LogValue shows the event to [slog], and of Err no more than this package's own words.
func (e RetryEvent) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Int("attempt", e.Attempt), slog.String("reason", e.Reason), slog.String("at", e.At), slog.Int("statement", e.Statement),
		slog.Duration("wait", e.Wait), slog.Duration("elapsed", e.Elapsed),
	}
	if e.Outcome != "" {
		attrs = append(attrs, slog.String("outcome", e.Outcome))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("err", discreet(e.Err)))
	}
	return slog.GroupValue(attrs...)
}

// discreet is an error without the server's words in it: an outcome of this package's own says none.
func discreet(err error) string {
	switch err.(type) { //nolint:errorlint // what it is itself
	case *DivergenceError, *RetriesExhaustedError, *NotReplayableError, *AmbiguousCommitError, *ConnectionLostError:
		return err.Error()
	}
	return brief(err)
}

// announceRetry tells Config.OnRetry of the attempt that begins.
func (t *tx) announceRetry(ctx context.Context, wait time.Duration, err error) {
	if t.pool.onRetry == nil {
		return
	}
	e := t.event(err)
	e.Wait = wait
	t.tell(ctx, "OnRetry", t.pool.onRetry, e)
}

// announceEnd tells Config.OnRetried of the end of a transaction that met a conflict.
func (t *tx) announceEnd(ctx context.Context, o outcome, err error) {
	if t.pool.onRetried == nil || t.attempt.number == 1 && t.attempt.conflict == nil {
		return
	}
	e := t.event(err)
	e.Wait, e.Outcome = t.attempt.waited, string(o)
	t.tell(ctx, "OnRetried", t.pool.onRetried, e)
}

func (t *tx) event(err error) RetryEvent {
	a := &t.attempt
	return RetryEvent{
		Attempt: a.number, Reason: string(a.reason), At: string(a.site.at), Statement: a.site.statement,
		Elapsed: time.Since(a.started), Err: err,
	}
}

var errHookGone = errors.New("cockroachdb: Config.OnRetry ended its goroutine, and with it the transaction")

// tell calls a hook. A panic of it would lose more than the transaction: out of Commit, database/sql would never give the
// connection back. So it is logged. runtime.Goexit can't be recovered; then nothing may be added to the transaction, of
// which half is missing, and others must not wait for it.
func (t *tx) tell(ctx context.Context, name string, hook func(context.Context, RetryEvent), e RetryEvent) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if reason := recover(); reason != nil {
			slog.ErrorContext(ctx, "cockroachdb: Config."+name+" panicked; the transaction goes on", "panic", reason, "stack", string(debug.Stack()))
			return
		}
		t.leaveLane()
		if t.explicit && t.state <= stateRestarting {
			t.rollback()
			_ = t.fail(errHookGone)
		}
	}()
	hook(ctx, e)
	returned = true
}
