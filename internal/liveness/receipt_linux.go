package liveness

import (
	"net"
	"syscall"
	"unsafe"
)

// TellsUnacknowledged says whether [Unacknowledged] can know.
const TellsUnacknowledged = true

// Unacknowledged returns how many bytes were written to a connection that its peer's system has not acknowledged; 0 if
// that is not known. It knows it of a connection that was reset, too.
func Unacknowledged(conn *net.TCPConn) int64 {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var queued int32
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&queued)))
	})
	return int64(queued)
}
