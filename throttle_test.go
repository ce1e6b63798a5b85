package cockroachdb

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tokens returns how many tokens the bucket holds: infinitely many if throttling is off.
func (t *throttle) tokens() float64 {
	if t == nil {
		return math.Inf(1)
	}
	return math.Float64frombits(t.bits.Load())
}

func TestRetryThrottle_InvalidField_ErrorNamesIt(t *testing.T) {
	for _, valid := range []RetryThrottle{
		DefaultRetryThrottle(),
		{Off: true},
		{MaxTokens: 1, TokensPerCommit: 0.001},
		{MaxTokens: 1, TokensPerCommit: math.Inf(1)},
	} {
		assert.NoError(t, valid.Validate())
	}
	assert.ErrorContains(t, RetryThrottle{}.Validate(), "RetryThrottle.MaxTokens is 0")
	for _, perCommit := range []float64{0, -1, math.NaN()} {
		assert.ErrorContains(t, RetryThrottle{MaxTokens: 1, TokensPerCommit: perCommit}.Validate(),
			"RetryThrottle.TokensPerCommit is")
	}
}

func TestThrottle_TokensUsedUp_StopsUntilCommits(t *testing.T) {
	b := newThrottle(RetryThrottle{MaxTokens: 3, TokensPerCommit: 0.5})
	for left := 2.0; left >= 0; left-- {
		require.True(t, b.take())
		require.Equal(t, left, b.tokens())
	}
	assert.False(t, b.take(), "empty")

	b.committed()
	assert.False(t, b.take(), "half a token is none")
	b.committed()
	assert.True(t, b.take())
	assert.Zero(t, b.tokens())

	for range 100 {
		b.committed()
	}
	assert.Equal(t, 3.0, b.tokens(), "never more than full")
}

func TestThrottle_Off_NeverStops(t *testing.T) {
	b := newThrottle(RetryThrottle{Off: true})
	assert.True(t, b.take())
	b.committed()
	assert.Equal(t, math.Inf(1), b.tokens())
}

func TestThrottle_EveryTenthCommits_LetsRetriesPass(t *testing.T) {
	b := newThrottle(DefaultRetryThrottle())
	for range 10_000 {
		for range 10 {
			require.True(t, b.take(), "ten retries for each commit")
		}
		b.committed()
	}
	stopped := 0
	for range 2_000 {
		if !b.take() {
			stopped++
		}
	}
	assert.Equal(t, 1000, stopped, "nothing commits")
}

func TestThrottle_ManyGoroutines_TakeNoMoreThanThereIs(t *testing.T) {
	b := newThrottle(RetryThrottle{MaxTokens: 1000, TokensPerCommit: 0.5})
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.take() {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1000, taken.Load())
	for range 8 {
		wg.Go(func() {
			for range 100 {
				b.committed()
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 400.0, b.tokens())
	assert.Zero(t, testing.AllocsPerRun(100, func() { b.take(); b.committed() }))
}
