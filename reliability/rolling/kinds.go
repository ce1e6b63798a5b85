package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

// outcomeOfCommit says what an application may conclude from what Commit returns, or a write outside a transaction,
// with either driver. What pgx calls safe to retry may have been sent.
func outcomeOfCommit(err error) history.Outcome {
	switch {
	case err == nil:
		return history.Committed
	case is[*cockroachdb.AmbiguousCommitError](err):
		return history.Unknown
	case ofOurs(err) != "", is[*pgconn.ConnectError](err):
		return history.Failed
	case errors.Is(err, pgx.ErrTxCommitRollback), errors.Is(err, sql.ErrTxDone):
		return history.Failed
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && !hidesOutcome(e.Code) {
		return history.Failed
	}
	return history.Unknown
}

// hidesOutcome reports whether a server that answers a commit so may have committed all the same.
func hidesOutcome(code string) bool {
	if code == "40003" {
		return true
	}
	switch code[:min(2, len(code))] {
	case "08", "57", "58", "XX":
		return true
	}
	return false
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// ofOurs names the outcomes that only this driver has.
func ofOurs(err error) string {
	switch {
	case is[*cockroachdb.DivergenceError](err):
		return "replay diverged"
	case is[*cockroachdb.RetriesExhaustedError](err):
		return "retries exhausted"
	case is[*cockroachdb.NotReplayableError](err):
		return "not replayable"
	case is[*cockroachdb.ConnectionLostError](err):
		return "connection lost"
	}
	return ""
}

// kindOf names an error of an application's, by what it can be told by.
func kindOf(err error) string {
	if errors.Is(err, errGaveUp) {
		return "stuck to the end"
	}
	if name := ofOurs(err); name != "" {
		return name
	}
	name := kindOfAny(err)
	if is[*pgconn.ConnectError](err) {
		name = "login: " + name
	}
	return name
}

func kindOfAny(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "SQLSTATE " + e.Code
	}
	switch {
	case errors.Is(err, driver.ErrBadConn):
		return "bad connection"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case isCut(err):
		return "connection cut"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "other"
}

// isCut reports whether a connection has ended. Which of these an application sees depends on what it was at.
func isCut(err error) bool {
	for _, end := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, pgconn.ErrConnClosed,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return strings.Contains(err.Error(), "conn closed")
}
