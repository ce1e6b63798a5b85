package cannedpg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"time"
)

// Dial returns a connection to a server in this process that makes no system call: what is written is answered at
// once, on the same goroutine. What a client takes over it is what its own code takes.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	c := &memory{}
	c.session = &session{
		Server: s, in: bufio.NewReaderSize(&c.requests, 1<<16), out: bufio.NewWriterSize(&c.answers, 1<<16),
		statements: make(map[string]*canned), status: 'I',
	}
	return c, nil
}

// memory is a connection in memory. Whole messages are written to it.
type memory struct {
	session           *session
	greeted           bool
	requests, answers bytes.Buffer
}

var errNothingAsked = errors.New("cannedpg: nothing was asked that is to be answered")

func (c *memory) Write(p []byte) (int, error) {
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

func (c *memory) Read(p []byte) (int, error) {
	if c.answers.Len() == 0 {
		return 0, errNothingAsked
	}
	return c.answers.Read(p)
}

func (c *memory) Close() error                     { return nil }
func (c *memory) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memory) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memory) SetDeadline(time.Time) error      { return nil }
func (c *memory) SetReadDeadline(time.Time) error  { return nil }
func (c *memory) SetWriteDeadline(time.Time) error { return nil }
