package crdbsim

import (
	"errors"
	"fmt"
	"math"
	"net"
)

// A Phase is how far a node is on its way down. See [Sim.Enter].
type Phase int

const (
	// Serving is how every Sim begins.
	Serving Phase = iota
	// Unready is when a node tells load balancers that it will go. Clients notice nothing.
	Unready
	// Refusing has logins refused by 57P01 `server is not accepting clients, try another node`. Who is connected goes
	// on, and is told nothing.
	Refusing
	// Closing is Refusing, and closes the sessions outside a transaction: they get a 57P01 that they have not asked
	// for, of severity ERROR, and EOF. The others are closed in the same way right after the ReadyForQuery that ends
	// their transaction.
	Closing
	// ClosingBare is Closing without the error: what comes is a bare FIN.
	ClosingBare
	// Ended is Refusing, and closes all sessions. A statement that runs fails by 57014; every session gets 57P01, and EOF.
	Ended
	// Silent is a process that is stopped: connections and bytes are accepted, nothing is answered, and nobody hangs
	// up. PostgreSQL finishes what it is at, and keeps transactions open, also those whose clients have hung up. In
	// the next phase all that has arrived meanwhile is handled.
	Silent
	// Dead is a process that is gone: every connection is reset, and new ones are refused by TCP.
	Dead
)

// Enter puts the Sim into a phase, from whichever it is in, and undoes [Sim.Drain]. Who is connected then, and has not
// been sent away yet, is treated as that phase treats its clients. The error is that of listening again after [Dead],
// where somebody else has taken the port.
func (s *Sim) Enter(p Phase) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errors.New("crdbsim: the Sim is closed")
	case p == Dead:
		s.stopListening()
	case s.listener == nil:
		if err := s.listen(s.addr); err != nil {
			return err
		}
	}
	s.phase = p
	s.sendAway(p.leaving())
	if p == Dead {
		s.eachConn((*conn).reset)
	}
	s.gate.set(p == Silent)
	if p == Ended {
		s.eachConn((*conn).terminate)
	}
	return nil
}

// leaving says whom the phase sends away, nil for nobody.
func (p Phase) leaving() *leaving {
	switch p {
	case Closing, Ended:
		return &leaving{math.MaxUint64, &shutDown}
	case ClosingBare:
		return &leaving{math.MaxUint64, nil}
	}
	return nil
}

// refuses reports whether the phase lets nobody in.
func (p Phase) refuses() bool { return p == Refusing || p == Closing || p == ClosingBare || p == Ended }

var (
	shutDown     = Error{Severity: "ERROR", Code: "57P01", Message: "server is shutting down"}
	notAccepting = Error{Severity: "ERROR", Code: "57P01", Message: "server is not accepting clients, try another node"}
)

func tooMany(limit int) *Error {
	return &Error{
		Severity: "ERROR", Code: "53300", Message: "sorry, too many clients already",
		Hint: fmt.Sprintf("the maximum number of allowed connections is %d", limit),
	}
}

// LimitConns bounds how many clients are let in; further ones get 53300. Those that are connected stay. 0 stands for
// no bound.
func (s *Sim) LimitConns(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
}

// admit lets a client in, or says why not.
func (s *Sim) admit(c *conn) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase.refuses():
		return &notAccepting
	case s.limit > 0 && s.admitted >= s.limit:
		return tooMany(s.limit)
	}
	s.admitted++
	c.admitted = true
	return nil
}

// leaving is whom a node sends away as soon as they are outside a transaction.
type leaving struct {
	upTo      uint64 // the last of the connections, by number
	lastError *Error // nil for none
}

// sendAway has connections leave, or stay. It is called with the lock.
func (s *Sim) sendAway(l *leaving) {
	s.leaving.Store(l)
	if l != nil {
		s.eachConn(func(c *conn) { c.mail.wake() })
	}
}

// eachConn is called with the lock, and so must f not need it.
func (s *Sim) eachConn(f func(*conn)) {
	for _, c := range s.conns {
		f(c)
	}
}

// reset ends the connection as the end of a process ends it, but for TCP at once. What it has not sent to PostgreSQL by
// then it does not send.
func (c *conn) reset() {
	c.gone.Store(true)
	reset(c.client)
}

func reset(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed in any case
	}
	_ = nc.Close()
}

// errEnded is why a connection is closed that the node doesn't wait for any longer.
var errEnded = errors.New("crdbsim: the node has ended")

// terminate ends the connection, whatever it is at.
func (c *conn) terminate() {
	c.terminating.Do(func() {
		close(c.ended)
		c.sim.running.Go(c.giveUp)
	})
}

// terminated reports whether terminate was called.
func (c *conn) terminated() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// sendEnd tells the client that the node has ended, and first that what it waits for has.
func (c *conn) sendEnd() {
	if c.asked && !c.skipping {
		c.send(failure("57014", "query execution canceled"))
	}
	c.send(shutDown.response())
}

// depart sends the client away if the node wants it to go, and if it is outside a transaction and waits for nothing.
func (c *conn) depart() error {
	l := c.sim.leaving.Load()
	if l == nil || c.id > l.upTo || c.asked || c.status != 'I' {
		return nil
	}
	if l.lastError != nil {
		c.send(l.lastError.response())
	}
	return errors.Join(c.flush(), errCut)
}
