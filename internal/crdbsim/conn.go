package crdbsim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// bufferSize is how much of an answer is held back before it is sent although the client has not asked for it;
// CockroachDB v22.1 holds back as much.
const bufferSize = 16 << 10

// A conn is one client's connection and the connection to PostgreSQL behind it. One goroutine handles its messages one
// after the other.
type conn struct {
	sim     *Sim
	id      uint64
	client  net.Conn
	mail    *inbox
	in      framer
	outbox  outbox
	out     []byte // the answers not sent yet
	flushes int    // how often they were sent
	up      *upstream
	pending []pending

	session
	skipping bool // after an error, until Sync
	simple   bool // at work on a Query message
	fatal    bool // the error just sent ends the connection
	leaves   bool // the connection ends once the client has been told that we are ready
	asked    bool // it has sent something since it was told that we are ready
	admitted bool // guarded by sim.mu
	stmts    map[string]*statement
	portals  map[string]*portal

	pid  atomic.Uint32
	rest atomic.Bool // it is outside a transaction, and waits for a message
	busy atomic.Bool // PostgreSQL is at work for us
	gone atomic.Bool // the client has hung up
	over atomic.Bool // the session in PostgreSQL was ended by expire
	done chan struct{}

	terminating sync.Once
	ended       chan struct{} // closed by terminate

	cancelling sync.Mutex
	left       bool // the connection to PostgreSQL is no longer this client's
}

// A portal is a statement with its arguments.
type portal struct {
	stmt *statement
	bind []byte // the Bind message, to send it again
}

// upstream is the connection to PostgreSQL.
type upstream struct {
	nc     net.Conn
	in     framer
	out    []byte
	status byte // as its last ReadyForQuery says
	dirty  bool // something was sent after that
	key    []byte

	startup  string // how it was started up
	database string // the one it is connected to
	secured  bool   // the client had to say who it is
	greeting []byte // what PostgreSQL said then, but for its key
	origin   string // what that came from
	expiry   *time.Timer
}

func (u *upstream) send() error {
	if len(u.out) == 0 {
		return nil
	}
	_, err := u.nc.Write(u.out)
	u.out = u.out[:0]
	return err
}

// close ends the session and waits until PostgreSQL has: then its locks are gone.
func (u *upstream) close() {
	if u == nil || u.nc == nil {
		return
	}
	_ = u.nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := u.nc.Write([]byte{'X', 0, 0, 0, 4}); err == nil {
		for {
			if _, err := u.nc.Read(make([]byte, 512)); err != nil {
				break
			}
		}
	}
	_ = u.nc.Close()
}

