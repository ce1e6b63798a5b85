package crdbsim

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// An Event is one message that a client has sent.
type Event struct {
	Conn uint64 // number of the connection, from 1
	Text string // such as `Query "SELECT 1"`, `Execute stmt="s1" sql="SELECT 1"`, `Sync`
}

func (e Event) String() string { return fmt.Sprintf("%d> %s", e.Conn, e.Text) }

// A log holds events while it is on.
type log struct {
	on     atomic.Bool
	mu     sync.Mutex
	events []Event
}

// SetLog switches the log on or off.
func (s *Sim) SetLog(on bool) { s.log.on.Store(on) }

// Log returns what clients have sent while the log was on, in the order in which it was handled.
func (s *Sim) Log() []Event {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return append([]Event(nil), s.log.events...)
}

// ResetLog forgets what was logged so far.
func (s *Sim) ResetLog() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.events = nil
}

// count takes note of a message.
func (c *conn) count(f frame) {
	if f.typ == 'S' || f.typ == 'Q' {
		c.sim.trips.Add(1)
	}
	l := &c.sim.log
	if !l.on.Load() {
		return
	}
	text := c.describeFrame(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, Event{c.id, text})
}

// describeFrame puts a message in words.
func (c *conn) describeFrame(f frame) string {
	body := f.body()
	switch f.typ {
	case 'Q':
		sql, _ := cstring(body)
		return fmt.Sprintf("Query %q", sql)
	case 'P':
		name, rest := cstring(body)
		sql, _ := cstring(rest)
		return fmt.Sprintf("Parse stmt=%q sql=%q", name, sql)
	case 'B':
		_, rest := cstring(body)
		name, _ := cstring(rest)
		return fmt.Sprintf("Bind stmt=%q sql=%q", name, c.lookup(name).sql)
	case 'D':
		name, _ := cstring(body[1:])
		return fmt.Sprintf("Describe %c%q", body[0], name)
	case 'C':
		name, _ := cstring(body[1:])
		return fmt.Sprintf("Close %c%q", body[0], name)
	case 'E':
		portal, _ := cstring(body)
		p := c.portals[portal]
		if p == nil {
			return fmt.Sprintf("Execute portal=%q", portal)
		}
		_, rest := cstring(p.bind[5:])
		name, _ := cstring(rest)
		return fmt.Sprintf("Execute stmt=%q sql=%q", name, p.stmt.sql)
	}
	if name, ok := messageNames[f.typ]; ok {
		return name
	}
	return fmt.Sprintf("message %q", f.typ)
}

var messageNames = map[byte]string{
	'S': "Sync", 'H': "Flush", 'X': "Terminate", 'd': "CopyData", 'c': "CopyDone", 'f': "CopyFail",
}
