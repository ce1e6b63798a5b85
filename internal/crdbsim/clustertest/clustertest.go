// Package clustertest gives a test a cluster of crdbsim's nodes over the engine of its package; see package enginetest.
package clustertest

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// A Cluster has an empty database of its own.
type Cluster struct {
	*crdbsim.Cluster
	Direct string // a DSN of the database that leads straight to PostgreSQL

	t              testing.TB
	user, database string
}

// New starts a cluster, which is closed at the end of the test. On a real CockroachDB the test is skipped.
func New(t testing.TB, nodes int, cfg crdbsim.Config) *Cluster {
	t.Helper()
	c := &Cluster{Direct: enginetest.NewDirectDB(t), t: t}
	direct, err := pgx.ParseConfig(c.Direct)
	if err != nil {
		t.Fatal(err)
	}
	c.user, c.database = direct.User, direct.Database
	if cfg.Upstream, err = crdbsim.Upstream(c.Direct); err != nil {
		t.Fatal(err)
	}
	if c.Cluster, err = crdbsim.StartCluster(nodes, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// DSN names all nodes, in the order of their ids.
func (c *Cluster) DSN() string { return c.Cluster.DSN(c.user, c.database) }

// NodeDSN names one node.
func (c *Cluster) NodeDSN(id int) string { return c.Node(id).DSN(c.user, c.database) }

// Balance starts a balancer in front of the nodes, which is closed at the end of the test, and returns its DSN too.
func (c *Cluster) Balance(every time.Duration) (b *crdbsim.Balancer, dsn string) {
	c.t.Helper()
	b, err := c.Cluster.Balance(every)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return b, b.DSN(c.user, c.database)
}
