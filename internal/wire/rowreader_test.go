package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzRowReader: however what the server sends is cut into pieces, and whoever takes the rows, all messages arrive as
// they do at a Frontend alone, and in their order. What comes after a malformed message is not read.
func FuzzRowReader(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, []byte(nil))
	}
	f.Add(uint64(1), []byte("D\x00\x00\x00\x03D\x00\x00\x00\x06\x00\x00"))
	f.Add(uint64(2), []byte("D\x00\x00\x00\x06\x00\x00D\x00\x00\x00\x0a\x00\x01\xff\xff\xff\xfeD\x00\x00\x00\x06\x00\x00"))
	f.Add(uint64(1), []byte("D\xff000"))
	f.Add(uint64(3), []byte("D\x00\x00\x00\x06\x00\x00D\x00\x00\x00\x06\x00\x01D\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, seed uint64, raw []byte) {
		chance := rand.New(rand.NewPCG(seed, 0))
		sent := append(messagesOf(t, chance), raw...)
		want, wantErr := receiveAll(pgproto3.NewFrontend(bytes.NewReader(sent), io.Discard), nil, chance)

		r := &rowReader{conn: &inPieces{rest: sent, chance: chance}}
		r.frontend = pgproto3.NewFrontend(r, io.Discard)
		got, err := receiveAll(r.frontend, r, chance)

		require.Equal(t, want, got)
		require.Equal(t, wantErr.Error(), err.Error())
	})
}

// messagesOf returns results of any number of rows, some of them long.
func messagesOf(t *testing.T, chance *rand.Rand) (sent []byte) {
	add := func(m pgproto3.BackendMessage) {
		var err error
		sent, err = m.(interface{ Encode([]byte) ([]byte, error) }).Encode(sent)
		require.NoError(t, err)
	}
	for range chance.IntN(4) {
		add(&pgproto3.BindComplete{})
		for range []int{0, 1, 2, 3, 50, 500}[chance.IntN(6)] {
			row := &pgproto3.DataRow{}
			for range chance.IntN(4) {
				value := bytes.Repeat([]byte("D\x00\x00\x00\x06\x00\x00"), chance.IntN(3))
				switch chance.IntN(2000) {
				case 0:
					value = bytes.Repeat([]byte("D\x00\x00\x00\x06"), chance.IntN(20_000))
				case 1:
					value = nil
				}
				row.Values = append(row.Values, value)
			}
			add(row)
			if chance.IntN(200) == 0 {
				add(&pgproto3.NoticeResponse{Message: "notice"})
			}
		}
		add(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		add(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
	return sent
}

// receiveAll returns all messages in their own encoding, and the error after them. By chance, and after a row, the next
// row is taken from r, unless that is nil.
func receiveAll(f *pgproto3.Frontend, r *rowReader, chance *rand.Rand) (all [][]byte, err error) {
	often := chance.IntN(3)
	for {
		var m pgproto3.BackendMessage
		values, ok := [][]byte(nil), false
		if chance.IntN(2) < often {
			values, ok = r.next()
		}
		if ok {
			m = &pgproto3.DataRow{Values: values}
		} else if m, err = f.Receive(); errors.Is(err, iotest.ErrTimeout) {
			continue
		} else if err != nil {
			return all, err
		}
		encoded, err := m.(interface{ Encode([]byte) ([]byte, error) }).Encode(nil)
		if err != nil {
			return all, err
		}
		all = append(all, encoded)
	}
}

// inPieces is a connection that gives pieces of any size, some of them with a timeout, and at the end, with the last
// piece or after it, io.EOF.
type inPieces struct {
	rest   []byte
	chance *rand.Rand
}

func (c *inPieces) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:1+c.chance.IntN(min(len(c.rest), []int{10, 100, 10_000, 1 << 20}[c.chance.IntN(4)]))])
	c.rest = c.rest[n:]
	if len(c.rest) == 0 && c.chance.IntN(2) == 0 {
		return n, io.EOF
	}
	if c.chance.IntN(8) == 0 {
		return n, iotest.ErrTimeout
	}
	return n, nil
}

func TestRowReader_TakesAllRowsButTheFirst(t *testing.T) {
	row := []byte("D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x")
	end := []byte("Z\x00\x00\x00\x05I")
	r := &rowReader{conn: bytes.NewReader(append(bytes.Repeat(row, 100), end...))}
	r.frontend = pgproto3.NewFrontend(r, io.Discard)

	first, err := r.frontend.Receive()
	require.NoError(t, err)
	assert.IsType(t, &pgproto3.DataRow{}, first)
	for range 99 {
		values, ok := r.next()
		require.True(t, ok)
		assert.Equal(t, [][]byte{[]byte("x")}, values)
	}
	_, ok := r.next()
	assert.False(t, ok)
	last, err := r.frontend.Receive()
	require.NoError(t, err)
	assert.IsType(t, &pgproto3.ReadyForQuery{}, last)
	assert.Nil(t, r.store, "nothing is kept after the rows")
}

func TestRowReader_TimeoutInARow_LosesNothing(t *testing.T) {
	row := []byte("D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x")
	for cut := range len(row) {
		stalls := &stalling{parts: [][]byte{slices.Concat(row, row, row[:cut]), nil, slices.Concat(row[cut:], row)}}
		r := &rowReader{conn: stalls}
		r.frontend = pgproto3.NewFrontend(r, io.Discard)

		rows := 0
		for range 10 {
			if _, ok := r.next(); ok {
				rows++
				continue
			}
			if _, err := r.frontend.Receive(); err == nil {
				rows++
			} else if !errors.Is(err, iotest.ErrTimeout) {
				break
			}
		}
		assert.Equal(t, 4, rows, "cut after %d bytes", cut)
	}
}

func TestRowReader_TimeoutWithData_KnowsWhereMessagesBegin(t *testing.T) {
	row := []byte("D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x")
	rest := &stalling{parts: [][]byte{slices.Concat(row[3:], row, row)}}
	r := &rowReader{conn: &late{data: row[:3], then: rest}}
	r.frontend = pgproto3.NewFrontend(r, io.Discard)

	_, err := r.frontend.Receive()
	require.ErrorIs(t, err, iotest.ErrTimeout)
	_, err = r.frontend.Receive()
	require.NoError(t, err)
	for range 2 {
		_, ok := r.next()
		assert.True(t, ok)
	}
}

// late gives data together with a timeout, and then what comes after it.
type late struct {
	data []byte
	then io.Reader
}

func (l *late) Read(p []byte) (int, error) {
	if l.data == nil {
		return l.then.Read(p)
	}
	n := copy(p, l.data)
	l.data = nil
	return n, iotest.ErrTimeout
}

// stalling gives its parts one after the other, and a timeout for an empty one.
type stalling struct{ parts [][]byte }

func (s *stalling) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	part := s.parts[0]
	s.parts = s.parts[1:]
	if part == nil {
		return 0, iotest.ErrTimeout
	}
	return copy(p, part), nil
}
