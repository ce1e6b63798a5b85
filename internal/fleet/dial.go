package fleet

import (
	"context"
	"fmt"
	"time"
)

// A Dial is leave to dial a host once. Exactly one of Failed, Opened and Cancelled says how it went; of several calls
// the first counts, so that Cancelled may be deferred.
type Dial struct {
	fleet *Fleet
	host  *host
	began instant
	probe *probe // the host's, if this dial is it
	done  bool   // the fleet's lock guards it
}

// Dial waits until host may be dialled: for the dial budget and, where the host is in doubt, until no other dial to it
// is under way. The caller passes last for the last host of its plan.
//
// Where skip is true there is nothing to be dialled, and err says why: another dial to the host, which is in doubt, is
// under way or has just failed. Hosts remain unless this was the last one; then the caller's attempt is over, and the
// next may begin at once: what needs pacing waits here. Where skip is false and err is not nil, ctx is done.
func (f *Fleet) Dial(ctx context.Context, host string, last bool) (d *Dial, skip bool, err error) {
	if err := ctx.Err(); err != nil || f == nil {
		return nil, false, err
	}
	h := f.expect(host)
	for paid := false; ; {
		a := f.admit(h, last, paid)
		switch {
		case a.dial != nil:
			return a.dial, false, nil
		case a.skip != nil:
			return nil, true, a.skip
		}
		paid = a.paid
		if err := a.wait(ctx); err != nil {
			f.giveUp(h, paid)
			return nil, false, fmt.Errorf("waiting to connect to %s: %w", host, err)
		}
		if err := a.failure(); err != nil {
			f.skipped(h)
			return nil, true, err
		}
	}
}

// An admission is the answer to one who wants to dial: a dial, a reason to leave it, or something to wait for.
type admission struct {
	dial  *Dial
	skip  error
	probe *probe        // to be waited for
	pause time.Duration // else
	paid  bool          // a token of the budget is taken, and good after the pause
}

// expect counts one who wants to dial.
func (f *Fleet) expect(name string) *host {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.host(name)
	h.dialing++
	return h
}

// admit lets a dial begin, if the host and the budget allow it now. A token that was paid is good for a dial, and is
// given back otherwise.
func (f *Fleet) admit(h *host, last, paid bool) admission {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now()
	if !h.healthy() && (h.probe != nil || at < h.next) {
		if paid {
			f.dials.giveBack()
		}
		return f.hold(h, last, at)
	}
	if !paid {
		pause := f.dials.wait(at)
		f.dials.take(at)
		if pause > 0 {
			return admission{pause: pause, paid: true}
		}
	}
	d := &Dial{fleet: f, host: h, began: at}
	if !h.healthy() {
		d.probe = &probe{done: make(chan struct{})}
		h.probe = d.probe
	}
	return admission{dial: d}
}

// hold sends one who wants to dial a host in doubt to the next host, or has it wait if there is none.
func (f *Fleet) hold(h *host, last bool, at instant) admission {
	switch {
	case !last:
		h.dialing--
		f.counts.Dials.Skipped++
		return admission{skip: h.whySkipped()}
	case h.probe != nil:
		return admission{probe: h.probe}
	}
	return admission{pause: h.next - at}
}

// whySkipped returns why nobody else should dial the host now.
func (h *host) whySkipped() error {
	if h.probe != nil {
		return fmt.Errorf("%s is in doubt, and another connection is trying it", h.name)
	}
	return h.failure()
}

// failure returns the latest failure of a host in doubt, for those who were not part of it.
func (h *host) failure() error {
	if h.cause == nil {
		return fmt.Errorf("another connection to %s has just failed", h.name)
	}
	return fmt.Errorf("another connection to %s has just failed: %w", h.name, h.cause)
}

// wait waits for what the admission is about, or returns ctx's error.
func (a admission) wait(ctx context.Context) error {
	if a.probe != nil {
		select {
		case <-a.probe.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	timer := time.NewTimer(a.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failure returns why the probe that was waited for has failed, or nil.
func (a admission) failure() error {
	if a.probe == nil {
		return nil
	}
	return a.probe.err
}

// giveUp ends the wait of one whose context is done.
func (f *Fleet) giveUp(h *host, paid bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if paid {
		f.dials.giveBack()
	}
	f.counts.Dials.Cancelled++
	h.dialing--
}

// skipped ends the wait of one whose host another has just failed to reach.
func (f *Fleet) skipped(h *host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.Dials.Skipped++
	h.dialing--
}

// Failed says that the dial came to nothing, and why; cause, which may be nil, is told to those who wait for this dial.
// The host is in doubt, unless it was the login that was at fault.
func (d *Dial) Failed(reason Failure, cause error) {
	d.settle(func(f *Fleet, h *host, at instant) {
		*f.counts.failure(reason)++
		if reason == Rejected {
			h.prove(at)
			return
		}
		h.doubt(reason, at)
		h.cause, h.silent = cause, 0
		if d.probing() {
			h.failed++
			h.endProbe(h.failure())
		}
		h.pace(at)
	})
}

// Cancelled says that the caller gave the dial up before anything was heard, because its context is done. That says
// nothing of the host; only if such dials have lasted for a second together is the host in doubt.
func (d *Dial) Cancelled() {
	d.settle(func(f *Fleet, h *host, at instant) {
		f.counts.Dials.Cancelled++
		h.silent += at - d.began
		if !h.healthy() || h.silent >= silence {
			h.doubt(h.reason, at)
		}
		if d.probing() {
			h.endProbe(nil)
		}
	})
}

// Opened says that the dial has become a connection, to the given node of the host; 0 stands for a node that is not
// known.
func (d *Dial) Opened(node uint32) (m *Member) {
	d.settle(func(f *Fleet, h *host, at instant) {
		f.counts.Dials.Opened++
		h.prove(at)
		m = f.join(h, node, at)
	})
	return m
}

// probing reports whether others wait for the end of this dial.
func (d *Dial) probing() bool { return d.probe != nil && d.host.probe == d.probe }

// settle ends the dial, in a way that outcome says, unless it has ended before.
func (d *Dial) settle(outcome func(f *Fleet, h *host, at instant)) {
	if d == nil {
		return
	}
	f := d.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.done {
		return
	}
	d.done = true
	d.host.dialing--
	outcome(f, d.host, f.now())
}
