package cockroachdb

import (
	"log/slog"
	"time"
)

// RetryEvent is what [Config.OnRetry] is told of an attempt that is about to begin. It holds no argument, no value and
// no statement's text. Err may, if it is the server's or wraps one of the server's: CockroachDB's conflicts quote
// keys.
type RetryEvent struct {
	Attempt   int           // the number of the attempt that is about to begin: 2 at the first retry
	Reason    Reason        // why the attempt before came to nothing,
	At        Place         // and where
	Statement int           // the statement that met it, from 1; 0 if it was the commit, or none of the transaction's
	Wait      time.Duration // for how long the transaction has waited for this attempt
	Elapsed   time.Duration // since its first statement
	Err       error         // what the attempt before came to, as it came: the server's conflict in most cases
}

// LogValue shows the event to [slog], and of Err no more than this package's own words.
func (e RetryEvent) LogValue() slog.Value {
	return slog.GroupValue(logged(e.Err,
		slog.Int("attempt", e.Attempt), slog.String("reason", string(e.Reason)), slog.String("at", string(e.At)),
		slog.Int("statement", e.Statement), slog.Duration("wait", e.Wait), slog.Duration("elapsed", e.Elapsed))...)
}

// OutcomeEvent is what [Config.OnSettled] is told of a transaction that met a conflict, or of a statement outside one,
// when it has ended. What is said of [RetryEvent] about its content holds here too.
type OutcomeEvent struct {
	Attempts  int           // how many there were: 1 if it was given up at once
	Outcome   Outcome       // how it ended; a statement outside a transaction that succeeded is committed
	Reason    Reason        // why the latest attempt that lost came to nothing,
	At        Place         // and where
	Statement int           // the statement that met it, as in RetryEvent
	Wait      time.Duration // for how long the transaction has waited, all together
	Elapsed   time.Duration // since its first statement
	Err       error         // the error that ended it, as the application was told; nil if none did
}

// LogValue shows the event to [slog], and of Err no more than this package's own words.
func (e OutcomeEvent) LogValue() slog.Value {
	return slog.GroupValue(logged(e.Err,
		slog.Int("attempts", e.Attempts), slog.String("outcome", string(e.Outcome)), slog.String("reason", string(e.Reason)),
		slog.String("at", string(e.At)), slog.Int("statement", e.Statement), slog.Duration("wait", e.Wait),
		slog.Duration("elapsed", e.Elapsed))...)
}

// CommitEvent is what [Config.OnCommitAsked] is told when the answer to a commit was lost and the driver has asked what
// became of it. What is said of [RetryEvent] about its content holds here too.
type CommitEvent struct {
	Answer  CommitAnswer  // what was found out
	Asked   int           // how often it was asked
	Elapsed time.Duration // for how long
	Err     error         // what came in place of the answer to the commit
}

// LogValue shows the event to [slog], and of Err no more than this package's own words.
func (e CommitEvent) LogValue() slog.Value {
	return slog.GroupValue(logged(e.Err,
		slog.String("answer", string(e.Answer)), slog.Int("asked", e.Asked), slog.Duration("elapsed", e.Elapsed))...)
}

// LockEvent is what [Config.OnLockChanged] is told of a statement's text that begins to lock, or does not any more.
// What is said of [RetryEvent] about Err holds here too.
type LockEvent struct {
	Change LockChange // what has become of it
	Text   string     // as in a Report: without values, and cut off after 500 bytes
	Err    error      // the server's error, if one is the reason
}

// LogValue shows the event to [slog], and of Err no more than this package's own words.
func (e LockEvent) LogValue() slog.Value {
	return slog.GroupValue(logged(e.Err, slog.String("change", string(e.Change)), slog.String("text", e.Text))...)
}

func logged(err error, attrs ...slog.Attr) []slog.Attr {
	if err != nil {
		attrs = append(attrs, slog.String("err", discreet(err)))
	}
	return attrs
}

// discreet returns an error without the server's words in it: an outcome of this package's own says none.
func discreet(err error) string {
	switch err.(type) { //nolint:errorlint // what it is itself
	case *DivergenceError, *RetriesExhaustedError, *NotReplayableError,
		*AmbiguousCommitError, *ConnectionLostError, *ResultLostError:
		return err.Error()
	}
	return brief(err)
}
