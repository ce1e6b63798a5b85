package fakepg

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A Server listens on loopback, or in memory, until its test ends.
type Server struct {
	t       testing.TB
	handle  func(*Conn)
	opts    options
	ln      net.Listener // nil in memory
	done    chan struct{}
	running sync.WaitGroup

	trips       atomic.Int64
	connections atomic.Int64
	cancels     atomic.Int64
	plain       atomic.Int64

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
	log    []exchange
	ran    map[string]int // executions, by text
}

type options struct {
	version  string
	quiet    bool
	inMemory bool
	tls      *tls.Config
}

// An Option changes what Start starts.
type Option func(*options)

// PlainPostgreSQL leaves crdb_version out of the start-up and makes [Answer] behave as PostgreSQL where the two differ.
func PlainPostgreSQL() Option { return func(o *options) { o.version = "" } }

// Version sets what the server announces as crdb_version.
func Version(v string) Option { return func(o *options) { o.version = v } }

// Quiet keeps no log of the messages, for benchmarks. Round trips are still counted.
func Quiet() Option { return func(o *options) { o.quiet = true } }

// InMemory uses [net.Pipe] in place of sockets, so that a server and its clients can live in a testing/synctest
// bubble. Clients must connect through [Server.Dial].
func InMemory() Option { return func(o *options) { o.inMemory = true } }

// TLS has the server speak TLS with those clients that ask for it.
func TLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// Start starts a server that calls handle for each connection once its start-up is complete. It stops, and waits for
// every handler, at the end of the test. A handler ends when it returns or when its client goes away; either closes
// the connection.
func Start(t testing.TB, handle func(*Conn), opts ...Option) *Server {
	t.Helper()
	s := &Server{
		t: t, handle: handle,
		opts: options{version: "CockroachDB CCL v23.1.2 (fakepg)"},
		done: make(chan struct{}), open: make(map[net.Conn]struct{}), ran: make(map[string]int),
	}
	for _, o := range opts {
		o(&s.opts)
	}
	if !s.opts.inMemory {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("fakepg: listen on loopback: %v", err)
		}
		s.ln = ln
		s.running.Go(s.accept)
	}
	t.Cleanup(s.Close)
	return s
}

// DSN is where to connect to.
func (s *Server) DSN() string {
	if s.ln == nil {
		return "postgresql://app@fakepg.invalid:26257/fake?sslmode=disable"
	}
	return fmt.Sprintf("postgresql://app@%s/fake?sslmode=disable", s.ln.Addr())
}

// Dial connects to the server whatever address is asked for. It fits pgconn.Config.DialFunc.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if s.ln != nil {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.ln.Addr().String())
	}
	client, server := net.Pipe()
	if !s.start(server) {
		return nil, errors.New("fakepg: server is closed")
	}
	return client, nil
}

// Lookup answers for any host name, so that Dial is reached. It fits pgconn.Config.LookupFunc.
func (s *Server) Lookup(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }

// Connections counts the clients that have completed their start-up.
func (s *Server) Connections() int { return int(s.connections.Load()) }

// Cancels counts the cancel requests received.
func (s *Server) Cancels() int { return int(s.cancels.Load()) }

// PlainStarts counts the start-ups and cancel requests that came unencrypted.
func (s *Server) PlainStarts() int { return int(s.plain.Load()) }

// Disconnect closes every open connection without a word, as a crashed server would.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// Close stops the server. Start has arranged for it; a test calls it only to see what a driver does once the server is
// gone.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		if s.ln != nil {
			s.ln.Close()
		}
	}
	s.mu.Unlock()
	s.Disconnect()
	s.running.Wait()
}

// count counts the executions of a text.
func (s *Server) count(sql string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[sql]++
	return s.ran[sql]
}

func (s *Server) accept() {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			return // closed
		}
		s.start(nc)
	}
}

// start runs one connection in its own goroutine. It reports false, and closes nc, once the server is closed.
func (s *Server) start(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return false
	}
	s.open[nc] = struct{}{}
	s.running.Go(func() {
		defer func() {
			nc.Close()
			s.mu.Lock()
			delete(s.open, nc)
			s.mu.Unlock()
		}()
		s.run(nc)
	})
	return true
}

func (s *Server) run(nc net.Conn) {
	c := newConn(s, nc)
	defer func() {
		if p := recover(); p != nil && p != any(errGone) {
			s.t.Errorf("fakepg: handler of connection %d: %v", c.id, p)
		}
	}()
	if c.startUp() {
		s.handle(c)
	}
}
