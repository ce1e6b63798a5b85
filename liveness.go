package cockroachdb

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

var errClosed = errors.New("the connection is closed")

// pulse is what can be seen of a connection without waiting.
type pulse uint8

const (
	pulseAlive  pulse = iota // nothing says otherwise
	pulseDead                // the server has closed the connection, or said why it will
	pulseUnsure              // the server has sent something without having been asked: a notice, or its farewell
)

// check finds out, before something is sent, whether the server has closed the connection or is about to. It costs a system
// call; where the server has sent something that can't be looked at, as it is encrypted or in a buffer, or behind which there
// may be more, a round trip too. It can't see a server or a network that died in silence; the next statement finds out about
// those.
func (c *Conn) check(ctx context.Context) error {
	switch c.pulse() {
	case pulseDead:
		return errClosed
	case pulseUnsure:
		return c.pg.Ping(ctx)
	}
	return nil
}

func (c *Conn) pulse() pulse {
	if c.pg.Frontend().ReadBufferLen() > 0 {
		return pulseUnsure
	}
	first, p := c.socket.peek()
	if p == pulseUnsure && !c.socket.encrypted && first == 'E' {
		return pulseDead // a draining server says so, and not always as FATAL
	}
	return p
}

// socketOf finds what can be looked at under a connection.
func socketOf(conn net.Conn) *socket {
	t, encrypted := conn.(*tls.Conn)
	if encrypted {
		conn = t.NetConn()
	}
	s := &socket{encrypted: encrypted}
	s.open(conn)
	return s
}
