package fleet

import (
	"math"
	"math/rand/v2"
	"time"
)

// An instant is a time since the fleet was made. It is compared atomically, and does not jump with the wall clock.
type instant = time.Duration

const never instant = math.MaxInt64

// at returns the instant of t.
func (f *Fleet) at(t time.Time) instant { return t.Sub(f.made) }

func (f *Fleet) now() instant { return f.at(time.Now()) }

// jitter returns d, changed at random by at most the given part of it.
func jitter(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 + part*(2*rand.Float64()-1)))
}

// A bucket hands out tokens: at most burst at once, and one in each gap in the long run. The bucket without a gap never
// runs out. Its owner's lock guards it.
type bucket struct {
	gap   time.Duration
	burst int
	full  instant // when the bucket will be full again if nobody takes any more
}

// perSecond returns a full bucket of n tokens that gets n new ones a second, or one that never runs out if n is 0.
func perSecond(n int) bucket {
	if n <= 0 {
		return bucket{}
	}
	return bucket{gap: time.Second / time.Duration(n), burst: n}
}

// wait returns how long it is from at until there is a token.
func (b *bucket) wait(at instant) time.Duration {
	return max(0, b.full-time.Duration(b.burst-1)*b.gap-at)
}

// take takes a token that is there, or will be after wait.
func (b *bucket) take(at instant) { b.full = max(b.full, at) + b.gap }

// giveBack puts back a token that was not used.
func (b *bucket) giveBack() { b.full -= b.gap }

// tryTake takes a token if there is one at once.
func (b *bucket) tryTake(at instant) bool {
	if b.wait(at) > 0 {
		return false
	}
	b.take(at)
	return true
}
