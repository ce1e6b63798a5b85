package fuzz_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A mangler stands between the driver and a server that answers rightly, and changes what the server says: edits are
// taken from bytes that a fuzzer chooses. It keeps a transcript of what went to and fro, as it came to the driver.
type mangler struct {
	srv *fakepg.Server

	mu      sync.Mutex
	edits   []edit
	startUp bool // the messages up to the first ReadyForQuery are edited too
	conns   []*transcript
	clock   int
}

// edit is one change: how many messages pass before it, what is done, and how.
type edit struct{ after, kind, arg, val byte }

func editsFrom(script []byte) (edits []edit) {
	for len(script) >= 4 && len(edits) < 16 {
		edits = append(edits, edit{script[0], script[1] % editKinds, script[2], script[3]})
		script = script[4:]
	}
	return edits
}

const (
	editDrop byte = iota
	editDouble
	editReplace
	editInsert
	editSwap      // with the message that follows
	editCut       // the connection, after the message
	editCutInside // the message
	editFlip      // a bit
	editLength    // a lie about how long it is
	editType
	editShorten
	editFail   // an error in its place, the rest of the exchange left out
	editStatus // of the next ReadyForQuery
	editKinds
)

// idle is after how long the mangler takes the conversation for over, in virtual time: an edit may have taken from the
// driver what it waits for.
const idle = time.Hour

// dial fits pgconn.Config.DialFunc.
func (m *mangler) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	inner, err := m.srv.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &mangledConn{Conn: inner, m: m, log: &transcript{}}, nil
}

type mangledConn struct {
	net.Conn
	m   *mangler
	log *transcript

	sent     []byte // by the driver, not yet a whole message
	got      []byte // from the server, likewise
	out      []byte // for the driver
	held     []byte // to be swapped
	skipping bool   // after editFail, up to ReadyForQuery
	status   byte   // for the next ReadyForQuery
	started  bool   // the first ReadyForQuery has passed
	greeted  bool   // the driver has sent its start-up message
	last     byte   // the kind of the message that was delivered last
	inResult bool   // it is one of a result that has not ended
	over     bool
}

func (c *mangledConn) Write(p []byte) (int, error) {
	const cancelRequest = 80877102
	if !c.greeted && binary.BigEndian.Uint32(p[4:]) == cancelRequest {
		return len(p), c.Conn.Close() // it may well be malformed, for want of a key, and there is nothing to cancel
	}
	c.m.mu.Lock()
	c.sent = append(c.sent, p...)
	if !c.greeted {
		c.m.conns = append(c.m.conns, c.log)
		c.greeted, c.sent = true, c.sent[binary.BigEndian.Uint32(c.sent):]
	}
	for c.greeted {
		message, rest := cutMessage(c.sent)
		if message == nil {
			break
		}
		c.m.clock++
		c.log.sent = append(c.log.sent, frame{string(message), c.m.clock})
		c.sent = rest
	}
	c.m.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *mangledConn) Read(p []byte) (int, error) {
	for {
		c.m.mu.Lock()
		n, over := copy(p, c.out), c.over
		c.out = c.out[n:]
		c.m.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case over:
			c.Conn.Close()
			return 0, io.EOF
		}
		buf := make([]byte, 4096)
		timer := time.AfterFunc(idle, func() { c.Conn.Close() })
		n, err := c.Conn.Read(buf)
		timer.Stop()
		if err != nil {
			return 0, err
		}
		c.m.mu.Lock()
		c.take(buf[:n])
		c.m.mu.Unlock()
	}
}

// take passes on what came from the server.
func (c *mangledConn) take(p []byte) {
	c.got = append(c.got, p...)
	for !c.over {
		message, rest := cutMessage(c.got)
		if message == nil {
			return
		}
		c.got = rest
		c.pass(message)
		c.started = c.started || message[0] == 'Z'
	}
}

