package crdbsim

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

const retryHint = "See: https://www.cockroachlabs.com/docs/v22.1/transaction-retry-error-reference.html"

func failure(code, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message}
}

func errNoTransaction() *pgproto3.ErrorResponse {
	return failure("XXUUU", "there is no transaction in progress")
}

func errInTransaction() *pgproto3.ErrorResponse {
	return failure("XXUUU", "there is already a transaction in progress")
}

func errAborted() *pgproto3.ErrorResponse {
	return failure("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

func errCommitted() *pgproto3.ErrorResponse {
	return failure("25000", "current transaction is committed, commands ignored until end of transaction block")
}

func errNoSavepoint(name string) *pgproto3.ErrorResponse {
	return failure("3B001", fmt.Sprintf("savepoint %q does not exist", name))
}

func errNested(name string) *pgproto3.ErrorResponse {
	return failure("42601", fmt.Sprintf("SAVEPOINT %q cannot be nested", name))
}

func errNotFirst(name string) *pgproto3.ErrorResponse {
	return failure("42601", fmt.Sprintf("SAVEPOINT %q needs to be the first statement in a transaction", name))
}

// conflict makes a 40001 that reads as CockroachDB's do.
func conflict(message string) *pgproto3.ErrorResponse {
	e := failure("40001", "restart transaction: "+message)
	e.Hint = retryHint
	return e
}

func errRolledBackRestart() *pgproto3.ErrorResponse {
	return conflict("TransactionRetryWithProtoRefreshError: cannot rollback to savepoint after a transaction restart")
}

func errInjectedRetry() *pgproto3.ErrorResponse {
	return conflict("TransactionRetryWithProtoRefreshError: injected by `inject_retry_errors_enabled` session variable")
}

const forcedRetry = "forced by crdb_internal.force_retry()"

// Conflict is a 40001 as CockroachDB words it, or PostgreSQL where the Sim is one. The reason is one such as
// RETRY_SERIALIZABLE, ABORT_REASON_ABORTED_RECORD_FOUND or WriteTooOldError.
func Conflict(reason string) Error {
	e := conflictFor(reason)
	return Error{Code: e.Code, Message: e.Message, Hint: e.Hint}
}

func conflictFor(reason string) *pgproto3.ErrorResponse {
	const prefix = "TransactionRetryWithProtoRefreshError: "
	txn := fmt.Sprintf("%q meta={id=%08x key=/Table/104/1/1/0 pri=0.00015227 epo=0 seq=1} lock=true stat=", "sql txn", rand.Uint32())
	switch {
	case strings.HasPrefix(reason, "RETRY_"):
		e := conflict(prefix + "TransactionRetryError: retry txn (" + reason + "): " + txn + "PENDING")
		e.Hint += "#" + strings.ToLower(reason)
		return e
	case strings.HasPrefix(reason, "ABORT_REASON_"):
		e := conflict(prefix + "TransactionAbortedError(" + reason + "): " + txn + "ABORTED")
		e.Hint += "#" + strings.ToLower(reason)
		return e
	case reason == "WriteTooOldError":
		return conflict(prefix + "WriteTooOldError: write for key /Table/104/1/1/0 too old: " + txn + "PENDING")
	}
	return conflict(prefix + reason)
}

// worded is an error of PostgreSQL's as the client is told it.
func (c *conn) worded(e *pgproto3.ErrorResponse) *pgproto3.ErrorResponse {
	if c.sim.cfg.PostgreSQL {
		return e
	}
	return translate(e)
}

// likePostgreSQL is what a fault says on a Sim that is PostgreSQL: a [Conflict] reads as PostgreSQL's own.
func (e Error) likePostgreSQL() *pgproto3.ErrorResponse {
	r := e.response()
	if e.Code == "40001" && strings.HasPrefix(e.Message, "restart transaction: ") {
		r.Message = "could not serialize access due to read/write dependencies among transactions"
		r.Hint = "The transaction might succeed if retried."
	}
	return r
}

// translate turns what PostgreSQL says of a conflict into what CockroachDB would say. Other errors stay as they are:
// the two agree on their codes.
func translate(e *pgproto3.ErrorResponse) *pgproto3.ErrorResponse {
	switch {
	case e.Code == "40P01":
		return conflictFor("ABORT_REASON_PUSHER_ABORTED")
	case e.Code != "40001":
		return e
	case e.Message == forcedRetry:
		return conflict("crdb_internal.force_retry(): TransactionRetryWithProtoRefreshError: " + forcedRetry)
	case strings.HasPrefix(e.Message, "could not serialize access due to concurrent"):
		return conflictFor("WriteTooOldError")
	}
	return conflictFor("RETRY_SERIALIZABLE")
}
