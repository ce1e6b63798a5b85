package liveness

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// TellsUnacknowledged reports whether [Unacknowledged] can know. It can't of Multipath TCP, nor on a system that says
// it is older than Linux 4.14: gVisor and WSL 1 do, whose own TCP may hand over data before it takes note of what that
// acknowledges.
func TellsUnacknowledged(conn *net.TCPConn) bool {
	multipath, err := conn.MultipathTCP()
	return err == nil && !multipath && kernelTells()
}

var kernelTells = sync.OnceValue(func() bool {
	var name syscall.Utsname
	if syscall.Uname(&name) != nil {
		return false
	}
	release := make([]byte, 0, len(name.Release))
	for _, c := range name.Release {
		release = append(release, byte(c))
	}
	return isRecent(string(release))
})

// isRecent reports whether a release is that of Linux 4.14 or later.
func isRecent(release string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return n == 2 && (major > 4 || major == 4 && minor >= 14)
}

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
