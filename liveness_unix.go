//go:build unix

package cockroachdb

import (
	"net"
	"syscall"
)

// peek looks at the next byte in the socket without taking it out; it is there if the pulse is unsure.
func peek(conn net.Conn) (first byte, p pulse) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, pulseAlive
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, pulseAlive
	}
	err = raw.Control(func(fd uintptr) {
		var buf [1]byte
		n, _, err := syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		case err != nil, n == 0:
			p = pulseDead
		default:
			first, p = buf[0], pulseUnsure
		}
	})
	if err != nil {
		return 0, pulseDead
	}
	return first, p
}
