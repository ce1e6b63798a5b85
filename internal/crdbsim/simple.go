package crdbsim

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

// query handles a message of the simple protocol, which may hold several statements.
func (c *conn) query(f frame) error {
	c.simple = true
	defer func() { c.simple = false }()
	sql, _ := cstring(f.body())
	if err := c.runAll(c.statements(sql)); err != nil {
		return err
	}
	return c.finish()
}

// statements takes a string apart as far as that is needed. A string without a statement for this package, outside a
// transaction, goes to PostgreSQL whole and is one transaction there.
func (c *conn) statements(sql string) []*statement {
	if c.sim.cfg.PostgreSQL {
		return []*statement{c.classify(sql)}
	}
	var all []*statement
	for _, part := range split(sql) {
		all = append(all, c.classify(part))
	}
	mine := slices.ContainsFunc(all, func(s *statement) bool {
		return s.kind != kindOrdinary || s.isDDL() && c.on(autocommitBeforeDDL)
	})
	if len(all) > 1 && !mine && c.status == 'I' {
		return []*statement{{sql: sql, parts: all}}
	}
	return all
}

// runAll runs statements up to the first that fails. CockroachDB parses all of them before, so one that it can't parse
// stops them all.
func (c *conn) runAll(all []*statement) error {
	if len(all) == 0 {
		c.send(&pgproto3.EmptyQueryResponse{})
	}
	for _, s := range all {
		if s.kind == kindInvalid && !c.sim.cfg.PostgreSQL {
			c.fail(s.invalid)
			return nil
		}
	}
	for _, s := range all {
		raw, _ := (&pgproto3.Query{String: s.sql}).Encode(nil)
		ok, err := c.execute(s, run{raw: raw})
		if !ok || err != nil {
			return err
		}
	}
	return nil
}
