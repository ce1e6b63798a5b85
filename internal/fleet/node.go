package fleet

// A node is one server of a host that is a load balancer. The fleet's lock guards it.
type node struct {
	id   uint32
	open int     // connections
	seen instant // when it last had one; meaningful while it has none
}

// NodeOf returns the id of the CockroachDB node that a connection has come to, from the process id in its
// BackendKeyData. On multi-tenant clusters it is that of the SQL instance, on a cluster's own nodes that of the node.
// It is for connections to CockroachDB alone: PostgreSQL's process ids look like ids of nodes.
func NodeOf(pid uint32) uint32 {
	const (
		long  = 1 << 31 // the other 31 bits are the id
		shift = 20      // else the next 11 bits are
	)
	if pid&long != 0 {
		return pid &^ long
	}
	return pid >> shift
}

// place is where the node's connections are. Behind a balancer there are no groups.
func (n *node) place() place { return place{conns: n.open} }

// node returns what is known of a node, which may be new. The unknown node 0 has nothing.
func (f *Fleet) node(id uint32) *node {
	if id == 0 {
		return nil
	}
	n := f.nodes[id]
	if n == nil {
		n = &node{id: id}
		f.nodes[id] = n
	}
	return n
}

// forgetNodes forgets the nodes that have been away for so long that they will hardly be back.
func (f *Fleet) forgetNodes(at instant) {
	for id, n := range f.nodes {
		if n.open == 0 && at-n.seen > forgetAfter {
			delete(f.nodes, id)
		}
	}
}
