package crdbsim

import (
	"context"
	"errors"
	"net"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStartup holds the start-up against the recording of one.
func TestStartup(t *testing.T) {
	t.Parallel()
	trace, err := os.ReadFile("testdata/connect.trace")
	require.NoError(t, err)
	c := newTestbed(t, Config{}).client(t)
	for _, m := range regexp.MustCompile(`ParameterStatus (\w+)=`).FindAllStringSubmatch(string(trace), -1) {
		assert.Contains(t, c.params, m[1])
	}
	assert.Equal(t, DefaultVersion, c.params["crdb_version"])
	assert.Regexp(t, `^CockroachDB \w+ v\d+\.\d+\.\d+ `, DefaultVersion)
	require.NotNil(t, c.key)
	c = newTestbed(t, Config{Version: "CockroachDB CCL v26.1.0"}).client(t)
	assert.Equal(t, "CockroachDB CCL v26.1.0", c.params["crdb_version"])
}

func TestStartupParameters(t *testing.T) {
	t.Parallel()
	c := newTestbed(t, Config{}).client(t, "lock_timeout", "3s", "no_such_thing", "1", "force_savepoint_restart", "on",
		"default_transaction_isolation", "read committed", "options", `--cluster=blue -c statement_timeout=7s -cno_such=1 -c application_name=a\ b -c lock_timeout=4s`)
	for sql, want := range map[string]string{
		"SHOW application_name": "a b", "SHOW lock_timeout": "3s",
		"SHOW force_savepoint_restart": "on", "SHOW default_transaction_isolation": "serializable",
		"SHOW statement_timeout": "7s",
	} {
		assert.Equal(t, []string{"D " + want, "C SHOW 1", "Z I"}, c.query(sql), "%s", sql)
	}
	// every savepoint is a restart savepoint then
	assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C COMMIT", "C COMMIT", "Z I"},
		c.query("BEGIN; SAVEPOINT a; RELEASE a; COMMIT"))
}

func TestEncryptionIsDeclined(t *testing.T) {
	t.Parallel()
	nc, err := net.Dial("tcp", newTestbed(t, Config{}).Addr())
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	fe := pgproto3.NewFrontend(nc, nc)
	for _, m := range []pgproto3.FrontendMessage{&pgproto3.SSLRequest{}, &pgproto3.GSSEncRequest{}} {
		fe.Send(m)
		require.NoError(t, fe.Flush())
		answer := make([]byte, 1)
		_, err := nc.Read(answer)
		require.NoError(t, err)
		assert.Equal(t, "N", string(answer))
	}
}

func TestUpstreamRefuses(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	nc, err := net.Dial("tcp", w.Addr())
	require.NoError(t, err)
	defer nc.Close()
	fe := pgproto3.NewFrontend(nc, nc)
	fe.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": superuser, "database": "nowhere"},
	})
	require.NoError(t, fe.Flush())
	for {
		m, err := fe.Receive()
		require.NoError(t, err)
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			assert.Equal(t, "3D000", e.Code)
			return
		}
	}
}

func TestCancelRequest(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		a, b := w.client(t), w.client(t)
		exec(a, "BEGIN", update)
		answers := make(chan []string)
		go func() { answers <- exec(b, update) }()
		b.waitForLock()
		w.cancel(b)
		assert.Equal(t, []string{"E 57014", "Z I"}, <-answers)
		assert.Equal(t, []string{"C COMMIT", "Z I"}, exec(a, "COMMIT"))
		assert.Equal(t, 11, w.value(t, 1))
	})
}

// TestClientGone checks that a client which hangs up does not leave a statement waiting.
func TestClientGone(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		a, b := w.client(t), w.client(t)
		exec(a, "BEGIN", update)
		b.send(&pgproto3.Query{String: "BEGIN; " + update + "; COMMIT"})
		b.waitForLock()
		require.NoError(t, b.nc.Close())
		b.waitForRest()
		exec(a, "COMMIT")
		assert.Equal(t, 11, w.value(t, 1))
	})
}

// TestServerDies checks that PostgreSQL's last words reach the client.
func TestServerDies(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		a, b := w.client(t), w.client(t)
		exec(a, "BEGIN", update)
		answers := make(chan []string)
		go func() { answers <- exec(b, update) }()
		b.waitForLock()
		a.waitFor("SELECT pg_terminate_backend($1)::int", 1)
		assert.Equal(t, []string{"C UPDATE 1", "Z I"}, <-answers)
		a.waitForEnd()
		assert.Equal(t, []string{"E 57P01", "EOF"}, exec(a, read))
	})
}

// TestCloseWhileWaiting checks that Close does not wait for locks.
func TestCloseWhileWaiting(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	a, b := w.client(t), w.client(t)
	a.query("BEGIN; " + update)
	b.send(&pgproto3.Query{String: update})
	b.waitForLock()
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	for answer := b.next(); answer != "EOF"; answer = b.next() {
		// Where a's connection goes first, so does its lock, and b may get an answer before its own is cut.
		require.Contains(t, []string{"C UPDATE 1", "Z I"}, answer)
	}
	b.waitForEnd()
	_, err := Start(Config{})
	require.Error(t, err)
}

// TestNoUpstream checks that a client is told where there is no PostgreSQL.
func TestNoUpstream(t *testing.T) {
	t.Parallel()
	sim, err := Start(Config{
		Upstream: func(context.Context) (net.Conn, error) { return nil, errors.New("nobody is there") },
	})
	require.NoError(t, err)
	_, err = pgx.Connect(t.Context(), "postgres://root@"+sim.Addr()+"/postgres?sslmode=disable")
	require.ErrorContains(t, err, "nobody is there (SQLSTATE 08006)")
	require.NoError(t, sim.Close())
}
