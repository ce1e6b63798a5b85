package crdbsim

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// A client speaks the protocol message by message.
type client struct {
	t      *testing.T
	nc     net.Conn
	fe     *pgproto3.Frontend
	params map[string]string
	key    *pgproto3.BackendKeyData
	back   []string // messages read too early
}

func (w *testbed) client(t *testing.T, params ...string) *client {
	t.Helper()
	c, refused := w.login(t, params...)
	require.Empty(t, refused, "refused")
	return c
}

// login connects a client, and returns with what code it was refused, if it was, or that it was asked for a password.
func (w *testbed) login(t *testing.T, params ...string) (c *client, refused string) {
	t.Helper()
	nc, err := net.Dial("tcp", w.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute))) // a test that hangs shall say where
	c = &client{t: t, nc: nc, fe: pgproto3.NewFrontend(nc, nc), params: make(map[string]string)}
	all := map[string]string{"user": superuser, "database": "postgres", "search_path": w.schema + ",public"}
	for i := 0; i < len(params); i += 2 {
		all[params[i]] = params[i+1]
	}
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: all})
	for {
		m, err := c.fe.Receive()
		require.NoError(t, err)
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			c.params[m.Name] = m.Value
		case *pgproto3.BackendKeyData:
			c.key = &pgproto3.BackendKeyData{ProcessID: m.ProcessID, SecretKey: m.SecretKey}
		case *pgproto3.ErrorResponse:
			return c, m.Code
		case *pgproto3.AuthenticationSASL:
			return c, "password"
		case *pgproto3.ReadyForQuery:
			return c, ""
		}
	}
}

func (c *client) send(ms ...pgproto3.FrontendMessage) {
	c.t.Helper()
	for _, m := range ms {
		c.fe.Send(m)
	}
	require.NoError(c.t, c.fe.Flush())
}

// statement queues the four messages for one statement.
func (c *client) statement(sql string) {
	c.fe.Send(&pgproto3.Parse{Query: sql})
	c.fe.Send(&pgproto3.Bind{})
	c.fe.Send(&pgproto3.Describe{ObjectType: 'P'})
	c.fe.Send(&pgproto3.Execute{})
}

// pipeline runs statements under one Sync and returns the answers that matter.
func (c *client) pipeline(sqls ...string) []string {
	c.t.Helper()
	for _, sql := range sqls {
		c.statement(sql)
	}
	c.send(&pgproto3.Sync{})
	return c.untilReady()
}

// query runs a message of the simple protocol and returns the answers that matter.
func (c *client) query(sql string) []string {
	c.t.Helper()
	c.send(&pgproto3.Query{String: sql})
	return c.untilReady()
}

// untilReady reads up to ReadyForQuery or the end of the connection.
func (c *client) untilReady() (all []string) {
	c.t.Helper()
	for {
		m := c.next()
		all = append(all, m)
		if m[0] == 'Z' || m == "EOF" {
			return all
		}
	}
}

// next returns the next message that matters, in short: "D 10", "C UPDATE 1", "E 40001", "Z T", "EOF".
func (c *client) next() string {
	c.t.Helper()
	if len(c.back) > 0 {
		m := c.back[0]
		c.back = c.back[1:]
		return m
	}
	for {
		m, err := c.fe.Receive()
		if err != nil {
			require.NotErrorIs(c.t, err, io.ErrNoProgress)
			var late net.Error
			if ok := asNetError(err, &late); ok && late.Timeout() {
				require.NoError(c.t, err)
			}
			return "EOF"
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			text := "D"
			for _, v := range m.Values {
				text += " " + string(v)
			}
			return text
		case *pgproto3.CommandComplete:
			return "C " + string(m.CommandTag)
		case *pgproto3.ErrorResponse:
			return "E " + m.Code
		case *pgproto3.ReadyForQuery:
			return fmt.Sprintf("Z %c", m.TxStatus)
		}
	}
}

// sessions counts those that PostgreSQL has of the client with a number.
const sessions = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"

// waitForLock waits until PostgreSQL has the client wait for a lock.
func (c *client) waitForLock() {
	c.waitFor(sessions+" AND wait_event_type = 'Lock'", 1)
}

// waitForRest waits until PostgreSQL does nothing for the client any more; its session may be kept for another.
func (c *client) waitForRest() {
	c.waitFor(sessions+" AND state <> 'idle'", 0)
}

// waitForEnd waits until PostgreSQL's side of the connection has ended.
func (c *client) waitForEnd() {
	c.waitFor(sessions, 0)
}

func (c *client) waitFor(sql string, want int) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), postgres.dsn())
	require.NoError(c.t, err)
	defer conn.Close(c.t.Context())
	require.Eventually(c.t, func() bool {
		var got int
		err := conn.QueryRow(c.t.Context(), sql, c.key.ProcessID).Scan(&got)
		return err == nil && got == want
	}, time.Minute, 5*time.Millisecond)
}

// hangUp ends a client without a word, and waits until the Sim has noticed.
func (w *testbed) hangUp(c *client) {
	c.t.Helper()
	left := w.Conns() - 1
	require.NoError(c.t, c.nc.Close())
	require.Eventually(c.t, func() bool { return w.Conns() == left }, time.Minute, time.Millisecond)
}

// cancel asks for what the client does to be given up, and waits until the Sim has dealt with it.
func (w *testbed) cancel(c *client) {
	c.t.Helper()
	nc, err := net.Dial("tcp", w.Addr())
	require.NoError(c.t, err)
	defer nc.Close()
	require.NoError(c.t, nc.SetDeadline(time.Now().Add(time.Minute)))
	raw, err := (&pgproto3.CancelRequest{ProcessID: c.key.ProcessID, SecretKey: c.key.SecretKey}).Encode(nil)
	require.NoError(c.t, err)
	_, err = nc.Write(raw)
	require.NoError(c.t, err)
	_, err = nc.Read(make([]byte, 1))
	require.ErrorIs(c.t, err, io.EOF, "the Sim hangs up then")
}
