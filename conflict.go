package cockroachdb

import (
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The SQLSTATEs that this package tells apart, and their classes.
const (
	codeSerializationFailure   = "40001"
	codeStatementUnknown       = "40003" // statement completion unknown
	codeDeadlock               = "40P01" // PostgreSQL's; CockroachDB answers a deadlock with 40001
	codeInvalidTransaction     = "25000" // among others CockroachDB's answer to statements behind RELEASE
	codeNoSavepoint            = "3B001"
	codeSchemaChangeFailed     = "XXA00"
	codeNoPreparedStatement    = "26000"
	codeProtocolViolation      = "08P01"
	codeFeatureNotSupported    = "0A000"
	classConnection            = "08"
	classInvalidTransaction    = "25"
	classOperatorIntervention  = "57P" // shut down, crashed, starting up
	classCockroachDBConnection = "58C" // not so much a class: 58C00, 58C01
)

// Where a SQLSTATE does not say it, the server's message does.
const (
	messageCachedPlan        = "cached plan must not change result type" // of codeFeatureNotSupported
	prefixCockroachDBRestart = "restart transaction"                     // of CockroachDB's codeSerializationFailure
)

// serverError is what an error of the server looks like: pgx's and that of the archived pgconn module both do.
type serverError interface {
	error
	SQLState() string
}

// sqlState returns the SQLSTATE of the server's error in err, or "" if there is none.
func sqlState(err error) string {
	if server, ok := errors.AsType[serverError](err); ok {
		return server.SQLState()
	}
	return ""
}

// codeOf is sqlState for an error that is the server's answer as it came: one that this package has wrapped has been told to the
// application already, and has no code here.
func codeOf(err error) string {
	if pgErr, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // the server's own answer
		return pgErr.Code
	}
	return ""
}

// isConflict reports whether err is, or wraps, the server's word that the transaction lost a conflict with another and
// is to be run again.
func isConflict(err error) bool {
	code := sqlState(err)
	return code == codeSerializationFailure || code == codeDeadlock
}

// stalePlan reports whether err says that a prepared statement can't be run any more, and has to be prepared anew: it
// is gone, or its table has changed since.
func stalePlan(err error) bool {
	switch server, _ := errors.AsType[serverError](err); sqlState(err) {
	case codeNoPreparedStatement:
		return true
	case codeFeatureNotSupported:
		return strings.Contains(server.Error(), messageCachedPlan)
	}
	return false
}

// A retryReason is why an attempt is followed by another, as a label of metrics. The set is closed.
type retryReason string

const (
	reasonWriteTooOld            retryReason = "write_too_old"
	reasonSerializable           retryReason = "serializable"
	reasonAsyncWriteFailure      retryReason = "async_write_failure"
	reasonCommitDeadlineExceeded retryReason = "commit_deadline_exceeded"
	reasonAborted                retryReason = "aborted"     // by another transaction, as in a deadlock, or by the server
	reasonUncertainty            retryReason = "uncertainty" // a read within the clocks' uncertainty
	reasonForced                 retryReason = "forced"      // crdb_internal.force_retry()
	reasonInjected               retryReason = "injected"    // inject_retry_errors_enabled
	reasonSerializationFailure   retryReason = "serialization_failure"
	reasonDeadlock               retryReason = "deadlock"
	reasonStalePlan              retryReason = "stale_plan"
	reasonDiverged               retryReason = "diverged" // the replay before: RunTx calls its function again
	reasonConnection             retryReason = "connection"
	reasonOther                  retryReason = "other"
)

// allRetryReasons lists every retryReason.
var allRetryReasons = []retryReason{
	reasonWriteTooOld, reasonSerializable, reasonAsyncWriteFailure, reasonCommitDeadlineExceeded, reasonAborted,
	reasonUncertainty, reasonForced, reasonInjected, reasonSerializationFailure, reasonDeadlock, reasonStalePlan,
	reasonDiverged, reasonConnection, reasonOther,
}

