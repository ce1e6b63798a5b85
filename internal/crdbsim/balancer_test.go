package crdbsim

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (w *clusterTestbed) balance(t *testing.T, every time.Duration) (b *Balancer, dsn string) {
	t.Helper()
	b, err := w.Balance(every)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b, b.DSN(superuser, "postgres")
}

func TestBalancer_InTurn_LeavesOutWhoIsNotReady(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	_, dsn := w.balance(t, LookAlways)
	nodes := func() (ids []int) {
		for range 6 {
			ids = append(ids, nodeOfConn(w.pgx(t, dsn)))
		}
		return ids
	}
	assert.Equal(t, []int{1, 2, 3, 1, 2, 3}, nodes())
	require.NoError(t, w.Node(2).Enter(Unready))
	assert.NotContains(t, nodes(), 2)
	require.NoError(t, w.Node(2).Return())
	assert.Contains(t, nodes(), 2)
}

// TestBalancer_SlowToNotice_ClientsAreRefused tries until each outcome was seen: for each connection that is lost, at
// start-up even, pgx makes another one with a request to cancel, which takes the turn of a node at any time.
func TestBalancer_SlowToNotice_ClientsAreRefused(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	b, dsn := w.balance(t, LookWhenTold)
	require.NoError(t, w.Node(1).Enter(Refusing))
	w.Node(2).Kill()
	outcomes := func(n int) map[string]bool {
		seen := make(map[string]bool)
		for i := 0; i < 12 || len(seen) < n && i < 1000; i++ {
			b.next(i)
			conn, err := pgx.Connect(t.Context(), dsn)
			seen[told(err)] = true
			if err == nil {
				assert.Equal(t, 3, nodeOfConn(conn))
				assert.NoError(t, conn.Close(t.Context()))
			}
		}
		return seen
	}
	assert.Equal(t, map[string]bool{tryAnother: true, "lost": true, "nil": true}, outcomes(3))
	b.Look()
	assert.Equal(t, map[string]bool{"nil": true}, outcomes(1))
	w.Node(3).Kill()
	b.Look()
	assert.Equal(t, map[string]bool{"lost": true}, outcomes(1))
}

// next has the balancer go on with the i-th node.
func (b *Balancer) next(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn = i
}

func TestBalancer_LooksNowAndThen(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	_, dsn := w.balance(t, time.Millisecond)
	require.NoError(t, w.Node(1).Enter(Refusing))
	require.Eventually(t, func() bool {
		for range 3 {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				return false
			}
			assert.NoError(t, conn.Close(t.Context()))
		}
		return true
	}, time.Minute, time.Millisecond)
}

// TestBalancer_ShowsHowAConnectionEnds checks that clients see the same as without a balancer.
func TestBalancer_ShowsHowAConnectionEnds(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	b, _ := w.balance(t, LookAlways)
	c := b.client(t, w)
	w.enterOf(t, c, Closing)
	assert.Equal(t, []string{"E 57P01", "EOF"}, c.rest())
	c = b.client(t, w)
	w.enterOf(t, c, Dead)
	_, err := c.nc.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// client connects by way of the balancer.
func (b *Balancer) client(t *testing.T, w *clusterTestbed) *client {
	t.Helper()
	return (&testbed{&Sim{addr: b.Addr()}, w.schema}).client(t)
}

// enterOf puts the node of a client into a phase.
func (w *clusterTestbed) enterOf(t *testing.T, c *client, p Phase) {
	t.Helper()
	require.NoError(t, w.Node(int(nodeOf(c.key.ProcessID))).Enter(p))
}

func TestBalancer_CancelReachesTheNode(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	b, _ := w.balance(t, LookAlways)
	through := &testbed{&Sim{addr: b.Addr()}, w.schema}
	holder, waiting := through.client(t), through.client(t)
	holder.query("BEGIN; " + update)
	backend := waiting.query("SELECT pg_backend_pid()")[0]
	waiting.send(&pgproto3.Query{String: update})
	waitForLockOf(t, backend)
	through.cancel(waiting)
	assert.Equal(t, []string{"E 57014", "Z I"}, waiting.untilReady())
}

func TestBalancer_Close_LeavesNothing(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	b, dsn := w.balance(t, LookAlways)
	conn := w.pgx(t, dsn)
	require.NoError(t, b.Close())
	_, err := conn.Exec(t.Context(), read)
	assert.Equal(t, "lost", told(err))
	_, err = net.Dial("tcp", b.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Error(t, b.Close(), "the second time the listener is closed already")
}
