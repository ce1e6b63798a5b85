// Package outage takes nodes of a crdbsim cluster away, one at a time, and brings them back.
package outage

import (
	"context"
	"time"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// A Way is how a node goes away.
type Way string

// The ways there are.
const (
	Drain   Way = "drain"   // in good order, as CockroachDB's own drain does
	Kill    Way = "kill"    // as by SIGKILL
	Silence Way = "silence" // it answers nothing; half-way the others roll back its transactions; at the end it is killed
)

// heartbeats is how long CockroachDB's nodes wait for those of a transaction before they take it for abandoned.
const heartbeats = 5 * time.Second

// TakeAway takes a node away. It returns after the given time, or when ctx is done, with the node killed.
func TakeAway(ctx context.Context, n *crdbsim.Node, way Way, away time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, away)
	defer cancel()
	switch way {
	case Drain:
		if err := n.Drain(ctx, drainSteps(away)...); err != nil && ctx.Err() == nil {
			return err
		}
	case Silence:
		n.Silence()
		if sleep(ctx, min(away/2, heartbeats)) {
			n.Expire()
		}
	case Kill:
		n.Kill()
	}
	<-ctx.Done()
	n.Kill()
	return nil
}

// drainSteps are CockroachDB's, with waits that leave half of the time for the node to be down.
func drainSteps(away time.Duration) []crdbsim.Step {
	return []crdbsim.Step{
		{Enter: crdbsim.Unready, AtMost: away / 20},
		{Enter: crdbsim.Refusing, AtMost: away / 4},
		{Enter: crdbsim.Closing, AtMost: away / 10},
		{Enter: crdbsim.Ended, AtMost: away / 10},
		{Enter: crdbsim.Dead},
	}
}

// sleep reports whether the whole time has passed before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
