//go:build unix

package failover_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// spread returns how many connections there are to the node with most of them, and to the one with fewest.
func spread(c *crdbsim.Cluster) (most, fewest int) {
	most, fewest = 0, 1<<30
	for _, n := range c.Conns() {
		most, fewest = max(most, n), min(fewest, n)
	}
	return most, fewest
}

// evensOut waits until the connections are spread evenly.
func evensOut(t *testing.T, c *crdbsim.Cluster) {
	t.Helper()
	even := func() bool {
		most, fewest := spread(c)
		return most-fewest <= 2
	}
	if !assert.Eventually(t, even, time.Minute, 50*time.Millisecond) {
		t.Fatalf("connections by node: %v", c.Conns())
	}
}

func TestHosts_NewConnections_GoToTheHostWithFewest(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3, crdbsim.Config{})
	db := kit.Open(t, c.DSN())
	for range 9 {
		kit.Exec(t, kit.Begin(t, db), "SELECT 1")
	}
	most, fewest := spread(c.Cluster)
	assert.Equal(t, most, fewest, "%v", c.Conns())
}

func TestHosts_LoadBalanceDisabled_TakesThemInOrder(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3, crdbsim.Config{})
	db := kit.Open(t, c.DSN(), "load_balance_hosts=disable")
	for range 3 {
		kit.Exec(t, kit.Begin(t, db), "SELECT 1")
	}
	assert.Equal(t, map[int]int{1: 3, 2: 0, 3: 0}, c.Conns())
}

// A node that drains closes the connections that nobody uses. That is seen before they are used.
func TestHosts_NodeDrainsWhileAllConnectionsRest_Unseen(t *testing.T) {
	t.Parallel()
	const conns = 9
	c := clustertest.New(t, 3, crdbsim.Config{})
	db := kit.Open(t, c.DSN())
	db.SetMaxIdleConns(conns)
	useAll := func() {
		var all []*sql.Tx
		for range conns {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			kit.Exec(t, tx, "SELECT 1")
			all = append(all, tx)
		}
		for _, tx := range all {
			require.NoError(t, tx.Commit())
		}
	}
	useAll()
	require.Equal(t, conns/3, c.Conns()[1], "%v", c.Conns())
	require.NoError(t, c.Node(1).Drain(t.Context(), patientDrain...))
	useAll()
	assert.Zero(t, c.Conns()[1], "%v", c.Conns())
}

// The nodes of the first group have all connections while one of them is there, and again after they have come back.
func TestHosts_FirstGroupGoesAndComesBack_ConnectionsReturn(t *testing.T) {
	t.Parallel()
	for name, takeAway := range waysToGo {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.New(t, 3, crdbsim.Config{})
			s := outage{dsn: kit.WithParams(c.DSN(), "load_balance_groups=2,1"), direct: c.Direct, planned: name == "drain"}
			s.leave = func(t *testing.T, l *load) {
				assert.Zero(t, c.Conns()[3], "%v", c.Conns())
				takeAway(t, c.Node(1))
				l.goesOn(t)
				assert.Zero(t, c.Conns()[3], "%v", c.Conns())
				takeAway(t, c.Node(2))
				l.goesOn(t)
				assert.Positive(t, c.Conns()[3])
				for id := 1; id <= 2; id++ {
					require.NoError(t, c.Node(id).Return())
				}
				require.Eventually(t, func() bool {
					conns := c.Conns()
					return conns[1] > 0 && conns[2] > 0 && conns[3] == 0
				}, time.Minute, 50*time.Millisecond, "%v", c.Conns())
			}
			s.run(t, ours)
		})
	}
}

// patientDrain is a drain that cuts no transaction, however slow the machine is.
var patientDrain = []crdbsim.Step{
	{Enter: crdbsim.Unready},
	{Enter: crdbsim.Refusing},
	{Enter: crdbsim.Closing, AtMost: time.Hour},
	{Enter: crdbsim.Dead},
}

// waysToGo are the ways in which a node goes away.
var waysToGo = map[string]func(*testing.T, *crdbsim.Node){
	"drain": func(t *testing.T, n *crdbsim.Node) {
		t.Helper()
		require.NoError(t, n.Drain(t.Context(), patientDrain...))
	},
	"kill": func(_ *testing.T, n *crdbsim.Node) { n.Kill() },
}

// A node that goes away is left, and has its share again after it has come back: by hosts, and by node ids behind one
// address.
func TestHosts_NodeGoesAndComesBack_SpreadEvensOut(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"hosts", "balancer"} {
		for name, takeAway := range waysToGo {
			t.Run(by+", "+name, func(t *testing.T) {
				t.Parallel()
				c := clustertest.New(t, 3, crdbsim.Config{})
				dsn := c.DSN()
				if by == "balancer" {
					_, dsn = c.Balance(crdbsim.LookAlways)
				}
				s := outage{dsn: dsn, direct: c.Direct, planned: name == "drain", leave: func(t *testing.T, l *load) {
					takeAway(t, c.Node(1))
					l.goesOn(t)
					require.Eventually(t, func() bool { return c.Conns()[1] == 0 }, time.Minute, time.Millisecond)
					require.NoError(t, c.Node(1).Return())
					evensOut(t, c.Cluster)
				}}
				s.run(t, ours)
			})
		}
	}
}

// A silent node's connections are given up once nothing is acknowledged any more, and what they did goes on elsewhere.
func TestHosts_NodeFallsSilent_IsLeft(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3, crdbsim.Config{})
	s := outage{dsn: c.DSN(), direct: c.Direct, leave: func(t *testing.T, l *load) {
		c.Node(1).Silence()
		time.AfterFunc(time.Second, func() { c.Node(1).Expire() })
		l.goesOn(t)
		require.NoError(t, c.Node(1).Return())
		l.goesOn(t)
	}}
	s.run(t, ours)
}