func (c *mangledConn) pass(message []byte) {
	switch {
	case !c.started && !c.m.startUp:
		c.deliver(message)
		return
	case c.skipping && message[0] != 'Z':
		return
	}
	c.skipping = false
	if c.status != 0 && message[0] == 'Z' {
		message, c.status = ready(c.status), 0
	}
	if held := c.held; held != nil {
		c.held = nil
		c.deliver(message)
		c.deliver(held)
		return
	}
	switch {
	case len(c.m.edits) == 0:
		c.deliver(message)
	case c.m.edits[0].after > 0:
		c.m.edits[0].after--
		c.deliver(message)
	default:
		e := c.m.edits[0]
		c.m.edits = c.m.edits[1:]
		c.edit(e, message)
	}
}

func (c *mangledConn) edit(e edit, message []byte) {
	message = append([]byte(nil), message...)
	body := message[5:]
	switch e.kind {
	case editDrop:
	case editDouble:
		c.deliver(message)
		c.deliver(message)
	case editReplace:
		c.deliver(c.foreign(e.arg))
	case editInsert:
		c.deliver(c.foreign(e.arg))
		c.deliver(message)
	case editSwap:
		c.held = message
	case editCut:
		c.deliver(message)
		c.over = true
	case editCutInside:
		c.out = append(c.out, message[:int(e.arg)%len(message)]...)
		c.over = true
	case editFlip:
		if len(body) > 0 {
			body[int(e.arg)%len(body)] ^= 1 << (e.val % 8)
		}
		c.deliver(message)
	case editLength:
		lengths := []uint32{
			0, 3, 4, uint32(len(body)) + 3, uint32(len(body)) + 5, uint32(e.val) << 8, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 1,
		}
		binary.BigEndian.PutUint32(message[1:], lengths[int(e.arg)%len(lengths)])
		c.deliverBroken(message)
	case editType:
		message[0] = e.val
		c.deliver(message)
	case editShorten:
		message = message[:5+int(e.arg)%(len(body)+1)]
		binary.BigEndian.PutUint32(message[1:], uint32(len(message)-1))
		c.deliver(message)
	case editFail:
		c.deliver(encoded(nonsenseErrors[int(e.arg)%len(nonsenseErrors)]))
		c.skipping, c.status = message[0] != 'Z', "EITX"[e.val%4]
	case editStatus:
		c.status = "ITEX"[e.val%4]
		c.deliver(message)
	}
}

// foreign is a message that the server did not send.
func (c *mangledConn) foreign(arg byte) []byte {
	message := nonsense[int(arg)%len(nonsense)]
	if message[0] == 'R' && !c.started {
		return ready('I') // a request for a password would be answered, and fakepg has not asked
	}
	return message
}

// deliver gives the driver a message, but for a ReadyForQuery in the middle of a result. There the connection ends:
// pgconn overlooks that message, reads on for the end of the result, and where it finds another ReadyForQuery instead
// it panics in the simple protocol ("BUG: cannot unlock unlocked connection"). See TestPgconn_ReadsPastReadyForQuery.
func (c *mangledConn) deliver(message []byte) {
	switch message[0] {
	case 'T', 'D':
		c.inResult = message[0] == 'D' || c.last != 't'
	case 'C', 'I', 'E':
		c.inResult = false
	case 'Z':
		if c.over = c.over || c.inResult; c.over {
			return
		}
	}
	c.last = message[0]
	c.m.clock++
	c.log.received = append(c.log.received, frame{string(message), c.m.clock})
	c.out = append(c.out, message...)
}

// deliverBroken delivers what is no message any more; nor is what comes after it.
func (c *mangledConn) deliverBroken(message []byte) {
	c.out = append(c.out, message...)
	c.log.broken = true
}

// cutMessage cuts the first message off p, or nil.
func cutMessage(p []byte) (message, rest []byte) {
	if len(p) < 5 || len(p) < 1+int(binary.BigEndian.Uint32(p[1:])) {
		return nil, p
	}
	n := 1 + binary.BigEndian.Uint32(p[1:])
	return p[:n:n], p[n:]
}

func encoded(m pgproto3.BackendMessage) []byte {
	p, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return p
}

func ready(status byte) []byte { return encoded(&pgproto3.ReadyForQuery{TxStatus: status}) }

