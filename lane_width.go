package cockroachdb

import "time"

// widest is how many transactions of a connector retry at a time at most.
const widest = 16

// laneWidth decides how many transactions may retry at a time: as many as do not get in each other's way.
//
// There are two reasons for more than one. The first is the network: while it carries, a lane for one stands idle. So there is a place
// for each millisecond that a message takes to be answered if the server has next to nothing to do, and one at least. On a quick
// network that is one, and there one at a time is best: an attempt that loses takes a hundred times as long as one that wins, since
// nearly all of it is the wait for somebody's lock, or until a deadlock is found.
//
// The second is that they may have nothing to fight about, which their time shows. An attempt in the lane that ends without losing
// again has brought something; one that loses has not, nor has the backoff behind it. The time of the former is put on an account,
// if somebody waits; that of the latter is taken from it. There is one more place for each attempt's worth of time that is on the
// account. So no more than about half of the time is lost for these places, and after a fight there are none for as long as the
// fight has cost.
type laneWidth struct {
	most    int
	trip    time.Duration // to the server and back, as good as without work for it, of late; 0 if it is not known
	account time.Duration
	typical time.Duration // how long an attempt takes that wins, of late; 0 if none has
}

const (
	longAttempt  = time.Second     // no attempt counts for more: it need not be the server that took the time
	mostDebt     = time.Second / 4 // bad times are forgotten, once so much has been paid
	lateAttempts = 16              // about as many make up what is typical
	lateTrips    = 8               // and about as many are looked at for the quickest
)

// places says how many may be in the lane.
func (w *laneWidth) places() int {
	places := max(1, int(w.trip/time.Millisecond))
	if w.account > 0 {
		places += int(w.account / w.typical)
	}
	return min(w.most, places)
}

// tripTook notes how long the server took to answer what is next to no work. What takes longer than the quickest of late had to
// wait for something else.
func (w *laneWidth) tripTook(took time.Duration) {
	if w.trip == 0 {
		w.trip = took
	}
	w.trip = min(took, w.trip+w.trip/lateTrips)
}

// win notes an attempt that has ended without losing. wanted says whether somebody waits for a place; without that, time only pays a debt.
func (w *laneWidth) win(took time.Duration, wanted bool) {
	took = max(1, min(took, longAttempt))
	if w.typical == 0 {
		w.typical = took
	}
	w.typical = max(1, w.typical+(took-w.typical)/lateAttempts)
	if wanted || w.account < 0 {
		w.account = min(w.account+took, time.Duration(w.most-1)*w.typical)
	}
}

// lose notes an attempt that has lost, and the wait behind it.
func (w *laneWidth) lose(took time.Duration) {
	w.account = max(w.account-min(took, longAttempt), -mostDebt)
}
