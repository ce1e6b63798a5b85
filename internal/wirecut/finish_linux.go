package wirecut

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// finish sends b and ends the connection, in one segment: who reads b has received the end, too. What arrives later is
// not acknowledged.
func finish(conn *net.TCPConn, b []byte) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var n int
		n, err = syscall.SendmsgN(int(fd), b, nil, nil, syscall.MSG_MORE) // which holds it back
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		err = errors.Join(err, syscall.Shutdown(int(fd), syscall.SHUT_RDWR))
	})
	return errors.Join(controlErr, err)
}
