package crdbsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
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
	// NodeID is what the process ids of BackendKeyData say of the node, in their bits 20 to 30: 1 to 2047. With 0 they
	// are PostgreSQL's.
	NodeID uint32

	forward func(pid, secret uint32) // is given the requests to cancel that are another node's
}

const maxNodeID = 1<<11 - 1

// A Sim listens for clients and answers them as CockroachDB would. All its methods may be called at any time.
type Sim struct {
	cfg     Config
	version version
	latency atomic.Int64
	faults  faults
	trips   atomic.Int64
	log     log
	done    chan struct{}
	running sync.WaitGroup
	spares  spares
	gate    gate
	leaving atomic.Pointer[leaving]

	mu       sync.Mutex
	listener net.Listener // nil while nobody can connect
	addr     string
	conns    map[uint64]*conn
	last     uint64
	closed   bool
	phase    Phase
	limit    int           // of clients, 0 for none
	admitted int           // clients that were let in
	emptied  chan struct{} // closed when the last client has gone; nil while nobody waits for that
}

// Start listens on a free port of the loopback interface.
func Start(cfg Config) (*Sim, error) {
	if cfg.Upstream == nil {
		return nil, errors.New("crdbsim: no upstream")
	}
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	if cfg.NodeID > maxNodeID {
		return nil, fmt.Errorf("crdbsim: node id %d is greater than %d", cfg.NodeID, maxNodeID)
	}
	s := &Sim{cfg: cfg, version: parseVersion(cfg.Version), done: make(chan struct{}), conns: make(map[uint64]*conn)}
	s.spares.keep = keepSpares
	s.SetLatency(cfg.Latency)
	s.log.on.Store(cfg.Log)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr returns host and port to connect to. They stay the same.
func (s *Sim) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Close cuts every connection, and returns when each one's transaction has ended in PostgreSQL.
func (s *Sim) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.stopListening()
	s.eachConn((*conn).hangUp) // before a gate that is shut lets anybody through: a silent node gives no answers
	close(s.done)
	s.mu.Unlock()
	s.running.Wait()
	s.spares.close()
	return nil
}

// CloseConns cuts every connection there is, as a dying node would, and goes on listening.
func (s *Sim) CloseConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eachConn((*conn).hangUp)
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

// Drain has the connections that there are leave: idle ones are sent the error e, which they have not asked for, and
// closed; others are as soon as their transaction ends. New ones are accepted, and stay: for a node that refuses them
// see [Sim.Enter], which undoes this.
func (s *Sim) Drain(e Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendAway(&leaving{s.last, &e})
}

// ConnOf returns the number of the connection whose client was given this process id at start-up (PgConn.PID in pgx),
// 0 if there is none.
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

// listen is called with the lock.
func (s *Sim) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("crdbsim: %w", err)
	}
	s.listener, s.addr = l, l.Addr().String()
	s.running.Go(func() { s.accept(l) })
	return nil
}

// stopListening is called with the lock.
func (s *Sim) stopListening() {
	if s.listener != nil {
		_ = s.listener.Close() // the worst is that it was closed
		s.listener = nil
	}
}

func (s *Sim) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		s.serve(nc)
	}
}

// serve starts to handle a connection, unless the node has gone meanwhile.
func (s *Sim) serve(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		reset(nc)
		return
	}
	s.last++
	c := newConn(s, s.last, nc)
	s.conns[c.id] = c
	s.running.Go(func() {
		c.serve()
		s.remove(c)
	})
}

func (s *Sim) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
	if c.admitted {
		s.admitted--
	}
	if len(s.conns) == 0 && s.emptied != nil {
		close(s.emptied)
		s.emptied = nil
	}
}

// empty returns a channel that is closed when there are no clients, which may be at once.
func (s *Sim) empty() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	emptied := s.emptied
	if emptied == nil {
		emptied = make(chan struct{})
	}
	if len(s.conns) == 0 {
		close(emptied)
	} else {
		s.emptied = emptied
	}
	return emptied
}

const dialTimeout = 10 * time.Second

func (s *Sim) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	return s.cfg.Upstream(ctx)
}

// cancelFor does what a client asks for that shows its key, or lets the node do it that the key names.
func (s *Sim) cancelFor(pid, secret uint32) {
	if s.cfg.forward != nil && nodeOf(pid) != s.cfg.NodeID {
		s.cfg.forward(pid, secret)
		return
	}
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