func newConn(s *Sim, id uint64, nc net.Conn) *conn {
	c := &conn{
		sim: s, id: id, client: nc, up: &upstream{},
		stmts: make(map[string]*statement), portals: make(map[string]*portal),
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	c.mail = newInbox(&s.gate, s.done, c.ended)
	c.session = session{status: 'I', vars: make(map[string]string), start: make(map[string]string)}
	c.in.r = bufio.NewReaderSize(c.mail, 2*chunkSize)
	c.outbox = outbox{nc: nc, latency: &s.latency, gate: &s.gate, closing: s.done, ended: c.ended}
	return c
}

// errCut ends a connection without another word to the client.
var errCut = errors.New("crdbsim: cut")

// serve handles the connection from start to end.
func (c *conn) serve() {
	var reader sync.WaitGroup
	reader.Go(func() { c.mail.fill(c.client, &c.sim.latency, c.done, c.clientGone) })
	err := c.startup()
	for err == nil {
		err = c.handleNext()
	}
	// PostgreSQL first: who sees this connection end may rely on its transaction having ended too.
	c.leave()
	if errors.Is(err, errEnded) {
		c.sendEnd()
	}
	if !errors.Is(err, errCut) {
		_ = c.flush()
	}
	c.outbox.finish()
	_ = c.client.Close()
	close(c.done)
	reader.Wait()
}

// hangUp ends the connection without another word to the client.
func (c *conn) hangUp() { _ = c.client.Close() }

// leave gives up the connection to PostgreSQL.
func (c *conn) leave() {
	c.cancelling.Lock()
	c.left = true
	c.cancelling.Unlock()
	c.sim.spares.put(c.up)
}

// cancel asks PostgreSQL to give up what it does for the client, and comes back when it has passed that on to whoever
// is at it.
func (c *conn) cancel() {
	c.cancelling.Lock()
	defer c.cancelling.Unlock()
	if !c.left {
		c.sim.cancel(c.up.key)
	}
}

// clientGone cancels what PostgreSQL is doing for a client that has hung up, as CockroachDB does.
func (c *conn) clientGone() {
	c.gone.Store(true)
	c.sim.running.Go(c.giveUp)
}

// giveUp cancels what PostgreSQL is doing until the connection has ended: a request that comes before PostgreSQL has
// begun does nothing.
func (c *conn) giveUp() {
	for {
		if c.busy.Load() {
			c.cancel()
		}
		select {
		case <-c.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// flush sends the client what there is for it.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.flushes++
	_, err := c.outbox.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *conn) send(m pgproto3.BackendMessage) {
	c.out, _ = m.Encode(c.out) // these are small, only a gigabyte would not do
}

// handleNext handles one message of the client's.
func (c *conn) handleNext() error {
	if c.in.unread() == 0 {
		if woken := c.mail.wait(); woken {
			return c.depart()
		}
	}
	f, err := c.in.next()
	if err != nil {
		return err
	}
	if c.over.Load() {
		return errCut
	}
	c.asked = true
	c.rest.Store(false)
	c.count(f)
	if c.skipping && f.typ != 'S' && f.typ != 'H' && f.typ != 'X' {
		return nil
	}
	err = c.handle(f)
	if c.fatal && (err == nil || errors.Is(err, errEnded)) {
		return errors.Join(c.flush(), errCut)
	}
	return err
}

func (c *conn) handle(f frame) error {
	switch f.typ {
	case 'Q':
		return c.query(f)
	case 'P':
		return c.parse(f)
	case 'B':
		return c.bind(f)
	case 'D':
		return c.describe(f)
	case 'E':
		return c.executePortal(f)
	case 'C':
		return c.closeObject(f)
	case 'S':
		return c.sync()
	case 'H':
		return c.flushForClient()
	case 'X':
		return errCut
	case 'd', 'c', 'f': // of a COPY that has failed
		return nil
	}
	return fmt.Errorf("crdbsim: message %q is not supported", f.typ)
}

// flushForClient sends what there is when the client asks for it. While messages are skipped PostgreSQL ignores a Flush
// too, but it has sent the error at once.
func (c *conn) flushForClient() error {
	if !c.skipping {
		if _, err := c.settle(); err != nil {
			return err
		}
	}
	return c.flush()
}

// sync ends a pipeline.
func (c *conn) sync() error {
	c.skipping = false
	return c.finish()
}

// finish has PostgreSQL answer what has been put off, and ends the exchange.
func (c *conn) finish() error {
	if len(c.pending) > 0 || c.up.dirty {
		c.queueSync()
		a, err := c.relay(noLimit)
		if err != nil {
			return err
		}
		if a.failed != nil {
			c.tx.aborted = true
			c.fail(c.worded(a.failed))
			c.skipping = false
		}
	}
	return c.ready()
}

// ready ends an exchange: it tells the client the state of the transaction.
func (c *conn) ready() error {
	c.adopt(c.up.status)
	if c.fatal {
		return nil
	}
	c.send(&pgproto3.ReadyForQuery{TxStatus: c.status})
	if err := c.flush(); err != nil {
		return err
	}
	c.asked = false
	c.rest.Store(c.status == 'I')
	if c.leaves {
		c.shutsDown()
		return errors.Join(c.flush(), errCut)
	}
	return c.depart()
}

// adopt takes over what PostgreSQL says of the transaction where that is news: it can end without our doing, by a CALL
// or by an error of the kind that is no statement's.
func (c *conn) adopt(status byte) {
	switch {
	case c.sim.cfg.PostgreSQL:
		c.status = status
	case !c.tx.open || c.status == 'I':
	case status == 'I':
		c.restoreAll()
		c.status, c.tx = 'I', txn{}
	case status == 'E' && c.status == 'T':
		c.status, c.tx.aborted = 'E', true
	}
}

// fail gives the client an error in place of an answer.
func (c *conn) fail(e *pgproto3.ErrorResponse) {
	c.send(e)
	c.tx.answered = true
	if c.status == 'T' && !c.tx.committed {
		c.status = 'E'
	}
	if e.Code == "40001" {
		c.tx.conflict = true
	}
	c.skipping = !c.simple
	c.fatal = e.Severity == "FATAL" || e.Severity == "PANIC"
	if c.terminated() && !c.fatal {
		c.shutsDown()
	}
}

// shutsDown has the connection end, after it has said that the node goes away. PostgreSQL says so as FATAL.
func (c *conn) shutsDown() {
	e := shutDown
	if c.sim.cfg.PostgreSQL {
		e.Severity = "FATAL"
	}
	c.send(e.response())
	c.fatal = true
}

// pause waits, but not beyond the end of the sim.
func (c *conn) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ended:
	case <-c.sim.done:
	}
}

// cancelRequest is the message that asks PostgreSQL to give up what it does for the holder of key.
func cancelRequest(key []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(key)))
	b = binary.BigEndian.AppendUint32(b, codeCancel)
	return append(b, key...)
}
