package cockroachdb

import "time"

// widest is how many transactions of a connector retry at a time at most.
const widest = 16

// laneWidth decides how many transactions may retry at a time: at first one, then as many as do not get in each other's way.
//
// What decides is where their time goes. An attempt in the lane that ends without losing again has brought something; one that loses
// has not, nor has the backoff behind it. The time of the former is put on an account, if somebody waits; that of the latter is taken from it. The lane
// is for one, and for one more for each attempt's worth of time that is on the account. So no more than about half of the time is lost, and after a fight the
// lane is narrow for as long as the fight has cost. Time, and not the number of conflicts, because what an attempt that loses costs varies by a factor of a
// hundred: on a quick network nearly all of it is the wait for somebody's lock, or until a deadlock is found, and one at a time is
// best; on a slow one that is little beside the round trips, during which a lane for one lies idle.
type laneWidth struct {
	most    int
	account time.Duration
	typical time.Duration // how long an attempt takes that wins, of late; 0 if none has
}

const (
	longAttempt  = time.Second     // no attempt counts for more: it need not be the server that took the time
	mostDebt     = time.Second / 4 // bad times are forgotten, once so much has been paid
	lateAttempts = 16              // about as many make up what is typical
)

// places says how many may be in the lane.
func (w *laneWidth) places() int {
	if w.account <= 0 {
		return 1
	}
	return min(w.most, 1+int(w.account/w.typical))
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
