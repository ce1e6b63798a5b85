//go:build !linux

package liveness

import "net"

// TellsUnacknowledged says whether [Unacknowledged] can know.
const TellsUnacknowledged = false

// Unacknowledged returns 0: this system does not tell.
func Unacknowledged(*net.TCPConn) int64 { return 0 }
