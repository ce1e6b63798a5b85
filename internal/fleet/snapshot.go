package fleet

import (
	"slices"
	"strings"
)

// State is what a host is believed to be; see the package's comment.
type State uint8

// The states of a host.
const (
	Healthy State = iota
	Doubted
	Due
	Probing
	Draining // doubted, because it has refused a login
)

func (s State) String() string {
	return [...]string{"healthy", "doubted", "due", "probing", "draining"}[s]
}

// A Snapshot is what a fleet knows at one moment.
type Snapshot struct {
	Hosts []HostSnapshot // by name
	Nodes map[uint32]int // connections of each known node; those that had some in the last ten minutes are there with 0
	Counts
}

// A HostSnapshot is what is known of one host.
type HostSnapshot struct {
	Name    string
	State   State
	Open    int // connections
	Dialing int // callers of Dial that wait or dial
}

// Counts are since the fleet was made.
type Counts struct {
	Dials   Dials
	Retired Retired
	Closed  uint64 // connections, the lost ones among them
	Lost    uint64 // connections
}

// Dials counts calls of Dial by what became of them. Opened is the number of connections that there have ever been.
type Dials struct {
	Opened, Unreachable, Refused, Full, Rejected uint64
	Cancelled                                    uint64 // given up by the caller, while it waited or dialled
	Skipped                                      uint64 // never begun, because the host was in doubt
}

// Retired counts the connections that were told to leave, by reason.
type Retired struct {
	Lifetime, Draining uint64
	Spread             uint64 // for a place that had fewer connections
	Probe              uint64 // for one that may be back
}

// failure returns the count of a failure.
func (c *Counts) failure(reason Failure) *uint64 {
	switch reason {
	case Refused:
		return &c.Dials.Refused
	case Full:
		return &c.Dials.Full
	case Rejected:
		return &c.Dials.Rejected
	default:
		return &c.Dials.Unreachable
	}
}

// Snapshot returns what the fleet knows now, for metrics. It is a copy.
func (f *Fleet) Snapshot() Snapshot {
	if f == nil {
		return Snapshot{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now()
	f.forgetNodes(at)
	s := Snapshot{Nodes: make(map[uint32]int, len(f.nodes)), Counts: f.counts}
	for id, n := range f.nodes {
		s.Nodes[id] = n.open
	}
	for _, h := range f.hosts {
		s.Hosts = append(s.Hosts, HostSnapshot{Name: h.name, State: h.state(at), Open: h.open, Dialing: h.dialing})
	}
	slices.SortFunc(s.Hosts, func(a, b HostSnapshot) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// state names the host's state.
func (h *host) state(at instant) State {
	switch {
	case h.healthy():
		return Healthy
	case h.probe != nil:
		return Probing
	case at >= h.until:
		return Due
	case h.draining():
		return Draining
	}
	return Doubted
}
