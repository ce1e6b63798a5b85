//go:build !linux

package dialer

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing: this system has keepalive alone.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
