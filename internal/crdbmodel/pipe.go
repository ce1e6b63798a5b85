package crdbmodel

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A wire is a connection in memory. What is written at one end arrives at the other after the latency; to write never
// waits.
type wire struct {
	session  int
	toServer way
	toClient way
}

func newWire(session int) *wire {
	w := &wire{session: session}
	w.toServer.changed, w.toClient.changed = make(chan struct{}, 1), make(chan struct{}, 1)
	w.toServer.over, w.toClient.over = make(chan struct{}), make(chan struct{})
	return w
}

// A way is one direction of a wire.
type way struct {
	mu       sync.Mutex
	parts    []part
	deadline time.Time     // for reading
	closed   bool          // nothing more will be written; what is under way still arrives
	changed  chan struct{} // told, without waiting, that one of the above is not what it was
	over     chan struct{} // closed with it
}

// A part is what was written at once.
type part struct {
	arrives time.Time
	bytes   []byte
}

func (y *way) write(b []byte, arrives time.Time) (int, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.closed {
		return 0, io.ErrClosedPipe
	}
	if n := len(y.parts); n > 0 && y.parts[n-1].arrives.After(arrives) {
		arrives = y.parts[n-1].arrives // the latency has become less
	}
	y.parts = append(y.parts, part{arrives, append([]byte(nil), b...)})
	y.tell()
	return len(b), nil
}

func (y *way) tell() {
	select {
	case y.changed <- struct{}{}:
	default:
	}
}

func (y *way) read(b []byte) (int, error) {
	for {
		n, until, err := y.poll(b)
		if n > 0 || err != nil {
			return n, err
		}
		y.await(until)
	}
}

// poll reads what has arrived. If that is nothing, it returns when to look again at the latest; zero if that depends on
// others.
func (y *way) poll(b []byte) (n int, until time.Time, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	now := time.Now()
	switch {
	case !y.deadline.IsZero() && !now.Before(y.deadline):
		return 0, until, os.ErrDeadlineExceeded
	case len(y.parts) == 0 && y.closed:
		return 0, until, io.EOF
	case len(y.parts) == 0:
		return 0, y.deadline, nil
	case now.Before(y.parts[0].arrives):
		until = y.parts[0].arrives
		if !y.deadline.IsZero() && y.deadline.Before(until) {
			until = y.deadline
		}
		return 0, until, nil
	}
	first := &y.parts[0]
	n = copy(b, first.bytes)
	if first.bytes = first.bytes[n:]; len(first.bytes) == 0 {
		y.parts = y.parts[1:]
	}
	return n, until, nil
}

func (y *way) await(until time.Time) {
	if until.IsZero() {
		<-y.changed
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-y.changed:
	}
}

func (y *way) setDeadline(t time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.deadline = t
	y.tell()
}

func (y *way) close() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if !y.closed {
		y.closed = true
		close(y.over)
		y.tell()
	}
}

// An end is one end of a wire.
type end struct {
	wire     *wire
	in, out  *way
	latency  *atomic.Int64 // one way
	answered func()        // called for what is read after something was written; nil at the server's end
	asked    atomic.Bool
}

func (e *end) Write(b []byte) (int, error) {
	e.asked.Store(true)
	return e.out.write(b, own(e.wire.session, time.Now().Add(time.Duration(e.latency.Load()))))
}

func (e *end) Read(b []byte) (int, error) {
	n, err := e.in.read(b)
	if n > 0 && e.asked.Swap(false) && e.answered != nil {
		e.answered()
	}
	return n, err
}

func (e *end) Close() error {
	e.out.close()
	e.in.close()
	return nil
}

func (e *end) SetDeadline(t time.Time) error      { return e.SetReadDeadline(t) }
func (e *end) SetReadDeadline(t time.Time) error  { e.in.setDeadline(t); return nil }
func (e *end) SetWriteDeadline(_ time.Time) error { return nil } // to write never waits
func (e *end) LocalAddr() net.Addr                { return address{} }
func (e *end) RemoteAddr() net.Addr               { return address{} }

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "crdbmodel" }
