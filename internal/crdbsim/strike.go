package crdbsim

import (
	"encoding/binary"
	"errors"
)

// strike returns what is to happen at this point.
func (c *conn) strike(at Stage, sql string) (Action, bool) {
	fs := &c.sim.faults
	if !fs.some.Load() {
		return Action{}, false
	}
	p := Point{Conn: c.id, Stage: at, SQL: sql, Status: c.status}
	f := fs.pick(&p)
	if f == nil {
		return Action{}, false
	}
	if f.Do != nil {
		return f.Do(p), true
	}
	return f.Action, true
}

// before does what an action wants done before the statement is handled.
func (c *conn) before(a Action) {
	c.leaves = c.leaves || a.Then == Pass && a.Ends
	c.pause(a.Delay)
	if a.Call != nil {
		a.Call()
	}
}

// strikeEarly applies a fault at Parse or Bind; struck is true if the message is done with.
func (c *conn) strikeEarly(at Stage, s *statement) (struck bool, err error) {
	a, hit := c.strike(at, s.sql)
	if !hit {
		return false, nil
	}
	if ok, err := c.settle(); !ok || err != nil {
		return true, err
	}
	c.before(a)
	switch a.Then {
	case Fail:
		return true, c.lastWord(a, c.failBefore(&statement{sql: s.sql}, a.Error))
	case Cut:
		return true, errCut
	}
	return false, nil
}

// execute executes s, or does what a fault wants instead; ok is false if the client was given an error.
func (c *conn) execute(s *statement, r run) (ok bool, err error) {
	if ok, err := c.autocommit(s); !ok || err != nil {
		return false, err
	}
	a, hit := c.strike(AtExecute, s.sql)
	if !hit {
		return c.perform(s, r, noLimit)
	}
	if ok, err := c.settle(); !ok || err != nil {
		return false, err
	}
	c.before(a)
	limit := noLimit
	switch a.Then {
	case Fail:
		return false, c.lastWord(a, c.failBefore(s, a.Error))
	case Cut:
		return false, errCut
	case ExecuteFail:
		limit = a.AfterRows
	case ExecuteCut:
		limit = 0
	}
	before := c.tx.committed
	ok, err = c.perform(s, r, limit)
	if err != nil {
		return false, err
	}
	return c.after(s, a, ok, c.tx.committed && !before)
}

// after does what an action wants done once the statement was executed. If that failed there is nothing to be lied
// about; if it has committed the transaction, and left it open, that is what the error hides.
func (c *conn) after(s *statement, a Action, ok, committed bool) (bool, error) {
	c.pause(a.DelayReply)
	if a.CallReply != nil {
		a.CallReply()
	}
	switch a.Then {
	case ExecuteFail:
		if ok {
			return false, c.lastWord(a, c.failAfter(s, a.Error, committed))
		}
	case ExecuteCut, ExecuteHalf:
		if c.up.dirty { // executed means: lasting, if it was not part of a transaction
			c.queueSync()
			if _, err := c.relay(0); err != nil {
				return false, err
			}
		}
		if a.Then == ExecuteHalf {
			c.out = half(c.out)
			return false, errors.Join(c.flush(), errCut)
		}
		return false, errCut
	}
	return ok, nil
}

// lastWord has the connection end after an action's error, which was given with err, if the action wants that.
func (c *conn) lastWord(a Action, err error) error {
	if err == nil && a.Ends {
		c.shutsDown()
	}
	return err
}

// half drops the second half of the last message in b.
func half(b []byte) []byte {
	for at := 0; at < len(b); {
		size := int(binary.BigEndian.Uint32(b[at+1:])) + 1
		if at+size >= len(b) {
			return b[:at+size/2]
		}
		at += size
	}
	return b
}

// failBefore gives the client an error for a statement that was not executed.
func (c *conn) failBefore(s *statement, e Error) error {
	if c.sim.cfg.PostgreSQL {
		return c.failForReal(s, e)
	}
	switch {
	case s.kind == kindCommit, s.kind == kindRollback:
		c.end()
	case e.Code != "40001" && (s.kind == kindShowCommit || s.kind == kindRelease && s.name == c.tx.restart):
		c.tx.restart = ""
	case s.kind == kindOrdinary && c.status == 'I':
		c.commitTime = ""
	}
	c.fail(e.response())
	return nil
}

// failAfter gives the client an error for a statement that was executed.
func (c *conn) failAfter(s *statement, e Error, committed bool) error {
	if c.sim.cfg.PostgreSQL {
		return c.failForReal(s, e)
	}
	if committed {
		c.tx.committed, c.tx.restart = false, ""
	}
	if committed || s.kind == kindOrdinary {
		c.commitTime = ""
	}
	c.fail(e.response())
	return nil
}

// failForReal makes PostgreSQL's transaction fail too. PostgreSQL answers what follows.
func (c *conn) failForReal(s *statement, e Error) error {
	if s.kind == kindCommit || s.kind == kindRollback {
		c.queueHidden("ROLLBACK")
	} else {
		c.queueHidden("a fault was injected")
	}
	if _, err := c.ask(0); err != nil {
		return err
	}
	c.fail(e.likePostgreSQL())
	return nil
}
