package program

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// What errors must say: the server's own reason can be found in whatever the application is told.

// conflictAfterCommit is what the driver says of a conflict that it must not show.
const conflictAfterCommit = "lost a conflict after something was, or may have been, committed"

// reasons looks at what the applications were told.
func (c *checker) reasons() {
	for id, p := range c.programs {
		err := c.history.Results[id].Err
		if err == nil {
			continue
		}
		c.namesReason(p, err)
		c.divergence(p, err)
		c.lostConnection(p, err)
		c.strandedOutside(p, c.history.Results[id])
		c.strandedOnItsOwn(p, c.history.Results[id])
		c.namesOutcome(p, err)
	}
	c.farewells()
}

// namesOutcome looks for errors that say something else of the transaction than is so.
func (c *checker) namesOutcome(p *Program, err error) {
	switch {
	case p.Form == Closure && p.Tail != nil && p.Tail.By == SchemaChange && endedInside(err):
		c.add(Misleading, p, "the schema change is done, and RunTx says: %v", err)
	case p.Form != Looped && missesSavepoint(err):
		c.add(Misleading, p, "it goes back to savepoints of its own alone, and was told %v", err)
	case p.Policy != Never && p.Halves == nil && p.Form != Looped && isBareConflict(err):
		c.add(Unretried, p, "the driver retries, and the application was told %v", err)
	case p.onlySchema() && c.history.Results[p.ID].err(1) != nil && hidesConflict(err):
		c.add(Misleading, p, "it has lost, and there was nothing that it could have committed: %v", err)
	case Named(err) == "ambiguous":
		c.knowsMore(p, err)
	}
}

// missesSavepoint reports whether err says that a savepoint is not there. Where the connection is lost, that is why.
func missesSavepoint(err error) bool {
	return codeWithin(err) == codeNoSavepoint && Named(err) != "connection lost"
}

// knowsMore looks at a program that was told that it may be committed, although there is more to be known.
func (c *checker) knowsMore(p *Program, err error) {
	switch {
	case p.Tail == nil && p.commitsWhole() && hasLost(err):
		c.add(Misleading, p, "it has lost, and so it is not committed: %v", err)
	case c.round.Marked && p.hasMarker():
		c.add(Misleading, p, "its commit has a marker, and nobody has asked what became of it: %v", err)
	}
}

// hidesConflict reports whether err is that of a conflict which the driver does not show.
func hidesConflict(err error) bool { return strings.Contains(fmt.Sprint(err), conflictAfterCommit) }

// isBareConflict reports whether err is a conflict of which the driver has nothing to say. On the pgx connection it is
// the application's own.
func isBareConflict(err error) bool {
	return !isBesides(err, onPgx) && slices.Contains(lost, strings.TrimPrefix(Named(err), "the server's "))
}

// hasLost reports whether err holds the server's word that the transaction has lost a conflict. One that ends the
// connection says nothing of the statement.
func hasLost(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(lost, server.Code) && server.Severity == "ERROR"
}

// hasMarker reports whether all that may commit p is marked, where markers are on: it is retried, and it goes by the
// extended protocol. After a context's end there may not be time to ask.
func (p *Program) hasMarker() bool {
	if p.Tail != nil || p.Policy == Never || p.Cancel != nil {
		return false
	}
	marked := p.commitsWhole()
	eachOf(p.Steps, func(s *Statement) { marked = marked && s.Mode != pgx.QueryExecModeSimpleProtocol && s.Kind != Copy })
	return marked
}

// commitsWhole reports whether no statement of p's may commit a part of it: there is no text of several statements, and
// no DDL.
func (p *Program) commitsWhole() bool {
	whole := p.Halves == nil
	eachOf(p.Steps, func(s *Statement) {
		whole = whole && !slices.Contains([]Kind{Texts, Create, Drop, Retype, Remake}, s.Kind)
	})
	return whole
}

// namesReason looks for errors of the server's that are told as something else.
func (c *checker) namesReason(p *Program, err error) {
	_, ok := errors.AsType[*cockroachdb.DivergenceError](err)
	for _, code := range c.neverADivergence() {
		switch text := fmt.Sprint(err); {
		case ok && strings.Contains(text, "it answered SQLSTATE "+code):
			c.add(Misleading, p, "a divergence is made of the server's %s: %v", code, err)
		case !ok && strings.Contains(text, "SQLSTATE "+code) && !finds(err, code):
			c.add(Reasonless, p, "no errors.As finds the %s in %T: %v", code, err, err)
		}
	}
}

