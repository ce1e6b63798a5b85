package fleet

import "time"

const (
	spreadPerSecond = 5               // connections that leave a place with more than its share for one with less
	absentGap       = 3 * time.Second // between the connections given up for a place that may be back, at least
	absentJitter    = 0.2
	vainPerPlace    = 5           // landings in vain that chance explains
	vainGap         = time.Second // more before the next move for each landing in vain after those
)

// A survey is how connections are spread over places: over the hosts of the latest plan or, where there is one host, a
// balancer, over its nodes.
type survey struct {
	total   int           // connections
	most    int           // connections at one place
	working int           // places that are known to work
	hoped   int           // and those that may be back
	away    time.Duration // how long the latest of those has been away
}

// tooMany reports whether n connections are more than one more than the fair share of one of so many places.
func (s *survey) tooMany(n, places int) bool { return (n-1)*places > s.total }

// uneven reports whether n connections are too many for the places that are known to work.
func (s *survey) uneven(n int) bool { return s.tooMany(n, s.working) }

// wanting reports whether n connections would be too many if the places were back that may be.
func (s *survey) wanting(n int) bool { return s.tooMany(n, s.working+s.hoped) }

// survey looks at all places. There are none if the fleet does not balance.
func (f *Fleet) survey(at instant) survey {
	s := survey{away: never}
	switch {
	case !f.cfg.Balance:
	case f.behindBalancer():
		f.forgetNodes(at)
		for _, n := range f.nodes {
			s.add(n.open, n.open > 0, true, at-n.seen)
		}
	default:
		for _, h := range f.planned {
			s.add(h.load(), h.healthy(), !h.doubted(at), at-h.since)
		}
	}
	return s
}

// add counts a place with n connections. It works, or it may be back after having been away, or neither.
func (s *survey) add(n int, works, mayBeBack bool, away time.Duration) {
	s.total += n
	s.most = max(s.most, n)
	switch {
	case works:
		s.working++
	case mayBeBack:
		s.hoped++
		s.away = min(s.away, away)
	}
}

// behindBalancer reports whether connections are told apart by node, since there is one host.
func (f *Fleet) behindBalancer() bool { return len(f.planned) == 1 }

// atPlaceOf returns how many connections are where m is.
func (f *Fleet) atPlaceOf(m *Member) int {
	switch {
	case !f.behindBalancer():
		return m.host.load()
	case m.node != nil:
		return m.node.open
	}
	return 0
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
	if !s.uneven(m.node.open) {
		f.spread.vain, f.spread.resume = 0, 0
		return
	}
	f.spread.vain++
	if more := f.spread.vain - vainPerPlace*s.working; more > 0 {
		f.spread.resume = at + min(time.Duration(more)*vainGap, longest)
	}
}
