package fakepg

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// Answer makes a handler for [Start] of a function that is asked once for each statement that is executed, at its Bind
// or in its Query, and besides, with Describing set, at each Parse and Describe. Statements that the state of the
// transaction forbids are answered without asking. The function is called from as many goroutines as there are
// connections: instead of counting in it, use [Statement.Nth].
func Answer(reply func(Statement) Reply) func(*Conn) {
	return func(c *Conn) { c.Serve(reply) }
}

// Serve answers on this connection as [Answer] does, from now until the client goes away.
func (c *Conn) Serve(reply func(Statement) Reply) {
	s := session{
		Conn: c, reply: reply,
		tx:       transaction{cockroach: c.srv.opts.version != "", status: 'I'},
		prepared: map[string]*prepared{}, portals: map[string]*portal{},
	}
	for {
		s.handle(c.Receive())
	}
}

// A session is one connection that answers automatically.
type session struct {
	*Conn
	reply    func(Statement) Reply
	tx       transaction
	prepared map[string]*prepared
	portals  map[string]*portal
	skipping bool // after an error, until Sync
	types    *pgtype.Map
}

type prepared struct {
	sql       string
	paramOIDs []uint32
	verb      verb
	savepoint string
}

// A portal is a statement bound to its parameters, with the reply it will get.
type portal struct {
	*prepared
	reply   Reply
	formats []int16
	refused *pgproto3.ErrorResponse // by the state of the transaction, at Execute

	sent    int        // rows so far
	pending [][][]byte // rows still to send, where Execute asks for some at a time
}

func (s *session) handle(m pgproto3.FrontendMessage) {
	switch m := m.(type) {
	case *pgproto3.Sync:
		s.skipping = false
		s.ready()
		return
	case *pgproto3.Flush:
		s.Flush()
		return
	case *pgproto3.Query:
		s.query(m.String)
		return
	}
	if s.skipping {
		return
	}
	switch m := m.(type) {
	case *pgproto3.Parse:
		s.parse(m)
	case *pgproto3.Bind:
		s.bind(m)
	case *pgproto3.Describe:
		s.describe(m)
	case *pgproto3.Execute:
		s.execute(m)
	case *pgproto3.Close:
		if m.ObjectType == 'S' {
			delete(s.prepared, m.Name)
		} else {
			delete(s.portals, m.Name)
		}
		s.Send(&pgproto3.CloseComplete{})
	default:
		s.Fatalf("can't answer a %T", m)
	}
}

func (s *session) ready() {
	if s.tx.status == 'I' {
		clear(s.portals)
	}
	s.Ready(s.tx.status)
}

// fail sends an error and skips what follows in the exchange.
func (s *session) fail(v verb, err *pgproto3.ErrorResponse) {
	s.Send(err)
	if err.Severity == "FATAL" {
		s.Close()
	}
	s.tx.failed(v, err.Code)
	s.skipping = true
}

func (s *session) parse(m *pgproto3.Parse) {
	if _, ok := s.prepared[m.Name]; ok && m.Name != "" {
		s.fail("", Error("42P05", `prepared statement "`+m.Name+`" already exists`))
		return
	}
	p := &prepared{sql: m.Query, paramOIDs: slices.Clone(m.ParameterOIDs)}
	p.verb, p.savepoint = parseVerb(m.Query)
	// PostgreSQL refuses to parse in a failed transaction, CockroachDB only to execute.
	if err := s.tx.refuse(p.verb); err != nil && !s.tx.cockroach {
		s.fail(p.verb, err)
		return
	}
	r := s.ask(p, nil)
	if r.ErrAt != AtParse {
		r = Reply{}
	}
	if r.Err != nil {
		s.fail(p.verb, r.Err)
	} else {
		s.prepared[m.Name] = p
		s.Send(&pgproto3.ParseComplete{})
	}
	if r.EndsTx {
		s.tx.end()
	}
}

// ask asks the test's function: for a reply to b, or where that is nil for a description.
func (s *session) ask(p *prepared, b *pgproto3.Bind) Reply {
	st := Statement{SQL: p.sql, Conn: s.id, Describing: b == nil}
	if b != nil {
		st.Nth = s.srv.count(p.sql)
		st.Params, st.ParamFormats, st.ResultFormats = b.Parameters, b.ParameterFormatCodes, b.ResultFormatCodes
	}
	return s.reply(st)
}

