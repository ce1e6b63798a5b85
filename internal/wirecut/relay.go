package wirecut

import (
	"context"
	"errors"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A relay passes on what the system has of a client for a conn, and the other way round.
type relay struct {
	*conn
	client *net.TCPConn
}

// relayTo returns the client's end of a relay to c.
func relayTo(ctx context.Context, c *conn) (net.Conn, error) {
	client, ours, err := pair(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	r := relay{c, ours}
	go r.up()
	go r.down()
	return client, nil
}

// pair returns the two ends of a connection. The system connects before anybody accepts.
func pair(ctx context.Context) (client net.Conn, ours *net.TCPConn, err error) {
	var here net.ListenConfig
	listener, err := here.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = listener.Close() }()
	var d net.Dialer
	if client, err = d.DialContext(ctx, "tcp", listener.Addr().String()); err != nil {
		return nil, nil, err
	}
	accepted, err := listener.Accept()
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, accepted.(*net.TCPConn), nil
}

// up takes from the client what it writes at once: a small Write arrives in one piece.
func (r relay) up() {
	defer func() { _ = r.conn.Close() }()
	b := make([]byte, 0, largest)
	for {
		n, err := r.client.Read(b[len(b):cap(b)])
		if err != nil || n == 0 { // or there is no room
			return
		}
		b = b[:len(b)+n]
		if r.status.Load() != '-' && !isWhole(b) {
			continue
		}
		if _, err := r.Write(b); err != nil {
			return // down ends the connection
		}
		b = b[:0]
	}
}

func isWhole(b []byte) bool {
	_, err := split(b)
	return err == nil
}

// down gives the client what the server says, and ends or resets its connection.
func (r relay) down() {
	defer func() { _ = r.client.Close() }()
	b := make([]byte, enough+largest+len(lastWord))
	for n := 0; ; {
		m, err := r.Read(b[n:])
		n += m
		switch {
		case err != nil && r.resets.Load():
			_ = r.client.SetLinger(0)
			return
		case err != nil, r.broken.Load():
			_ = finish(r.client, b[:n])
			return
		case n < enough && r.more():
			continue
		}
		if _, err := r.client.Write(b[:n]); err != nil {
			return
		}
		n = 0
	}
}

// enough is what down hands over at once.
const enough = 1 << 13

// more reports whether some of the next message is there.
func (c *conn) more() bool {
	c.reading.Lock()
	defer c.reading.Unlock()
	return c.in.Buffered() > 0
}

// lastWord is what a server says that shuts down.
var lastWord = func() []byte {
	const level = "FATAL"
	b, err := (&pgproto3.ErrorResponse{
		Severity: level, SeverityUnlocalized: level, Code: "57P01",
		Message: "terminating connection due to administrator command",
	}).Encode(nil)
	if err != nil {
		panic(err) // it is not too long
	}
	return b
}()
