package crdbsim

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// How a [Balancer] looks at its nodes, in place of an interval.
const (
	LookAlways   time.Duration = 0  // for each new connection
	LookWhenTold time.Duration = -1 // when Look is called
)

// A Balancer is one address for all nodes. It gives connections to those that were ready when it last looked, in turn;
// what it has given stays there. Where the node it has chosen does not accept, or none is ready, the client is reset.
// All its methods may be called at any time.
type Balancer struct {
	nodes    []*Node
	every    time.Duration
	listener net.Listener
	done     chan struct{}
	running  sync.WaitGroup

	mu     sync.Mutex
	ready  []bool
	turn   int
	conns  map[net.Conn]bool
	closed bool
}

// Balance starts a balancer on a free port of the loopback interface. It looks whether nodes are ready at the given
// interval; one that is long is slow to notice. See [LookAlways] and [LookWhenTold] too. It has looked when Balance
// returns.
func (c *Cluster) Balance(every time.Duration) (*Balancer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("crdbsim: balancer: %w", err)
	}
	b := &Balancer{nodes: c.Nodes(), every: every, listener: l, done: make(chan struct{}), conns: make(map[net.Conn]bool)}
	b.Look()
	b.running.Go(b.accept)
	if every > 0 {
		b.running.Go(b.look)
	}
	return b, nil
}

// Addr returns host and port to connect to.
func (b *Balancer) Addr() string { return b.listener.Addr().String() }

// DSN names the balancer, with a user and a database of PostgreSQL's.
func (b *Balancer) DSN(user, database string) string { return dsn(b.Addr(), user, database) }

// Close resets every connection, and returns when nothing is left of the balancer.
func (b *Balancer) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.done)
		for nc := range b.conns {
			reset(nc)
		}
	}
	b.mu.Unlock()
	err := b.listener.Close()
	b.running.Wait()
	return err
}

// Look checks the health of every node now.
func (b *Balancer) Look() {
	ready := make([]bool, len(b.nodes))
	for i, n := range b.nodes {
		ready[i] = n.Ready()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready = ready
}

func (b *Balancer) look() {
	t := time.NewTicker(b.every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.Look()
		case <-b.done:
			return
		}
	}
}

func (b *Balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.running.Go(func() { b.serve(client) })
	}
}

func (b *Balancer) serve(client net.Conn) {
	n := b.choose()
	if n == nil {
		reset(client)
		return
	}
	server, err := net.DialTimeout("tcp", n.Addr(), dialTimeout)
	if err != nil {
		reset(client)
		return
	}
	if b.keep(client, server) {
		join(client, server)
	}
	b.forget(client, server)
}

// choose returns the next node that is ready, nil if none is.
func (b *Balancer) choose() *Node {
	if b.every == LookAlways {
		b.Look()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.nodes {
		i := b.turn % len(b.nodes)
		b.turn++
		if b.ready[i] {
			return b.nodes[i]
		}
	}
	return nil
}

// keep has connections reset with the balancer; it reports whether that is yet to be.
func (b *Balancer) keep(conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, nc := range conns {
		b.conns[nc] = true
	}
	return !b.closed
}

// forget closes connections that keep has taken.
func (b *Balancer) forget(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, nc := range conns {
		_ = nc.Close() // it may be closed already
		delete(b.conns, nc)
	}
}

// join passes bytes on in both directions until both have ended, or one is reset.
func join(client, server net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { pass(client, server) })
	both.Go(func() { pass(server, client) })
	both.Wait()
}

// pass passes bytes on, and how they end: an orderly end as such, a reset as a reset of both.
func pass(from, to net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(from)
		reset(to)
		return
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // the worst is that it has gone
	}
}
