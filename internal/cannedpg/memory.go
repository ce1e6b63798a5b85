package cannedpg

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// Dial returns a connection to a server in this process that makes no system call: what is written is answered at
// once, on the same goroutine. What a client takes over it is what its own code takes.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	c := &memory{}
	c.answered.L = &c.mu
	c.session = s.newSession(&c.requests, &c.answers)
	return c, nil
}

// memory is a connection in memory. Whole messages are written to it.
type memory struct {
	session *session
	greeted bool

	mu                sync.Mutex
	answered          sync.Cond // there is something to read, or never will be
	requests, answers bytes.Buffer
	closed            bool
}

func (c *memory) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.answered.Broadcast()
	c.requests.Write(p)
	if !c.greeted {
		c.greeted = true
		return len(p), greet(&c.requests, &c.answers)
	}
	for c.requests.Len()+c.session.in.Buffered() > 0 {
		if err := c.session.next(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Read waits until there is something: pgx reads on another goroutine while a write takes long.
func (c *memory) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.answers.Len() == 0 && !c.closed {
		c.answered.Wait()
	}
	return c.answers.Read(p)
}

func (c *memory) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.answered.Broadcast()
	return nil
}

func (c *memory) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memory) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memory) SetDeadline(time.Time) error      { return nil }
func (c *memory) SetReadDeadline(time.Time) error  { return nil }
func (c *memory) SetWriteDeadline(time.Time) error { return nil }
