package fleet

// A Member is one open connection, from [Dial.Opened] to Closed or Lost.
type Member struct {
	fleet   *Fleet
	host    *host
	node    *node // nil if it is not known
	born    instant
	expires instant // never changes: a jitter drawn anew at each look would be none
	closed  bool    // the fleet's lock guards it
}

const lifetimeJitter = 0.1

// join counts a connection that has just been opened. The caller holds mu.
func (f *Fleet) join(h *host, id uint32, at instant) *Member {
	m := &Member{fleet: f, host: h, node: f.node(id), born: at, expires: never}
	if f.cfg.Lifetime > 0 {
		m.expires = at + jitter(f.cfg.Lifetime, lifetimeJitter)
	}
	h.open++
	if m.node != nil {
		m.node.open++
	}
	f.landed(m, at)
	return m
}

// Closed says that the connection was closed in order. It may be called again, and after Lost, and does nothing then.
func (m *Member) Closed() { m.close(false) }

// ClosedWell is Closed for a connection that was well: the dial budget is for connections that are lost, and gets back
// what this one has cost it. So a pool that keeps few idle connections can go on making new ones.
func (m *Member) ClosedWell() { m.close(true) }

func (m *Member) close(well bool) {
	if m == nil {
		return
	}
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.part(m.fleet.now()) && well {
		m.fleet.dials.giveBack()
	}
}

// Lost says that the connection has broken, and closes the member. Its host is in doubt for some seconds. After Closed
// it does nothing.
func (m *Member) Lost() {
	if m == nil {
		return
	}
	f := m.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now()
	if m.part(at) {
		f.counts.Lost++
		m.host.lost(m.born, at)
	}
}

// part uncounts the connection, and reports whether it was counted. The caller holds mu.
func (m *Member) part(at instant) bool {
	if m.closed {
		return false
	}
	m.closed = true
	m.host.open--
	if m.node != nil {
		m.node.open--
		m.node.seen = at
	}
	m.fleet.counts.Closed++
	return true
}
