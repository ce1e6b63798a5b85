package dialer

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func option(t *testing.T, conn net.Conn, level, name int) (value int) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	var got error
	require.NoError(t, raw.Control(func(fd uintptr) { value, got = syscall.GetsockoptInt(int(fd), level, name) }))
	require.NoError(t, got)
	return value
}

func TestNew_SocketOptions_AreAsAsked(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn := dialed(t, 12*time.Second, echo(t, "tcp", address))
		assert.Equal(t, 12_000, option(t, conn, syscall.IPPROTO_TCP, tcpUserTimeout), "milliseconds")
		assert.Equal(t, 1, option(t, conn, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
		assert.Equal(t, 6, option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE))
		assert.Equal(t, 2, option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL))
		assert.Equal(t, 3, option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT))
	}
}

func TestNew_DeadIsZero_SocketsAreTheSystems(t *testing.T) {
	t.Parallel()
	conn := dialed(t, 0, echo(t, "tcp", "127.0.0.1:0"))
	assert.Zero(t, option(t, conn, syscall.IPPROTO_TCP, tcpUserTimeout))
}

// Loopback loses nothing. But a peer that does not read is silent to TCP_USER_TIMEOUT too, as New's comment says.
func TestNew_PeerDoesNotRead_WritingFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	conn := dialed(t, time.Second, l.Addr())
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(5*time.Minute))) // not at once, but not never either
	began := time.Now()
	for err == nil {
		_, err = conn.Write(make([]byte, 1<<20))
	}
	t.Log(time.Since(began))
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
}