// neverADivergence are errors that say nothing of what the application has seen. Some of them strike at any other time
// too, and count only where they don't.
func (c *checker) neverADivergence() []string {
	codes := outOfTime
	if c.round.Faults.Rates[refusedAfterRestart] > 0 && !c.round.changesSchema() {
		codes = append(slices.Clone(codes), refusedCodes...)
	}
	return codes
}

// finds reports whether there is an error of the server's with this SQLSTATE anywhere in err.
func finds(err error, code string) bool {
	if server, ok := err.(*pgconn.PgError); ok && server.Code == code { //nolint:errorlint // not what it wraps
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // not what it wraps
	case interface{ Unwrap() error }:
		return wrapper.Unwrap() != nil && finds(wrapper.Unwrap(), code)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapper.Unwrap(), func(err error) bool { return finds(err, code) })
	}
	return false
}

// lostConnection looks at what is told of connections that were lost.
func (c *checker) lostConnection(p *Program, err error) {
	lost, ok := errors.AsType[*cockroachdb.ConnectionLostError](err)
	switch {
	case ok && errors.Is(err, context.Canceled):
		c.add(Misleading, p, "it was cancelled, and told that its connection was lost: %v", err)
	case ok && p.isMovable(lost.Cause) && p.mayMove(err) && !c.history.Crashed:
		c.add(Stranded, p, "there were nodes to go on with: %v", err)
	}
}

// isMovable reports whether what the driver gives as the cause is none.
func (p *Program) isMovable(cause cockroachdb.Cause) bool {
	return cause == "" || p.Form == Looped && cause == cockroachdb.CauseApplicationSavepoint
}

// dialPatience is for how long the driver certainly dials on after a round has begun: it was well then.
const dialPatience = 30 * time.Second

// strandedOutside looks at a program that was given no connection.
func (c *checker) strandedOutside(p *Program, res Result) {
	// On a machine with too much to do it may take longer.
	patient := res.Ended.Sub(c.history.Began) < dialPatience && !c.history.Crashed
	if p.Cancel == nil && Named(res.Err) == noConnection && patient {
		c.add(Stranded, p, "there were nodes to go on with: %v", res.Err)
	}
}

// strandedOnItsOwn looks at a program whose connection was lost under the one before it.
func (c *checker) strandedOnItsOwn(p *Program, res Result) {
	if _, explained := errors.AsType[*cockroachdb.ConnectionLostError](res.Err); explained {
		return
	}
	if res.Kept && errors.Is(res.Err, driver.ErrBadConn) && p.mayMove(res.Err) {
		c.add(Stranded, p, "there were nodes to go on with, and its connection is of no use: %v", res.Err)
	}
}

// bounds are how the driver says that a policy lets it go on, on another connection, no more.
var bounds = regexp.MustCompile(`the bound "\w+" of its policy is reached|\(bound: \w+\)|RetryPolicy.MaxFailovers is \d`)

// mayMove reports whether a program, told err, could have gone on, on another connection, as far as its policy and its
// application are concerned: nobody has cancelled it, and the server has not ended its session on purpose.
func (p *Program) mayMove(err error) bool {
	policy := p.Policy.policy()
	return p.Cancel == nil && policy.MaxAttempts > 1 && policy.MaxFailovers > 0 && !bounds.MatchString(fmt.Sprint(err)) &&
		!slices.ContainsFunc(farewells, func(e crdbsim.Error) bool { return finds(err, e.Code) })
}

// A Farewell is what the server said when it ended a connection inside of a transaction.
type Farewell struct {
	Code string
	At   time.Time
}

// farewells looks whether a program, whose own connection the server has ended with a reason, was told that.
func (c *checker) farewells() {
	for id, p := range c.programs {
		res := c.history.Results[id]
		bye, ended := c.history.Farewells[res.Conn]
		within := bye.At.After(res.Began) && bye.At.Before(res.Ended)
		if !ended || !within || p.Careless || Named(res.Err) != "connection lost" {
			continue // a careless one has been told before
		}
		if !finds(res.Err, bye.Code) {
			const text = "the server ended the connection with %s, and the application was told: %v"
			c.add(Reasonless, p, text, bye.Code, res.Err)
		}
	}
}
