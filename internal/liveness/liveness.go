// Package liveness asks the system what it knows of a connection, without waiting: whether the other side has closed
// it, and how much of what was sent it has received.
package liveness

import (
	"crypto/tls"
	"net"
	"syscall"
)

// Pulse is what can be seen of a connection without waiting.
type Pulse uint8

// What can be seen.
const (
	Alive  Pulse = iota // nothing says otherwise
	Dead                // the other side has closed the connection
	Unsure              // something has arrived that nobody has asked for
)

// Socket is what a connection is made of. It is looked at for every transaction, and so a look allocates nothing.
type Socket struct {
	encrypted bool
	raw       syscall.RawConn // nil where there is nothing to be looked at
	look      func(fd uintptr)

	buf   [1]byte // the first byte of what has arrived, if look has seen any
	pulse Pulse   // what look has seen
}

// SocketOf finds what can be looked at under a connection.
func SocketOf(conn net.Conn) *Socket {
	t, encrypted := conn.(*tls.Conn)
	if encrypted {
		conn = t.NetConn()
	}
	s := &Socket{encrypted: encrypted}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw, s.look = raw, s.peek
		}
	}
	return s
}

// Real reports whether there is a socket that can be looked at.
func (s *Socket) Real() bool { return s.raw != nil }

// Look returns what can be seen. If something has arrived, first is its first byte; readable says whether that is the
// first byte of a message rather than of something encrypted.
func (s *Socket) Look() (pulse Pulse, first byte, readable bool) {
	if s.raw == nil {
		return Alive, 0, false
	}
	if err := s.raw.Control(s.look); err != nil {
		return Dead, 0, false
	}
	return s.pulse, s.buf[0], !s.encrypted
}
