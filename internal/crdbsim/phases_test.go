package crdbsim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (w *testbed) enter(t *testing.T, p Phase) {
	t.Helper()
	require.NoError(t, w.Enter(p))
}

// refused says how a client is refused.
func (w *testbed) refused(t *testing.T) string {
	t.Helper()
	nc, err := net.Dial("tcp", w.Addr())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	fe := pgproto3.NewFrontend(nc, nc)
	fe.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": superuser},
	})
	require.NoError(t, fe.Flush())
	m, err := fe.Receive()
	require.NoError(t, err)
	e, ok := m.(*pgproto3.ErrorResponse)
	require.True(t, ok, "%T", m)
	said := fmt.Sprint(e.Severity, " ", e.Code, " ", e.Message)
	_, err = fe.Receive()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	return said
}

const (
	tryAnother = "ERROR 57P01 server is not accepting clients, try another node"
	tooManyNow = "ERROR 53300 sorry, too many clients already"
)

// rest reads up to the end of the connection.
func (c *client) rest() (all []string) {
	c.t.Helper()
	for {
		m := c.next()
		all = append(all, m)
		if m == "EOF" {
			return all
		}
	}
}

func TestPhase_Unready_ChangesNothing(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	w.enter(t, Unready)
	assert.Equal(t, []string{"C BEGIN", "C UPDATE 1", "C COMMIT", "Z I"}, c.query("BEGIN; "+update+"; COMMIT"))
	assert.Equal(t, []string{"D 11", "C SELECT 1", "Z I"}, w.client(t).query(read))
}

func TestPhase_Refusing_SessionsGoOn(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	c.query("BEGIN")
	w.enter(t, Refusing)
	assert.Equal(t, tryAnother, w.refused(t))
	for range 3 {
		assert.Equal(t, []string{"C UPDATE 1", "C COMMIT", "C BEGIN", "Z T"}, c.query(update+"; COMMIT; BEGIN"))
	}
	c.query("COMMIT")
	assert.Equal(t, []string{"C UPDATE 1", "Z I"}, c.query(update))
	w.enter(t, Serving)
	assert.Equal(t, []string{"D 14", "C SELECT 1", "Z I"}, w.client(t).query(read))
}

func TestPhase_Closing_EachAtItsEnd(t *testing.T) {
	t.Parallel()
	for phase, answers := range map[Phase][]string{Closing: {"E 57P01", "EOF"}, ClosingBare: {"EOF"}} {
		eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
			w := newTestbed(t, Config{})
			idle, working, failed, waiting := w.client(t), w.client(t), w.client(t), w.client(t)
			exec(working, "BEGIN", open, update)
			exec(failed, "BEGIN", open, "SELECT 1/0")
			waiting.send(&pgproto3.Query{String: update})
			waiting.waitForLock()
			w.enter(t, phase)
			assert.Equal(t, answers, idle.rest())
			assert.Equal(t, tryAnother, w.refused(t))
			assert.Equal(t, []string{"C UPDATE 1", "Z T"}, exec(working, update))
			assert.Equal(t, []string{"C COMMIT", "Z T"}, exec(working, release))
			assert.Equal(t, []string{"C COMMIT", "Z I"}, exec(working, "COMMIT"))
			assert.Equal(t, answers, working.rest())
			assert.Equal(t, append([]string{"C UPDATE 1", "Z I"}, answers...), waiting.rest())
			assert.Equal(t, []string{"C ROLLBACK", "D 13", "C SELECT 1", "Z T"}, exec(failed, back, read))
			assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(failed, "ROLLBACK"))
			assert.Equal(t, answers, failed.rest())
			w.enter(t, Serving)
			assert.Equal(t, []string{"D 13", "C SELECT 1", "Z I"}, exec(w.client(t), read))
		})
	}
}

// TestPhase_Closing_Unasked checks what an idle client is told.
func TestPhase_Closing_Unasked(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	w.enter(t, Closing)
	m, err := c.fe.Receive()
	require.NoError(t, err)
	e, ok := m.(*pgproto3.ErrorResponse)
	require.True(t, ok, "%T", m)
	assert.Equal(t, "ERROR 57P01 server is shutting down", fmt.Sprint(e.Severity, " ", e.Code, " ", e.Message))
}

// TestPhase_Closing_PipelineIsFinished checks that a client which has not sent its Sync yet is not idle.
func TestPhase_Closing_PipelineIsFinished(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	c.statement(update)
	c.send(&pgproto3.Flush{})
	require.Equal(t, "C UPDATE 1", c.next())
	w.enter(t, Closing)
	c.statement(update)
	c.send(&pgproto3.Sync{})
	assert.Equal(t, []string{"C UPDATE 1", "Z I", "E 57P01", "EOF"}, c.rest())
}

