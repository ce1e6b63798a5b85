package cockroachdb

import (
	"fmt"
	"math"
	"sync/atomic"
)

// A RetryThrottle keeps a struggling cluster from being drowned in retries: a bucket of tokens, one per connector, as
// gRPC's retry throttling has. Each retry takes a token, each commit puts some back, and without a token there is no
// retry: the server's error goes to the application. Start from [DefaultRetryThrottle]; a zero field means zero.
//
// gRPC stops retrying when the bucket is half empty, not when it is empty. There every failed call takes a token,
// retried or not, so that the lower half measures how bad things are and how long they have to go well again. Here only
// a retry takes one, nobody could ever get at the lower half, and so all of the bucket is in use.
type RetryThrottle struct {
	// MaxTokens is how many tokens the bucket holds, and holds at first: the number of retries in a row, without a
	// single commit, after which the connector stops retrying. At least 1.
	MaxTokens int

	// TokensPerCommit is how many tokens come back with each commit of a transaction, and with each statement outside
	// of one that succeeded after a retry: the number of retries a commit may cost in the long run. It may be a
	// fraction. Above zero.
	TokensPerCommit float64

	// Off switches throttling off; the other fields do not matter then.
	Off bool
}

// DefaultRetryThrottle returns the throttle of a connector that was given none. It is sized so that a hot workload that
// commits is never throttled, only one in which hardly anything commits any more.
func DefaultRetryThrottle() RetryThrottle {
	return RetryThrottle{MaxTokens: 1000, TokensPerCommit: 10}
}

// Validate returns an error that names the first field that can't be used and what it may be, or nil.
func (t RetryThrottle) Validate() error {
	switch {
	case t.Off:
		return nil
	case t.MaxTokens < 1:
		return fmt.Errorf("cockroachdb: RetryThrottle.MaxTokens is %d: use 1 or more; to switch throttling off set Off", t.MaxTokens)
	case !(t.TokensPerCommit > 0): // the negation catches NaN
		return fmt.Errorf("cockroachdb: RetryThrottle.TokensPerCommit is %v: use a number above zero; to switch throttling off set Off", t.TokensPerCommit)
	}
	return nil
}

// A throttle is the bucket of a RetryThrottle. A nil throttle lets everything pass. It may be used by any number of
// goroutines.
type throttle struct {
	size, perCommit float64
	bits            atomic.Uint64 // the tokens, as math.Float64bits
}

// newThrottle returns a full bucket, or nil for a throttle that is off.
func newThrottle(config RetryThrottle) *throttle {
	if config.Off {
		return nil
	}
	t := &throttle{size: float64(config.MaxTokens), perCommit: config.TokensPerCommit}
	t.bits.Store(math.Float64bits(t.size))
	return t
}

// take takes a token for one retry, and reports whether there was one.
func (t *throttle) take() bool {
	return t == nil || t.add(-1)
}

// committed puts back what a commit earns.
func (t *throttle) committed() {
	if t != nil {
		t.add(t.perCommit)
	}
}

// add changes the tokens by n, but not to more than the bucket holds, and leaves them and returns false where that
// would make them negative. A full bucket is only read, so that commits do not contend while all is well.
func (t *throttle) add(n float64) bool {
	for {
		old := t.bits.Load()
		tokens := math.Float64frombits(old)
		changed := min(tokens+n, t.size)
		if changed < 0 {
			return false
		}
		if changed == tokens || t.bits.CompareAndSwap(old, math.Float64bits(changed)) {
			return true
		}
	}
}
