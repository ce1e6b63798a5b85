package crdbsim

// Expire rolls back the transactions that clients of the node have open, as the others of a cluster do with those of a
// node that has been silent for some seconds: its locks are free then, and a commit that arrives later is none. The
// clients notice with their next statement, by EOF where CockroachDB may have a 40001; idle ones are left alone.
func (n *Node) Expire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.eachConn(func(c *conn) {
		if c.pid.Load() != 0 && !c.rest.Load() {
			n.running.Go(c.expire)
		}
	})
}

// expire ends the session in PostgreSQL. A backend that waits for a lock does not notice that its client has gone, and
// so is asked to give up before that.
func (c *conn) expire() {
	c.cancelling.Lock()
	defer c.cancelling.Unlock()
	if c.left {
		return
	}
	c.over.Store(true)
	c.sim.cancel(c.up.key)
	_ = c.up.nc.Close() // it was not in use by anybody else
}
