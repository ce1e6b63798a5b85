package crdbsim

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A clusterTestbed is a cluster of three and a schema of its own with the table kv in it.
type clusterTestbed struct {
	*Cluster
	schema string
}

func newCluster(t *testing.T) *clusterTestbed {
	t.Helper()
	c, err := StartCluster(3, Config{Upstream: postgres.dial})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return &clusterTestbed{c, newSchema(t)}
}

// at is a node as the tests of a single Sim have it.
func (w *clusterTestbed) at(id int) *testbed { return &testbed{w.Node(id).Sim, w.schema} }

func (w *clusterTestbed) value(t *testing.T, k int) int { return w.at(1).value(t, k) }

// pgx connects to what a DSN names.
func (w *clusterTestbed) pgx(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn+"&search_path="+w.schema+",public")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (w *clusterTestbed) dsn() string { return w.DSN(superuser, "postgres") }

func nodeOfConn(c *pgx.Conn) int { return int(nodeOf(c.PgConn().PID())) }

func TestCluster_OneDatabase_NodeIDsInKeys(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	for id := 1; id <= 3; id++ {
		n := w.Node(id)
		conn := w.pgx(t, n.DSN(superuser, "postgres"))
		assert.Equal(t, id, nodeOfConn(conn))
		assert.Equal(t, id, n.ID())
		_, err := conn.Exec(t.Context(), update)
		require.NoError(t, err)
	}
	assert.Equal(t, 13, w.value(t, 1))
	assert.Equal(t, map[int]int{1: 1, 2: 1, 3: 1}, w.Conns())
	assert.Nil(t, w.Node(0))
	assert.Nil(t, w.Node(4))
	assert.Contains(t, w.Node(2).String(), "node 2 at 127.0.0.1:")
}

func TestCluster_NodesOfDifferentTransactions_Conflict(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	a, b := w.at(1).client(t), w.at(2).client(t)
	for _, c := range []*client{a, b} {
		c.query("BEGIN; " + open + "; " + read)
	}
	a.query(update + "; COMMIT")
	assert.Equal(t, []string{"E 40001", "Z E"}, b.query(update))
}

// TestCluster_CancelByWayOfAnotherNode checks what a balancer makes of requests to cancel.
func TestCluster_CancelByWayOfAnotherNode(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	holder, waiting := w.at(1).client(t), w.at(2).client(t)
	holder.query("BEGIN; " + update)
	backend := waiting.query("SELECT pg_backend_pid()")[0]
	waiting.send(&pgproto3.Query{String: update})
	waitForLockOf(t, backend)
	w.at(3).cancel(waiting)
	assert.Equal(t, []string{"E 57014", "Z I"}, waiting.untilReady())
}

func TestCluster_CancelForASilentNode_IsLost(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	holder, waiting := w.at(1).client(t), w.at(2).client(t)
	holder.query("BEGIN; " + update)
	backend := waiting.query("SELECT pg_backend_pid()")[0]
	waiting.send(&pgproto3.Query{String: update})
	waitForLockOf(t, backend)
	w.Node(2).Silence()
	w.at(3).cancel(waiting)
	require.NoError(t, w.Node(2).Return())
	holder.query("COMMIT")
	assert.Equal(t, []string{"C UPDATE 1", "Z I"}, waiting.untilReady())
}

func TestCluster_ManyHostsInTheDSN_PgxTakesTheNextThatLetsItIn(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	assert.Equal(t, 1, nodeOfConn(w.pgx(t, w.dsn())))
	require.NoError(t, w.Node(1).Enter(Refusing))
	assert.Equal(t, 2, nodeOfConn(w.pgx(t, w.dsn())))
	w.Node(2).Kill()
	assert.Equal(t, 3, nodeOfConn(w.pgx(t, w.dsn())))
	w.Node(3).LimitConns(1)
	_, err := pgx.Connect(t.Context(), w.dsn())
	for _, said := range []string{"57P01", "server is not accepting clients, try another node", "refused", "53300"} {
		require.ErrorContains(t, err, said)
	}
	require.NoError(t, w.Node(1).Return())
	assert.Equal(t, 1, nodeOfConn(w.pgx(t, w.dsn())))
}

func TestStartCluster_NoUpstream_IsAnError(t *testing.T) {
	t.Parallel()
	_, err := StartCluster(2, Config{})
	require.ErrorContains(t, err, "upstream")
}

func TestUpstream(t *testing.T) {
	t.Parallel()
	dial, err := Upstream(postgres.dsn())
	require.NoError(t, err)
	c, err := StartCluster(1, Config{Upstream: dial})
	require.NoError(t, err)
	defer c.Close()
	w := &clusterTestbed{c, newSchema(t)}
	w.pgx(t, w.dsn())
	_, err = Upstream("postgres://%")
	require.Error(t, err)
}
