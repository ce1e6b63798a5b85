package fleet

import "time"

// A Failure is why a dial came to nothing.
type Failure uint8

// The failures of a dial.
const (
	// Unreachable: no connection, none in time, one that ended during the login, or a server that is not of the kind
	// that was asked for.
	Unreachable Failure = iota

	Refused  // the login was refused because the server is going away or coming up: 57P01, 57P03
	Full     // the server has as many connections as it takes: 53300
	Rejected // the server is well, and does not want this login: a password, a database, a privilege
)

const (
	believed      = 5 * time.Second // how long a failure is believed, at least
	longest       = time.Minute     // and at most
	patience      = 20              // a host that has been away for some time is doubted for this part of it
	doubtJitter   = 0.2
	silence       = time.Second           // dials that were given up, and lasted so long together, put their host in doubt
	firstGap      = 25 * time.Millisecond // between a failed probe and the next
	longestGap    = time.Second
	newsAfter     = 30 * time.Second // how long a login outweighs the loss of an older connection
	doublingsMost = 10
)

// A host is one address. The fleet's lock guards it.
type host struct {
	name    string
	group   int     // by the latest plan that named it
	open    int     // connections
	dialing int     // calls of Dial that have not settled, those that still wait among them
	planned instant // when a plan last named it

	// A host is healthy while until is zero.
	until    instant       // when it is due to be probed
	since    instant       // when the doubt began, which may have been renewed since
	reason   Failure       // the latest failure's
	cause    error         // of the latest failure; may be nil
	probe    *probe        // under way
	next     instant       // when the next probe may begin
	failed   int           // probes in a row
	silent   time.Duration // of the dials that were given up since anything was heard
	loggedIn instant       // when a connection was last opened
}

// A probe is the one dial to a host in doubt that is under way. Others wait for its end.
type probe struct {
	done chan struct{}
	err  error // why others need not try; nil if they may
}

func (h *host) healthy() bool { return h.until == 0 }

// doubted reports whether others are to be tried first: it has failed lately, or is being probed.
func (h *host) doubted(at instant) bool { return !h.healthy() && (at < h.until || h.probe != nil) }

// draining reports whether the latest thing heard of the host is that it refuses logins.
func (h *host) draining() bool { return !h.healthy() && h.reason == Refused }

// load is what hosts are compared by.
func (h *host) load() int { return h.open + h.dialing }

// place is where the host's connections are.
func (h *host) place() place { return place{h.group, h.load()} }

// doubt puts the host in doubt, or keeps it there, for some seconds from now.
func (h *host) doubt(reason Failure, at instant) {
	if h.healthy() {
		h.since, h.failed, h.next = at, 0, at
	}
	h.reason = reason
	h.until = at + max(1, jitter(howLong(believed, at-h.since), doubtJitter))
}

// howLong returns how long to believe that what has been away for some time still is.
func howLong(least, away time.Duration) time.Duration { return min(max(least, away/patience), longest) }

// prove makes the host healthy: it has let somebody log in.
func (h *host) prove(at instant) {
	h.until, h.reason, h.cause, h.silent, h.loggedIn = 0, Unreachable, nil, 0, at
	h.endProbe(nil)
}

// endProbe lets go those who wait for the probe's end, if one is under way.
func (h *host) endProbe(err error) {
	if h.probe == nil {
		return
	}
	h.probe.err = err
	close(h.probe.done)
	h.probe = nil
}

// pace puts off the next probe, the more the more probes have failed in a row.
func (h *host) pace(at instant) {
	h.next = at + jitter(min(firstGap<<min(h.failed, doublingsMost), longestGap), doubtJitter)
}

// lost takes note of the loss of a connection that was opened at born. It is old news if the host has been in doubt and
// let somebody log in again since: whatever happened then has happened to all the connections of that time.
func (h *host) lost(born, at instant) {
	old := born < h.since && h.since <= h.loggedIn && at-h.loggedIn < newsAfter
	if h.doubted(at) || h.healthy() && old {
		return
	}
	h.doubt(h.reason, at)
}
