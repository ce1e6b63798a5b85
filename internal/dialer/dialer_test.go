package dialer

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo listens, and sends back what it is sent.
func echo(t *testing.T, network, address string) net.Addr {
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr()
}

func dialed(t *testing.T, dead time.Duration, addr net.Addr) net.Conn {
	conn, err := New(time.Minute, dead)(t.Context(), addr.Network(), addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func requireEcho(t *testing.T, conn net.Conn) {
	_, err := conn.Write([]byte("hello"))
	require.NoError(t, err)
	buf := make([]byte, 5)
	_, err = io.ReadFull(conn, buf)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(buf))
}

func TestNew_TCP_Works(t *testing.T) {
	t.Parallel()
	for _, dead := range []time.Duration{0, time.Nanosecond, 10 * time.Second, time.Hour} {
		requireEcho(t, dialed(t, dead, echo(t, "tcp", "127.0.0.1:0")))
	}
}

func TestNew_UnixDomainSocket_Works(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a system without them, or with limits of its own")
	}
	t.Parallel()
	requireEcho(t, dialed(t, 10*time.Second, echo(t, "unix", filepath.Join(t.TempDir(), "s"))))
}

func TestNew_ConnectTimeIsOver_Fails(t *testing.T) {
	t.Parallel()
	_, err := New(time.Nanosecond, 0)(t.Context(), "tcp", "127.0.0.1:1")
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout())
}

func TestNew_ContextIsDone_Fails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(0, time.Second)(ctx, "tcp", "127.0.0.1:1")
	assert.ErrorContains(t, err, "canceled")
}

func TestKeepAlive_FindsASilentPeerWithinAboutTheTime(t *testing.T) {
	t.Parallel()
	for dead := time.Second; dead < 10*time.Minute; dead += 777 * time.Millisecond {
		k := keepAlive(dead)
		assert.True(t, k.Enable)
		for _, d := range []time.Duration{k.Idle, k.Interval} {
			assert.Positive(t, d)
			assert.Zero(t, d%time.Second, "whole seconds")
		}
		found := k.Idle + time.Duration(k.Count)*k.Interval
		assert.GreaterOrEqual(t, found, dead)
		assert.LessOrEqual(t, found, dead+dead/6+3*time.Second)
	}
}

func TestShuffled_AllAddressesInAnyOrder(t *testing.T) {
	t.Parallel()
	addrs := []string{"10.0.0.1", "10.0.0.2", "::1"}
	given := slices.Clone(addrs)
	lookup := Shuffled(func(context.Context, string) ([]string, error) { return given, nil })
	first := map[string]bool{}
	for range 200 { // all of one kind: once in 10^34
		got, err := lookup(t.Context(), "db")
		require.NoError(t, err)
		require.ElementsMatch(t, addrs, got)
		first[got[0]] = true
	}
	assert.Len(t, first, 3)
	assert.Equal(t, addrs, given, "the resolver's own list stays as it is")
}

func TestShuffled_LookupFails(t *testing.T) {
	t.Parallel()
	failed := errors.New("no such host")
	lookup := Shuffled(func(context.Context, string) ([]string, error) { return nil, failed })
	_, err := lookup(t.Context(), "db")
	assert.ErrorIs(t, err, failed)
}
