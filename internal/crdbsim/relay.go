package crdbsim

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A pending message has been queued for PostgreSQL and not been answered.
type pending struct {
	typ    byte
	hidden bool // the client doesn't know of it
	// For Parse: what the name stood for before, to be put back should it fail.
	name string
	was  *statement
}

// done reports whether an answer of type t is the last one to p.
func (p pending) done(t byte) bool {
	switch p.typ {
	case 'P':
		return t == '1'
	case 'B':
		return t == '2'
	case 'C':
		return t == '3'
	case 'D':
		return t == 'T' || t == 'n'
	case 'E':
		return t == 'C' || t == 'I' || t == 's'
	}
	return t == 'Z' // Query, Sync
}

// A mark is a place in what the client will be sent.
type mark struct {
	at      int
	flushes int
}

func (c *conn) mark() mark { return mark{len(c.out), c.flushes} }

// unsent reports whether nothing after m has gone out yet.
func (c *conn) unsent(m mark) bool { return c.flushes == m.flushes }

// An answer is how PostgreSQL took what it was sent.
type answer struct {
	failed *pgproto3.ErrorResponse
	at     pending // what failed
	start  mark    // where the rows of the statement begin
	begun  bool    // start is set
	end    int     // where its CommandComplete begins, -1 if it isn't there
	tag    string
	rows   int

	completed int // how many of the statements of a Query
}

// ownName is the prepared statement that hidden statements use, since the unnamed one is the client's.
const ownName = "crdbsim"

// queue appends a message of the client's.
func (c *conn) queue(raw []byte, p pending) {
	c.up.out = append(c.up.out, raw...)
	c.pending = append(c.pending, p)
	c.up.dirty = true
}

func (c *conn) queueMessage(m pgproto3.FrontendMessage, p pending) {
	c.up.out, _ = m.Encode(c.up.out) // these are small, only a gigabyte would not do
	c.pending = append(c.pending, p)
	c.up.dirty = true
}

// queueHidden has PostgreSQL run a statement that the client does not see, unless it fails.
func (c *conn) queueHidden(sql string) {
	c.queueMessage(&pgproto3.Close{ObjectType: 'S', Name: ownName}, pending{typ: 'C', hidden: true})
	c.queueMessage(&pgproto3.Parse{Name: ownName, Query: sql}, pending{typ: 'P', hidden: true})
	c.queueMessage(&pgproto3.Bind{PreparedStatement: ownName}, pending{typ: 'B', hidden: true})
	c.queueMessage(&pgproto3.Execute{}, pending{typ: 'E', hidden: true})
}

func (c *conn) queueSync() {
	c.queueMessage(&pgproto3.Sync{}, pending{typ: 'S', hidden: true})
}

// flushRequest is what makes PostgreSQL send its answers before a Sync. It has no answer of its own.
var flushRequest = []byte{'H', 0, 0, 0, 4}

// ask has PostgreSQL answer all that is queued, without ending an implicit transaction.
func (c *conn) ask(limit int) (answer, error) {
	c.up.out = append(c.up.out, flushRequest...)
	return c.relay(limit)
}

// settleVisible does what settle does, but leaves statements under way that the client doesn't know of.
func (c *conn) settleVisible() (ok bool, err error) {
	for _, p := range c.pending {
		if !p.hidden {
			return c.settle()
		}
	}
	return true, nil
}

// settle brings in the answers that are still out; ok is false if one of them was an error, which has been passed on.
func (c *conn) settle() (ok bool, err error) {
	if len(c.pending) == 0 {
		return true, nil
	}
	a, err := c.ask(noLimit)
	if err != nil || a.failed == nil {
		return err == nil, err
	}
	c.tx.aborted = true
	c.fail(c.worded(a.failed))
	return false, nil
}

const noLimit = -1

var errGone = errors.New("crdbsim: the client has gone")

// relay sends what is queued and passes the answers on until the last is in. With a limit it passes on only so many
// rows, and no CommandComplete. An error is not passed on but returned, with PostgreSQL ready for more.
func (c *conn) relay(limit int) (answer, error) {
	a := answer{end: -1}
	c.busy.Store(true)
	defer c.busy.Store(false)
	switch { // after busy is set: whoever sets gone or ends the connection looks at busy then
	case c.gone.Load():
		return a, errGone
	case c.terminated():
		return a, errEnded
	}
	if err := c.up.send(); err != nil {
		c.lastWords()
		return a, err
	}
	for len(c.pending) > 0 {
		f, err := c.up.in.next()
		if err != nil {
			if a.failed != nil { // the server's last words
				c.send(a.failed)
				return a, errors.Join(err, c.flush())
			}
			return a, fmt.Errorf("crdbsim: reading from PostgreSQL: %w", err)
		}
		if err := c.relayFrame(&a, f, limit); err != nil {
			return a, err
		}
	}
	return a, nil
}

