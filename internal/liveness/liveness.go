// Package liveness looks at the socket of a connection, without waiting and without taking anything out of it.
package liveness

import (
	"crypto/tls"
	"net"
)

// Pulse is what can be seen of a connection without waiting.
type Pulse uint8

// What can be seen.
const (
	Alive  Pulse = iota // nothing says otherwise
	Dead                // the other side has closed the connection
	Unsure              // something has arrived that nobody has asked for
)

// SocketOf finds what can be looked at under a connection.
func SocketOf(conn net.Conn) *Socket {
	t, encrypted := conn.(*tls.Conn)
	if encrypted {
		conn = t.NetConn()
	}
	s := &Socket{encrypted: encrypted}
	s.open(conn)
	return s
}

// Look returns what can be seen. If something has arrived, first is its first byte; readable says whether that is the
// first byte of a message rather than of something encrypted.
func (s *Socket) Look() (pulse Pulse, first byte, readable bool) {
	first, pulse = s.peek()
	return pulse, first, !s.encrypted
}
