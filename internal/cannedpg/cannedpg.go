// Package cannedpg is a server that gives ready-made answers and allocates nothing while it does, so that what a
// benchmark or a test of allocations measures is the client. It knows nothing but the texts that it was given and
// BEGIN, COMMIT, and their like.
package cannedpg

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// A Reply is the ready-made answer to a text.
type Reply struct {
	Params  []uint32 // the types of the parameters
	Columns int      // how many columns of int8 there are, in binary
	Rows    int      // how many rows of them
	Tag     string   // SELECT n where there are columns, unless set; else UPDATE 1
	Loses   bool     // every other time, from the first on, it loses a conflict instead
}

// A Server answers on a loopback port.
type Server struct {
	replies  map[string]*canned
	listener net.Listener
	trips    atomic.Int64
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
	closed   bool
}

// Start starts a server. Its clients must be closed before it: cleanups run in reverse order.
func Start(t testing.TB, replies map[string]Reply) *Server {
	t.Helper()
	s, err := Listen(replies)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Listen starts a server that answers until it is closed, for a process of its own.
func Listen(replies map[string]Reply) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{replies: make(map[string]*canned), listener: listener}
	for sql, r := range replies {
		s.replies[sql] = can(r)
	}
	for sql, tag := range map[string]string{
		"BEGIN": "BEGIN", "begin": "BEGIN", "COMMIT": "COMMIT", "commit": "COMMIT",
		"ROLLBACK": "ROLLBACK", "rollback": "ROLLBACK",
		"SAVEPOINT cockroach_restart": "SAVEPOINT", "RELEASE SAVEPOINT cockroach_restart": "COMMIT",
		"ROLLBACK TO SAVEPOINT cockroach_restart": "ROLLBACK", "-- ping": "",
	} {
		s.replies[sql] = can(Reply{Tag: tag})
		s.replies[sql].status = statusAfter(sql)
	}
	s.wg.Go(s.accept)
	return s, nil
}

func statusAfter(sql string) byte {
	switch sql {
	case "COMMIT", "commit", "ROLLBACK", "rollback", "-- ping":
		return 'I'
	}
	return 'T'
}

// DSN leads to the server.
func (s *Server) DSN() string {
	return fmt.Sprintf("postgresql://app@%s/canned?sslmode=disable", s.listener.Addr())
}

// RoundTrips counts the Sync and Query messages so far.
func (s *Server) RoundTrips() int64 { return s.trips.Load() }

// Close stops the server.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	_ = s.listener.Close()
	s.wg.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		if s.closed {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(c) })
	}
}

// canned is a reply in the bytes of the wire.
type canned struct {
	loses               bool
	status              byte // of the transaction afterwards; 0 leaves it
	description, portal []byte
	result              []byte
	simple              []byte
}

func can(r Reply) *canned {
	fields := make([]pgproto3.FieldDescription, r.Columns)
	values := make([][]byte, r.Columns)
	for i := range fields {
		fields[i] = pgproto3.FieldDescription{
			Name: []byte("v"), DataTypeOID: pgtype.Int8OID, DataTypeSize: 8, TypeModifier: -1, Format: 1,
		}
		values[i] = binary.BigEndian.AppendUint64(nil, 7)
	}
	var columns pgproto3.BackendMessage = &pgproto3.NoData{}
	tag := "UPDATE 1"
	if r.Columns > 0 {
		columns, tag = &pgproto3.RowDescription{Fields: fields}, fmt.Sprintf("SELECT %d", r.Rows)
	}
	if r.Tag != "" {
		tag = r.Tag
	}
	c := canned{loses: r.Loses}
	c.portal = encode(nil, columns)
	c.description = append(encode(nil, &pgproto3.ParameterDescription{ParameterOIDs: r.Params}), c.portal...)
	row := encode(nil, &pgproto3.DataRow{Values: values})
	for range r.Rows {
		c.result = append(c.result, row...)
	}
	c.result = encode(c.result, &pgproto3.CommandComplete{CommandTag: []byte(tag)})
	c.simple = c.result
	if r.Columns > 0 {
		c.simple = append(append([]byte(nil), c.portal...), c.result...)
	}
	return &c
}

