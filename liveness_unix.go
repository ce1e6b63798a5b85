//go:build unix

package cockroachdb

import (
	"net"
	"syscall"
)

// peek reads a byte without taking it out of the socket. What is encrypted can't be told apart, and counts as alive.
func peek(conn net.Conn, encrypted bool) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	ok = true
	err = raw.Control(func(fd uintptr) {
		var buf [1]byte
		n, _, err := syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		case err != nil, n == 0:
			ok = false
		default:
			ok = encrypted || unsolicited(buf[0])
		}
	})
	return ok && err == nil
}
