//go:build unix

package liveness

import "syscall"

// peek looks at the next byte in the socket without taking it out.
func (s *Socket) peek(fd uintptr) {
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
