package crdbmodel

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"
)

// resultsBuffer is how many bytes of results are kept before they are sent [docs: results_buffer_size, before v24.1].
const resultsBuffer = 16 << 10

// answers are what a session has not sent yet.
type answers struct {
	backend *pgproto3.Backend
	list    []*answer
	size    int // of the rows

	statements map[string]*prepared
	portals    map[string]*portal
	skipping   bool // up to the next Sync
}

// An answer is that to one message.
type answer struct{ messages []pgproto3.BackendMessage }

type prepared struct {
	st      *statement // nil for an empty one
	params  []uint32
	columns []column
	asks    *question // catalog.go; nil for all but the driver's
}

type portal struct {
	*prepared
	values  []int64
	formats []int16
	table   string // that is asked about
}

func (s *session) reserve(messages ...pgproto3.BackendMessage) *answer {
	a := &answer{messages}
	s.list = append(s.list, a)
	return a
}

func (s *session) answerTag(tag string) {
	s.reserve(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

func (s *session) flush() error {
	for _, a := range s.list {
		for _, m := range a.messages {
			s.backend.Send(m)
		}
	}
	s.list, s.size = s.list[:0], 0
	s.sent = s.sent || len(s.window) > 0
	return s.backend.Flush()
}

func (s *session) ready() error {
	s.reserve(&pgproto3.ReadyForQuery{TxStatus: s.status})
	return s.flush()
}

// receive does what a message asks for. An error is one of the connection.
func (s *session) receive(m pgproto3.FrontendMessage) error {
	switch m := m.(type) {
	case *pgproto3.Query:
		s.tell(s.simple(m.String))
		return s.ready()
	case *pgproto3.Sync:
		s.skipping = false
		return s.ready()
	case *pgproto3.Flush:
		return s.flush()
	case *pgproto3.Terminate:
		return io.EOF
	}
	if !s.skipping {
		err := s.extended(m)
		s.tell(err)
		s.skipping = err != nil
	}
	return nil
}

// tell answers with an error, if there is one.
func (s *session) tell(err error) {
	if err == nil {
		return
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = fail("XX000", err.Error())
	}
	s.failed()
	s.reserve(&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: f.code, Message: f.message})
}

func (s *session) parse(text string) ([]*statement, error) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.parse(text)
}

func (s *session) simple(text string) error {
	list, err := s.parse(text)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		s.reserve(&pgproto3.EmptyQueryResponse{})
	}
	for _, st := range list {
		if st.params > 0 {
			return fail("42P02", "there is no parameter $1")
		}
		if err := s.execute(&execution{st: st, headed: true}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) extended(m pgproto3.FrontendMessage) error {
	switch m := m.(type) {
	case *pgproto3.Parse:
		return s.prepare(m)
	case *pgproto3.Bind:
		return s.bind(m)
	case *pgproto3.Describe:
		return s.describe(m)
	case *pgproto3.Execute:
		p := s.portals[m.Portal]
		switch {
		case p == nil:
			return fail("34000", "unknown portal")
		case m.MaxRows > 0:
			return unsupported("a portal that is read in parts")
		case p.asks != nil:
			s.answerQuestion(p.asks, p.table)
			return nil
		case p.st == nil:
			s.reserve(&pgproto3.EmptyQueryResponse{})
			return nil
		}
		return s.execute(&execution{st: p.st, params: p.values, formats: p.formats})
	case *pgproto3.Close:
		if m.ObjectType == 'S' {
			delete(s.statements, m.Name)
		} else {
			delete(s.portals, m.Name)
		}
		s.reserve(&pgproto3.CloseComplete{})
		return nil
	}
	return unsupported("this message of the protocol")
}

func (s *session) prepare(m *pgproto3.Parse) error {
	if q := questionOf(m.Query); q != nil {
		s.statements[m.Name] = q.prepared()
		s.reserve(&pgproto3.ParseComplete{})
		return nil
	}
	list, err := s.parse(m.Query)
	if err != nil {
		return err
	}
	p := &prepared{}
	switch len(list) {
	case 0:
	case 1:
		p.st = list[0]
		if p.params, p.columns, err = s.e.describe(p.st); err != nil {
			return err
		}
	default:
		return fail("42601", "cannot insert multiple commands into a prepared statement")
	}
	if m.Name != "" && s.statements[m.Name] != nil {
		return fail("42P05", "prepared statement \""+m.Name+"\" already exists")
	}
	s.statements[m.Name] = p
	s.reserve(&pgproto3.ParseComplete{})
	return nil
}

func (s *session) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'S' {
		p := s.statements[m.Name]
		if p == nil {
			return fail("26000", "unknown prepared statement")
		}
		s.reserve(&pgproto3.ParameterDescription{ParameterOIDs: p.params}, head(p.columns, nil))
		return nil
	}
	p := s.portals[m.Name]
	if p == nil {
		return fail("34000", "unknown portal")
	}
	s.reserve(head(p.columns, p.formats))
	return nil
}

