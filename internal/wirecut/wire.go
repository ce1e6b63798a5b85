package wirecut

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

// A Side is who sends a message.
type Side string

// The sides.
const (
	Client Side = "client"
	Server Side = "server"
)

// A How says what has become of the message at which the connection breaks.
type How string

const (
	// Before is for a client's message: the server has handled those before it, and sending it fails.
	Before How = "before"
	// Half is when half of the message has arrived.
	Half How = "half"
	// After is when it has arrived whole. Of a client's message the server has handled it, and its answer is lost.
	After How = "after"
	// LastWord is for a server's message: it has arrived whole, and with it the fatal error of a server that shuts down.
	LastWord How = "last word"
)

// A Cut is where the connection breaks, and how.
type Cut struct {
	Side Side
	At   int // the number of the message among those of its side, from 0
	How  How
}

// A Talk is what was said since Arm: the types of the messages of each side, in order.
type Talk struct{ Client, Server string }

// A Wire makes connections, counts what goes over them while it is armed, and breaks some.
type Wire struct {
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	relays bool

	mu     sync.Mutex
	change *sync.Cond
	armed  bool
	cuts   []Cut // that are to be made
	struck []Struck
	client []byte
	server []byte
	asked  int // how much of server there was when the client last sent something
	live   map[*conn]bool
	left   chan struct{} // closed when a client has said goodbye since Arm
}

// New makes a Wire that connects by dial.
func New(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Wire {
	w := &Wire{dial: dial, live: make(map[*conn]bool), left: make(chan struct{})}
	w.change = sync.NewCond(&w.mu)
	return w
}

// NewRelay makes a Wire like New's, but what it gives the client is the system's own connection, to a relay. So the
// client can ask the system about it, and learns of a cut by what the system says: a reset where the message was to
// arrive Before, and else the end of the stream. What arrives last arrives in one segment with that end, so that a
// client which has read it can't be ahead of the end.
//
// Other than a [net.Conn] of its own a relay can't refuse a message: the system has taken it.
func NewRelay(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Wire {
	w := New(dial)
	w.relays = true
	return w
}

// Dial connects. It is for pgconn.Config's DialFunc.
func (w *Wire) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := w.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := newConn(w, nc.(*net.TCPConn))
	w.began(c)
	if w.relays {
		return relayTo(ctx, c)
	}
	return c, nil
}

func (w *Wire) began(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[c] = true
}

// A Struck is a cut that was made, and how many messages of each side there were then, with that one.
type Struck struct {
	Cut
	Client, Server int
}

// Arm begins to count, anew.
func (w *Wire) Arm(cuts ...Cut) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.cuts, w.struck, w.client, w.server, w.asked = true, cuts, nil, nil, nil, 0
	w.left = make(chan struct{})
}

// Disarm ends the counting, and says what there was and which cuts have been made.
func (w *Wire) Disarm() (all Talk, struck []Struck) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	return Talk{string(w.client), string(w.server)}, w.struck
}

// Asked says how many messages of each side there were: of the server's before the client last sent something, of the
// client's with that.
func (w *Wire) Asked() (client, server int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.client), w.asked
}

// Left is closed when a client gives up a connection.
func (w *Wire) Left() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

// patience is how long anything may take that must come; it is there for tests to end.
const patience = time.Minute

// Settle waits until no more than n connections are left, and the server has ended the sessions of the others. It says
// false if that does not happen.
func (w *Wire) Settle(n int) bool {
	giveUp := false
	defer time.AfterFunc(patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		giveUp = true
		w.change.Broadcast()
	}).Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.live) > n && !giveUp {
		w.change.Wait()
	}
	return len(w.live) <= n
}

// Open lists the states of the transactions of the connections there are, as the server last said.
func (w *Wire) Open() (states string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.live {
		states += string(rune(c.status.Load()))
	}
	return states
}

func (w *Wire) ended(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.live, c)
	w.change.Broadcast()
}

func (w *Wire) goodbye() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.left:
	default:
		close(w.left)
	}
}

// count takes in the types of further messages, and says at which of them, from 0, the connection is to break.
func (w *Wire) count(side Side, types ...byte) (at int, how How, now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed {
		return 0, "", false
	}
	said := &w.server
	if side == Client {
		said, w.asked = &w.client, len(w.server)
	}
	first := len(*said)
	*said = append(*said, types...)
	n := slices.IndexFunc(w.cuts, func(c Cut) bool { return c.Side == side && first <= c.At && c.At < len(*said) })
	if n < 0 {
		return 0, "", false
	}
	cut := w.cuts[n]
	w.cuts = slices.Delete(slices.Clone(w.cuts), n, n+1)
	w.struck = append(w.struck, Struck{cut, len(w.client), len(w.server)})
	return cut.At - first, cut.How, true
}
