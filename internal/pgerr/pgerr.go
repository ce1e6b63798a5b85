// Package pgerr says what an error of the server, or of the connection to it, means. It knows nothing of transactions
// and connections.
package pgerr

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The SQLSTATEs that the driver tells apart, and their classes.
const (
	SerializationFailure = "40001"
	Deadlock             = "40P01" // PostgreSQL's; CockroachDB answers a deadlock with 40001
	NoPreparedStatement  = "26000"
	DuplicatePrepared    = "42P05"
	FeatureNotSupported  = "0A000"
	ProtocolViolation    = "08P01"

	statementUnknown   = "40003" // statement completion unknown
	invalidTransaction = "25000" // among others CockroachDB's answer to statements after RELEASE
	noSavepoint        = "3B001"
	internalError      = "XX000"
	schemaChangeFailed = "XXA00"
	lockNotAvailable   = "55P03"
	idleSessionTimeout = "57P05"
	queryCanceled      = "57014"

	classConnection            = "08"
	classInvalidTransaction    = "25"
	classOperatorIntervention  = "57P" // shut down, crashed, starting up
	classCockroachDBConnection = "58C" // 58C00 and 58C01
)

// messageCachedPlan is the message of a FeatureNotSupported that says that a prepared statement is out of date.
const messageCachedPlan = "cached plan must not change result type"

// A Server is what an error of the server looks like: pgx's and that of the archived pgconn module both do.
type Server interface {
	error
	SQLState() string
}

// SQLState returns the SQLSTATE of the server's error in err, or "" if there is none.
func SQLState(err error) string {
	if server, ok := errors.AsType[Server](err); ok {
		return server.SQLState()
	}
	return ""
}

// Answer returns err if it is the server's answer as it came, and nil if there is none or if something wraps it: what
// the driver has wrapped has been told to the application already.
func Answer(err error) *pgconn.PgError {
	answer, _ := err.(*pgconn.PgError) //nolint:errorlint // only the bare answer counts
	return answer
}

// Code returns the SQLSTATE of err if it is the server's answer as it came, and "" if it is not.
func Code(err error) string {
	if answer := Answer(err); answer != nil {
		return answer.Code
	}
	return ""
}

// IsConflict reports whether err is, or wraps, the server's word that the transaction lost a conflict with another and
// is to be run again.
func IsConflict(err error) bool { return isConflictCode(SQLState(err)) }

func isConflictCode(code string) bool { return code == SerializationFailure || code == Deadlock }

// Conflict returns the server's answer if it is a conflict, as it came. One that ends the connection is none: nothing
// can be retried on it.
func Conflict(err error) *pgconn.PgError {
	if answer := Answer(err); answer != nil && isConflictCode(answer.Code) && !IsFatal(answer) {
		return answer
	}
	return nil
}

// IsFatal reports whether the server ends the connection with this answer.
func IsFatal(answer *pgconn.PgError) bool {
	severity := severityOf(answer)
	return severity == "FATAL" || severity == "PANIC"
}

func severityOf(answer *pgconn.PgError) string {
	if answer.SeverityUnlocalized != "" {
		return answer.SeverityUnlocalized
	}
	return answer.Severity // before PostgreSQL 9.6
}

// IsStalePlan reports whether err says that what the driver knows of a prepared statement is not true any more: the
// statement is gone, it is there already, or its table has changed since.
func IsStalePlan(err error) bool {
	switch server, _ := errors.AsType[Server](err); SQLState(err) {
	case NoPreparedStatement, DuplicatePrepared:
		return true
	case FeatureNotSupported:
		return strings.Contains(server.Error(), messageCachedPlan)
	}
	return false
}

// MayBeStale reports whether err may come from a description of the statement that is out of date: a parameter or a
// column has another type now.
func MayBeStale(err error) bool {
	code := SQLState(err)
	return IsStalePlan(err) || code == ProtocolViolation || hasAnyPrefix(code, "22", "42", "XX")
}

// IsOfSavepoint reports whether err may come from a restart by ROLLBACK TO SAVEPOINT that the server could not do.
// Some versions of CockroachDB answer a statement after it with an internal error (cockroachdb/cockroach#169970).
func IsOfSavepoint(err error) bool {
	switch Code(err) {
	case internalError, FeatureNotSupported, noSavepoint:
		return !IsStalePlan(err)
	}
	return false
}

