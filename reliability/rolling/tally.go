package main

import (
	"slices"
	"sync"
	"time"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// A tally counts what the clients of a run have been told.
type tally struct {
	began time.Time

	mu        sync.Mutex
	commits   []time.Duration // when, since began
	took      []time.Duration // for those that were committed
	ambiguous int
	failures  map[string]int    // by kind
	examples  map[string]string // the first of each kind
}

func newTally() *tally {
	return &tally{began: time.Now(), failures: make(map[string]int), examples: make(map[string]string)}
}

// add takes down how a transaction, or a read outside one, has ended that began then.
func (t *tally) add(began time.Time, outcome history.Outcome, err error) {
	ended := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch outcome {
	case history.Committed:
		t.commits = append(t.commits, ended.Sub(t.began))
		t.took = append(t.took, ended.Sub(began))
	case history.Unknown:
		t.ambiguous++
		t.example("ambiguous", err)
	case history.Failed:
		kind := kindOf(err)
		t.failures[kind]++
		t.example(kind, err)
	}
}

// example is called with the lock.
func (t *tally) example(kind string, err error) {
	if _, ok := t.examples[kind]; !ok {
		t.examples[kind] = err.Error()
	}
}

// now returns the counts so far.
func (t *tally) now() (committed, failed, ambiguous int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.failures {
		failed += n
	}
	return len(t.commits), failed, t.ambiguous
}

// quantile returns what the share q of the committed took at most.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.took))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// longestGap returns for how long nobody committed anything, up to a time since the run began.
func (t *tally) longestGap(until time.Duration) time.Duration {
	var longest, last time.Duration
	for _, at := range append(slices.Sorted(slices.Values(t.commits)), until) {
		longest, last = max(longest, at-last), max(at, last)
	}
	return longest
}
