package cockroachdb

import "time"

// widest is how many transactions of a connector retry at a time at most.
const widest = 16

// laneWidth decides how many transactions may retry at a time: at first one, then as many as do not get in each other's way.
//
// What decides is where their time goes. An attempt in the lane that ends without losing again has brought something; one that loses
// has not, nor has the backoff behind it. The time of the former makes the lane wider, if somebody waits, that of the latter makes it
// narrower: so it is as wide as it can be with half of the time lost. Time, and not the number of conflicts, because what an
// attempt that loses costs varies by a factor of a hundred. On a quick network nearly all of it is the wait for somebody's lock, or until a
// deadlock is found, and one at a time is best; on a slow one that is little beside the round trips, during which a lane for one
// lies idle.
type laneWidth struct {
	places  float64 // a whole number of them, and what there is of the next
	most    float64
	typical time.Duration // how long attempts in the lane take, of late
}

const (
	growth       = 0.5         // of a place, for an attempt of typical length
	longAttempt  = time.Second // no attempt counts for more: it need not be the server that took the time
	lateAttempts = 16          // about as many make up what is typical
)

// allows says whether there is a place for one more beside n.
func (w *laneWidth) allows(n int) bool { return n < int(w.places) }

// win notes an attempt that has ended without losing. wanted says whether somebody waits for a place.
func (w *laneWidth) win(took time.Duration, wanted bool) {
	if step := w.step(took); wanted {
		w.places = min(w.most, w.places+step)
	}
}

// lose notes an attempt that has lost, and the wait behind it.
func (w *laneWidth) lose(took time.Duration) {
	w.places = max(1, w.places-w.step(took))
}

func (w *laneWidth) step(took time.Duration) float64 {
	took = max(1, min(took, longAttempt))
	if w.typical == 0 {
		w.typical = took
	}
	w.typical += (took - w.typical) / lateAttempts
	return growth * float64(took) / float64(w.typical)
}
