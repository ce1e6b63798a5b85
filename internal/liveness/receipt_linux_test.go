package liveness

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIsRecent(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{
		"6.18.44-fc-v657":        true,
		"5.15":                   true,
		"4.18.0-553.el8.x86_64":  true,
		"4.14.336-257.568.amzn2": true,
		"4.4.0":                  false, // gVisor
		"4.4.0-19041-Microsoft":  false, // WSL 1
		"3.10.0-1160.el7":        false,
		"":                       false,
		"linux":                  false,
	} {
		assert.Equal(t, want, isRecent(release), release)
	}
	assert.True(t, isRecent("5.15.0\x00\x00\x00"), "as the system gives it")
}

func TestTellsUnacknowledged_Multipath_No(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // takes Multipath TCP, by default
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	for _, multipath := range []bool{false, true} {
		var d net.Dialer
		d.SetMultipathTCP(multipath)
		conn, err := d.DialContext(t.Context(), "tcp", listener.Addr().String())
		require.NoError(t, err)
		used, err := conn.(*net.TCPConn).MultipathTCP()
		require.NoError(t, err)
		assert.Equal(t, !used, TellsUnacknowledged(conn.(*net.TCPConn)))
		require.NoError(t, conn.Close())
	}
}

// What arrives after the other side has closed is not acknowledged; what it has read before is, with the end.
func TestUnacknowledged_IsWhatCameAfterTheEnd(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	for _, late := range []bool{false, true} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		server, err := listener.Accept()
		require.NoError(t, err)
		request, want := []byte("a request"), int64(0)
		if late {
			require.NoError(t, server.Close())
			want = int64(len(request))
		}
		_, err = conn.Write(request)
		require.NoError(t, err)
		if !late {
			_, err = io.ReadFull(server, request)
			require.NoError(t, err)
			require.NoError(t, server.Close())
		}
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		assert.Equal(t, want, Unacknowledged(conn.(*net.TCPConn)))
		require.NoError(t, conn.Close())
	}
}
