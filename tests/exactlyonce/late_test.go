package exactlyonce_test

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// A lateConn can hold a message back that is on its way to the server: the client finds its connection lost, and the
// message arrives later.
type lateConn struct {
	net.Conn
	holds *atomic.Pointer[holding]
	lost  atomic.Bool
}

// A holding is what becomes of the next message with a marker in it.
type holding struct{ held chan func() error }

// holdBack has the next message with a marker arrive late. What it returns gives the delivery, once it was sent.
func (s *testbed) holdBack() <-chan func() error {
	h := &holding{held: make(chan func() error, 1)}
	s.holds.Store(h)
	return h.held
}

func (c *lateConn) Write(b []byte) (int, error) {
	if c.lost.Load() {
		return len(b), nil // a farewell, which is lost too
	}
	h := c.holds.Load()
	if h == nil || !bytes.Contains(b, []byte(`" (id, refused) VALUES`)) || !c.holds.CompareAndSwap(h, nil) {
		return c.Conn.Write(b)
	}
	late := bytes.Clone(b)
	c.lost.Store(true)
	h.held <- func() error { return c.deliver(late) }
	return len(b), nil
}

func (c *lateConn) Read(b []byte) (int, error) {
	if c.lost.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return c.Conn.Read(b)
}

// Close leaves the connection to what is still on its way.
func (c *lateConn) Close() error {
	if c.lost.Load() {
		return nil
	}
	return c.Conn.Close()
}

// deliver sends what was held back, and waits until the server has dealt with it.
func (c *lateConn) deliver(late []byte) error {
	defer c.Conn.Close()
	_ = c.Conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Conn.Write(late); err != nil {
		return err
	}
	answers := pgproto3.NewFrontend(c.Conn, io.Discard)
	for {
		m, err := answers.Receive()
		if err != nil {
			return err
		}
		if _, ready := m.(*pgproto3.ReadyForQuery); ready {
			return nil
		}
	}
}

// commitHeldBack has a transaction that adds one lose its commit, which nobody can ask for yet. deliver has it arrive.
func (s *testbed) commitHeldBack(t *testing.T) (lost *cockroachdb.AmbiguousCommitError, deliver func() error) {
	t.Helper()
	tx := s.begin(t, t.Context(), nil)
	s.inject(unasked())
	held := s.holdBack()
	require.ErrorAs(t, tx.Commit(), &lost)
	return lost, <-held
}

// arrivesLate delivers what was held back after the question for it was answered, and before that calls then.
func (s *testbed) arrivesLate(t *testing.T, then func()) {
	t.Helper()
	held, done := s.holdBack(), make(chan struct{})
	go func() {
		defer close(done)
		deliver := <-held
		<-s.answered
		then()
		assert.NoError(t, deliver())
	}()
	t.Cleanup(func() { <-done })
}
