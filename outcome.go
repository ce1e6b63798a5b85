package cockroachdb

import (
	"strings"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// The closed sets by which transactions are counted and told apart: how they end, why and where an attempt comes to
// nothing, and why one can't be replayed. Metrics use them as labels, events and errors as words.

// outcome is how a transaction ended that the application began and in which it ran something.
type outcome string

const (
	outcomeCommitted      outcome = "committed"
	outcomeRolledBack     outcome = "rolled_back"
	outcomeDiverged       outcome = "diverged"
	outcomeExhausted      outcome = "exhausted"
	outcomeNotReplayable  outcome = "not_replayable"
	outcomeAmbiguous      outcome = "ambiguous"
	outcomeConnectionLost outcome = "connection_lost"
	outcomeCancelled      outcome = "cancelled" // its context, or that of a statement, was done before the commit was sent
	outcomeFailed         outcome = "failed"
	outcomeOver           outcome = "ended_by_application" // by a COMMIT or ROLLBACK of its own, or by DDL that commits
)

var allOutcomes = []outcome{
	outcomeCommitted, outcomeRolledBack, outcomeDiverged, outcomeExhausted, outcomeNotReplayable, outcomeAmbiguous,
	outcomeConnectionLost, outcomeCancelled, outcomeFailed, outcomeOver,
}

// outcomeOf returns how a transaction ends that ends with err.
func outcomeOf(err error) outcome {
	switch err.(type) { //nolint:errorlint // an outcome of this package's own is not wrapped
	case *NotReplayableError:
		return outcomeNotReplayable
	case *RetriesExhaustedError:
		return outcomeExhausted
	case *DivergenceError:
		return outcomeDiverged
	case *AmbiguousCommitError:
		return outcomeAmbiguous
	case *ConnectionLostError:
		return outcomeConnectionLost
	}
	switch {
	case pgerr.IsCancellation(err):
		return outcomeCancelled
	case pgerr.IsConnectionLost(err):
		return outcomeConnectionLost
	}
	return outcomeFailed
}

// place is where a conflict came to light.
type place string

const (
	placeStatement  place = "statement"
	placeRows       place = "rows" // after rows of the statement had been handed over
	placeCommit     place = "commit"
	placeConnection place = "connection" // the connection was lost
)

var allPlaces = []place{placeStatement, placeRows, placeCommit, placeConnection}

// notReplayableCause is why the driver stopped recording a transaction.
type notReplayableCause string

const (
	causeStatements           notReplayableCause = "statements" // RetryPolicy.MaxStatements
	causeBytes                notReplayableCause = "bytes"      // RetryPolicy.MaxBytes
	causeRaw                  notReplayableCause = "raw"        // the application took the *pgx.Conn, as COPY needs it
	causeSession              notReplayableCause = "session"    // it changed the session in a way that a rollback does not undo
	causeAsOfSystemTime       notReplayableCause = "as_of_system_time"
	causeApplicationSavepoint notReplayableCause = "application_savepoint" // cockroach_restart of its own
)

var allNotReplayableCauses = []notReplayableCause{
	causeStatements, causeBytes, causeRaw, causeSession, causeAsOfSystemTime, causeApplicationSavepoint,
}

// explain is the cause in the words of an error.
func (c notReplayableCause) explain() string {
	switch c {
	case causeStatements:
		return "it ran more statements than RetryPolicy.MaxStatements keeps on record"
	case causeBytes:
		return "its statements are larger than RetryPolicy.MaxBytes keeps on record"
	case causeRaw:
		return "it used the pgx connection through Raw, of which nothing is on record"
	case causeSession:
		return "it changed the session after other statements, by SET for example, and a rollback does not undo that"
	case causeAsOfSystemTime:
		return "it reads AS OF SYSTEM TIME, where another attempt would fare no better"
	}
	return string(c)
}

var allDivergenceKinds = []DivergenceKind{
	DivergedColumns, DivergedRow, DivergedEndOfRows, DivergedCount, DivergedSQLState, DivergedError,
}

// retryReason is why an attempt is followed by another.
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

var allRetryReasons = []retryReason{
	reasonWriteTooOld, reasonSerializable, reasonAsyncWriteFailure, reasonCommitDeadlineExceeded, reasonAborted,
	reasonUncertainty, reasonForced, reasonInjected, reasonSerializationFailure, reasonDeadlock, reasonStalePlan,
	reasonDiverged, reasonConnection, reasonOther,
}

// reasonOf returns the reason that err is for another attempt.
func reasonOf(err error) retryReason {
	code := pgerr.SQLState(err)
	switch {
	case pgerr.IsStalePlan(err):
		return reasonStalePlan
	case code == pgerr.Deadlock:
		return reasonDeadlock
	case code == pgerr.SerializationFailure:
		return reasonOfConflict(pgerr.Message(err))
	case pgerr.IsOfConnection(code), code == "" && err != nil && pgerr.IsConnectionLost(err):
		return reasonConnection
	}
	return reasonOther
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

// reasonOfConflict finds the reason in the message of a 40001. The first marker counts: what follows it may quote keys,
// and so whatever the application stores.
func reasonOfConflict(message string) retryReason {
	if !strings.Contains(message, "restart transaction") { // PostgreSQL's
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
