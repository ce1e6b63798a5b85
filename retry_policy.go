package cockroachdb

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// A RetryPolicy says how often, for how long and with how much memory the driver retries a transaction. Start from
// [DefaultRetryPolicy] and change what you need: a field's zero value means zero, never "the default".
//
// A policy that is used by a connector or carried by a context is a copy; changing the original changes nothing.
type RetryPolicy struct {
	// MaxAttempts bounds how often a transaction's statements are run. It counts the first time, so 1 switches retries
	// off, and then no other field matters. At least 1.
	MaxAttempts int

	// MaxElapsed bounds the time of all attempts of a transaction together, from its first statement. Once it is over
	// no new attempt begins, and no backoff that would last beyond it; an attempt that is running is not cut short.
	// Above zero.
	MaxElapsed time.Duration

	// A transaction that loses again although it retries in the lane waits, without holding locks, for a random time
	// between zero and a ceiling ("full jitter"). The ceiling is InitialBackoff at first, is multiplied by
	// BackoffMultiplier for each further wait, and stays at MaxBackoff once it is there. InitialBackoff may be zero,
	// for no waits; MaxBackoff is at least InitialBackoff and BackoffMultiplier at least 1.
	InitialBackoff    time.Duration
	MaxBackoff        time.Duration
	BackoffMultiplier float64

	// LaneWait bounds the wait for the retry lane, in which one transaction of a connector at a time retries, or on
	// PostgreSQL one for each row. There a transaction that writes or locks a row which others have just lost waits in
	// it before it loses, too, and so does one that reads such a row by a text that nearly always is for a write. After
	// LaneWait it goes on without the lane, so that an application that opens a transaction inside another does not
	// wait for itself. Zero means not to wait. Not below zero.
	LaneWait time.Duration

	// MaxStatements and MaxBytes bound what is recorded of a transaction in order to run it again: the number of
	// statements, and the bytes of their text, their arguments and the record itself. A transaction that grows beyond
	// goes on, but is no longer retried. At least 1 each.
	MaxStatements int
	MaxBytes      int

	// MaxFailovers bounds how many connections a transaction, or a statement outside one, may lose and still go on, on
	// another one: what brings servers down must not be sent to all of them. Zero switches that off, and a lost
	// connection then ends the transaction. Not below zero.
	MaxFailovers int
}

// DefaultRetryPolicy returns the policy of a connector that was given none.
func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{
		MaxAttempts:       100,
		MaxElapsed:        time.Minute,
		InitialBackoff:    20 * time.Millisecond,
		MaxBackoff:        time.Second,
		BackoffMultiplier: 2,
		LaneWait:          5 * time.Second,
		MaxStatements:     16384,
		MaxBytes:          8 << 20,
		MaxFailovers:      4,
	}
}

// Validate returns an error that names the first field that can't be used and what it may be, or nil.
func (p RetryPolicy) Validate() error {
	invalid := func(field string, value any, want string) error {
		return fmt.Errorf("cockroachdb: RetryPolicy.%s is %v: %s", field, value, want)
	}
	switch {
	case p.MaxAttempts < 1:
		return invalid("MaxAttempts", p.MaxAttempts,
			"it counts the first try; use 1 to switch retries off, 2 or more to allow them")
	case p.MaxAttempts == 1:
		return nil
	case p.MaxElapsed <= 0:
		return invalid("MaxElapsed", p.MaxElapsed, "use a duration above zero; to switch retries off set MaxAttempts to 1")
	case p.InitialBackoff < 0:
		return invalid("InitialBackoff", p.InitialBackoff, "use zero for no waits, or a duration above zero")
	case p.MaxBackoff < p.InitialBackoff:
		return invalid("MaxBackoff", p.MaxBackoff, fmt.Sprintf("use at least InitialBackoff, which is %v", p.InitialBackoff))
	case !(p.BackoffMultiplier >= 1) || math.IsInf(p.BackoffMultiplier, 1): // the negation catches NaN
		return invalid("BackoffMultiplier", p.BackoffMultiplier, "use 1 for waits that do not grow, or a number above 1")
	case p.LaneWait < 0:
		return invalid("LaneWait", p.LaneWait, "use zero to not wait for the retry lane, or a duration above zero")
	case p.MaxStatements < 1:
		return invalid("MaxStatements", p.MaxStatements, "use 1 or more; to switch retries off set MaxAttempts to 1")
	case p.MaxBytes < 1:
		return invalid("MaxBytes", p.MaxBytes, "use 1 or more; to switch retries off set MaxAttempts to 1")
	case p.MaxFailovers < 0:
		return invalid("MaxFailovers", p.MaxFailovers, "use zero to end a transaction with its connection, or 1 or more")
	}
	return nil
}

type retryPolicyKey struct{}

// WithRetryPolicy returns a context whose transactions, and statements outside a transaction, are retried by p instead
// of by the connector's policy. For a transaction it is the context given to BeginTx that counts, not those of its
// statements. A policy that does not pass [RetryPolicy.Validate] makes BeginTx, or the statement, fail with that error.
func WithRetryPolicy(ctx context.Context, p RetryPolicy) context.Context {
	return context.WithValue(ctx, retryPolicyKey{}, p)
}

// WithoutRetries returns a context whose transactions, and statements outside a transaction, are not retried: the
// server's 40001 goes to the application.
func WithoutRetries(ctx context.Context) context.Context {
	return WithRetryPolicy(ctx, RetryPolicy{MaxAttempts: 1})
}

// retryPolicyFrom returns the policy that ctx carries, or fallback, which is taken to be valid.
func retryPolicyFrom(ctx context.Context, fallback RetryPolicy) (RetryPolicy, error) {
	p, ok := ctx.Value(retryPolicyKey{}).(RetryPolicy)
	if !ok {
		return fallback, nil
	}
	return p, p.Validate()
}

// enabled reports whether the policy allows a second attempt.
func (p RetryPolicy) enabled() bool { return p.MaxAttempts > 1 }

// backoff returns the n-th wait of a transaction, counted from 1: a random part of a ceiling that grows with n up to
// MaxBackoff. rnd returns numbers from 0 up to but not including 1.
func (p RetryPolicy) backoff(n int, rnd func() float64) time.Duration {
	ceiling := float64(p.InitialBackoff)
	if ceiling > 0 { // zero times an overflow to infinity is not a number
		ceiling *= math.Pow(p.BackoffMultiplier, float64(max(n, 1)-1))
	}
	return time.Duration(rnd() * min(ceiling, float64(p.MaxBackoff)))
}

// sleep waits for d, or until one of the two contexts is done, and returns that context's error then. It looks at the
// contexts first, whatever d is.
func sleep(ctx, ctx2 context.Context, d time.Duration) error {
	if err := cmp.Or(ctx.Err(), ctx2.Err()); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-ctx2.Done():
		return ctx2.Err()
	}
}

// redialPause is the least time between two dials for one session.
const redialPause = 10 * time.Millisecond

// redialAfter is how long to wait after the n-th dial for one session that has failed.
func (p RetryPolicy) redialAfter(n int) time.Duration {
	return max(redialPause, p.backoff(n, rand.Float64))
}