// IsPassing reports whether err says nothing of the data that a statement met: a time-out, a cancellation, a lack of
// resources, or trouble inside the server.
func IsPassing(err error) bool {
	code := Code(err)
	return code == lockNotAvailable || code == queryCanceled || code == internalError ||
		hasAnyPrefix(code, "53", "58", "57P", "25P03", "25P04")
}

// MayBeOfLock reports whether a statement may have failed with err because it locks: for a privilege that it needs, for
// what can't be locked, or for how long it has waited. It is false of conflicts, and where the server goes away.
func MayBeOfLock(err error) bool {
	switch code := Code(err); {
	case code == "", isConflictCode(code), hasAnyPrefix(code, classConnection, "25P", "53", "57", "58"):
		return code == queryCanceled && strings.Contains(Message(err), "statement timeout")
	}
	return true
}

// EndsNode reports whether an answer of the server's, or of a pooler's in its place, means that its node goes away, or
// has, in the midst of other work; and not that somebody wanted this session to end. closed says that the connection is
// closed.
func EndsNode(err error, closed bool) bool {
	code := Code(err)
	switch {
	case code == "", code == idleSessionTimeout:
		return false
	case !closed:
		return hasAnyPrefix(code, "57P01", "57P02", "57P03", classCockroachDBConnection)
	}
	// A conflict on a closed connection was answered by a node that went away after it.
	return IsOfConnection(code) && code != ProtocolViolation || hasAnyPrefix(code, "58") || Conflict(err) != nil ||
		poolerHasLost(Answer(err))
}

// IsCancelledByEnd reports whether a statement was cancelled, with answer, because its node went away: last, which the
// server said after it and may be nil, says so. Somebody who cancels a statement lets its session live.
func IsCancelledByEnd(answer, last *pgconn.PgError) bool {
	return answer.Code == queryCanceled && last != nil && EndsNode(last, true)
}

// IsOfStatement reports whether err is the server's answer to a statement, and no reason to end the session: if that
// has ended, the node went away after it.
func IsOfStatement(err error) bool {
	answer := Answer(err)
	return answer != nil && !IsFatal(answer) &&
		!hasAnyPrefix(answer.Code, queryCanceled, idleSessionTimeout, "25P03", "25P04")
}

// IsComingOrGoing reports whether a login was refused because the server is shutting down, or starting.
func IsComingOrGoing(code string) bool { return hasAnyPrefix(code, classOperatorIntervention) }

// IsFull reports whether a login was refused because the server has as many connections as it takes.
func IsFull(code string) bool { return hasAnyPrefix(code, "53") }

// MayLetInLater reports whether a login that was refused with this code may succeed later, or elsewhere.
func MayLetInLater(code string) bool { return IsOfConnection(code) || hasAnyPrefix(code, "53", "58") }

// IsTimeout reports whether a connection was given up because nothing came any more.
func IsTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout() && !IsCancellation(err)
}

// IsRefusal reports whether the server has refused to run a statement at all: for what it says, or because it is not
// prepared there.
func IsRefusal(err error) bool {
	return IsInvalid(err) || SQLState(err) == NoPreparedStatement
}

// IsInvalid reports whether the server refuses a statement for what it says, so that it would refuse it again: for its
// syntax, for something that is not there or not allowed, or for a feature that it does not have.
func IsInvalid(err error) bool { return hasAnyPrefix(SQLState(err), "42", "0A") }

// RefusesSetting reports whether the server refuses a setting for what it is, so that it would refuse it again.
func RefusesSetting(err error) bool {
	return IsInvalid(err) || hasAnyPrefix(SQLState(err), "22", "25", "28", "55P02")
}

// IsCancellation reports whether err is a context's.
func IsCancellation(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// IsConnectionLost reports whether err, which is not the server's, is that of a connection that broke or could not be
// made. The application's own cancellation breaks connections too, and does not count.
func IsConnectionLost(err error) bool {
	if IsCancellation(err) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		pgconn.SafeToRetry(err)
}

// IsOfConnection reports whether a SQLSTATE says that the connection, or its node, is lost.
func IsOfConnection(code string) bool {
	return hasAnyPrefix(code, classConnection, classOperatorIntervention, classCockroachDBConnection)
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// Message returns what the server's error in err says, or "" if there is none.
func Message(err error) string {
	if server, ok := errors.AsType[Server](err); ok {
		return server.Error()
	}
	return ""
}
