package cockroachdb

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRetryPolicy_InvalidField_ErrorNamesIt(t *testing.T) {
	require.NoError(t, DefaultRetryPolicy().Validate())
	for name, test := range map[string]struct {
		change func(*RetryPolicy)
		want   string // "" if it is valid
	}{
		"no attempts": {
			func(p *RetryPolicy) { p.MaxAttempts = 0 }, "MaxAttempts is 0: it counts the first try; use 1 to switch retries off",
		},
		"negative attempts": {func(p *RetryPolicy) { p.MaxAttempts = -1 }, "MaxAttempts is -1"},
		"one attempt":       {func(p *RetryPolicy) { *p = RetryPolicy{MaxAttempts: 1} }, ""},
		"no time":           {func(p *RetryPolicy) { p.MaxElapsed = 0 }, "MaxElapsed is 0s"},
		"no backoff":        {func(p *RetryPolicy) { p.InitialBackoff, p.MaxBackoff = 0, 0 }, ""},
		"negative backoff":  {func(p *RetryPolicy) { p.InitialBackoff = -1 }, "InitialBackoff is -1ns"},
		"backoff upside down": {
			func(p *RetryPolicy) { p.MaxBackoff = time.Millisecond },
			"MaxBackoff is 1ms: use at least InitialBackoff, which is 20ms",
		},
		"constant backoff":    {func(p *RetryPolicy) { p.BackoffMultiplier = 1 }, ""},
		"shrinking backoff":   {func(p *RetryPolicy) { p.BackoffMultiplier = 0.5 }, "BackoffMultiplier is 0.5"},
		"multiplier NaN":      {func(p *RetryPolicy) { p.BackoffMultiplier = math.NaN() }, "BackoffMultiplier is NaN"},
		"multiplier infinite": {func(p *RetryPolicy) { p.BackoffMultiplier = math.Inf(1) }, "BackoffMultiplier is +Inf"},
		"no lane wait":        {func(p *RetryPolicy) { p.LaneWait = 0 }, ""},
		"negative lane wait":  {func(p *RetryPolicy) { p.LaneWait = -time.Second }, "LaneWait is -1s"},
		"no statements":       {func(p *RetryPolicy) { p.MaxStatements = 0 }, "MaxStatements is 0"},
		"no bytes":            {func(p *RetryPolicy) { p.MaxBytes = 0 }, "MaxBytes is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := DefaultRetryPolicy()
			test.change(&p)
			if err := p.Validate(); test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, "cockroachdb: RetryPolicy."+test.want)
			}
		})
	}
}

func TestRetryPolicy_InTheContext_Wins(t *testing.T) {
	fallback := DefaultRetryPolicy()

	p, err := retryPolicyFrom(t.Context(), fallback)
	require.NoError(t, err)
	assert.Equal(t, fallback, p)
	assert.True(t, p.enabled())

	mine := fallback
	mine.MaxAttempts = 7
	ctx := WithRetryPolicy(t.Context(), mine)
	p, err = retryPolicyFrom(ctx, fallback)
	require.NoError(t, err)
	assert.Equal(t, mine, p)

	p, err = retryPolicyFrom(WithoutRetries(ctx), fallback)
	require.NoError(t, err)
	assert.False(t, p.enabled())

	_, err = retryPolicyFrom(WithRetryPolicy(ctx, RetryPolicy{}), fallback)
	assert.ErrorContains(t, err, "MaxAttempts is 0")
}

func TestBackoff_EachConflict_DoublesUpToTheMaximum(t *testing.T) {
	p := DefaultRetryPolicy()
	half := func() float64 { return 0.5 }
	for n, want := range map[int]time.Duration{
		0:           10 * time.Millisecond,
		1:           10 * time.Millisecond,
		2:           20 * time.Millisecond,
		3:           40 * time.Millisecond,
		6:           320 * time.Millisecond,
		7:           500 * time.Millisecond,
		1000:        500 * time.Millisecond,
		math.MaxInt: 500 * time.Millisecond,
	} {
		assert.Equal(t, want, p.backoff(n, half), "wait %d", n)
	}
	assert.Zero(t, p.backoff(9, func() float64 { return 0 }), "full jitter goes down to zero")
}

func TestBackoff_ExtremeSettings_StaysInItsBounds(t *testing.T) {
	nearlyOne := func() float64 { return math.Nextafter(1, 0) }
	p := RetryPolicy{InitialBackoff: math.MaxInt64, MaxBackoff: math.MaxInt64, BackoffMultiplier: math.MaxFloat64}
	for _, n := range []int{1, 2, math.MaxInt} {
		assert.Positive(t, p.backoff(n, nearlyOne))
	}
	p = RetryPolicy{MaxBackoff: time.Second, BackoffMultiplier: math.MaxFloat64}
	assert.Zero(t, p.backoff(1000, nearlyOne), "zero stays zero")
}

func TestSleep_ContextOpen_TakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		start := time.Now()
		require.NoError(t, sleep(ctx, ctx, time.Second))
		assert.Equal(t, time.Second, time.Since(start))
		require.NoError(t, sleep(ctx, ctx, 0))
		require.NoError(t, sleep(ctx, ctx, -1))
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestSleep_ContextDone_ReturnsItsCause(t *testing.T) {
	for _, d := range []time.Duration{0, time.Hour} {
		done, cancel := context.WithCancelCause(t.Context())
		cancel(assert.AnError)
		assert.Equal(t, context.Canceled, sleep(done, t.Context(), d), "the error, not the cause")
		assert.Equal(t, context.Canceled, sleep(t.Context(), done, d))
	}
	synctest.Test(t, func(t *testing.T) {
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		assert.Equal(t, context.DeadlineExceeded, sleep(soon, t.Context(), time.Hour))
		soon, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.Equal(t, context.DeadlineExceeded, sleep(t.Context(), soon, time.Hour))
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}
