package crdbsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// DefaultVersion is the version announced unless Config says otherwise.
const DefaultVersion = "CockroachDB crdbsim v22.1.0 (PostgreSQL underneath)"

// Config says what a [Sim] stands in front of, and how it behaves.
type Config struct {
	// Upstream opens a connection to PostgreSQL.
	Upstream func(ctx context.Context) (net.Conn, error)
	// PostgreSQL passes PostgreSQL through as it is. Faults, latency and counting work all the same.
	PostgreSQL bool
	// Latency is how long every message is under way, in either direction.
	Latency time.Duration
	// Version is announced as crdb_version; empty stands for [DefaultVersion].
	Version string
	// Log switches the log on from the start.
	Log bool
}

// A Sim listens for clients and answers them as CockroachDB would. All its methods may be called at any time.
type Sim struct {
	cfg      Config
	version  version
	listener net.Listener
	latency  atomic.Int64
	faults   faults
	trips    atomic.Int64
	log      log
	done     chan struct{}
	running  sync.WaitGroup
	spares   spares

	mu       sync.Mutex
	conns    map[uint64]*conn
	last     uint64
	closed   bool
	draining *Error
}

// Start listens on a free port of the loopback interface.
func Start(cfg Config) (*Sim, error) {
	if cfg.Upstream == nil {
		return nil, errors.New("crdbsim: no upstream")
	}
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("crdbsim: %w", err)
	}
	s := &Sim{cfg: cfg, version: parseVersion(cfg.Version), listener: l, done: make(chan struct{}), conns: make(map[uint64]*conn)}
	s.SetLatency(cfg.Latency)
	s.log.on.Store(cfg.Log)
	s.running.Go(s.accept)
	return s, nil
}

// Addr returns host and port to connect to.
func (s *Sim) Addr() string { return s.listener.Addr().String() }

// Close cuts every connection, and returns when each one's transaction has ended in PostgreSQL.
func (s *Sim) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	err := s.listener.Close()
	for _, c := range s.conns {
		_ = c.client.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.spares.close()
	return err
}

// CloseConns cuts every connection there is, as a dying node would, and goes on listening.
func (s *Sim) CloseConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.client.Close()
	}
}

// Conns returns how many clients there are. One that has hung up counts until its transaction has ended in PostgreSQL.
func (s *Sim) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// SetLatency sets the delay of what is sent from now on.
func (s *Sim) SetLatency(d time.Duration) { s.latency.Store(int64(d)) }

// Inject puts faults in force.
func (s *Sim) Inject(fs ...*Fault) { s.faults.add(fs...) }

// ClearFaults takes all of them back.
func (s *Sim) ClearFaults() { s.faults.clear() }

// RoundTrips returns how many Sync and Query messages all clients have sent after start-up: what a client waits for.
func (s *Sim) RoundTrips() int64 { return s.trips.Load() }

// Drain does what a node does that is shut down in good order: idle connections are sent the error e, which they have not asked for, and
// closed; others are as soon as their transaction ends. New ones are still accepted.
func (s *Sim) Drain(e Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = &e
	for _, c := range s.conns {
		select {
		case c.mail.kick <- struct{}{}:
		default:
		}
	}
}

// ConnOf returns the number of the connection whose client was given this process id at start-up (PgConn.PID in pgx), 0 if there is none.
func (s *Sim) ConnOf(pid uint32) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.conns {
		if c.pid.Load() == pid {
			return id
		}
	}
	return 0
}

func (s *Sim) drainError() *pgproto3.ErrorResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining.response()
}

func (s *Sim) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = nc.Close()
			return
		}
		s.last++
		c := newConn(s, s.last, nc)
		s.conns[c.id] = c
		s.running.Go(func() {
			c.serve()
			s.mu.Lock()
			delete(s.conns, c.id)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}

const dialTimeout = 10 * time.Second

func (s *Sim) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	return s.cfg.Upstream(ctx)
}

// cancelFor does what a client asks for that shows its key.
func (s *Sim) cancelFor(pid, secret uint32) {
	s.mu.Lock()
	c := s.conns[uint64(secret)]
	s.mu.Unlock()
	if c != nil && c.pid.Load() == pid {
		c.cancel()
	}
}

// cancel asks PostgreSQL to give up what it does for the holder of key. Nobody is told whether it has.
func (s *Sim) cancel(key []byte) {
	nc, err := s.dial()
	if err != nil {
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := nc.Write(cancelRequest(key)); err != nil {
		return
	}
	_, _ = nc.Read(make([]byte, 1)) // PostgreSQL closes once it has sent the signal
}
