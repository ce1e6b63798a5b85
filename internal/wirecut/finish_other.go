//go:build !linux

package wirecut

import (
	"errors"
	"net"
)

// finish sends b and ends the connection. The end can arrive later than b.
func finish(conn *net.TCPConn, b []byte) error {
	_, err := conn.Write(b)
	return errors.Join(err, conn.CloseWrite())
}
