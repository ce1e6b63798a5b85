package crdbsim

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgproto3"
)

// The extended protocol. A statement that this package answers never reaches PostgreSQL, at Parse or later;
// an ordinary one does, message by message, but nobody waits for answers before Execute.

// parse handles Parse.
func (c *conn) parse(f frame) error {
	name, rest := cstring(f.body())
	sql, _ := cstring(rest)
	s := c.classify(sql)
	if ok, err := c.autocommit(s); !ok || err != nil {
		return err
	}
	if struck, err := c.strikeEarly(AtParse, s); struck || err != nil {
		return err
	}
	if c.own(s) {
		if ok, err := c.settleVisible(); !ok || err != nil {
			return err
		}
		switch {
		case s.kind == kindInvalid:
			c.fail(s.invalid)
		case name != "" && c.stmts[name] != nil:
			c.fail(failure("42P05", "prepared statement \""+name+"\" already exists"))
		default:
			c.stmts[name] = s
			c.send(&pgproto3.ParseComplete{})
		}
		return nil
	}
	if ok, err := c.reachable(); !ok || err != nil {
		return err
	}
	c.queue(f.raw, pending{typ: 'P', name: name, was: c.stmts[name]})
	c.stmts[name] = s
	return nil
}

// restore undoes what parse noted, when PostgreSQL refuses the statement.
func (c *conn) restore(p pending) {
	if p.was == nil || p.name == "" {
		delete(c.stmts, p.name)
		return
	}
	c.stmts[p.name] = p.was
}

// unknown stands for a statement that was prepared in SQL.
var unknown = &statement{}

func (c *conn) lookup(name string) *statement {
	if s := c.stmts[name]; s != nil {
		return s
	}
	return unknown
}

// bind handles Bind.
func (c *conn) bind(f frame) error {
	name, rest := cstring(f.body())
	stmt, _ := cstring(rest)
	s := c.lookup(stmt)
	if ok, err := c.autocommit(s); !ok || err != nil {
		return err
	}
	if struck, err := c.strikeEarly(AtBind, s); struck || err != nil {
		return err
	}
	p := c.portals[name]
	if p == nil {
		p = &portal{}
		c.portals[name] = p
	}
	p.stmt, p.bind = s, append(p.bind[:0], f.raw...)
	if c.own(s) {
		return c.local(&pgproto3.BindComplete{})
	}
	if ok, err := c.reachable(); !ok || err != nil {
		return err
	}
	c.queue(f.raw, pending{typ: 'B'})
	return nil
}

// local answers in PostgreSQL's stead, after what PostgreSQL has yet to answer.
func (c *conn) local(ms ...pgproto3.BackendMessage) error {
	if ok, err := c.settleVisible(); !ok || err != nil {
		return err
	}
	for _, m := range ms {
		c.send(m)
	}
	return nil
}

// describe handles Describe.
func (c *conn) describe(f frame) error {
	object, body := f.body()[0], f.body()[1:]
	name, _ := cstring(body)
	s, p := unknown, c.portals[name]
	if object == 'S' {
		s, p = c.lookup(name), nil
	} else if p != nil {
		s = p.stmt
	}
	if !c.own(s) {
		if ok, err := c.reachable(); !ok || err != nil {
			return err
		}
		c.queue(f.raw, pending{typ: 'D'})
		return nil
	}
	var ms []pgproto3.BackendMessage
	if object == 'S' {
		ms = append(ms, &pgproto3.ParameterDescription{})
	}
	if field, ok := s.field(); ok {
		field.Format = p.resultFormat()
		ms = append(ms, &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{field}})
	} else {
		ms = append(ms, &pgproto3.NoData{})
	}
	return c.local(ms...)
}

// executePortal handles Execute.
func (c *conn) executePortal(f frame) error {
	name, rest := cstring(f.body())
	p := c.portals[name]
	if p == nil {
		p = &portal{stmt: unknown}
	}
	_, err := c.execute(p.stmt, run{raw: f.raw, portal: p, partly: binary.BigEndian.Uint32(rest) != 0})
	return err
}

// closeObject handles Close.
func (c *conn) closeObject(f frame) error {
	object, body := f.body()[0], f.body()[1:]
	name, _ := cstring(body)
	s := unknown
	if object == 'S' {
		s = c.lookup(name)
		delete(c.stmts, name)
	} else if p := c.portals[name]; p != nil {
		s = p.stmt
		delete(c.portals, name)
	}
	if c.own(s) {
		return c.local(&pgproto3.CloseComplete{})
	}
	c.queue(f.raw, pending{typ: 'C'})
	return nil
}

// reachable makes sure that PostgreSQL would look at a statement: in a failed transaction of its own it looks at none,
// where CockroachDB still parses. So if the failed transaction is of no more use to anyone, it is rolled back
// without the client's knowledge.
func (c *conn) reachable() (bool, error) {
	if c.sim.cfg.PostgreSQL || c.status != 'E' || !c.tx.open || !c.tx.aborted {
		return true, nil
	}
	if c.tx.conflict || len(c.tx.saved) == 0 {
		c.queueHidden("ROLLBACK")
		c.restoreAll()
		c.tx.open, c.tx.aborted = false, false
		return true, nil
	}
	ok, err := c.settle()
	if ok && err == nil {
		c.fail(errAborted())
	}
	return false, err
}

// own reports whether this package answers s, not PostgreSQL.
func (c *conn) own(s *statement) bool {
	return s.kind != kindOrdinary && !c.sim.cfg.PostgreSQL
}