// markers are the words by which CockroachDB's 40001 says why.
var markers = []struct {
	text   string
	reason retryReason
}{
	{"RETRY_WRITE_TOO_OLD", reasonWriteTooOld},
	{"WriteTooOldError", reasonWriteTooOld},
	{"RETRY_SERIALIZABLE", reasonSerializable},
	{"RETRY_ASYNC_WRITE_FAILURE", reasonAsyncWriteFailure},
	{"RETRY_COMMIT_DEADLINE_EXCEEDED", reasonCommitDeadlineExceeded},
	{"TransactionAbortedError", reasonAborted},
	{"ABORT_REASON_", reasonAborted},
	{"ReadWithinUncertaintyInterval", reasonUncertainty},
	{"forced by crdb_internal.force_retry", reasonForced},
	{"injected by `inject_retry_errors", reasonInjected},
}

// reasonOf returns the reason that err is for another attempt.
func reasonOf(err error) retryReason {
	server, ok := errors.AsType[serverError](err)
	switch {
	case !ok:
		if connectionLost(err) {
			return reasonConnection
		}
		return reasonOther
	case stalePlan(server):
		return reasonStalePlan
	case server.SQLState() == codeDeadlock:
		return reasonDeadlock
	case server.SQLState() == codeSerializationFailure:
		return reasonOfConflict(server.Error())
	case hasAnyPrefix(server.SQLState(), classConnection, classOperatorIntervention, classCockroachDBConnection):
		return reasonConnection
	}
	return reasonOther
}

// reasonOfConflict finds the reason in the message of a 40001. The first marker counts: what follows it may quote keys,
// and so whatever the application stores.
func reasonOfConflict(message string) retryReason {
	if !strings.Contains(message, prefixCockroachDBRestart) {
		return reasonSerializationFailure
	}
	reason, first := reasonOther, len(message)
	for _, marker := range markers {
		if i := strings.Index(message, marker.text); i >= 0 && i < first {
			reason, first = marker.reason, i
		}
	}
	return reason
}

// connectionLost reports whether err, which is not the server's, is that of a connection that broke or could not be
// made. The application's own cancellation breaks connections too, and does not count.
func connectionLost(err error) bool {
	if isCancellation(err) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

// A commitOutcome is what is known of a transaction after RELEASE or COMMIT was sent and an error came back.
type commitOutcome int

const (
	commitAmbiguous    commitOutcome = iota // it may have committed
	commitConflict                          // it has not, and may be run again
	commitRefused                           // it has not
	commitSchemaFailed                      // its data has; a schema change in it has failed
)

// outcomeOfCommit says what err, the answer to RELEASE or COMMIT, means for the transaction. Whatever is not the
// server's definite word is ambiguous. PostgreSQL's error to COMMIT is definite as long as the server goes on;
// CockroachDB's need not be, for a statement timeout or a lost connection to another node can hide the outcome.
func outcomeOfCommit(err error, postgres bool) commitOutcome {
	server, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return commitAmbiguous
	case postgres:
		return outcomeOfPostgresCommit(server)
	case server.Code == codeSerializationFailure:
		return commitConflict
	case server.Code == codeSchemaChangeFailed:
		return commitSchemaFailed
	case server.Code == codeNoSavepoint, strings.HasPrefix(server.Code, classInvalidTransaction) && server.Code != codeInvalidTransaction:
		return commitRefused
	}
	return commitAmbiguous
}

func outcomeOfPostgresCommit(server *pgconn.PgError) commitOutcome {
	severity := server.SeverityUnlocalized
	if severity == "" { // before PostgreSQL 9.6
		severity = server.Severity
	}
	switch {
	case severity != "ERROR", server.Code == codeStatementUnknown, hasAnyPrefix(server.Code, classConnection, classOperatorIntervention):
		return commitAmbiguous
	case server.Code == codeSerializationFailure, server.Code == codeDeadlock:
		return commitConflict
	}
	return commitRefused
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
