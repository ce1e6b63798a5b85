package wirecut_test

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/liveness"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

var query = []byte("Q\x00\x00\x00\x0dSELECT 1\x00")

// atRest arms the wire with a cut after the answer to a SELECT, runs that, and returns the client's socket.
func (l line) atRest(t *testing.T, how wirecut.How) *net.TCPConn {
	conn, err := pgx.ConnectConfig(t.Context(), l.cfg)
	require.NoError(t, err)
	const answer = len("TDC")
	l.Arm(wirecut.Cut{Side: wirecut.Server, At: answer, How: how})
	_, err = conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	_, struck := l.Disarm()
	require.Len(t, struck, 1)
	h, err := conn.PgConn().Hijack()
	require.NoError(t, err)
	return h.Conn.(*net.TCPConn)
}

// TestRelay_EndsAtRest: the client that has read the answer sees the end, and what it sends then is not acknowledged.
func TestRelay_EndsAtRest(t *testing.T) {
	t.Parallel()
	l := newLine(t, wirecut.NewRelay)
	for range 50 {
		for _, how := range []wirecut.How{wirecut.After, wirecut.LastWord} {
			socket := l.atRest(t, how)
			pulse, _, _ := liveness.SocketOf(socket).Look()
			assert.Equal(t, liveness.Dead, pulse, "pgconn has read the last word with the answer")
			_, err := socket.Write(query)
			require.NoError(t, err)
			_, err = socket.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			assert.EqualValues(t, len(query), liveness.Unacknowledged(socket))
			require.NoError(t, socket.Close())
		}
	}
	assert.True(t, l.Settle(0))
}

// TestRelay_LastWord: it comes after the answer.
func TestRelay_LastWord(t *testing.T) {
	t.Parallel()
	l := newLine(t, wirecut.NewRelay)
	conn, err := pgx.ConnectConfig(t.Context(), l.cfg)
	require.NoError(t, err)
	l.Arm(wirecut.Cut{Side: wirecut.Server, At: len("TDC"), How: wirecut.LastWord})
	_, err = conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	assert.Equal(t, "57P01", kit.StateOf(err), "%v", err)
	require.NoError(t, conn.Close(t.Context()))
}

// TestRelay_TakesTheRequest: of a message that is not passed on the client's system says that it has arrived, unless
// the connection was reset.
func TestRelay_TakesTheRequest(t *testing.T) {
	t.Parallel()
	l := newLine(t, wirecut.NewRelay)
	for how, want := range map[wirecut.How]error{
		wirecut.Before: syscall.ECONNRESET, wirecut.Half: io.EOF, wirecut.After: io.EOF,
	} {
		conn, err := pgx.ConnectConfig(t.Context(), l.cfg)
		require.NoError(t, err)
		h, err := conn.PgConn().Hijack()
		require.NoError(t, err)
		socket := h.Conn.(*net.TCPConn)
		l.Arm(wirecut.Cut{Side: wirecut.Client, At: 0, How: how})
		_, err = socket.Write(query)
		require.NoError(t, err)
		_, err = socket.Read(make([]byte, 1))
		require.ErrorIs(t, err, want, how)
		if want == io.EOF { //nolint:errorlint // it is from the table
			assert.Zero(t, liveness.Unacknowledged(socket))
		}
		require.NoError(t, socket.Close())
	}
	assert.True(t, l.Settle(0))
}
