package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A rowReader reads what the server sends, for a Frontend of pgproto3. Of a result with several rows it holds back
// those that are not asked for yet. The method next takes them past the Frontend, which spends more time on a row.
// A row that is not taken goes to the Frontend, as all other messages do, in their order.
type rowReader struct {
	conn     io.Reader
	delivery *delivery
	frontend *pgproto3.Frontend

	passed messages // what the Frontend and next have got
	held   []byte   // what was read after that
	store  *[]byte  // what held is a part of; nil if nothing is held, and no row is expected
	values [][]byte // of the latest row that next has taken
}

// storeSize is more than servers send at once: PostgreSQL 8 KB, CockroachDB 16 KB.
const storeSize = 32 << 10

var stores = sync.Pool{New: func() any { b := make([]byte, storeSize); return &b }}

// Read gives the Frontend what comes next, at most up to the end of a row.
func (r *rowReader) Read(p []byte) (int, error) {
	switch {
	case r.store == nil:
		n, err := r.receive(p)
		if err != nil {
			r.passed.addAll(p[:n])
			return n, err
		}
		return r.holdRows(p[:n]), nil
	case len(r.held) == 0:
		n, err := r.receive(*r.store)
		if n == 0 {
			return 0, err
		}
		r.held = (*r.store)[:n]
	}
	n := r.passed.add(r.held[:min(len(p), len(r.held))])
	copy(p, r.held[:n])
	r.held = r.held[n:]
	if len(r.held) == 0 && !r.passed.row {
		r.release()
	}
	return n, nil
}

// receive reads from the connection, and notes the end of what the server sends. A connection that was reset has none:
// what the server sent last may have been lost with it, and an acknowledgement, too.
func (r *rowReader) receive(p []byte) (int, error) {
	n, err := r.conn.Read(p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.delivery.ends()
	}
	return n, err
}

// holdRows holds back what comes after the first row in p, if there is another one. It returns how much is left of p.
func (r *rowReader) holdRows(p []byte) int {
	n := r.passed.add(p)
	if n == len(p) {
		return n
	}
	all := r.passed
	if all.add(p[n:]); !all.row {
		r.passed = all
		return len(p)
	}
	r.store = stores.Get().(*[]byte)
	r.held = append((*r.store)[:0], p[n:]...)
	return n
}

func (r *rowReader) release() {
	clear(r.values) // the memory of which is the next owner's
	stores.Put(r.store)
	r.store, r.held = nil, nil
}

// next returns the values of the next row, if that has been read as a whole and is the next message. They are valid
// until the next call of next or Read.
func (r *rowReader) next() ([][]byte, bool) {
	if r == nil || len(r.held) < headSize || r.held[0] != dataRow || r.passed.within() || r.frontend.ReadBufferLen() > 0 {
		return nil, false
	}
	end := 1 + int(int32(binary.BigEndian.Uint32(r.held[1:])))
	if end < headSize || end > len(r.held) || !r.split(r.held[headSize:end]) {
		return nil, false
	}
	r.held = r.held[end:]
	return r.values, true
}

// split cuts the body of a row into its values. It reports false of one that is malformed.
func (r *rowReader) split(body []byte) bool {
	if len(body) < 2 {
		return false
	}
	columns := int(binary.BigEndian.Uint16(body))
	body = body[2:]
	if cap(r.values) < columns {
		r.values = make([][]byte, columns)
	}
	r.values = r.values[:columns]
	for i := range r.values {
		if len(body) < lengthSize {
			return false
		}
		size := int(int32(binary.BigEndian.Uint32(body)))
		body = body[lengthSize:]
		switch {
		case size == -1:
			r.values[i] = nil
		case size < 0 || size > len(body):
			return false
		default:
			r.values[i], body = body[:size:size], body[size:]
		}
	}
	return true
}

// Of the header of a message.
const (
	headSize   = 1 + lengthSize // its type, and the length of all that comes after the type
	lengthSize = 4
	dataRow    = 'D'
)

// messages is a place in a stream of messages.
type messages struct {
	head    [headSize]byte
	heads   int  // how many bytes of a header were added
	left    int  // how many bytes of the body were not
	row     bool // the latest message whose header is complete is a row
	invalid bool // there was a message of a length that can't be
}

// within reports whether the place is inside of a message.
func (m *messages) within() bool { return m.heads > 0 || m.left > 0 || m.invalid }

// add moves on to the end of the first row that ends in p, or to the end of p. It returns how far that is.
func (m *messages) add(p []byte) (n int) {
	for n < len(p) {
		if m.left == 0 {
			n += m.addHead(p[n:])
		}
		if m.invalid {
			return len(p)
		}
		body := min(m.left, len(p)-n)
		m.left -= body
		n += body
		if m.row && m.left == 0 && m.heads == 0 {
			return n
		}
	}
	return n
}

// addAll moves on to the end of p.
func (m *messages) addAll(p []byte) {
	for len(p) > 0 {
		p = p[m.add(p):]
	}
}

// addHead moves on in a header, and returns how far.
func (m *messages) addHead(p []byte) (n int) {
	n = copy(m.head[m.heads:], p)
	if m.heads += n; m.heads < headSize {
		return n
	}
	m.heads, m.row = 0, m.head[0] == dataRow
	if m.left = int(int32(binary.BigEndian.Uint32(m.head[1:]))) - lengthSize; m.left < 0 {
		m.left, m.invalid = 0, true
	}
	return n
}
