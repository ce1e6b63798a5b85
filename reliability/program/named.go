package program

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// Named is the name of an error that a transaction may end with; "" for one that it may not, such as a network error that
// doesn't say what it means for the transaction.
func Named(err error) string {
	if diverged, ok := errors.AsType[*cockroachdb.DivergenceError](err); ok {
		return "diverged: " + string(diverged.Kind)
	}
	if exhausted, ok := errors.AsType[*cockroachdb.RetriesExhaustedError](err); ok {
		return "retries exhausted: " + string(exhausted.Bound)
	}
	if not, ok := errors.AsType[*cockroachdb.NotReplayableError](err); ok {
		return "not replayable: " + string(not.Cause)
	}
	if _, ok := errors.AsType[*cockroachdb.ConnectionLostError](err); ok {
		return "connection lost"
	}
	if _, ok := errors.AsType[*cockroachdb.AmbiguousCommitError](err); ok {
		return "ambiguous"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return "no connection"
	}
	return plainName(err)
}

// plainName names the errors that are not of the driver's own making.
func plainName(err error) string {
	server, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, errForgone):
		return "the application's own"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return "commit of a failed transaction"
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrTxDone):
		return err.Error()
	case ok:
		return "the server's " + server.Code
	}
	return ""
}

// refusal says whether err means that a statement outside of a transaction had no effect.
func refusal(err error) bool {
	if errors.Is(err, driver.ErrBadConn) {
		return true // nothing was sent
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{"40001", "40P01", codeDuplicate, codeDivision}, server.Code)
}