func encode(dst []byte, m pgproto3.BackendMessage) []byte {
	dst, err := m.Encode(dst)
	if err != nil {
		panic(err) // only a message that is too long fails
	}
	return dst
}

// session is one connection.
type session struct {
	*Server
	in         *bufio.Reader
	out        *bufio.Writer
	body       []byte
	statements map[string]*canned
	bound      *canned
	status     byte
	lost       bool // the latest execution of what loses every other time
	skipping   bool // after an error, until Sync
}

func (s *Server) newSession(r io.Reader, w io.Writer) *session {
	return &session{
		Server: s, in: bufio.NewReaderSize(r, 1<<16), out: bufio.NewWriterSize(w, 1<<16),
		statements: make(map[string]*canned), status: 'I',
	}
}

func (s *Server) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	if err := greet(c, c); err != nil {
		return
	}
	ss := s.newSession(c, c)
	for ss.next() == nil {
	}
}

func greet(r io.Reader, w io.Writer) error {
	backend := pgproto3.NewBackend(r, w)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return err
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{
		"crdb_version": "CockroachDB canned", "standard_conforming_strings": "on", "client_encoding": "UTF8",
	} {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return backend.Flush()
}

var (
	parseComplete = encode(nil, &pgproto3.ParseComplete{})
	bindComplete  = encode(nil, &pgproto3.BindComplete{})
	closeComplete = encode(nil, &pgproto3.CloseComplete{})
	conflict      = encode(nil, &pgproto3.ErrorResponse{
		Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "40001", Message: "restart transaction: canned",
	})

	errUnknown = errors.New("a message or a text that has no ready-made answer")
)

// next handles one message.
func (s *session) next() error {
	var head [5]byte
	if err := s.read(head[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head[1:])) - 4
	if size > cap(s.body) {
		s.body = make([]byte, 2*size)
	}
	s.body = s.body[:size]
	if _, err := io.ReadFull(s.in, s.body); err != nil {
		return err
	}
	return s.handle(head[0], s.body)
}

// read is io.ReadFull, which would have the array it reads into escape.
func (s *session) read(head []byte) error {
	for i := range head {
		b, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		head[i] = b
	}
	return nil
}

func (s *session) handle(kind byte, body []byte) error {
	if s.skipping && kind != 'S' {
		return nil
	}
	switch kind {
	case 'P':
		return s.parse(body)
	case 'B':
		_, rest := word(body)
		name, _ := word(rest)
		s.bound = s.statements[string(name)]
		return s.write(bindComplete)
	case 'D':
		if body[0] == 'P' {
			return s.write(s.bound.portal)
		}
		name, _ := word(body[1:])
		return s.write(s.statements[string(name)].description)
	case 'E':
		return s.execute()
	case 'C':
		return s.write(closeComplete)
	case 'S':
		s.skipping = false
		return s.ready()
	case 'Q':
		return s.query(body)
	}
	return errUnknown
}

func (s *session) parse(body []byte) error {
	name, rest := word(body)
	sql, _ := word(rest)
	c := s.replies[string(sql)]
	if c == nil {
		return errUnknown
	}
	if s.statements[string(name)] != c {
		s.statements[string(name)] = c
	}
	return s.write(parseComplete)
}

func (s *session) execute() error {
	if s.bound.loses {
		if s.lost = !s.lost; s.lost {
			s.skipping, s.status = true, 'E'
			return s.write(conflict)
		}
	}
	s.ran(s.bound)
	return s.write(s.bound.result)
}

func (s *session) query(body []byte) error {
	sql, _ := word(body)
	c := s.replies[string(sql)]
	if c == nil {
		return errUnknown
	}
	s.ran(c)
	if err := s.write(c.simple); err != nil {
		return err
	}
	return s.ready()
}

func (s *session) ran(c *canned) {
	if c.status != 0 {
		s.status = c.status
	}
}

func (s *session) write(b []byte) error {
	_, err := s.out.Write(b)
	return err
}

func (s *session) ready() error {
	s.trips.Add(1)
	for _, b := range [...]byte{'Z', 0, 0, 0, 5, s.status} {
		_ = s.out.WriteByte(b)
	}
	return s.out.Flush()
}

// word splits off a string that ends in a zero.
func word(b []byte) (w, rest []byte) {
	for i, c := range b {
		if c == 0 {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}
