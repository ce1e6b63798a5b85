package crdbmodel

import (
	"math/rand/v2"
	"time"
)

// In a bubble all goroutines that wake at the same instant run in an order of the scheduler's choosing. So that no
// order matters, each session has instants of its own: those which are its number of nanoseconds after a whole tick.
// It does things that others can notice only then. There are as many sessions in that order as a tick has nanoseconds;
// of more than that, some share their instants.
const tick = 4096 * time.Nanosecond

// own returns the first instant of a session's own, from t on.
func own(session int, t time.Time) time.Time {
	after := time.Duration(t.UnixNano() % int64(tick))
	mine := time.Duration(session) % tick
	return t.Add((mine - after + tick) % tick)
}

// sleepUntil waits until an instant of a session's own, from t on.
func sleepUntil(session int, t time.Time) {
	time.Sleep(time.Until(own(session, t)))
}

// work is what a session has a processor of its node do. Processors serve in the order of arrival.
func (e *engine) work(session int, cost time.Duration) {
	if cost <= 0 {
		return
	}
	e.mu.Lock()
	processors := e.idle[session%len(e.idle)]
	next := 0
	for i, since := range processors {
		if since.Before(processors[next]) {
			next = i
		}
	}
	start := time.Now()
	if processors[next].After(start) {
		start = processors[next]
	}
	end := own(session, start.Add(cost))
	processors[next] = end
	e.mu.Unlock()
	time.Sleep(time.Until(end))
}

// timestamp returns the time on the server's clock. Between two there is room for those that writes are pushed to.
func (e *engine) timestamp() int64 { e.clock += 1000; return e.clock }

// chance returns a number from 0 up to but not including 1: the same for the n-th draw of a session.
func chance(seed uint64, session, n int) float64 {
	return rand.New(rand.NewPCG(seed, uint64(session)<<32|uint64(n))).Float64()
}
