package crdbsim

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// A run is one execution of a statement.
type run struct {
	raw    []byte  // the client's Execute or Query
	portal *portal // nil in the simple protocol
	partly bool    // Execute asks for so many rows only
}

// perform executes s, without faults; ok is false if the client was given an error. With a limit, that many rows are
// passed on and no end.
func (c *conn) perform(s *statement, r run, limit int) (ok bool, err error) {
	if !c.own(s) {
		return c.performOrdinary(s, r, limit)
	}
	if ok, err := c.settleVisible(); !ok || err != nil {
		return false, err
	}
	rep, err := c.control(s)
	switch {
	case err != nil:
		return false, err
	case rep.failed != nil:
		c.fail(rep.failed)
		return false, nil
	case limit != noLimit:
		return true, nil
	}
	if field, ok := s.field(); ok {
		if err := c.sendRow(field, r.portal, rep.value); err != nil {
			return false, err
		}
	}
	c.send(&pgproto3.CommandComplete{CommandTag: []byte(rep.tag)})
	return true, nil
}

// sendRow sends the one row of an answer of ours.
func (c *conn) sendRow(field pgproto3.FieldDescription, p *portal, value string) error {
	field.Format = p.resultFormat()
	data, err := encode(value, field)
	if err != nil {
		return err
	}
	if p == nil {
		c.send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{field}})
	}
	c.send(&pgproto3.DataRow{Values: [][]byte{data}})
	return nil
}

// resultFormat is how the client wants to have the one column there is.
func (p *portal) resultFormat() int16 {
	var bind pgproto3.Bind
	if p == nil || bind.Decode(p.bind[5:]) != nil || len(bind.ResultFormatCodes) == 0 {
		return pgtype.TextFormatCode
	}
	return bind.ResultFormatCodes[0]
}

// performOrdinary has PostgreSQL execute s.
func (c *conn) performOrdinary(s *statement, r run, limit int) (bool, error) {
	if e := c.refusal(s); e != nil {
		ok, err := c.settle()
		if ok && err == nil {
			c.fail(e)
		}
		return false, err
	}
	if s.database != "" {
		c.sim.spares.leaveDatabase(s.database)
	}
	window := c.windowOpen() && !s.mayCommit()
	if s.forceRetry {
		if ok, err := c.tellForceRetry(r, window); !ok || err != nil {
			return false, err
		}
	}
	if c.status == 'T' {
		c.tx.note(s)
	} else {
		c.commitTime = ""
	}
	a, err := c.attempts(r, window, limit)
	if err != nil {
		return false, err
	}
	if a.failed != nil {
		c.tx.aborted = true
		if c.status == 'I' {
			c.restoreCompleted(s.parts, a.completed)
		}
		c.fail(c.worded(a.failed))
		return false, nil
	}
	c.remember(s, r)
	if c.status == 'I' {
		c.noteCommit()
	}
	c.forget(s, a.tag)
	return true, nil
}

// forget drops what a statement with this tag has ended: prepared statements and variables.
func (c *conn) forget(s *statement, tag string) {
	switch tag {
	case "DEALLOCATE ALL":
		clear(c.stmts)
	case "DISCARD ALL":
		clear(c.stmts)
		clear(c.vars)
	case "RESET":
		if s.all {
			clear(c.vars)
			c.tx.eachLocal(func(vars map[string]string) { clear(vars) })
		}
	}
}

// refusal is what the state of the transaction has to say against s.
func (c *conn) refusal(s *statement) *pgproto3.ErrorResponse {
	switch {
	case c.sim.cfg.PostgreSQL:
		return nil
	case c.tx.committed:
		return errCommitted()
	case c.status == 'E':
		return errAborted()
	case c.on("inject_retry_errors_enabled") && c.status == 'T' && c.tx.injected < 3 &&
		s.word != "set" && s.word != "show":
		c.tx.injected++
		return errInjectedRetry()
	}
	return nil
}

// mayCommit reports whether a statement may commit in its middle. What it has committed the server does not try again.
func (s *statement) mayCommit() bool { return s.word == "call" || s.word == "do" }

// windowOpen reports whether the server may try a statement again automatically: nothing of this transaction has been
// answered yet.
func (c *conn) windowOpen() bool {
	return !c.sim.cfg.PostgreSQL && (c.status == 'I' || c.status == 'T' && !c.tx.answered && len(c.tx.saved) == 0)
}

// maxOwnRetries bounds how often the server tries automatically.
const maxOwnRetries = 100

// attempts has PostgreSQL execute a statement until it succeeds or the error is the client's to deal with.
func (c *conn) attempts(r run, window bool, limit int) (answer, error) {
	// CockroachDB commits each statement outside a transaction before it answers.
	alone := c.status == 'I' && !c.sim.cfg.PostgreSQL && !r.partly
	for n := 0; ; n++ {
		a, err := c.attempt(r, alone, limit)
		if err != nil || a.failed == nil {
			return a, err
		}
		if alone && a.at.typ == 'S' && a.end >= 0 { // the commit failed: this was no success
			c.out = c.out[:a.end]
		}
		if !window || n == maxOwnRetries || !c.canRunAgain(r, a) {
			return a, nil
		}
		c.out = c.out[:a.start.at]
		if c.status == 'T' {
			c.queueHidden("ROLLBACK")
			c.restoreAll()
			c.queueHidden(c.tx.begin)
		}
		if r.portal != nil {
			c.queue(r.portal.bind, pending{typ: 'B', hidden: true})
		}
	}
}

// canRunAgain reports whether a statement lost a conflict, and the client has seen nothing of its answer.
func (c *conn) canRunAgain(r run, a answer) bool {
	return translate(a.failed).Code == "40001" && !r.partly && a.begun && c.unsent(a.start)
}

// attempt has PostgreSQL execute a statement once.
func (c *conn) attempt(r run, alone bool, limit int) (answer, error) {
	if r.portal == nil {
		c.queue(r.raw, pending{typ: 'Q'})
		return c.relay(limit)
	}
	c.queue(r.raw, pending{typ: 'E'})
	if alone || c.in.peek() == 'S' && !r.partly { // the client's own Sync will then find nothing left to do
		c.queueSync()
		return c.relay(limit)
	}
	return c.ask(limit)
}

// tellForceRetry lets crdb_internal.force_retry know what it can't find out: how long this transaction has
// been going on, over all its attempts, and whether the server retries automatically.
func (c *conn) tellForceRetry(r run, window bool) (bool, error) {
	if ok, err := c.settle(); !ok || err != nil {
		return false, err
	}
	var elapsed time.Duration
	if c.status == 'T' {
		elapsed = time.Since(c.tx.started)
	}
	c.queueHidden(fmt.Sprintf("SELECT set_config('crdbsim.elapsed', '%f', false), set_config('crdbsim.window', '%t', false)",
		elapsed.Seconds(), window))
	if r.portal != nil {
		if name, _ := cstring(r.portal.bind[5:]); name == "" { // the hidden statement has used the unnamed portal
			c.queue(r.portal.bind, pending{typ: 'B', hidden: true})
		}
	}
	return true, nil
}
