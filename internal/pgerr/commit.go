package pgerr

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// A CommitOutcome is what is known of a transaction after RELEASE or COMMIT was sent and an error came back.
type CommitOutcome int

// What may have become of a transaction.
const (
	CommitAmbiguous    CommitOutcome = iota // it may have committed
	CommitConflict                          // it has not, and may be run again
	CommitRefused                           // it has not
	CommitSchemaFailed                      // its data has; a schema change in it has failed
)

// OutcomeOfCommit says what err, the answer to RELEASE or COMMIT, means for the transaction. Whatever is not the
// server's definite word is ambiguous. PostgreSQL's error to COMMIT is definite as long as the server goes on;
// CockroachDB's need not be, for a statement timeout or a lost connection to another node can hide the outcome.
func OutcomeOfCommit(err error, postgres bool) CommitOutcome {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok, IsFatal(answer) && !isConflictCode(answer.Code):
		return CommitAmbiguous
	case postgres:
		return outcomeOnPostgres(answer)
	case answer.Code == SerializationFailure:
		return CommitConflict
	case answer.Code == schemaChangeFailed:
		return CommitSchemaFailed
	case answer.Code == noSavepoint,
		hasAnyPrefix(answer.Code, classInvalidTransaction) && answer.Code != invalidTransaction:
		return CommitRefused
	}
	return CommitAmbiguous
}

func outcomeOnPostgres(answer *pgconn.PgError) CommitOutcome {
	switch {
	case severityOf(answer) != "ERROR", answer.Code == statementUnknown,
		hasAnyPrefix(answer.Code, classConnection, classOperatorIntervention):
		return CommitAmbiguous
	case isConflictCode(answer.Code):
		return CommitConflict
	}
	return CommitRefused
}
