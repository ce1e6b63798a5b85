package crdbsim

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A frame is one message as it came off the wire, header and all, so that it can be passed on without taking it apart.
type frame struct {
	typ byte
	raw []byte // valid until the next one is read
}

func (f frame) body() []byte { return f.raw[5:] }

// A framer cuts a stream into frames.
type framer struct {
	r    *bufio.Reader
	last int // length of the frame handed out last, still in the buffer
}

const maxMessage = 1 << 30

func (fr *framer) next() (frame, error) {
	_, _ = fr.r.Discard(fr.last) // it is buffered, this can't fail
	fr.last = 0
	head, err := fr.r.Peek(5)
	if err != nil {
		return frame{}, err
	}
	typ, size := head[0], int(binary.BigEndian.Uint32(head[1:]))+1
	if size < 5 || size > maxMessage {
		return frame{}, fmt.Errorf("crdbsim: message %q of %d bytes", typ, size)
	}
	if size <= fr.r.Size() {
		raw, err := fr.r.Peek(size)
		if err != nil {
			return frame{}, err
		}
		fr.last = size
		return frame{typ, raw}, nil
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(fr.r, raw); err != nil {
		return frame{}, err
	}
	return frame{typ, raw}, nil
}

// unread returns how many bytes after the last frame have arrived.
func (fr *framer) unread() int { return fr.r.Buffered() - fr.last }

// peek returns the type of the message after the last one if it has arrived, else 0. It never moves what the last
// frame points at.
func (fr *framer) peek() byte {
	if fr.unread() == 0 {
		return 0
	}
	b, _ := fr.r.Peek(fr.last + 1)
	return b[fr.last]
}

// A chunk is bytes under way: nobody may see them before they are due.
type chunk struct {
	data []byte
	due  time.Time
}

// wait waits until the chunk is due, or done is closed.
func (c chunk) wait(done <-chan struct{}) {
	if c.due.IsZero() {
		return
	}
	t := time.NewTimer(time.Until(c.due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

// An inbox reads from the client ahead of time, so that messages that travel together arrive together however long the
// latency is, and so that a client which hangs up is noticed while PostgreSQL is at work for it.
type inbox struct {
	full  chan chunk
	free  chan []byte
	kick  chan struct{} // somebody wants the attention of who waits
	gate  *gate
	done  <-chan struct{}
	ended <-chan struct{}
	cur   []byte // what is left of buf
	buf   []byte
	err   error // why full was closed
}

const chunkSize = 16 << 10

func newInbox(g *gate, done, ended <-chan struct{}) *inbox {
	in := &inbox{
		full: make(chan chunk, 4), free: make(chan []byte, 4), kick: make(chan struct{}, 1),
		gate: g, done: done, ended: ended,
	}
	for range cap(in.free) {
		in.free <- make([]byte, chunkSize)
	}
	return in
}

// fill reads from nc until it fails, then calls gone.
func (in *inbox) fill(nc net.Conn, latency *atomic.Int64, done <-chan struct{}, gone func()) {
	defer close(in.full)
	defer gone()
	for {
		var buf []byte
		select {
		case buf = <-in.free:
		case <-done:
			in.err = io.EOF
			return
		}
		n, err := nc.Read(buf[:chunkSize])
		if n > 0 {
			c := chunk{data: buf[:n]}
			if d := latency.Load(); d > 0 {
				c.due = time.Now().Add(time.Duration(d))
			}
			select {
			case in.full <- c:
			case <-done:
			}
		}
		if err != nil {
			in.err = err
			in.gate.pass(in.done, done)
			return
		}
	}
}

// wake wakes who waits, now or the next time.
func (in *inbox) wake() {
	select {
	case in.kick <- struct{}{}:
	default:
	}
}

// wait waits for something to read, an end included. It reports whether it was woken before.
func (in *inbox) wait() (woken bool) {
	if len(in.cur) > 0 {
		return false
	}
	in.giveBack()
	select {
	case c, ok := <-in.full:
		in.take(c, ok)
	case <-in.ended:
	case <-in.kick:
		return true
	}
	return false
}

// Read gives the handler what has arrived and is due.
func (in *inbox) Read(p []byte) (int, error) {
	if len(in.cur) == 0 {
		in.giveBack()
		select {
		case c, ok := <-in.full:
			in.take(c, ok)
		case <-in.ended:
		}
	}
	select {
	case <-in.ended:
		return 0, errEnded
	default:
	}
	if len(in.cur) == 0 {
		return 0, in.err
	}
	n := copy(p, in.cur)
	in.cur = in.cur[n:]
	return n, nil
}

func (in *inbox) giveBack() {
	if in.buf != nil {
		in.free <- in.buf // has room: there are no more buffers than that
		in.buf = nil
	}
}

// take takes over a chunk once it is due; there is none if ok is false.
func (in *inbox) take(c chunk, ok bool) {
	if ok {
		c.wait(in.done)
		in.buf, in.cur = c.data[:cap(c.data)], c.data
	}
	in.gate.pass(in.done, in.ended)
}

// An outbox writes to the client: at once as long as there is no latency, from then on through a goroutine which holds
// each piece back until it is due.
type outbox struct {
	nc      net.Conn
	latency *atomic.Int64
	gate    *gate
	closing <-chan struct{}
	ended   <-chan struct{}
	queue   chan chunk
	done    chan struct{}
}

func (o *outbox) Write(b []byte) (int, error) {
	d := time.Duration(o.latency.Load())
	if d == 0 && o.queue == nil {
		o.gate.pass(o.closing, o.ended)
		return o.nc.Write(b)
	}
	if o.queue == nil {
		o.queue, o.done = make(chan chunk, 64), make(chan struct{})
		go o.run()
	}
	c := chunk{data: append([]byte(nil), b...)}
	if d > 0 {
		c.due = time.Now().Add(d)
	}
	o.queue <- c
	return len(b), nil
}

func (o *outbox) run() {
	defer close(o.done)
	failed := false
	for c := range o.queue {
		if failed {
			continue
		}
		c.wait(o.closing)
		o.gate.pass(o.closing, o.ended)
		if _, err := o.nc.Write(c.data); err != nil {
			failed = true
			_ = o.nc.Close() // the handler notices when it reads
		}
	}
}

// finish waits until everything is written.
func (o *outbox) finish() {
	if o.queue != nil {
		close(o.queue)
		<-o.done
		o.queue = nil
	}
}

// cstring takes a string that a zero byte ends off the front of b.
func cstring(b []byte) (s string, rest []byte) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:]
		}
	}
	return string(b), nil
}
