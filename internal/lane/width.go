package lane

import (
	"cmp"
	"time"
)

// widest is how many transactions of a connector retry at a time at most, on PostgreSQL.
const widest = 16

// width decides how many transactions may retry at a time: as many as do not get in each other's way.
//
// On CockroachDB that is one, whatever the network is like. A transaction keeps its locks there after it has lost, and
// a deadlock takes 100 ms and more to be found, so that those who retry side by side mostly wait for each other. It is
// one, too, as long as it is not known which server it is. The rest is for PostgreSQL, where there are two reasons for
// more than one.
//
// The first is the network: while a message is under way, a lane for one stands idle. So there is a place for each
// millisecond that a message takes to the server and back, and one at least. That time is the quickest answer of the
// last minutes. Those that took longer had to wait for something else, such as a server that has too much to do, where
// a wide lane does harm. That the network has become slower is found out when the quicker answers are minutes old.
//
// An attempt that loses closes a part of these places: one place, if it has taken [tolerance] times as long as an
// attempt that wins. An attempt that wins opens one again. So the lane becomes narrow, whatever the network is like,
// where retriers lose far more time than they win. On a slow network a wide lane is right although they lose up to
// seven times as much.
//
// The second reason is that they may have nothing to fight about, which their time shows. An attempt in the lane that
// ends without losing again has brought something; one that loses has not, nor has the backoff after it. The time of
// the former is put on an account, if somebody waits; that of the latter is taken from it. There is one more place for
// each attempt's worth of time that is on the account. So no more than about half of the time is lost for these
// places, and after a fight there are none for as long as the fight has cost.
type width struct {
	most    int
	trips   quickest
	closed  float64 // how many of the network's places are closed
	account time.Duration
	typical time.Duration // how long an attempt takes that wins, of those lately; 0 if none has
}

const (
	tolerance    = 8               // how many times the time that is won may be lost for the network's places
	longAttempt  = time.Second     // no attempt counts for more: it need not be the server that took the time
	mostDebt     = time.Second / 4 // bad times are forgotten, once so much has been paid
	lateAttempts = 16              // about as many make up what is typical
)

// places says how many may be in the lane.
func (w *width) places() int {
	network := min(w.most, int(w.trips.least()/time.Millisecond))
	places := max(1, network-int(w.closed))
	if w.account > 0 {
		places += int(w.account / w.typical)
	}
	return min(w.most, places)
}

// tripTook notes how long the server took to answer what is next to no work.
func (w *width) tripTook(took time.Duration) { w.trips.note(took) }

// win notes an attempt that has ended without losing. wanted says whether somebody waits for a place; without that,
// time only pays a debt.
func (w *width) win(took time.Duration, wanted bool) {
	took = max(1, min(took, longAttempt))
	if w.typical == 0 {
		w.typical = took
	}
	w.typical = max(1, w.typical+(took-w.typical)/lateAttempts)
	w.closed = max(0, w.closed-1)
	if wanted || w.account < 0 {
		w.account = min(w.account+took, time.Duration(w.most-1)*w.typical)
	}
}

// lose notes an attempt that has lost, and the wait after it. As long as none has won, the first closes all of the
// network's places.
func (w *width) lose(took time.Duration) {
	took = min(took, longAttempt)
	w.account = max(w.account-took, -mostDebt)
	w.closed = min(float64(w.most), w.closed+float64(took)/float64(tolerance*max(1, w.typical)))
}

// tripsLast is how long the quickest answer counts, at least; it may be twice as long.
const tripsLast = 2 * time.Minute

// quickest is the least duration of the last minutes, in two parts: when the latter is tripsLast old, it becomes the
// former. Where nothing was noted for long, what was known before is believed until the first part that follows is
// full.
type quickest struct {
	former, latter time.Duration
	since          time.Time // when the latter began
}

func (q *quickest) note(took time.Duration) {
	if time.Since(q.since) >= tripsLast {
		*q = quickest{former: cmp.Or(q.latter, took), latter: took, since: time.Now()}
	}
	q.latter = min(q.latter, took)
}

// least is 0 if nothing was noted.
func (q *quickest) least() time.Duration { return min(q.former, q.latter) }
