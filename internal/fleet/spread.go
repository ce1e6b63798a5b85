package fleet

import (
	"cmp"
	"time"
)

const (
	spreadPerSecond = 5               // connections that leave a place with more than its share for one with less
	absentGap       = 3 * time.Second // between the connections given up for a place that may be back, at least
	absentJitter    = 0.2
	vainPerPlace    = 5           // landings in vain that chance explains
	vainGap         = time.Second // more before the next move for each landing in vain after those
)

// A place is where connections are: a host, or a node behind a balancer.
type place struct {
	group int
	conns int
}

// compare orders places by group, and those of a group by their connections.
func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.group, q.group), cmp.Compare(p.conns, q.conns))
}

// A target is where connections belong: the earliest group that has places of some kind, and how many of them.
type target struct{ group, places int }

// add counts a place, unless there is one in an earlier group, and reports whether it did. Places come in the order of
// their groups.
func (t *target) add(group int) bool {
	if t.places == 0 {
		t.group = group
	}
	if group != t.group {
		return false
	}
	t.places++
	return true
}

// tooMany reports whether some of the connections at p belong elsewhere: any in a later group, or more than one more
// than the fair share of the total.
func (t target) tooMany(p place, total int) bool {
	switch {
	case t.places == 0 || p.group < t.group:
		return false
	case p.group > t.group:
		return p.conns > 0
	}
	return (p.conns-1)*t.places > total
}

// A survey is how connections are spread over places: over the hosts of the latest plan or, where there is one host, a
// balancer, over its nodes.
type survey struct {
	total   int           // connections
	worst   place         // the last with connections: if they aren't too many there, they are nowhere
	working target        // of places that are known to work
	hoped   target        // of those, and of others that may be back
	away    time.Duration // how long the latest of the others has been away
}

// uneven reports whether there are too many connections at p for the places that are known to work.
func (s *survey) uneven(p place) bool { return s.working.tooMany(p, s.total) }

// wanting reports whether there would be too many at p if the places were back that may be.
func (s *survey) wanting(p place) bool { return s.hoped.tooMany(p, s.total) }

// survey looks at all places. There are none if the fleet does not balance.
func (f *Fleet) survey(at instant) survey {
	s := survey{away: never}
	switch {
	case !f.cfg.Balance:
	case f.behindBalancer():
		f.forgetNodes(at)
		for _, n := range f.nodes {
			s.add(n.place(), n.open > 0, true, at-n.seen)
		}
	default:
		for _, h := range f.planned {
			s.add(h.place(), h.healthy(), !h.doubted(at), at-h.since)
		}
	}
	return s
}

// add counts a place. It works, or it may be back after having been away, or neither. Places come in the order of their
// groups.
func (s *survey) add(p place, works, mayBeBack bool, away time.Duration) {
	s.total += p.conns
	if p.conns > 0 && p.compare(s.worst) > 0 {
		s.worst = p
	}
	if works {
		s.working.add(p.group)
	}
	if (works || mayBeBack) && s.hoped.add(p.group) && !works {
		s.away = min(s.away, away)
	}
}

// behindBalancer reports whether connections are told apart by node, since there is one host.
func (f *Fleet) behindBalancer() bool { return len(f.planned) == 1 }

// placeOf returns where m is.
func (f *Fleet) placeOf(m *Member) place {
	switch {
	case !f.behindBalancer():
		return m.host.place()
	case m.node != nil:
		return m.node.place()
	}
	return place{}
}

// spreading bounds how fast connections are moved. The fleet's lock guards it.
type spreading struct {
	pace   bucket
	absent instant // when the next connection may be given up for a place that may be back
	vain   int     // connections in a row that the balancer has sent where there were too many
	resume instant // when moving may go on, which a balancer seems not to help with
}

// move lets one connection leave for a place that works and has fewer.
func (s *spreading) move(count *uint64, at instant) bool {
	if at < s.resume || !s.pace.tryTake(at) {
		return false
	}
	*count++
	return true
}

// tryAbsent lets one connection leave for a place that may be back, after having been away for some time.
func (s *spreading) tryAbsent(count *uint64, away time.Duration, at instant) bool {
	if at < s.absent {
		return false
	}
	s.absent = at + jitter(howLong(absentGap, away), absentJitter)
	*count++
	return true
}

// landed takes note of where a balancer has sent a new connection. One that sends them where there are too many, again
// and again, goes by rules of its own: then connections are moved ever more rarely.
func (f *Fleet) landed(m *Member, at instant) {
	if !f.behindBalancer() || m.node == nil {
		return
	}
	s := f.survey(at)
	if !s.uneven(m.node.place()) {
		f.spread.vain, f.spread.resume = 0, 0
		return
	}
	f.spread.vain++
	if more := f.spread.vain - vainPerPlace*s.working.places; more > 0 {
		f.spread.resume = at + min(time.Duration(more)*vainGap, longest)
	}
}
