//go:build unix

package liveness

import (
	"net"
	"syscall"
)

// Socket is what a connection is made of. It is looked at for every transaction, and so a look allocates nothing.
type Socket struct {
	encrypted bool
	raw       syscall.RawConn // nil where there is nothing to be looked at
	look      func(fd uintptr)

	buf   [1]byte
	pulse Pulse // what look has seen
}

func (s *Socket) open(conn net.Conn) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		s.raw, s.look = raw, s.receive
	}
}

func (s *Socket) receive(fd uintptr) {
	n, _, err := syscall.Recvfrom(int(fd), s.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		s.pulse = Alive
	case err != nil, n == 0:
		s.pulse = Dead
	default:
		s.pulse = Unsure
	}
}

// peek looks at the next byte in the socket without taking it out; it is there if the pulse is unsure.
func (s *Socket) peek() (first byte, p Pulse) {
	if s.raw == nil {
		return 0, Alive
	}
	if err := s.raw.Control(s.look); err != nil {
		return 0, Dead
	}
	return s.buf[0], s.pulse
}