func TestPhase_Closing_AndBack(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		c := w.client(t)
		exec(c, "BEGIN", open, update)
		w.enter(t, Closing)
		assert.Equal(t, []string{"C UPDATE 1", "Z T"}, exec(c, update))
		w.enter(t, Serving)
		assert.Equal(t, []string{"C COMMIT", "Z I"}, exec(c, "COMMIT"))
		assert.Equal(t, []string{"D 12", "C SELECT 1", "Z I"}, exec(c, read))
		w.Drain(Error{Code: "57P01"})
		assert.Equal(t, []string{"E 57P01", "EOF"}, c.rest())
		c = w.client(t)
		assert.Equal(t, []string{"D 12", "C SELECT 1", "Z I"}, exec(c, read), "who comes after a drain stays")
	})
}

func TestPhase_Ended_WhateverTheyDo(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		idle, working, delayed, copying, half := w.client(t), w.client(t), w.client(t), w.client(t), w.client(t)
		exec(working, "BEGIN", open, update)
		reached := make(chan struct{})
		w.Inject(&Fault{Conn: w.ConnOf(delayed.key.ProcessID), Do: func(Point) Action {
			close(reached)
			return Action{Delay: time.Hour}
		}})
		delayed.send(&pgproto3.Query{String: update})
		<-reached
		copying.send(&pgproto3.Query{String: "COPY kv FROM STDIN"}, &pgproto3.CopyData{Data: []byte("8\t8\n")})
		copying.waitFor(sessions+" AND wait_event = 'ClientRead' AND state = 'active'", 1)
		_, err := half.nc.Write([]byte{'Q', 0, 0})
		require.NoError(t, err)

		w.enter(t, Ended)
		assert.Equal(t, []string{"E 57P01", "EOF"}, idle.rest())
		assert.Equal(t, []string{"E 57P01", "EOF"}, working.rest())
		assert.Equal(t, []string{"E 57P01", "EOF"}, half.rest())
		assert.Equal(t, []string{"E 57014", "E 57P01", "EOF"}, copying.rest())
		assert.Equal(t, []string{"E 57014", "E 57P01", "EOF"}, delayed.rest())
		assert.Equal(t, tryAnother, w.refused(t))
		w.enter(t, Serving)
		assert.Equal(t, []string{"D 10", "C SELECT 1", "Z I"}, exec(w.client(t), read))
	})
}

// TestPhase_Ended_StatementIsCancelled has one wait for what only goes with the test.
func TestPhase_Ended_StatementIsCancelled(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		holder, err := pgx.Connect(t.Context(), postgres.dsn())
		require.NoError(t, err)
		defer holder.Close(t.Context())
		_, err = holder.Exec(t.Context(), "BEGIN; UPDATE "+w.schema+".kv SET v = 1 WHERE k = 1")
		require.NoError(t, err)
		for _, begin := range [][]string{{"SELECT 1"}, {"BEGIN", open}} {
			c := w.client(t)
			exec(c, begin...)
			answers := make(chan []string)
			go func() { answers <- exec(c, update) }()
			c.waitForLock()
			w.enter(t, Ended)
			assert.Equal(t, []string{"E 57014", "E 57P01", "EOF"}, <-answers)
			w.enter(t, Serving)
		}
	})
}

func TestLimitConns(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	a := w.client(t)
	w.client(t)
	w.LimitConns(2)
	assert.Equal(t, tooManyNow, w.refused(t))
	w.hangUp(a)
	b := w.client(t)
	assert.Equal(t, tooManyNow, w.refused(t))
	w.LimitConns(1)
	assert.Equal(t, "D 10", b.query(read)[0], "who is there stays")
	w.LimitConns(0)
	w.client(t)
}

func TestPhase_Silent_AnswersLater(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		c, waiting := w.client(t), w.client(t)
		exec(c, "BEGIN", update)
		waiting.send(&pgproto3.Query{String: update})
		waiting.waitForLock()
		w.enter(t, Silent)
		c.send(&pgproto3.Query{String: "COMMIT"})
		newcomer := make(chan *client)
		go func() { newcomer <- w.client(t) }()
		requireLocked(t, w)
		for _, quiet := range []*client{c, waiting} {
			require.NoError(t, quiet.nc.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			_, err := quiet.nc.Read(make([]byte, 1))
			require.ErrorContains(t, err, "timeout")
			require.NoError(t, quiet.nc.SetReadDeadline(time.Now().Add(time.Minute)))
		}
		assert.Equal(t, 10, w.value(t, 1), "nothing was handled")
		w.enter(t, Serving)
		assert.Equal(t, []string{"C COMMIT", "Z I"}, c.untilReady())
		assert.Equal(t, []string{"C UPDATE 1", "Z I"}, waiting.untilReady())
		assert.Equal(t, "D 12", (<-newcomer).query(read)[0])
	})
}

// TestPhase_Silent_ClientHangsUp checks that its transaction stays, until the node is back.
func TestPhase_Silent_ClientHangsUp(t *testing.T) {
	t.Parallel()
	for _, next := range []Phase{Serving, Ended, Dead} {
		w := newTestbed(t, Config{})
		c := w.client(t)
		c.query("BEGIN; " + update)
		w.enter(t, Silent)
		require.NoError(t, c.nc.Close())
		requireLocked(t, w)
		w.enter(t, next)
		c.waitForRest()
		assert.Equal(t, 10, w.value(t, 1))
	}
}