var nonsenseErrors = []*pgproto3.ErrorResponse{
	fakepg.Conflict(), fakepg.Error("40001", "could not serialize access"), fakepg.Error("40P01", "deadlock detected"),
	fakepg.Error("23505", "duplicate"), fakepg.Error("0A000", "cached plan must not change result type"),
	fakepg.Error("0A000", "cannot rollback to savepoint after error"), fakepg.Error("26000", "no such statement"),
	fakepg.Error("08P01", "bind message has 2 result formats but query has 1 columns"), fakepg.Error("57P01", "draining"),
	{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P01", Message: "shutting down"},
	fakepg.Error("XXA00", "schema change failed"),
	fakepg.Error("40003", "result is ambiguous"), fakepg.Error("25P02", "aborted"),
	fakepg.Error("3B001", "no savepoint"), fakepg.Error("25000", "committed"), fakepg.Error("25P01", "no transaction"),
	fakepg.Error("", ""),
	{},
	fakepg.Error("40001\xff", "\xff\xfe"), fakepg.Error("57014", "statement timeout"),
}

// nonsense is what a server may say at the wrong time.
var nonsense = func() (all [][]byte) {
	for _, m := range []pgproto3.BackendMessage{
		&pgproto3.ParseComplete{}, &pgproto3.BindComplete{},
		&pgproto3.CloseComplete{}, &pgproto3.NoData{}, &pgproto3.PortalSuspended{},
		&pgproto3.EmptyQueryResponse{}, &pgproto3.CopyDone{}, &pgproto3.CopyData{Data: []byte("x")},
		&pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}}, &pgproto3.CopyOutResponse{ColumnFormatCodes: []uint16{0}},
		&pgproto3.CopyBothResponse{ColumnFormatCodes: []uint16{0}}, &pgproto3.FunctionCallResponse{Result: []byte("x")},
		&pgproto3.BackendKeyData{ProcessID: 9, SecretKey: []byte{1, 2, 3, 4}},
		&pgproto3.AuthenticationOk{}, &pgproto3.AuthenticationCleartextPassword{},
		&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "note"},
		&pgproto3.NotificationResponse{PID: 9, Channel: "c", Payload: "p"},
		&pgproto3.ParameterStatus{Name: "crdb_version", Value: ""},
		&pgproto3.ParameterStatus{Name: "crdb_version", Value: "\xff 1.0"},
		&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "off"},
		&pgproto3.ParameterStatus{Name: "client_encoding", Value: "LATIN1"},
		&pgproto3.ParameterDescription{}, &pgproto3.ParameterDescription{ParameterOIDs: []uint32{25}},
		&pgproto3.ParameterDescription{ParameterOIDs: []uint32{20, 0, 4294967295}},
		&pgproto3.RowDescription{}, fakepg.TextColumns("k"), fakepg.TextColumns("k", "v"),
		fakepg.TextColumns("k", "v", "w"), fakepg.TextColumns("v", "k"),
		&pgproto3.RowDescription{
			Fields: []pgproto3.FieldDescription{
				{Name: []byte("k"), DataTypeOID: 20, Format: 1}, {Name: []byte("v"), DataTypeOID: 16, Format: 9},
			},
		},
		&pgproto3.DataRow{}, fakepg.TextRow("x"), fakepg.TextRow("x", "y"), fakepg.TextRow("x", "y", "z"),
		&pgproto3.DataRow{Values: [][]byte{nil, nil}}, fakepg.TextRow("", ""),
	} {
		all = append(all, encoded(m))
	}
	for _, tag := range []string{
		"COMMIT", "ROLLBACK", "RELEASE", "BEGIN", "SAVEPOINT", "UPDATE 1", "UPDATE 7",
		"SELECT 3", "SELECT", "", "INSERT 0 99999999999999999999", "\xff", "COMMIT\x00COMMIT",
	} {
		all = append(all, encoded(&pgproto3.CommandComplete{CommandTag: []byte(tag)}))
	}
	for _, status := range []byte("ITEX\x00") {
		all = append(all, ready(status))
	}
	for _, e := range nonsenseErrors {
		all = append(all, encoded(e))
	}
	return all
}()
