package wire

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/liveness"
)

// A delivery is a TCP connection that knows whether the server can have received anything of the latest request, once
// the server has ended the connection.
//
// All that the server sends acknowledges what its system has received until then. So if nothing of a request is
// acknowledged when the server's last word has been read, the server had spoken it before the request got there. Then
// it does not read the request any more.
//
// pgconn closes a broken connection on a goroutine of its own, which may write a last message.
type delivery struct {
	*net.TCPConn
	sent       atomic.Int64 // how many bytes of the request were written
	unreceived atomic.Bool
}

// delivering has a dial function make deliveries of TCP connections, where the system tells what is acknowledged.
func delivering(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if t, ok := conn.(*net.TCPConn); ok && err == nil && liveness.TellsUnacknowledged(t) {
			return &delivery{TCPConn: t}, nil
		}
		return conn, err
	}
}

// deliveryOf finds the delivery under what pgconn writes to; nil if there is none.
func deliveryOf(w io.Writer) *delivery {
	if t, ok := w.(*tls.Conn); ok {
		w = t.NetConn()
	}
	d, _ := w.(*delivery)
	return d
}

// begin is called before a request is written.
func (d *delivery) begin() {
	if d == nil {
		return
	}
	d.sent.Store(0)
	d.unreceived.Store(false)
}

func (d *delivery) Write(p []byte) (int, error) {
	n, err := d.TCPConn.Write(p)
	if sent := d.sent.Add(int64(n)); err != nil && sent == 0 {
		d.unreceived.Store(true)
	}
	return n, err
}

// ends is called when the server's last word has been read: a fatal error, or the end of the stream.
func (d *delivery) ends() {
	if d == nil {
		return
	}
	if sent := d.sent.Load(); sent > 0 && liveness.Unacknowledged(d.TCPConn) >= sent {
		d.unreceived.Store(true)
	}
}

// TellsReceipt reports whether Unreceived is known, as a rule, of a server that leaves in an orderly way.
func (s *Session) TellsReceipt() bool { return s.delivery != nil }

// Unreceived reports whether the connection has ended before the server received anything of the latest request, so
// that the request can't have been carried out. False means that this is not known.
func (s *Session) Unreceived() bool {
	return s.delivery != nil && s.PG.IsClosed() && s.delivery.unreceived.Load()
}
