//go:build unix

package cockroachdb

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test hangs if one DSN waits for the other's file.
func TestDriver_OpenWhileAFileIsRead_DoesNotWait(t *testing.T) {
	g := newGreeter(t)
	pipe, file := filepath.Join(t.TempDir(), "pipe"), filepath.Join(t.TempDir(), "file")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	slow := make(chan error, 1)
	go func() {
		conn, err := (&Driver{}).Open("postgresql://app@" + g.addr + "/bank?sslmode=disable&passfile=" + pipe)
		if err == nil {
			err = conn.Close()
		}
		slow <- err
	}()
	writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // once the other end is open
	require.NoError(t, err)
	conn, err := (&Driver{}).Open(g.dsn(""))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, os.Rename(file, pipe)) // which is read again for the connection
	require.NoError(t, writer.Close())
	assert.NoError(t, <-slow)
	g.waitUntilEmpty(t)
}

func TestDriver_OpenAtOnce_SharesOneConnector(t *testing.T) {
	const dsn = "postgresql://app@nobody.invalid/at_once"
	first, err := newConnector(dsn)
	require.NoError(t, err)
	require.Same(t, first, reserveOpened(dsn, first))
	second, err := newConnector(dsn)
	require.NoError(t, err)
	require.Same(t, first, reserveOpened(dsn, second), "the first to be there is everybody's")
	first.pool.released()
	require.Same(t, first, reserveOpened(dsn, nil), "still reserved")
	first.pool.released()
	first.pool.released()
	assert.Nil(t, reserveOpened(dsn, nil))
	require.NoError(t, second.Close())
}
