package cockroachdb

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// Errors of statements come to the application as the server sent them, as a bare *[pgconn.PgError]. The types below
// are the outcomes that only this driver has. Each of them unwraps to the error that led to it, so that errors.As(err,
// *pgconn.PgError) still finds the server's 40001 where there was one. None of them carries a value, an argument or a
// statement's text.

// DivergenceKind says what of a replay was not as the application had seen it.
type DivergenceKind string

// What a replay can show differently.
const (
	DivergedColumns   DivergenceKind = "columns"     // the names, types or formats of the columns
	DivergedRow       DivergenceKind = "row"         // a row that had been handed over
	DivergedEndOfRows DivergenceKind = "end_of_rows" // fewer rows than were handed over, or more after the end was seen
	DivergedCount     DivergenceKind = "count"       // the number of affected rows, after the application had asked for it
	DivergedSQLState  DivergenceKind = "sqlstate"    // success, or the SQLSTATE of the error that the application got
	DivergedError     DivergenceKind = "error"       // what else that error said: the constraint, the message
)

// DivergenceError says that a transaction lost a conflict and that running its statements again would have shown the
// application something else than it had already seen. Nothing was committed. The transaction has to be rolled back;
// it can be run again from its start, which is what [RunTx] does. The message says what may have been the
// cause, what to do about it, and where to read more; the cause is guessed by the statement's text.
type DivergenceError struct {
	Statement int            // the number of the statement in its transaction, from 1
	Kind      DivergenceKind // what differed
	Row       int64          // for DivergedRow and DivergedEndOfRows: the number of the row, from 1; else 0
	Attempts  int            // how often the transaction was tried, the first time included

	was, is   string // for DivergedSQLState: codes, "" for success
	committed bool   // in spite of it: the text that diverged held a COMMIT
	imprecise bool   // the row is Row or a later one
	advice    advice
	err       error
}

// Error says what happened and what to do. It holds no value and no argument.
func (e *DivergenceError) Error() string {
	instead := ""
	if e.advice.instead != "" {
		instead = ", or else " + e.advice.instead
	}
	return fmt.Sprintf("cockroachdb: the transaction had to be run again, and could not be replayed unseen: on attempt %d, statement %d: %s%s; "+
		"nothing was committed, run the transaction again (RunTx does)%s: %s; see %s",
		e.Attempts, e.Statement, e.what(), e.advice.why, instead, brief(e.err),
		tuningPage+cmp.Or(e.advice.section, tuningSection))
}

func (e *DivergenceError) what() string {
	switch e.Kind {
	case DivergedColumns:
		return "the columns of the result changed"
	case DivergedRow:
		if e.imprecise {
			return fmt.Sprintf("row %d or a later one of the rows already read changed", e.Row)
		}
		return fmt.Sprintf("row %d, already read, changed", e.Row)
	case DivergedEndOfRows:
		return fmt.Sprintf("the end of the rows, as already seen, moved (at row %d)", e.Row)
	case DivergedCount:
		return "the number of affected rows, already asked for, changed"
	case DivergedError:
		return "it failed with the same SQLSTATE, but its error says something else: another constraint, or another message"
	default:
		return fmt.Sprintf("it answered %s where it had answered %s", codeOrSuccess(e.is), codeOrSuccess(e.was))
	}
}

// Unwrap gives the conflict that made the replay necessary.
func (e *DivergenceError) Unwrap() error { return e.err }

// brief is an error in the words of an own one. The server's message stays out of it: CockroachDB's conflicts quote
// keys, and so what the application stores. Unwrap has it all. There is no error in what an application makes for its
// own tests.
func brief(err error) string {
	if err == nil {
		return "no reason is known"
	}
	code := pgerr.SQLState(err)
	switch {
	case code == "" && pgerr.Message(err) == "":
		return err.Error()
	case pgerr.IsConflict(err):
		return fmt.Sprintf("conflict (%s, SQLSTATE %s)", reasonOf(err), code)
	}
	return fmt.Sprintf("the server's error (SQLSTATE %s)", code)
}

// quietError is an error whose text leaves out that of the one which led to it, since that may quote an argument or a
// row's value.
type quietError struct {
	text string
	err  error
}

func (e *quietError) Error() string { return e.text }
func (e *quietError) Unwrap() error { return e.err }

func codeOrSuccess(code string) string {
	if code == "" {
		return "with success"
	}
	return "SQLSTATE " + code
}

// Bound names the limit at which the driver stopped retrying.
type Bound string

// The limits of a [RetryPolicy], and the connector's [RetryThrottle].
const (
	BoundAttempts Bound = "attempts" // RetryPolicy.MaxAttempts
	BoundElapsed  Bound = "elapsed"  // RetryPolicy.MaxElapsed
	BoundThrottle Bound = "throttle" // the connector's token bucket is empty: hardly anything commits
)

// RetriesExhaustedError says that a transaction lost its conflicts until a bound of its policy was reached. Nothing was
// committed. It unwraps to the last conflict.
type RetriesExhaustedError struct {
	Attempts int           // how often the transaction was tried, the first time included
	Elapsed  time.Duration // from its first statement
	Bound    Bound         // which limit it was

	err error
}