// lastWords passes on what PostgreSQL said before it hung up, when nobody was listening.
func (c *conn) lastWords() {
	_ = c.up.nc.SetReadDeadline(time.Now().Add(time.Second))
	for {
		f, err := c.up.in.next()
		if err != nil {
			return
		}
		if f.typ == 'E' {
			c.out = append(c.out, f.raw...)
		}
	}
}

func (c *conn) relayFrame(a *answer, f frame, limit int) error {
	p := c.pending[0]
	if !a.begun && !p.hidden && (p.typ == 'E' || p.typ == 'Q') {
		a.start, a.begun = c.mark(), true
	}
	var err error
	switch f.typ {
	case 'S', 'A':
		c.out = append(c.out, f.raw...)
		return nil
	case 'N':
		c.pass(f, p)
		return nil
	case 'E':
		return c.relayError(a, f, p)
	case 'Z':
		c.up.status, c.up.dirty = f.body()[0], len(c.pending) > 1
	case 'G':
		err = c.copyIn(f)
	case 'C', 'I', 's':
		c.relayEnd(a, f, p, limit)
	case 'D', 'd':
		err = c.relayRow(a, f, p, limit)
	default:
		c.pass(f, p)
	}
	if err == nil && p.done(f.typ) {
		c.pop()
	}
	return err
}

// pass hands a message on, unless it answers what the client has not sent.
func (c *conn) pass(f frame, p pending) {
	if !p.hidden {
		c.out = append(c.out, f.raw...)
	}
}

// relayEnd notes the end of a statement.
func (c *conn) relayEnd(a *answer, f frame, p pending, limit int) {
	if f.typ == 'C' {
		a.tag, _ = cstring(f.body())
	}
	if p.hidden {
		return
	}
	a.completed++
	if limit == noLimit {
		a.end = len(c.out)
		c.complete(f, a.tag)
	}
}

func (c *conn) relayRow(a *answer, f frame, p pending, limit int) error {
	if p.hidden {
		return nil
	}
	a.rows++
	if limit == noLimit || a.rows <= limit {
		c.out = append(c.out, f.raw...)
	}
	if len(c.out) > bufferSize {
		return c.flush()
	}
	return nil
}

// complete passes on the end of a statement, with its tag as CockroachDB words it.
func (c *conn) complete(f frame, tag string) {
	if f.typ == 'C' && tag == "SHOW" && !c.sim.cfg.PostgreSQL {
		c.send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW 1")})
		return
	}
	c.out = append(c.out, f.raw...)
}

// relayError notes the error and makes PostgreSQL listen again: after an error it skips everything up to a Sync.
func (c *conn) relayError(a *answer, f frame, p pending) error {
	if a.failed == nil {
		a.failed, a.at = &pgproto3.ErrorResponse{}, p
		if err := a.failed.Decode(f.body()); err != nil {
			return fmt.Errorf("crdbsim: an error of PostgreSQL's: %w", err)
		}
	}
	n := slices.IndexFunc(c.pending, func(p pending) bool { return p.typ == 'S' || p.typ == 'Q' })
	if n < 0 {
		n = len(c.pending)
	}
	for _, q := range slices.Backward(c.pending[:n]) {
		if q.typ == 'P' && !q.hidden {
			c.restore(q)
		}
	}
	c.pending = slices.Delete(c.pending, 0, n)
	if len(c.pending) > 0 {
		return nil
	}
	c.queueSync()
	// After a FATAL relay finds the end of the connection.
	if err := c.up.send(); err != nil && a.failed.Severity != "FATAL" {
		return err
	}
	return nil
}

func (c *conn) pop() { c.pending = slices.Delete(c.pending, 0, 1) }

// copyIn passes on the data of COPY FROM STDIN until the client ends it.
func (c *conn) copyIn(f frame) error {
	c.out = append(c.out, f.raw...)
	if err := c.flush(); err != nil {
		return err
	}
	for {
		m, err := c.in.next()
		if err != nil {
			return err
		}
		switch m.typ {
		case 'd', 'c', 'f':
			c.up.out = append(c.up.out, m.raw...)
		case 'H', 'S': // the protocol has them ignored here
			continue
		default:
			return fmt.Errorf("crdbsim: message %q during COPY: %w", m.typ, io.ErrUnexpectedEOF)
		}
		if m.typ != 'd' || len(c.up.out) > bufferSize {
			if err := c.up.send(); err != nil {
				return err
			}
		}
		if m.typ != 'd' {
			return nil
		}
	}
}
