//go:build unix

package cockroachdb

import (
	"net"
	"syscall"
)

// socket is what a connection is made of. It is looked at for every transaction, and so nothing is made anew for that.
type socket struct {
	encrypted bool
	raw       syscall.RawConn // nil where there is nothing to be looked at
	look      func(fd uintptr)

	buf   [1]byte
	pulse pulse // what look has seen
}

func (s *socket) open(conn net.Conn) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		s.raw, s.look = raw, s.receive
	}
}

func (s *socket) receive(fd uintptr) {
	n, _, err := syscall.Recvfrom(int(fd), s.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		s.pulse = pulseAlive
	case err != nil, n == 0:
		s.pulse = pulseDead
	default:
		s.pulse = pulseUnsure
	}
}

// peek looks at the next byte in the socket without taking it out; it is there if the pulse is unsure.
func (s *socket) peek() (first byte, p pulse) {
	if s.raw == nil {
		return 0, pulseAlive
	}
	if err := s.raw.Control(s.look); err != nil {
		return 0, pulseDead
	}
	return s.buf[0], s.pulse
}
