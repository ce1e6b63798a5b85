package fakepg

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"
)

// errGone ends a handler, as a panic, when there is nobody left to talk to. It is not a failure of the test.
var errGone = errors.New("fakepg: the client is gone")

// A Conn is the server's end of one connection. Only its handler may use it.
type Conn struct {
	srv *Server
	nc  net.Conn
	be  *pgproto3.Backend // for reading only: what is sent is kept in out, where it can be cut
	out []byte
	id  int

	rec recorder
}

func newConn(s *Server, nc net.Conn) *Conn {
	return &Conn{srv: s, nc: nc, be: pgproto3.NewBackend(nc, nil)}
}

// ID is the number of the connection, counted from 1 in the order of start-up.
func (c *Conn) ID() int { return c.id }

// TLS is how the connection is encrypted; nil if it is not.
func (c *Conn) TLS() *tls.ConnectionState {
	encrypted, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := encrypted.ConnectionState()
	return &state
}

// Receive returns the next message, valid until the next call. It doesn't return if the client says Terminate or hangs
// up.
func (c *Conn) Receive() pgproto3.FrontendMessage {
	m, err := c.be.Receive()
	if err != nil {
		c.ended(err)
	}
	if _, ok := m.(*pgproto3.Terminate); ok {
		panic(errGone)
	}
	c.rec.add(c, m)
	return m
}

// ended leaves the handler. Only bytes that are no protocol are handed to the test.
func (c *Conn) ended(err error) {
	var netErr net.Error
	if errors.As(err, &netErr) || isEOF(err) {
		panic(errGone)
	}
	panic(fmt.Errorf("receive: %w", err))
}

// ReceiveUntilSync returns the messages of one exchange: up to Sync, or a single Query. They stay valid.
func (c *Conn) ReceiveUntilSync() []pgproto3.FrontendMessage {
	var all []pgproto3.FrontendMessage
	for {
		m := c.Receive()
		all = append(all, clone(m))
		switch m.(type) {
		case *pgproto3.Sync, *pgproto3.Query:
			return all
		}
	}
}

// Send keeps messages until Flush, Ready or the next time that much has gathered.
func (c *Conn) Send(messages ...pgproto3.BackendMessage) {
	for _, m := range messages {
		out, err := m.Encode(c.out)
		if err != nil {
			panic(fmt.Errorf("encode %T: %w", m, err))
		}
		c.out = out
	}
	if len(c.out) > 1<<16 {
		c.Flush()
	}
}

// Ready sends ReadyForQuery with the transaction status 'I', 'T' or 'E', and everything before it.
func (c *Conn) Ready(status byte) {
	c.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	c.Flush()
}

// Flush sends what has been kept.
func (c *Conn) Flush() {
	if len(c.out) == 0 {
		return
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		panic(errGone)
	}
}

// Close sends what has been kept, closes the connection and ends the handler.
func (c *Conn) Close() {
	c.Flush()
	c.hangUp()
}

// Reset closes the connection at once: its client reads an error, and no end. Nothing acknowledges what was received.
func (c *Conn) Reset() {
	nc := c.nc
	if encrypted, ok := nc.(*tls.Conn); ok {
		nc = encrypted.NetConn()
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
		_ = t.Close()
	}
	c.hangUp()
}

// hangUp closes the connection without sending what has been kept.
func (c *Conn) hangUp() {
	c.nc.Close()
	panic(errGone)
}

// Fatalf fails the test, closes the connection and ends the handler.
func (c *Conn) Fatalf(format string, args ...any) {
	c.srv.t.Errorf("fakepg: connection %d: %s", c.id, fmt.Sprintf(format, args...))
	c.hangUp()
}
