package program

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// An Outcome is what an application was told of its transaction.
type Outcome int

// What an application can be told.
const (
	Committed Outcome = iota
	NotCommitted
	Unknown // it may be committed or not
	Unnamed // an error that says neither
)

func (o Outcome) String() string {
	return []string{"that it is committed", "that it is not committed", "that it may be committed", "nothing"}[o]
}

// Outcome is what err tells the application.
func (p *Program) Outcome(err error) Outcome {
	_, ambiguous := errors.AsType[*cockroachdb.AmbiguousCommitError](err)
	switch {
	case err == nil, resultLost(err):
		return Committed
	case ambiguous, isBesides(err, timestampUnread):
		return Unknown
	case Named(err) == "" && !p.readsOnly():
		return Unnamed
	case p.outside() && !refusal(err):
		return Unknown // a statement outside of a transaction has the errors that it has without this driver
	case Named(err) == "":
		return Unnamed
	}
	return NotCommitted
}

// told is what the application knows of a part.
func (p *Program) told(res Result, part int) Outcome {
	call := res.last()
	ran := len(call) >= part
	switch {
	case p.Halves != nil:
		return p.Outcome(res.Err)
	case part > 1 && !ran:
		return NotCommitted // the application has not come so far
	case p.ends(part) && ran && call[part-1].Err == nil:
		return Committed
	case part == 1 && ran && call[0].failedHalfway(p.Tail):
		return Unknown
	case p.standsAlone(part):
		return toldAlone(call[part-1].Err)
	case part > 1 && (p.Tail.Back && res.Err == nil || Named(res.Err) == ""):
		return NotCommitted // a statement failed where the driver has nothing to say, and so it is rolled back
	}
	return p.Outcome(res.Err)
}

// toldAlone is what the error of a statement outside of a transaction, in the middle of a program, tells of it.
func toldAlone(err error) Outcome {
	switch {
	case refusal(err):
		return NotCommitted
	case resultLost(err):
		return Committed
	}
	return Unknown
}

// resultLost reports whether err says that a statement is committed, and that its result can't be had.
func resultLost(err error) bool {
	_, lost := errors.AsType[*cockroachdb.ResultLostError](err)
	return lost
}

// failedHalfway reports whether the server has answered a text that commits in its middle, or DDL that commits what is
// open before it, with an error. Unless that is a conflict, it does not say how far the statement has come.
func (p Part) failedHalfway(t *Tail) bool {
	if t == nil || t.By != HalfwayText && t.By != SchemaChange || len(p.Shown) == 0 {
		return false
	}
	code := codeOf(p.Err)
	return code != "" && !slices.Contains(lost, code) &&
		strings.HasPrefix(p.Shown[len(p.Shown)-1], t.By.String()+": error ")
}

// Named is the name of an error that a transaction may end with; "" for one that it may not, such as a network error
// that doesn't say what it means for the transaction.
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
	if resultLost(err) {
		return "result lost"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return noConnection
	}
	return plainName(err)
}

const noConnection = "no connection"

// plainName names the errors that are not of the driver's own making.
func plainName(err error) string {
	server, ok := errors.AsType[*pgconn.PgError](err)
	other, isOther := errors.AsType[besides](err)
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, errForgone):
		return "the application's own"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return "commit of a failed transaction"
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrTxDone), errors.Is(err, sql.ErrConnDone),
		err.Error() == stmtClosed:
		return err.Error()
	case ok:
		return "the server's " + server.Code
	case isOther:
		return other.what
	case endedInside(err):
		return "ended inside RunTx"
	}
	return ""
}

// stmtClosed is what database/sql says of a statement that was prepared in a transaction whose context has ended since.
const stmtClosed = "sql: statement is closed"

// An error besides is one that says nothing of the transaction, since it comes from elsewhere.
type besides struct {
	what string
	err  error
}

func (e besides) Error() string { return e.what + ": " + e.err.Error() }
func (e besides) Unwrap() error { return e.err }

func isBesides(err error, what string) bool {
	other, ok := errors.AsType[besides](err)
	return ok && other.what == what
}

// endedInside reports whether RunTx says that its function has ended the transaction.
func endedInside(err error) bool {
	return err != nil && strings.Contains(err.Error(), "the function given to RunTx ended the transaction")
}

// refusal reports whether err means that a statement outside of a transaction had no effect.
func refusal(err error) bool {
	if errors.Is(err, driver.ErrBadConn) {
		return true // nothing was sent
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return slices.Contains(refusals, codeWithin(err))
}

// refusals are the SQLSTATEs with which a statement has certainly had no effect.
var refusals = append([]string{codeDuplicate, codeDivision}, lost...)

// lost are those of a lost conflict.
var lost = []string{"40001", "40P01"}

// codeWithin is the SQLSTATE of the server's error in err; "" if there is none.
func codeWithin(err error) string {
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	return server.Code
}

// runAgain reports whether an application, told err, would run its transaction again, since nothing of it is committed.
func runAgain(err error) bool {
	if _, ambiguous := errors.AsType[*cockroachdb.AmbiguousCommitError](err); !ambiguous {
		switch name, _, _ := strings.Cut(Named(err), ":"); name {
		case "diverged", "retries exhausted", "not replayable", "connection lost":
			return true
		}
	}
	return slices.Contains(lost, codeWithin(err))
}
