package fakepg

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// An exchange is what a client sends before it has to wait for an answer: one round trip.
type exchange struct {
	conn       int
	messages   []string
	statements []string
}

// RoundTrips counts the completed exchanges: each Sync, Query, Flush, CopyDone and CopyFail ends one. Start-up isn't
// counted.
func (s *Server) RoundTrips() int { return int(s.trips.Load()) }

// Exchanges lists what was received, one inner slice per round trip, in readable form:
//
//	Parse name= sql=SELECT $1
//	Bind stmt= params=["text" x'00ff' NULL]
//	Describe S name
//	Execute
//	Close S name
//	Query SELECT 1
//	Sync
//
// A Terminate, and messages that no Sync has followed yet, are not in it.
func (s *Server) Exchanges() [][]string {
	return s.logged(func(e exchange) []string { return e.messages })
}

// Statements lists the SQL of each statement that was executed, one inner slice per round trip; a Query is one
// statement. Round trips that execute nothing, such as those that prepare a statement, are there and empty.
func (s *Server) Statements() [][]string {
	return s.logged(func(e exchange) []string { return e.statements })
}

// Sent lists the statements in order, with those that were skipped after an error.
func (s *Server) Sent() []string { return slices.Concat(s.Statements()...) }

// Ran is how often a statement was run, ever, be it in a round trip that was not completed. What was skipped after an
// error was not run.
func (s *Server) Ran(sql string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[sql]
}

// Times is how often a statement was sent.
func (s *Server) Times(sql string) (n int) {
	for _, one := range s.Sent() {
		if one == sql {
			n++
		}
	}
	return n
}

// Binds lists the arguments of all Binds, but for those without.
func (s *Server) Binds() (all []string) {
	for _, m := range slices.Concat(s.Exchanges()...) {
		if _, params, ok := strings.Cut(m, " params="); ok && strings.HasPrefix(m, "Bind ") && params != "[]" {
			all = append(all, params)
		}
	}
	return all
}

// OfConn narrows Exchanges to the connection with that ID.
func (s *Server) OfConn(id int) [][]string {
	all := s.logged(func(e exchange) []string {
		if e.conn != id {
			return nil
		}
		return e.messages
	})
	return slices.DeleteFunc(all, func(m []string) bool { return m == nil })
}

func (s *Server) logged(of func(exchange) []string) [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([][]string, len(s.log))
	for i, e := range s.log {
		all[i] = slices.Clone(of(e))
	}
	return all
}

// Forget empties the log and sets the count of round trips to zero.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
	s.trips.Store(0)
}

// A recorder gathers the exchange that a connection is in.
type recorder struct {
	now     exchange
	sql     map[string]string // of a prepared statement, by name
	portals map[string]string // the SQL bound to a portal, by name
}

func (r *recorder) add(c *Conn, m pgproto3.FrontendMessage) {
	if !c.srv.opts.quiet {
		r.note(m)
	}
	switch m.(type) {
	case *pgproto3.Sync, *pgproto3.Query, *pgproto3.Flush, *pgproto3.CopyDone, *pgproto3.CopyFail:
	default:
		return
	}
	c.srv.trips.Add(1)
	if c.srv.opts.quiet {
		return
	}
	r.now.conn = c.id
	c.srv.mu.Lock()
	c.srv.log = append(c.srv.log, r.now)
	c.srv.mu.Unlock()
	r.now = exchange{}
}

func (r *recorder) note(m pgproto3.FrontendMessage) {
	if r.sql == nil {
		r.sql, r.portals = map[string]string{}, map[string]string{}
	}
	r.now.messages = append(r.now.messages, readable(m))
	switch m := m.(type) {
	case *pgproto3.Parse:
		r.sql[m.Name] = m.Query
	case *pgproto3.Bind:
		r.portals[m.DestinationPortal] = r.sql[m.PreparedStatement]
	case *pgproto3.Execute:
		r.now.statements = append(r.now.statements, r.portals[m.Portal])
	case *pgproto3.Query:
		r.now.statements = append(r.now.statements, m.String)
	}
}

func readable(m pgproto3.FrontendMessage) string {
	switch m := m.(type) {
	case *pgproto3.Parse:
		return "Parse name=" + m.Name + " sql=" + m.Query
	case *pgproto3.Bind:
		s := "Bind stmt=" + m.PreparedStatement + " params=" + readableParams(m)
		if m.DestinationPortal != "" {
			s += " portal=" + m.DestinationPortal
		}
		return s
	case *pgproto3.Describe:
		return strings.TrimSpace("Describe " + string(m.ObjectType) + " " + m.Name)
	case *pgproto3.Execute:
		s := "Execute"
		if m.Portal != "" {
			s += " portal=" + m.Portal
		}
		if m.MaxRows != 0 {
			s += " max=" + strconv.FormatUint(uint64(m.MaxRows), 10)
		}
		return s
	case *pgproto3.Close:
		return strings.TrimSpace("Close " + string(m.ObjectType) + " " + m.Name)
	case *pgproto3.Query:
		return "Query " + m.String
	case *pgproto3.CopyData:
		return fmt.Sprintf("CopyData %q", m.Data)
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
	}
}

func readableParams(m *pgproto3.Bind) string {
	parts := make([]string, len(m.Parameters))
	for i, p := range m.Parameters {
		switch {
		case p == nil:
			parts[i] = "NULL"
		case format(m.ParameterFormatCodes, i) == 1:
			parts[i] = fmt.Sprintf("x'%x'", p)
		default:
			parts[i] = strconv.Quote(string(p))
		}
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// format is the format of the i-th value, by the protocol's rule: none given is text, one given is for all.
func format(codes []int16, i int) int16 {
	switch {
	case len(codes) == 0:
		return 0
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	default:
		return 0
	}
}

// clone copies a message that would otherwise change with the next one received.
func clone(m pgproto3.FrontendMessage) pgproto3.FrontendMessage {
	switch m := m.(type) {
	case *pgproto3.Parse:
		c := *m
		return &c
	case *pgproto3.Bind:
		c := *m
		c.Parameters = cloneValues(m.Parameters)
		return &c
	case *pgproto3.Describe:
		c := *m
		return &c
	case *pgproto3.Execute:
		c := *m
		return &c
	case *pgproto3.Close:
		c := *m
		return &c
	case *pgproto3.Query:
		c := *m
		return &c
	case *pgproto3.CopyData:
		return &pgproto3.CopyData{Data: bytes.Clone(m.Data)}
	case *pgproto3.CopyFail:
		c := *m
		return &c
	default:
		return m // has no content
	}
}

func cloneValues(values [][]byte) [][]byte {
	if values == nil {
		return nil
	}
	all := make([][]byte, len(values))
	for i, v := range values {
		all[i] = bytes.Clone(v)
	}
	return all
}