// head describes the columns of an answer.
func head(columns []column, formats []int16) pgproto3.BackendMessage {
	if columns == nil {
		return &pgproto3.NoData{}
	}
	d := &pgproto3.RowDescription{}
	for i, c := range columns {
		d.Fields = append(d.Fields, pgproto3.FieldDescription{
			Name: []byte(c.name), DataTypeOID: c.oid, DataTypeSize: -1, TypeModifier: -1, Format: formatOf(formats, i),
		})
	}
	return d
}

const binaryFormat = 1

// formatOf is the protocol's rule: none is text for all, one is for all.
func formatOf(formats []int16, i int) int16 {
	switch len(formats) {
	case 0:
		return 0
	case 1:
		return formats[0]
	}
	return formats[min(i, len(formats)-1)]
}

func (s *session) bind(m *pgproto3.Bind) error {
	p := s.statements[m.PreparedStatement]
	switch {
	case p == nil:
		return fail("26000", "unknown prepared statement")
	case len(m.Parameters) != len(p.params):
		return fail("08P01", "wrong number of parameters")
	}
	port := &portal{prepared: p, formats: append([]int16(nil), m.ResultFormatCodes...)}
	for i, raw := range m.Parameters {
		if p.asks != nil {
			port.table = string(raw)
			break
		}
		n, ok := decode(raw, formatOf(m.ParameterFormatCodes, i))
		if !ok {
			return fail("22P03", "a parameter is no integer and no boolean")
		}
		port.values = append(port.values, n)
	}
	s.portals[m.DestinationPortal] = port
	s.reserve(&pgproto3.BindComplete{})
	return nil
}

func decode(raw []byte, format int16) (n int64, ok bool) {
	switch text := string(raw); {
	case format != binaryFormat && (text == "t" || text == "true"):
		return 1, true
	case format != binaryFormat && (text == "f" || text == "false"):
		return 0, true
	case format != binaryFormat:
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil
	case len(raw) == 1:
		return int64(raw[0]), true
	case len(raw) == 2:
		return int64(int16(binary.BigEndian.Uint16(raw))), true
	case len(raw) == 4:
		return int64(int32(binary.BigEndian.Uint32(raw))), true
	case len(raw) == 8:
		return int64(binary.BigEndian.Uint64(raw)), true
	}
	return 0, false
}

func encode(n int64, oid uint32, format int16) []byte {
	switch {
	case oid == oidBool && format == binaryFormat:
		return []byte{byte(n)}
	case oid == oidBool:
		return []byte{"ft"[n]}
	case format == binaryFormat:
		return binary.BigEndian.AppendUint64(nil, uint64(n))
	}
	return strconv.AppendInt(nil, n, 10)
}

// fill writes the answer to an execution.
func (s *session) fill(x *execution, res *result) {
	x.answer.messages = nil
	if x.headed && res.columns != nil {
		x.answer.messages = append(x.answer.messages, head(res.columns, x.formats))
	}
	for _, row := range res.rows {
		d := &pgproto3.DataRow{Values: make([][]byte, len(row))}
		for i, n := range row {
			if n != nil {
				d.Values[i] = encode(*n, res.columns[i].oid, formatOf(x.formats, i))
			}
			s.size += len(d.Values[i]) + 4
		}
		x.answer.messages = append(x.answer.messages, d)
	}
	x.answer.messages = append(x.answer.messages, &pgproto3.CommandComplete{CommandTag: []byte(res.tag)})
}
