package crdbmodel

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A Server is one cluster, with one database that is empty at first. Its methods may be called by any goroutine. In a
// bubble of testing/synctest all of it, and of its clients, must be in the same one.
type Server struct {
	e       *engine
	latency atomic.Int64
	trips   atomic.Int64
	running sync.WaitGroup

	mu       sync.Mutex
	sessions int
	ends     map[*end]struct{}
	closed   bool
}

// New returns a server that is running. It must be closed.
func New(cfg Config) *Server { return &Server{e: newEngine(cfg), ends: map[*end]struct{}{}} }

// DSN is what clients parse. It leads nowhere: they must connect by [Server.Dial].
func (*Server) DSN() string { return "postgresql://root@127.0.0.1:26257/defaultdb?sslmode=disable" }

// Dial connects to the server, whatever address is asked for. It fits pgconn.Config.DialFunc. Sessions are numbered in
// the order of their dials, so for the same course of events these must be in the same order.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("crdbmodel: the server is closed")
	}
	w := newWire(s.sessions)
	s.sessions++
	client := &end{wire: w, in: &w.toClient, out: &w.toServer, latency: &s.latency, answered: func() { s.trips.Add(1) }}
	server := &end{wire: w, in: &w.toServer, out: &w.toClient, latency: &s.latency}
	s.ends[server] = struct{}{}
	s.running.Go(func() {
		s.serve(server)
		_ = server.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.ends, server)
	})
	return client, nil
}

// SetLatency sets how long a message takes one way from now on; at first, no time.
func (s *Server) SetLatency(oneWay time.Duration) { s.latency.Store(int64(oneWay)) }

// RoundTrips returns how often clients have read an answer after they had written something.
func (s *Server) RoundTrips() int64 { return s.trips.Load() }

// Counts returns what has happened so far.
func (s *Server) Counts() Counts {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.counts
}

// Close closes all connections and waits until nothing is left of the server.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for e := range s.ends {
		_ = e.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// announced is the version: that of the server whose rules these are, or of the first that buffers writes by default.
func (cfg *Config) announced() string {
	if cfg.Buffered {
		return "CockroachDB OSS v26.2.0 (crdbmodel)"
	}
	return "CockroachDB OSS v22.1.0 (crdbmodel)"
}

func (s *Server) serve(c *end) {
	be := pgproto3.NewBackend(c, c)
	if !startUp(be, c) {
		return
	}
	ss := &session{e: s.e, id: c.wire.session, gone: c.in.over, status: 'I', answers: answers{
		backend: be, statements: map[string]*prepared{}, portals: map[string]*portal{},
	}}
	ss.greet()
	for err := ss.ready(); err == nil; {
		var m pgproto3.FrontendMessage
		if m, err = be.Receive(); err == nil {
			err = ss.receive(m)
		}
	}
	if ss.txn != nil {
		ss.giveUp(ss.txn)
	}
}

// startUp reports whether a client wants a session. There is no TLS, and nothing can be cancelled but by going away.
func startUp(be *pgproto3.Backend, c net.Conn) bool {
	for {
		m, err := be.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		switch m.(type) {
		case *pgproto3.StartupMessage:
			return true
		case *pgproto3.CancelRequest:
			return false
		}
		if _, err := c.Write([]byte{'N'}); err != nil {
			return false
		}
	}
}

func (s *session) greet() {
	s.reserve(&pgproto3.AuthenticationOk{})
	for _, p := range [][2]string{
		{"server_version", "13.0.0"},
		{"server_encoding", "UTF8"},
		{"client_encoding", "UTF8"},
		{"DateStyle", "ISO, MDY"},
		{"integer_datetimes", "on"},
		{"standard_conforming_strings", "on"},
		{"TimeZone", "UTC"},
		{"crdb_version", s.e.cfg.announced()},
	} {
		s.reserve(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]})
	}
	s.reserve(&pgproto3.BackendKeyData{ProcessID: uint32(s.id), SecretKey: make([]byte, 4)})
}
