package crdbsim

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// A Cluster is several nodes over one PostgreSQL, which go down and come back each on its own. All methods, those of
// its nodes too, may be called at any time.
type Cluster struct {
	mu    sync.Mutex
	nodes []*Node
}

// A Node is a Sim with a node id. Its address stays the same whatever becomes of it.
type Node struct {
	*Sim
	id uint32
}

// StartCluster starts nodes with the ids 1 to n. Each is as cfg says, but for the NodeID.
func StartCluster(n int, cfg Config) (*Cluster, error) {
	c := &Cluster{}
	cfg.forward = c.cancelFor
	for id := range uint32(n) {
		cfg.NodeID = id + 1
		sim, err := Start(cfg)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.mu.Lock()
		c.nodes = append(c.nodes, &Node{sim, cfg.NodeID})
		c.mu.Unlock()
	}
	return c, nil
}

// Node returns the node with an id, from 1; nil if there is none.
func (c *Cluster) Node(id int) *Node {
	nodes := c.Nodes()
	if id < 1 || id > len(nodes) {
		return nil
	}
	return nodes[id-1]
}

// Nodes returns all nodes, in the order of their ids.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.nodes)
}

// DSN names all nodes, in the order of their ids, with a user and a database of PostgreSQL's.
func (c *Cluster) DSN(user, database string) string {
	var hosts []string
	for _, n := range c.Nodes() {
		hosts = append(hosts, n.Addr())
	}
	return dsn(strings.Join(hosts, ","), user, database)
}

func dsn(host, user, database string) string {
	u := url.URL{
		Scheme: "postgresql", User: url.User(user), Host: host, Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Conns returns how many clients each node has, by its id.
func (c *Cluster) Conns() map[int]int {
	conns := make(map[int]int)
	for _, n := range c.Nodes() {
		conns[n.ID()] = n.Conns()
	}
	return conns
}

// Close closes every node.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes() {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

// cancelFor passes on a request to cancel to the node that it is for. One that is down or silent never sees it.
func (c *Cluster) cancelFor(pid, secret uint32) {
	if n := c.Node(int(nodeOf(pid))); n != nil && n.listens() {
		n.cancelFor(pid, secret)
	}
}

// ID returns the node id, which the upper bits of its clients' process ids are too.
func (n *Node) ID() int { return int(n.id) }

// String names the node.
func (n *Node) String() string { return fmt.Sprintf("node %d at %s", n.id, n.Addr()) }

// DSN names this node alone.
func (n *Node) DSN(user, database string) string { return dsn(n.Addr(), user, database) }
