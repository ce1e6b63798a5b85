package commit_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

var errHalfway = errors.New("the network broke in the middle")

// A breakingConn breaks in the middle of a write: once it is told to, it lets so many bytes more through.
type breakingConn struct {
	net.Conn
	left   *atomic.Int64 // below zero: as many as there are
	broken atomic.Bool
}

func (h *breakingConn) Write(b []byte) (int, error) {
	if h.broken.Load() { // pgconn says goodbye on a goroutine of its own, whenever that comes to it
		return 0, net.ErrClosed
	}
	left := h.left.Load()
	if left < 0 || left >= int64(len(b)) {
		if left > 0 {
			h.left.Add(int64(-len(b)))
		}
		return h.Conn.Write(b)
	}
	h.broken.Store(true)
	n, _ := h.Conn.Write(b[:left])
	h.left.Store(-1) // other connections are whole
	_ = h.Conn.Close()
	return n, errHalfway
}

func newHalfwayRig(t testing.TB, answer func(fakepg.Statement) fakepg.Reply) (*kit.Rig, *atomic.Int64) {
	t.Helper()
	var left atomic.Int64
	left.Store(-1)
	return kit.Answering(t, answer, kit.NoFailover, func(cfg *cockroachdb.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &breakingConn{Conn: conn, left: &left}, err
		}
	}), &left
}

// commitBytes is how long RELEASE and COMMIT are on the wire, with a Sync.
const commitBytes = 2*len("P....\x00..\x00B....\x00\x00\x00\x00\x00\x00\x00\x00D....P\x00E....\x00\x00\x00\x00\x00") +
	len(kit.Release) + len("COMMIT") + len("S....")

// However little of the commit was written, it is ambiguous: the kernel may have had more than it says. Nothing is run
// again, and only where the server has RELEASE in full is there anything to find.
func TestCommit_WrittenHalfway_IsAmbiguous(t *testing.T) {
	t.Parallel()
	var released atomic.Int64
	answer := func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == kit.Release && !s.Describing {
			released.Add(1)
		}
		return kit.OK
	}
	for n := range commitBytes {
		r, left := newHalfwayRig(t, answer)
		tx, err := r.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
		left.Store(int64(n))
		err = tx.Commit()
		var ambiguous *cockroachdb.AmbiguousCommitError
		require.ErrorAs(t, err, &ambiguous, "after %d bytes", n)
		require.ErrorIs(t, err, errHalfway)
		assert.Equal(t, 1, r.Times("UPDATE a"), "after %d bytes", n)
		require.NoError(t, r.DB.Close())
	}
	require.Eventually(t, func() bool { return released.Load() > 0 }, time.Minute, time.Millisecond,
		"the break never came after RELEASE")
	assert.Less(t, int(released.Load()), commitBytes, "the break never came before its end")
}

// Any other write that breaks halfway has committed nothing, and says so; outside of a transaction nobody can know,
// and it is not sent again.
func TestCommit_StatementWrittenHalfway_IsLost(t *testing.T) {
	t.Parallel()
	const update = "UPDATE kv SET v = v + 1"
	for n := range len(update) {
		r, left := newHalfwayRig(t, kit.Script{}.Reply)
		tx, err := r.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
		left.Store(int64(n))
		var lost *cockroachdb.ConnectionLostError
		require.ErrorAs(t, kit.ExecAll(tx, update), &lost)
		require.ErrorAs(t, tx.Commit(), &lost)

		require.NoError(t, r.PingContext(t.Context()))
		left.Store(int64(n))
		_, err = r.ExecContext(t.Context(), update)
		require.Error(t, err)
		assert.Zero(t, r.Times(update), "after %d bytes: sent again on another connection", n)
		require.NoError(t, r.DB.Close())
	}
}
