package fleet

import (
	"slices"
	"time"
)

const (
	leavePerSecond = 10                     // connections whose lifetime is over or whose host drains
	quietFor       = 250 * time.Millisecond // between two looks at all hosts that find nothing to retire
)

// Retire reports whether the connection, which must be idle, should be replaced now: its lifetime is over, its host
// refuses logins while another is healthy, its host has more than its share, or a host of an earlier group works again.
// Such connections leave one by one, at most some a second, so one that is not retired now may be the next time. A
// connection that was told to leave should be closed.
//
// It is cheap enough to be asked before every transaction, and allocates nothing.
func (m *Member) Retire(now time.Time) bool {
	if m == nil {
		return false
	}
	f := m.fleet
	at := f.at(now)
	if at < m.expires && int64(at) < f.quiet.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return !m.closed && f.retire(m, at)
}

// retire decides what Retire reports, and counts it. The caller holds mu.
func (f *Fleet) retire(m *Member, at instant) bool {
	switch {
	case at >= m.expires:
		return f.letGo(&f.counts.Retired.Lifetime, at)
	case f.left(m.host):
		return f.letGo(&f.counts.Retired.Draining, at)
	}
	s, p := f.survey(at), f.placeOf(m)
	switch {
	case s.uneven(p):
		return f.spread.move(&f.counts.Retired.Spread, at)
	case s.wanting(p):
		return f.spread.tryAbsent(&f.counts.Retired.Probe, s.away, at)
	}
	if !s.wanting(s.worst) && !slices.ContainsFunc(f.planned, f.left) {
		f.quiet.Store(int64(at + quietFor))
	}
	return false
}

// left reports whether the connections of a host that has some leave: it refuses logins, and another host is healthy.
func (f *Fleet) left(h *host) bool {
	if h.open == 0 || !h.draining() {
		return false
	}
	return slices.ContainsFunc(f.planned, func(other *host) bool { return other != h && other.healthy() })
}

// letGo lets one connection leave, and counts it, if not too many have left lately.
func (f *Fleet) letGo(count *uint64, at instant) bool {
	if !f.leaving.tryTake(at) {
		return false
	}
	*count++
	return true
}
