package dialer

import (
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT, the same on all of Linux's architectures; syscall has it for some of them only.
const tcpUserTimeout = 0x12

// setUserTimeout sets how long what was sent may stay unacknowledged. A kernel that does not know the option is left
// with keepalive alone.
func setUserTimeout(c syscall.RawConn, dead time.Duration) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(max(1, dead.Milliseconds())))
	})
}
