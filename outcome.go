package cockroachdb

import (
	"strings"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// The closed sets by which transactions are counted and told apart: how they end, why and where an attempt comes to
// nothing, why one can't be replayed, and what becomes of a text that locks. Metrics use them as labels, events and
// errors as words.

// Outcome is how a transaction ended that the application began and in which it ran something. It is the metrics' label
// outcome.
type Outcome string

// How a transaction can end.
const (
	OutcomeCommitted      Outcome = "committed"            // the server has said so
	OutcomeRolledBack     Outcome = "rolled_back"          // by the application
	OutcomeDiverged       Outcome = "diverged"             // a DivergenceError
	OutcomeExhausted      Outcome = "exhausted"            // a RetriesExhaustedError
	OutcomeNotReplayable  Outcome = "not_replayable"       // a NotReplayableError
	OutcomeAmbiguous      Outcome = "ambiguous"            // an AmbiguousCommitError
	OutcomeConnectionLost Outcome = "connection_lost"      // before the commit was sent
	OutcomeCancelled      Outcome = "cancelled"            // a context was done before the commit was sent
	OutcomeFailed         Outcome = "failed"               // another error of the server's
	OutcomeOver           Outcome = "ended_by_application" // by a COMMIT or ROLLBACK of its own, or by DDL that commits
)

var allOutcomes = []Outcome{
	OutcomeCommitted, OutcomeRolledBack, OutcomeDiverged, OutcomeExhausted, OutcomeNotReplayable, OutcomeAmbiguous,
	OutcomeConnectionLost, OutcomeCancelled, OutcomeFailed, OutcomeOver,
}

// outcomeOf returns how a transaction ends that ends with err.
func outcomeOf(err error) Outcome {
	switch err.(type) { //nolint:errorlint // an outcome of this package's own is not wrapped
	case *NotReplayableError:
		return OutcomeNotReplayable
	case *RetriesExhaustedError:
		return OutcomeExhausted
	case *DivergenceError:
		return OutcomeDiverged
	case *AmbiguousCommitError:
		return OutcomeAmbiguous
	case *ConnectionLostError:
		return OutcomeConnectionLost
	}
	switch {
	case pgerr.IsCancellation(err):
		return OutcomeCancelled
	case pgerr.IsConnectionLost(err):
		return OutcomeConnectionLost
	}
	return OutcomeFailed
}

// Place is where an attempt came to nothing. It is the metrics' label at.
type Place string

// Where an attempt can come to nothing.
const (
	PlaceStatement  Place = "statement"  // in a statement, before any of its rows
	PlaceRows       Place = "rows"       // after rows of the statement had been handed over
	PlaceCommit     Place = "commit"     // in the answer to the commit
	PlaceConnection Place = "connection" // the connection was lost
)

var allPlaces = []Place{PlaceStatement, PlaceRows, PlaceCommit, PlaceConnection}

// Cause is why the driver stopped recording a transaction, so that it can't be replayed; or, in a [Report], why one was
// not protected. It is the metrics' label cause.
type Cause string

// Why a transaction may not be recorded.
const (
	CauseStatements           Cause = "statements"            // RetryPolicy.MaxStatements
	CauseBytes                Cause = "bytes"                 // RetryPolicy.MaxBytes
	CauseRaw                  Cause = "raw"                   // the application took the *pgx.Conn, as COPY needs it
	CauseSession              Cause = "session"               // it changed the session, which a rollback does not undo
	CauseAsOfSystemTime       Cause = "as_of_system_time"     // it reads the past
	CauseApplicationSavepoint Cause = "application_savepoint" // cockroach_restart of its own
)

var allCauses = []Cause{
	CauseStatements, CauseBytes, CauseRaw, CauseSession, CauseAsOfSystemTime, CauseApplicationSavepoint,
}

// explain is the cause in the words of an error.
func (c Cause) explain() string {
	switch c {
	case CauseStatements:
		return "it ran more statements than RetryPolicy.MaxStatements keeps on record"
	case CauseBytes:
		return "its statements are larger than RetryPolicy.MaxBytes keeps on record"
	case CauseRaw:
		return "it used the pgx connection through Raw, of which nothing is on record"
	case CauseSession:
		return "it changed the session after other statements, by SET for example, and a rollback does not undo that"
	case CauseApplicationSavepoint:
		return "it has a savepoint cockroach_restart of its own, and so is not on record"
	case CauseAsOfSystemTime:
		return "it reads AS OF SYSTEM TIME, where another attempt would fare no better"
	}
	return string(c)
}

var allDivergenceKinds = []DivergenceKind{
	DivergedColumns, DivergedRow, DivergedEndOfRows, DivergedCount, DivergedSQLState, DivergedError,
}

// Reason is why an attempt is followed by another. It is the metrics' label reason.
type Reason string

// Why an attempt can come to nothing.
const (
	ReasonWriteTooOld            Reason = "write_too_old"            // RETRY_WRITE_TOO_OLD: another wrote the row later
	ReasonSerializable           Reason = "serializable"             // RETRY_SERIALIZABLE: another wrote what it read
	ReasonAsyncWriteFailure      Reason = "async_write_failure"      // RETRY_ASYNC_WRITE_FAILURE
	ReasonCommitDeadlineExceeded Reason = "commit_deadline_exceeded" // RETRY_COMMIT_DEADLINE_EXCEEDED
	ReasonAborted                Reason = "aborted"                  // by another transaction (a deadlock), or the server
	ReasonUncertainty            Reason = "uncertainty"              // a read within the clocks' uncertainty
	ReasonForced                 Reason = "forced"                   // crdb_internal.force_retry()
	ReasonInjected               Reason = "injected"                 // inject_retry_errors_enabled
	ReasonSerializationFailure   Reason = "serialization_failure"    // PostgreSQL's 40001
	ReasonDeadlock               Reason = "deadlock"                 // 40P01
	ReasonStalePlan              Reason = "stale_plan"               // the statement's plan was out of date
	ReasonDiverged               Reason = "diverged"                 // the replay before: RunTx calls its function again
	ReasonConnection             Reason = "connection"               // the connection was lost
	ReasonOther                  Reason = "other"                    // a 40001 that does not say
)

var allReasons = []Reason{
	ReasonWriteTooOld, ReasonSerializable, ReasonAsyncWriteFailure, ReasonCommitDeadlineExceeded, ReasonAborted,
	ReasonUncertainty, ReasonForced, ReasonInjected, ReasonSerializationFailure, ReasonDeadlock, ReasonStalePlan,
	ReasonDiverged, ReasonConnection, ReasonOther,
}

// reasonOf returns the reason that err is for another attempt.
func reasonOf(err error) Reason {
	code := pgerr.SQLState(err)
	switch {
	case pgerr.IsStalePlan(err):
		return ReasonStalePlan
	case code == pgerr.Deadlock:
		return ReasonDeadlock
	case code == pgerr.SerializationFailure:
		return reasonOfConflict(pgerr.Message(err))
	case pgerr.IsOfConnection(code), code == "" && err != nil && pgerr.IsConnectionLost(err):
		return ReasonConnection
	}
	return ReasonOther
}

// markers are the words by which CockroachDB's 40001 says why.
var markers = []struct {
	text   string
	reason Reason
}{
	{"RETRY_WRITE_TOO_OLD", ReasonWriteTooOld},
	{"WriteTooOldError", ReasonWriteTooOld},
	{"RETRY_SERIALIZABLE", ReasonSerializable},
	{"RETRY_ASYNC_WRITE_FAILURE", ReasonAsyncWriteFailure},
	{"RETRY_COMMIT_DEADLINE_EXCEEDED", ReasonCommitDeadlineExceeded},
	{"TransactionAbortedError", ReasonAborted},
	{"ABORT_REASON_", ReasonAborted},
	{"ReadWithinUncertaintyInterval", ReasonUncertainty},
	{"forced by crdb_internal.force_retry", ReasonForced},
	{"injected by `inject_retry_errors", ReasonInjected},
}

// reasonOfConflict finds the reason in the message of a 40001. The first marker counts: what follows it may quote keys,
// and so whatever the application stores.
func reasonOfConflict(message string) Reason {
	if !strings.Contains(message, "restart transaction") { // PostgreSQL's
		return ReasonSerializationFailure
	}
	reason, first := ReasonOther, len(message)
	for _, marker := range markers {
		if i := strings.Index(message, marker.text); i >= 0 && i < first {
			reason, first = marker.reason, i
		}
	}
	return reason
}

// Why a transaction, or a statement outside one, may not be protected, besides the reasons for which it is not
// recorded. A transaction that RunTx runs is protected by being run again, and only the first three are for it.
const (
	CauseRetriesOff   Cause = "retries_off"   // WithoutRetries, or RetryPolicy.MaxAttempts is 1
	CauseBegunAsText  Cause = "begun_as_text" // by a BEGIN of the application's own, which the driver leaves alone
	CauseMayCommit    Cause = "may_commit"    // DDL, CALL, COMMIT as text, several statements in one text, and the like
	CauseFailoversOff Cause = "failovers_off" // RetryPolicy.MaxFailovers is zero
	CauseDiverged     Cause = "diverged"      // a conflict came, and the replay would have shown something else
	CauseRowsOfWrite  Cause = "rows_of_write" // outside a transaction: it writes, and over 8 KiB of its rows were read
)

// endingCauses are all that can end a protection.
var endingCauses = append([]Cause{
	CauseRetriesOff, CauseBegunAsText, CauseMayCommit, CauseFailoversOff, CauseDiverged, CauseRowsOfWrite,
}, allCauses...)

// isOfReplay reports whether RunTx makes up for the cause by calling its function again.
func (c Cause) isOfReplay() bool {
	return c != CauseRetriesOff && c != CauseBegunAsText && c != CauseMayCommit
}

// protected is what is counted.
type protected int

const (
	ofTransaction protected = iota
	ofStatement             // outside a transaction
	protecteds
)

var protectedNames = [protecteds]string{"transaction", "statement"}

func (p protected) String() string { return protectedNames[p] }

// extent is how far something was protected.
type extent int

const (
	protectedWhole extent = iota
	protectedUntilCommit
	protectionEnded
	extents
)

var extentNames = [extents]string{"whole", "until_commit", "ended"}

func (e extent) String() string { return extentNames[e] }

// CommitAnswer is what was answered to the question for the outcome of a commit. It is the metrics' label answer.
type CommitAnswer string

// What can be answered.
const (
	CommitAnswerCommitted CommitAnswer = "committed" // the transaction is committed
	CommitAnswerRefused   CommitAnswer = "refused"   // it is not, and never will be
	CommitAnswerUnknown   CommitAnswer = "unknown"   // nobody answered in time, or the table of markers lost its rows
)

var allCommitAnswers = []CommitAnswer{CommitAnswerCommitted, CommitAnswerRefused, CommitAnswerUnknown}

// LockChange is what has become of a text that locks, or would have. It is the metrics' label change.
type LockChange string

// What can become of a text.
const (
	LockLearned   LockChange = "learned"   // it locks from now on
	LockNoKey     LockChange = "no_key"    // it does not: the server does not say that it reads by a unique key
	LockFailed    LockChange = "error"     // no more: it came to an error, which may have been the lock's
	LockUnwritten LockChange = "unwritten" // no more: most transactions did not write what they had locked
	LockInVain    LockChange = "in_vain"   // no more: with it as many transactions diverge
	LockCostly    LockChange = "costly"    // no more: with it a commit takes longer, retries and waits included
)

var allLockChanges = []LockChange{
	LockLearned, LockNoKey, LockFailed, LockUnwritten, LockInVain, LockCostly,
}