// requireLocked looks several times whether the first row is locked.
func requireLocked(t *testing.T, w *testbed) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for range 20 {
		_, err := conn.Exec(t.Context(), "SELECT FROM "+w.schema+".kv WHERE k = 1 FOR UPDATE NOWAIT")
		require.ErrorContains(t, err, "55P03")
	}
}

func TestPhase_Silent_CloseComesThrough(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	clients := make([]*client, 20)
	for i := range clients {
		clients[i] = w.client(t)
	}
	w.enter(t, Silent)
	for _, c := range clients {
		c.send(&pgproto3.Query{String: read})
	}
	require.NoError(t, w.Close())
	for _, c := range clients {
		assert.Equal(t, "EOF", c.next(), "a silent node gives no answer, whatever it ends with")
	}
	require.Error(t, w.Enter(Serving), "it is closed")
}

func TestPhase_Dead_AndBack(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	addr := w.Addr()
	idle, working := w.client(t), w.client(t)
	working.query("BEGIN; " + update)
	w.enter(t, Dead)
	w.enter(t, Dead)
	for _, c := range []*client{idle, working} {
		_, err := c.nc.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	_, err := net.Dial("tcp", addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	working.waitForRest()
	w.enter(t, Serving)
	assert.Equal(t, addr, w.Addr())
	assert.Equal(t, []string{"D 10", "C SELECT 1", "Z I"}, w.client(t).query(read))
	w.enter(t, Dead)
	w.enter(t, Refusing)
	assert.Equal(t, tryAnother, w.refused(t))
}

func TestPhase_Dead_PortIsTaken(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	w.enter(t, Dead)
	l, err := net.Listen("tcp", w.Addr())
	require.NoError(t, err)
	require.ErrorIs(t, w.Enter(Serving), syscall.EADDRINUSE)
	require.NoError(t, l.Close())
	w.enter(t, Serving)
	w.client(t)
	w.enter(t, Dead) // and so it is closed in the end
}

// TestPhases_AtAnyTime changes phases at random while clients come, work and go.
func TestPhases_AtAnyTime(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				conn, err := pgx.Connect(t.Context(), w.dsn()+"&connect_timeout=5")
				if err != nil {
					continue
				}
				for range 5 {
					for _, sql := range []string{"BEGIN; " + open + "; SET lock_timeout = '9s'; " + update, "COMMIT"} {
						_, _ = conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
					}
				}
				_ = conn.Close(t.Context())
			}
		})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		p := Phase(rnd.IntN(int(Dead) + 1))
		if err := w.Enter(p); err != nil {
			require.ErrorIs(t, err, syscall.EADDRINUSE) // somebody else's
		}
		w.LimitConns(rnd.IntN(3))
		_ = w.Conns() + int(w.ConnOf(1))
		switch rnd.IntN(3) {
		case 0:
			w.Drain(Error{Code: "57P01"})
		case 1:
			w.CloseConns()
		}
		time.Sleep(time.Duration(rnd.IntN(10)) * time.Millisecond)
	}
	w.LimitConns(0)
	require.Eventually(t, func() bool { return w.Enter(Serving) == nil }, time.Minute, 10*time.Millisecond)
	close(done)
	clients.Wait()
	assert.Len(t, w.client(t).query(read), 3)
}

func TestNodeID(t *testing.T) {
	t.Parallel()
	for _, id := range []uint32{1, 3, 2047} {
		w := newTestbed(t, Config{NodeID: id})
		a, b := w.client(t), w.client(t)
		for _, c := range []*client{a, b} {
			assert.Equal(t, id, c.key.ProcessID>>20)
			assert.NotZero(t, w.ConnOf(c.key.ProcessID))
		}
		assert.NotEqual(t, a.key.ProcessID, b.key.ProcessID)
		backend := b.query("SELECT pg_backend_pid()")[0]
		a.query("BEGIN; " + update)
		b.send(&pgproto3.Query{String: update})
		waitForLockOf(t, backend)
		w.cancel(a) // does nothing
		w.cancel(b)
		assert.Equal(t, []string{"E 57014", "Z I"}, b.untilReady())
		assert.Equal(t, []string{"C COMMIT", "Z I"}, a.query("COMMIT"))
	}
	_, err := Start(Config{Upstream: postgres.dial, NodeID: 2048})
	require.ErrorContains(t, err, "2047")
}

// waitForLockOf waits until PostgreSQL has a session wait for a lock, which a row says.
func waitForLockOf(t *testing.T, row string) {
	t.Helper()
	var pid uint32
	_, err := fmt.Sscanf(row, "D %d", &pid)
	require.NoError(t, err)
	(&client{t: t, key: &pgproto3.BackendKeyData{ProcessID: pid}}).waitForLock()
}