func (s *session) bind(m *pgproto3.Bind) {
	p, ok := s.prepared[m.PreparedStatement]
	if !ok {
		s.fail("", Error("26000", `prepared statement "`+m.PreparedStatement+`" does not exist`))
		return
	}
	b := &portal{prepared: p, formats: slices.Clone(m.ResultFormatCodes), refused: s.tx.refuse(p.verb)}
	if b.refused != nil {
		if !s.tx.cockroach {
			s.fail(p.verb, b.refused)
			return
		}
		b.reply = s.ask(p, nil)
	} else {
		b.reply = s.ask(p, m)
		s.before(b.reply)
		if b.reply.Err != nil && b.reply.ErrAt == AtBind {
			s.fail(p.verb, b.reply.Err)
			return
		}
	}
	s.portals[m.DestinationPortal] = b
	s.Send(&pgproto3.BindComplete{})
}

// before does what the reply says is to happen before the statement is looked at.
func (s *session) before(r Reply) {
	if r.Delay > 0 {
		s.sleep(r.Delay)
	}
	switch r.Cut {
	case CutBefore:
		s.Close()
	case CutUnsent:
		s.hangUp()
	}
}

func (s *session) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.srv.done:
		panic(errGone)
	}
}

func (s *session) describe(m *pgproto3.Describe) {
	if m.ObjectType == 'P' {
		b, ok := s.portals[m.Name]
		if !ok {
			s.fail("", Error("34000", `portal "`+m.Name+`" does not exist`))
			return
		}
		s.Send(rowDescription(b.reply.Columns, b.formats))
		return
	}
	p, ok := s.prepared[m.Name]
	if !ok {
		s.fail("", Error("26000", `prepared statement "`+m.Name+`" does not exist`))
		return
	}
	r := s.ask(p, nil)
	s.Send(&pgproto3.ParameterDescription{ParameterOIDs: paramOIDs(p, r)}, rowDescription(r.Columns, nil))
}

// paramOIDs are those the client gave, then those the test did, as many as the text has parameters.
func paramOIDs(p *prepared, r Reply) []uint32 {
	oids := make([]uint32, max(highestParam(p.sql), len(p.paramOIDs), len(r.ParamOIDs)))
	copy(oids, r.ParamOIDs)
	for i, oid := range p.paramOIDs {
		if oid != 0 {
			oids[i] = oid
		}
	}
	return oids
}

func highestParam(sql string) int {
	highest := 0
	for {
		at := strings.IndexByte(sql, '$')
		if at < 0 {
			return highest
		}
		sql = sql[at+1:]
		end := 0
		for end < len(sql) && sql[end] >= '0' && sql[end] <= '9' {
			end++
		}
		if n, err := strconv.Atoi(sql[:end]); err == nil {
			highest = max(highest, n)
		}
	}
}

func (s *session) execute(m *pgproto3.Execute) {
	b, ok := s.portals[m.Portal]
	if !ok {
		s.fail("", Error("34000", `portal "`+m.Portal+`" does not exist`))
		return
	}
	if b.refused != nil {
		s.fail(b.verb, b.refused)
		return
	}
	s.run(b, int(m.MaxRows))
}

// query answers the simple protocol. Statements after one that fails are not looked at.
func (s *session) query(sql string) {
	statements := split(sql)
	if len(statements) == 0 {
		s.Send(&pgproto3.EmptyQueryResponse{})
	}
	s.skipping = false
	for _, one := range statements {
		p := &prepared{sql: one}
		p.verb, p.savepoint = parseVerb(one)
		if err := s.tx.refuse(p.verb); err != nil {
			s.fail(p.verb, err)
			break
		}
		b := &portal{prepared: p, reply: s.ask(p, &pgproto3.Bind{})}
		s.before(b.reply)
		if len(b.reply.Columns) > 0 && (b.reply.Err == nil || b.reply.ErrAt == AtExecute) {
			s.Send(rowDescription(b.reply.Columns, nil))
		}
		if s.run(b, 0); s.skipping {
			break
		}
	}
	s.skipping = false
	s.ready()
}
