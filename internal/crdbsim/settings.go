package crdbsim

import (
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// CockroachDB undoes a SET neither by ROLLBACK TO nor by ROLLBACK; PostgreSQL does. So what was set in PostgreSQL's
// transaction is remembered, and set again when that transaction, or a part of it, has been rolled back.

// remember takes note of what s has set in PostgreSQL's transaction.
func (c *conn) remember(s *statement, r run) {
	if c.status == 'T' && !c.sim.cfg.PostgreSQL {
		c.tx.set = append(c.tx.set, s.settings(r)...)
	}
}

// restoreAll sets again what PostgreSQL has undone by the end of its transaction. It does so in a transaction of its
// own, so that the next one begins without a snapshot. What can't be set any more, such as a role that is gone, is
// left out.
func (c *conn) restoreAll() {
	if len(c.tx.set) == 0 {
		return
	}
	var block strings.Builder
	block.WriteString("DO $crdbsim$ BEGIN ")
	for _, sql := range c.tx.set {
		block.WriteString("BEGIN EXECUTE " + literal(sql) + "; EXCEPTION WHEN OTHERS THEN NULL; END; ")
	}
	block.WriteString("END $crdbsim$")
	c.queueHidden(block.String())
	c.queueSync()
	c.tx.set = nil
}

// restoreSince sets again what PostgreSQL has undone by going back to a savepoint: all but the first n.
func (c *conn) restoreSince(n int) {
	for _, sql := range c.tx.set[n:] {
		c.queueHidden(sql)
	}
}

// restoreCompleted sets again what the first n statements of a text have set that failed and was one transaction.
func (c *conn) restoreCompleted(parts []*statement, n int) {
	for _, s := range parts[:min(n, len(parts))] {
		c.tx.set = append(c.tx.set, s.settings(run{})...)
	}
	c.restoreAll()
}

// settings returns what sets again what s has set for the session.
func (s *statement) settings(r run) []string {
	if s.sets {
		return []string{s.sql}
	}
	if len(s.calls) == 0 {
		return nil
	}
	var all []string
	bound := r.arguments()
	for _, call := range s.calls {
		if sql, ok := call.bind(bound); ok {
			all = append(all, sql)
		}
	}
	return all
}

// arguments returns those that were bound; nil stands for NULL.
func (r run) arguments() [][]byte {
	var bind pgproto3.Bind
	if r.portal == nil || bind.Decode(r.portal.bind[5:]) != nil {
		return nil
	}
	return bind.Parameters
}

// setsForSession reports whether a SET or RESET, of which rest follows, is one that outlives its transaction.
func setsForSession(rest []token) bool {
	if len(rest) == 0 || rest[0].is("local") || rest[0].is("constraints") || rest[0].is("transaction") {
		return false
	}
	rest = skip(rest, "session")
	return len(rest) > 0 && !strings.HasPrefix(rest[0].text, "transaction_")
}

// A setCall is a call of set_config: name, value, and whether it is for the transaction alone.
type setCall [3]argument

// An argument is a literal, or the number of one that is bound.
type argument struct {
	text  string
	null  bool
	bound int // from 1, 0 for a literal
}

// setCalls finds the calls of set_config in ts whose arguments are literals or bound.
func setCalls(ts []token) (calls []setCall) {
	for i, t := range ts {
		if !t.is("set_config") || i+1 == len(ts) || !ts[i+1].symbol('(') {
			continue
		}
		if call, ok := parseSetCall(ts[i+2:]); ok {
			calls = append(calls, call)
		}
	}
	return calls
}

func parseSetCall(ts []token) (call setCall, ok bool) {
	for i, end := range [...]byte{',', ',', ')'} {
		n := 0
		for n < len(ts) && !ts[n].symbol(end) {
			n++
		}
		if call[i], ok = parseArgument(ts[:n]); !ok || n == len(ts) {
			return call, false
		}
		ts = ts[n+1:]
	}
	return call, true
}

// parseArgument reads 'text', a word such as true, or $1, each with a cast perhaps.
func parseArgument(ts []token) (a argument, ok bool) {
	if len(ts) == 0 {
		return a, false
	}
	first, rest := ts[0], ts[1:]
	switch {
	case first.is("null"):
		a.null = true
	case first.is("true"), first.is("false"), first.kind == tokenString && !first.escapes:
		a.text = first.text
	case first.symbol('$'):
		for len(rest) > 0 && rest[0].kind == tokenSymbol && isDigit(rest[0].text[0]) {
			a.bound = a.bound*10 + int(rest[0].text[0]-'0')
			rest = rest[1:]
		}
		if a.bound == 0 {
			return a, false
		}
	default:
		return a, false
	}
	cast := len(rest) == 3 && rest[0].symbol(':') && rest[1].symbol(':') && rest[2].kind == tokenWord
	return a, len(rest) == 0 || cast
}

// bind returns what sets the same for the session; ok is false if it was for the transaction, or can't be told.
func (call setCall) bind(bound [][]byte) (sql string, ok bool) {
	var values [len(call)]string
	for i, a := range call {
		if a.bound > len(bound) {
			return "", false
		}
		if a.bound > 0 {
			a.text, a.null = string(bound[a.bound-1]), bound[a.bound-1] == nil
		}
		values[i] = literal(a.text)
		if a.null {
			values[i] = "NULL"
		}
		if i == 2 && !isFalse(a.text) {
			return "", false
		}
	}
	return "SELECT set_config(" + values[0] + ", " + values[1] + ", false)", true
}

// isFalse reports whether s is a boolean that is false, in text or in binary.
func isFalse(s string) bool {
	switch strings.ToLower(s) {
	case "f", "false", "n", "no", "off", "0", "\x00":
		return true
	}
	return false
}

// literal quotes a string, whatever standard_conforming_strings is.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
