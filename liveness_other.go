//go:build !unix

package cockroachdb

import "net"

// socket can't be looked at without waiting on this system.
type socket struct{ encrypted bool }

func (*socket) open(net.Conn) {}

func (*socket) peek() (byte, pulse) { return 0, pulseAlive }
