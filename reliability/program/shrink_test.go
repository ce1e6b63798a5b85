package program

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func never() bool { return false }

// TestShrink looks for the least that has an upsert in it, at a place where nodes die.
func TestShrink(t *testing.T) {
	t.Parallel()
	fails := func(r *Round) bool {
		upserts := 0 // those of a tail aside: a tail would be needed for them
		for _, p := range r.programs() {
			eachOf(p.Steps, func(s *Statement) {
				if s.Kind == Upsert {
					upserts++
				}
			})
		}
		return upserts >= 2 && r.Faults.Rates["cut before"] > 0
	}
	var r *Round
	for seed := uint64(1); r == nil || !fails(r); seed++ {
		r = NewRound(CockroachDB, seed, Size{Workers: 4, Programs: 10, Keys: 6})
	}
	before := r.String()
	small := Shrink(r, fails, never)
	require.True(t, fails(small))
	assert.Equal(t, before, r.String(), "the round itself stays as it is")
	assert.False(t, small.Wrapped)
	assert.Len(t, small.Faults.Rates, 1)
	assert.Empty(t, small.Faults.Nodes)
	statements := 0
	small.each(func(s *Statement) {
		statements++
		plain := Statement{Kind: Upsert, Lo: s.Lo, Hi: s.Hi, Column: s.Column, Pick: s.Pick, Delta: s.Delta}
		plain.Read, plain.Stop = s.Read, s.Stop
		assert.Equal(t, plain, *s)
	})
	assert.Equal(t, 2, statements)
	for _, p := range small.programs() {
		assert.Nil(t, p.Cancel)
		assert.Equal(t, Default, p.Policy)
		assert.Nil(t, p.Tail)
		assert.False(t, p.Careless || p.Patient)
		for _, s := range p.Steps {
			assert.Nil(t, s.Block)
			assert.Equal(t, Always, s.If)
		}
	}
}

func TestShrinkEnds(t *testing.T) {
	t.Parallel()
	r := NewRound(CockroachDB, 1, Size{Workers: 2, Programs: 5, Keys: 6})
	asked := 0
	fails := func(*Round) bool { asked++; return true }
	small := Shrink(r, fails, func() bool { return asked == 1 })
	assert.Equal(t, 1, asked)
	assert.Len(t, small.Workers, 1)
}
