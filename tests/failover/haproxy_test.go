//go:build unix

package failover_test

import (
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// An haproxy stands in front of a cluster as CockroachDB's documentation has it, but looks at the nodes more often.
type haproxy struct {
	*process
	cluster *clustertest.Cluster
	url     string
}

const haproxySettings = `
global
	maxconn 500
defaults
	mode tcp
	timeout connect 5s
	timeout client 1m
	timeout server 1m
	option clitcpka
	retries 3
listen psql
	bind 127.0.0.1:%d
	balance roundrobin
	option httpchk GET /health?ready=1
	default-server inter 50ms fall 1 rise 1
`

func newHAProxy(t *testing.T, c *clustertest.Cluster) *haproxy {
	t.Helper()
	port := guarded.FreePort()
	config := fmt.Sprintf(haproxySettings, port)
	for _, n := range c.Nodes() {
		health := httptest.NewServer(n)
		t.Cleanup(health.Close)
		_, healthPort, err := net.SplitHostPort(health.Listener.Addr().String())
		require.NoError(t, err)
		config += fmt.Sprintf("\tserver node%d %s check port %s\n", n.ID(), n.Addr(), healthPort)
	}
	u, err := url.Parse(c.NodeDSN(1))
	require.NoError(t, err)
	u.Host = fmt.Sprint("127.0.0.1:", port)
	program := findHAProxy(t)
	p := startProcess(t, "KILL", fmt.Sprintf(`LD_LIBRARY_PATH=%s run %s -db -f "$folder/haproxy.cfg"`,
		quoted(filepath.Dir(program)), quoted(program)), map[string]string{"haproxy.cfg": config})
	h := &haproxy{p, c, u.String()}
	for _, n := range c.Nodes() {
		h.awaitNode(t, n.ID())
	}
	return h
}

// awaitNode waits until HAProxy gives connections to a node.
func (h *haproxy) awaitNode(t *testing.T, id int) {
	t.Helper()
	h.await(t, func() error {
		conn, err := pgx.Connect(t.Context(), h.url)
		if err != nil {
			return err
		}
		got := int(conn.PgConn().PID() >> 20)
		if err := conn.Close(t.Context()); err != nil || got == id {
			return err
		}
		return fmt.Errorf("it gives connections to node %d, not yet to node %d", got, id)
	})
}

// findHAProxy returns the path of the program, of Debian's package or of what tools/install-haproxy has fetched.
func findHAProxy(t *testing.T) string {
	t.Helper()
	fetched, err := filepath.Abs("../../.cache/haproxy")
	require.NoError(t, err)
	for _, candidate := range []string{"haproxy", "/usr/sbin/haproxy"} {
		if program, err := exec.LookPath(candidate); err == nil {
			return program
		}
	}
	if _, err := os.Stat(filepath.Join(fetched, "haproxy")); errors.Is(err, os.ErrNotExist) {
		unavailable(t, "there is no haproxy, neither on the PATH nor in /usr/sbin nor in .cache/haproxy: "+
			"run tools/install-haproxy, or make haproxy")
	}
	return inReach(t, fetched)
}

// inReach copies what was fetched to where an ordinary user may run it: the repository may be out of reach.
func inReach(t *testing.T, fetched string) string {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "reprise-haproxy-") //nolint:usetesting // TMPDIR may be out of the user's reach
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	require.NoError(t, os.Chmod(folder, 0o755))
	require.NoError(t, os.CopyFS(folder, os.DirFS(fetched)))
	return filepath.Join(folder, "haproxy")
}
