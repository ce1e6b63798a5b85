package wirecut

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is the client's end of a connection.
type conn struct {
	net.Conn

	tcp    *net.TCPConn // the same
	wire   *Wire
	broken atomic.Bool
	resets atomic.Bool // the connection does not end, it is reset; only a relay can do that
	status atomic.Uint32
	close  sync.Once

	writing sync.Mutex
	reading sync.Mutex
	in      *bufio.Reader
	rest    []byte // of the message that is being handed over

	mu   sync.Mutex
	owed owed
}

func newConn(w *Wire, nc *net.TCPConn) *conn {
	c := &conn{Conn: nc, tcp: nc, wire: w, in: bufio.NewReaderSize(nc, largest)}
	c.status.Store('-')
	return c
}

var flushRequest = []byte{'H', 0, 0, 0, 4}

// Write sends whole messages, as pgx writes them.
func (c *conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.broken.Load() {
		return 0, syscall.EPIPE
	}
	if c.status.Load() == '-' {
		return c.start(b)
	}
	frames, err := split(b)
	if err != nil {
		return 0, err
	}
	if frames[0][0] == 'X' {
		defer c.wire.goodbye()
		return c.tcp.Write(b)
	}
	at, how, now := c.wire.count(Client, types(frames)...)
	if !now {
		return len(b), c.forward(frames)
	}
	return c.cutClient(frames, at, how, len(b))
}

// start sends the first message, which has no type. One that asks for a statement to be cancelled is swallowed:
// whether it would come in time is a matter of luck.
func (c *conn) start(b []byte) (int, error) {
	if len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) == cancelRequest {
		c.broken.Store(true)
		return len(b), c.end()
	}
	return c.tcp.Write(b)
}

const cancelRequest = 80877102

// forward sends the server these messages, and notes that they are to be answered.
func (c *conn) forward(frames [][]byte) error {
	var b []byte
	c.mu.Lock()
	for _, f := range frames {
		c.owed.sent(f[0])
		b = append(b, f...)
	}
	c.mu.Unlock()
	_, err := c.tcp.Write(b)
	return err
}

// cutClient breaks the connection at one of the messages that the client is sending.
func (c *conn) cutClient(frames [][]byte, at int, how How, all int) (int, error) {
	c.resets.Store(how == Before)
	c.broken.Store(true)
	_ = c.tcp.SetDeadline(time.Unix(1, 0)) // whoever reads, makes room
	c.reading.Lock()
	defer c.reading.Unlock()
	_ = c.tcp.SetDeadline(time.Now().Add(patience))
	c.rest = nil
	whole := at
	if how == After {
		whole++
	}
	if err := errors.Join(c.forward(frames[:whole]), c.handled()); err != nil {
		return 0, errors.Join(err, c.end())
	}
	if how == Half {
		_, _ = c.tcp.Write(frames[at][:len(frames[at])/2])
	}
	if err := c.end(); err != nil {
		return 0, err
	}
	if how == After {
		return all, nil // the client finds out when it reads
	}
	return 0, syscall.ECONNRESET
}

// handled returns when the server has handled all that it was sent. The answers are lost.
func (c *conn) handled() error {
	if c.waiting() && c.status.Load() != '-' {
		if _, err := c.tcp.Write(flushRequest); err != nil {
			return err
		}
	}
	for c.waiting() {
		if _, err := c.receive(); errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		} else if err != nil {
			return nil // the server has cut the connection already
		}
	}
	return nil
}

func (c *conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owed.types != ""
}

// receive reads one message of the server's.
func (c *conn) receive() ([]byte, error) {
	f, err := nextFrame(c.in)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.owed.received(f[0])
	c.mu.Unlock()
	if f[0] == 'Z' {
		c.status.Store(uint32(f[header]))
	}
	return f, nil
}

// end closes the connection when the server has ended the session.
func (c *conn) end() error {
	var err error
	c.close.Do(func() {
		defer c.wire.ended(c)
		_ = c.tcp.SetDeadline(time.Now().Add(patience))
		_ = c.tcp.CloseWrite()
		_, err = io.Copy(io.Discard, c.tcp)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		_ = c.tcp.Close()
	})
	return err
}

// Read gives the client one message, or the rest of one.
func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(c.rest) == 0 {
		if err := c.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *conn) fetch() error {
	if c.broken.Load() {
		return io.EOF
	}
	starting := c.status.Load() == '-'
	f, err := c.receive()
	switch {
	case err != nil && c.broken.Load():
		return io.EOF
	case err != nil:
		return err
	}
	c.rest = f
	if starting {
		return nil
	}
	if _, how, now := c.wire.count(Server, f[0]); now {
		return c.cutServer(how)
	}
	return nil
}

// cutServer breaks the connection after the message, or the half of it, that the client is about to be given.
func (c *conn) cutServer(how How) error {
	c.writing.Lock() // what the client is sending goes out whole
	defer c.writing.Unlock()
	c.broken.Store(true)
	switch how {
	case Half:
		c.rest = c.rest[:len(c.rest)/2]
	case LastWord:
		c.rest = append(c.rest, lastWord...)
	case Before, After: // it stays whole
	}
	_ = c.tcp.SetDeadline(time.Now().Add(patience))
	return errors.Join(c.handled(), c.end())
}

// Close gives the connection up, and waits until the server has ended the session.
func (c *conn) Close() error {
	c.broken.Store(true)
	if c.status.Load() != '-' { // else it was only to ask for a statement to be cancelled
		c.wire.goodbye()
	}
	return c.end()
}

// SyscallConn lets the driver look at the socket.
func (c *conn) SyscallConn() (syscall.RawConn, error) { return c.tcp.SyscallConn() }

// SetDeadline is the client's; a connection that is being cut has its own.
func (c *conn) SetDeadline(t time.Time) error {
	if c.broken.Load() {
		return nil
	}
	return c.tcp.SetDeadline(t)
}
