package crdbsim

import (
	"context"
	"time"
)

// A Step is a phase that a node enters, and for how long at most it stays. A step from [Refusing] on ends earlier when
// no client is connected any more.
type Step struct {
	Enter  Phase
	AtMost time.Duration
}

// DefaultDrain returns the steps of a CockroachDB with its own settings: it goes on for up to ten seconds if
// transactions do, and its process ends.
func DefaultDrain() []Step {
	return []Step{{Unready, 0}, {Refusing, 0}, {Closing, 10 * time.Second}, {Ended, time.Second}, {Dead, 0}}
}

// Drain takes the node through steps, those of [DefaultDrain] if there are none. It returns after the last one, or
// when ctx ends, with the node left where it is then.
func (n *Node) Drain(ctx context.Context, steps ...Step) error {
	if len(steps) == 0 {
		steps = DefaultDrain()
	}
	for _, s := range steps {
		if err := n.Enter(s.Enter); err != nil {
			return err
		}
		if err := n.stay(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) stay(ctx context.Context, s Step) error {
	var empty <-chan struct{}
	if s.Enter.refuses() {
		empty = n.empty()
	}
	over := time.NewTimer(s.AtMost)
	defer over.Stop()
	select {
	case <-empty:
	case <-over.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Kill ends the node as SIGKILL does: see [Dead]. What it had open is rolled back in PostgreSQL. A commit that is under
// way may come to pass or not; to have it one way use a fault that calls Kill:
//
//	n.Inject(crdbsim.On("^release", crdbsim.Action{Call: n.Kill}))      // not committed
//	n.Inject(crdbsim.On("^release", crdbsim.Action{CallReply: n.Kill})) // committed
func (n *Node) Kill() { _ = n.Enter(Dead) } // it fails only when the Sim is closed, and so as dead

// Silence stops the node as SIGSTOP does, or a network that loses every packet: see [Silent]. Its transactions stay
// open until it returns, or until [Node.Expire].
func (n *Node) Silence() { _ = n.Enter(Silent) } // it fails only on a Sim that is closed, or dead and without its port

// Return brings the node back, from wherever it is, at the same address. The error is that of [Sim.Enter].
func (n *Node) Return() error { return n.Enter(Serving) }