// Error says what happened and what to do. It holds no value and no argument.
func (e *RetriesExhaustedError) Error() string {
	return fmt.Sprintf("cockroachdb: gave up after %d attempts in %v (bound: %s); nothing was committed: %s",
		e.Attempts, e.Elapsed.Round(time.Millisecond), e.Bound, brief(e.err))
}

// Unwrap gives the last conflict.
func (e *RetriesExhaustedError) Unwrap() error { return e.err }

// NotReplayableError says that a transaction lost a conflict after it had done something that the driver does not
// replay. Nothing was committed. It unwraps to the conflict.
type NotReplayableError struct {
	Cause Cause // why

	err error
}

// Error says what happened and what to do. It holds no value and no argument.
func (e *NotReplayableError) Error() string {
	return fmt.Sprintf("cockroachdb: the transaction lost a conflict and is not replayable: %s; nothing was committed, run it again: %s",
		e.Cause.explain(), brief(e.err))
}

// Unwrap gives the conflict.
func (e *NotReplayableError) Unwrap() error { return e.err }

// AmbiguousCommitError says that the commit was sent and that its outcome is not known: the transaction is committed
// or it is not. The application has to find out by reading, or make the transaction one that can be run twice. It must
// not be retried blindly, and the driver never does. It unwraps to what went wrong: a network error, the context's
// error, or the server's.
//
// A statement outside a transaction, which is committed as it ends, has this error too where its answer was lost.
type AmbiguousCommitError struct {
	err   error
	alone bool    // it was a statement outside a transaction
	mark  *marker // by which the outcome can be asked for; nil if there is none
}

// Error says what happened and what to do. It holds no value and no argument.
func (e *AmbiguousCommitError) Error() string {
	if e.alone {
		return fmt.Sprintf("cockroachdb: the statement was sent and its outcome is unknown; look whether its effects are there before running it again: %s", brief(e.err))
	}
	return fmt.Sprintf("cockroachdb: the commit was sent and its outcome is unknown; look whether the transaction's effects are there before running it again: %s", brief(e.err))
}

// Unwrap gives what went wrong.
func (e *AmbiguousCommitError) Unwrap() error { return e.err }

// ResultLostError says that a statement is committed, and that its result was lost with the connection: it must not be
// run again. It is the error of RowsAffected after an Exec, and of a query outside a transaction whose rows are lost.
// Only a connection with Config.CommitMarker knows it. It unwraps to what went wrong.
type ResultLostError struct{ err error }

// Error says what happened and what to do.
func (e *ResultLostError) Error() string {
	return "cockroachdb: the statement is committed, and its result was lost with the connection; don't run it again, read what it has done: " + brief(e.err)
}

// Unwrap returns what went wrong.
func (e *ResultLostError) Unwrap() error { return e.err }

// ConnectionLostError says that the connection was lost inside a transaction before the commit was sent, and that the
// transaction could not go on, on another connection: nothing was committed, and the transaction can be run again. It
// unwraps to what went wrong; and before that to the conflict, if the connection was lost while the driver dealt with
// one.
//
// To an application that retries by its own SAVEPOINT cockroach_restart it is a conflict: it unwraps to a 40001, and
// after ROLLBACK TO that savepoint the transaction goes on, on another connection.
type ConnectionLostError struct {
	// Cause is why the transaction could not be run again on another connection; "" where it could have been, but none was
	// to be had within the policy's bounds, or where retries are switched off.
	Cause Cause

	err     error
	because error // what kept another connection from being made
	goBack  bool  // the application's loop is to go back to its savepoint
}

// Error says what happened and what to do. It holds no value and no argument.
func (e *ConnectionLostError) Error() string {
	why := ""
	switch {
	case e.goBack:
		return "cockroachdb: the connection was lost before the commit was sent; nothing was committed: go back to the savepoint cockroach_restart, and run the transaction again on another connection (SQLSTATE 40001)"
	case e.Cause == CauseSession:
		why = "; it could not go on, on another connection, because its session was changed in a way that can't be repeated there"
	case e.Cause != "":
		why = "; it could not go on, on another connection, because " + e.Cause.explain()
	case e.because != nil:
		why = "; another connection could not take its place: " + e.because.Error()
	}
	return fmt.Sprintf("cockroachdb: the connection was lost before the commit was sent%s; nothing was committed, run the transaction again: %s", why, brief(e.err))
}

// Unwrap returns what went wrong.
func (e *ConnectionLostError) Unwrap() error { return e.err }

// lostAfter returns what went wrong when the connection was lost, and before that the conflict that the driver was
// dealing with, if there was one.
func lostAfter(conflict, err error) error {
	if conflict == nil || conflict == err { //nolint:errorlint // the same error
		return err
	}
	return errors.Join(conflict, err)
}

var (
	errCopy       = errors.New("cockroachdb: COPY FROM STDIN and COPY TO STDOUT can't be sent as text, since database/sql has no way to hand over their rows: use CopyFrom, or PgConn().CopyTo, of the pgx connection behind sql.Conn.Raw")
	errTxOpen     = errors.New("cockroachdb: a transaction is open on this connection: commit it or roll it back before beginning another")
	errRestarting = errors.New("cockroachdb: the transaction is being retried: its connection can't be used by a hook")
	errTxAborted  = likeServer("25P02", "current transaction is aborted, commands ignored until end of transaction block")
)

// likeServer makes an error as the server would send it, for applications that look at its SQLSTATE.
func likeServer(code, message string) *pgconn.PgError {
	return &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message}
}
