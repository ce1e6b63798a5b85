//go:build !unix

package cockroachdb

import "net"

// peek can't look without waiting on this system.
func peek(net.Conn) (byte, pulse) { return 0, pulseAlive }
