package main

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// fine is a result that breaks no promise.
func fine(driver string) *result {
	t := newTally()
	t.add(t.began, history.Committed, nil)
	return &result{driver: driver, tally: t, nodes: 3, spread: spread{"n1": 10, "n2": 11, "n3": 11}}
}

func TestBroken_EachPromise(t *testing.T) {
	t.Parallel()
	failed := func(r *result) { r.tally.add(time.Now(), history.Failed, server("57P01")) }
	unknown := func(r *result) { r.tally.add(time.Now(), history.Unknown, server("57P01")) }
	uneven := func(r *result) { r.spread = spread{"n1": 32} }
	everywhere := []string{modeDrain, modeKill, modeSilence}
	for name, c := range map[string]struct {
		change      func(*result)
		ours, pgxes []string // the modes in which it is a promise broken
	}{
		"nothing":   {func(*result) {}, nil, nil},
		"lost":      {func(r *result) { r.account.lost = 1 }, everywhere, everywhere},
		"doubled":   {func(r *result) { r.account.doubled = 1 }, everywhere, everywhere},
		"risen":     {func(r *result) { r.account.risen = 1 }, everywhere, everywhere},
		"unbooked":  {func(r *result) { r.account.unbooked = 1 }, everywhere, everywhere},
		"anomaly":   {func(r *result) { r.anomalies = make([]history.Anomaly, 1) }, everywhere, everywhere},
		"no commit": {func(r *result) { r.tally = newTally() }, everywhere, everywhere},
		"error":     {failed, everywhere, nil},
		"ambiguous": {unknown, []string{modeDrain}, nil},
		"uneven":    {uneven, []string{modeDrain}, nil},
	} {
		for _, mode := range everywhere {
			o := options{mode: mode}
			ours, pgxes := fine("cockroachdb"), fine("pgx")
			c.change(ours)
			c.change(pgxes)
			assert.Equal(t, slices.Contains(c.ours, mode), len(ours.broken(o)) == 1, "%s in %s, ours", name, mode)
			assert.Equal(t, slices.Contains(c.pgxes, mode), len(pgxes.broken(o)) == 1, "%s in %s, pgx", name, mode)
		}
	}
}

// TestBroken_PgxDoublesSingles checks that what pgx is known to do wrong is not held against this driver.
func TestBroken_PgxDoublesSingles(t *testing.T) {
	t.Parallel()
	o := options{mode: modeKill, singles: true}
	ours, pgxes := fine("cockroachdb"), fine("pgx")
	ours.account.doubled, pgxes.account.doubled = 1, 1
	assert.Len(t, ours.broken(o), 1)
	assert.Empty(t, pgxes.broken(o))
}

func TestEven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spread spread
		want   bool
	}{
		{spread{"a": 10, "b": 11, "c": 11}, true},
		{spread{"a": 6, "b": 10, "c": 16}, true},
		{spread{"a": 5, "b": 11, "c": 16}, false},
		{spread{"a": 6, "b": 9, "c": 17}, false},
		{spread{"a": 16, "b": 16}, false},
		{spread{}, false},
	} {
		assert.Equal(t, c.want, c.spread.even(3), "%v", c.spread)
	}
	assert.Equal(t, "a: 1  b: 2", spread{"b": 2, "a": 1}.String())
	assert.Equal(t, "none", spread{}.String())
}

func TestTally_QuantilesAndGap(t *testing.T) {
	t.Parallel()
	r := newTally()
	assert.Zero(t, r.quantile(0.99))
	for i := range 100 {
		r.took = append(r.took, time.Duration(100-i))
	}
	assert.Equal(t, time.Duration(51), r.quantile(0.5))
	assert.Equal(t, time.Duration(100), r.quantile(0.99))
	assert.Equal(t, time.Duration(9), r.longestGap(9), "nobody has committed anything")
	r.commits = []time.Duration{7, 2, 3}
	assert.Equal(t, time.Duration(4), r.longestGap(9))
	assert.Equal(t, time.Duration(13), r.longestGap(20))
}
