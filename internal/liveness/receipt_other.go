//go:build !linux

package liveness

import "net"

// TellsUnacknowledged returns false: [Unacknowledged] can't know.
func TellsUnacknowledged(*net.TCPConn) bool { return false }

// Unacknowledged returns 0: this system does not tell.
func Unacknowledged(*net.TCPConn) int64 { return 0 }
