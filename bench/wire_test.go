package bench

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// A network is what lies between the peers and the server. crdbsim is one.
type network interface {
	SetLatency(oneWay time.Duration)
	RoundTrips() int64
}

// A dialFunc connects, as net.Dialer's DialContext does.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Dial, DialContext and DialTimeout are what lib/pq wants of a dialer.
func (dial dialFunc) Dial(network, addr string) (net.Conn, error) {
	return dial(context.Background(), network, addr)
}

func (dial dialFunc) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return dial(ctx, network, addr)
}

func (dial dialFunc) DialTimeout(network, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return dial(ctx, network, addr)
}

// A wire is the network to a real cluster, in whose midst nobody can be put where it is encrypted. It counts, and adds
// its latency, at the client's end: an answer is what is read after something was written, and comes later by the
// latency of both ways.
type wire struct {
	latency atomic.Int64
	trips   atomic.Int64
}

func (w *wire) SetLatency(oneWay time.Duration) { w.latency.Store(int64(oneWay)) }

func (w *wire) RoundTrips() int64 { return w.trips.Load() }

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: nc, wire: w}, nil
}

type wireConn struct {
	net.Conn

	wire  *wire
	asked atomic.Bool
}

func (c *wireConn) Write(b []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.asked.Swap(false) {
		c.wire.trips.Add(1)
		time.Sleep(2 * time.Duration(c.wire.latency.Load()))
	}
	return n, err
}

// SyscallConn lets drivers look at the socket.
func (c *wireConn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

// TestWire holds the wire against crdbsim, which counts what clients wait for in their messages, and checks that a
// round trip takes no less than its latency.
func TestWire(t *testing.T) {
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	w := &wire{}
	g := ground{dsn, w, w.dial}
	for _, p := range peers {
		t.Run("peer="+p.name, func(t *testing.T) {
			a := newArena(t, g, workloads[0], p, 1, 1) // one worker has connected by now, and needs no second connection
			simBefore, before := sim.RoundTrips(), w.RoundTrips()
			_, _ = a.contend(t, times(50))
			require.Greater(t, w.RoundTrips(), before)
			require.Equal(t, sim.RoundTrips()-simBefore, w.RoundTrips()-before)
		})
	}
	db := peers[0].open(t, g).db
	defer db.Close()
	trip(t, db)
	w.SetLatency(20 * time.Millisecond)
	began := time.Now()
	trip(t, db)
	require.GreaterOrEqual(t, time.Since(began), 40*time.Millisecond)
}
