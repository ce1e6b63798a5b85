package main

import (
	"context"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// TestCrowd has several people's browsers update at once, over and over. Each ticks an item of its own, which is its
// transaction's first statement, and clears the one that all have, which is the second. All of them have made the
// first before any comes to the second: so all but one lose, for certain. Some of the commits lose as well.
func TestCrowd(t *testing.T) {
	const people, rounds = 4, 3
	s := newSite(t)
	ids := s.add(t, "shared", "Ann's", "Ben's", "Cem's", "Dora's")
	shared, own := ids[0], ids[1:]
	browser := newBrowser(t)
	var crowd []tab
	for range people {
		crowd = append(crowd, newVisitor(t, browser))
	}
	lost := 0.0
	for range rounds {
		s.visit(t).post("/", boxes(ids[:1], own))
		for i, b := range crowd {
			b.open(s.URL)
			b.do(chromedp.Click(box(shared)), chromedp.Click(box(own[i])))
		}
		if s.sim != nil {
			before := s.retries(t)
			s.sim.Inject(together(browser, `^update`, people), conflictAt(`^release`))
			updateAtOnce(t, crowd)
			assert.GreaterOrEqual(t, s.retries(t)-before, float64(people-1), "all but one lose")
			lost += s.retries(t) - before
		} else {
			updateAtOnce(t, crowd)
		}
		for _, b := range crowd {
			assert.Equal(t, "One item is done. One item is to be done again.", b.text("[role=status]"))
		}
		assert.ElementsMatch(t, []string{"Ann's", "Ben's", "Cem's", "Dora's"}, s.done(t),
			"nobody's tick is lost, and nobody's is undone")
	}
	crowd[0].shoot("after")
	assert.Zero(t, s.count(t, "replay_divergences_total"))
	assert.NotContains(t, s.log.String(), "level=ERROR")
	t.Logf("%d updates, %v conflicts lost, no error page", people*rounds, lost)
}

func box(id uuid.UUID) chromedp.CSS { return chromedp.CSS("#done-" + id.String()) }

// updateAtOnce has all press the button, and waits for the pages that come.
func updateAtOnce(t *testing.T, crowd []tab) {
	t.Helper()
	var all errgroup.Group
	for _, b := range crowd {
		all.Go(func() error {
			_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS("form button")))
			return err
		})
	}
	require.NoError(t, all.Wait())
}

// together keeps the answers to the next n statements that match until all n have been executed.
func together(ctx context.Context, pattern string, n int) *crdbsim.Fault {
	var executed sync.WaitGroup
	executed.Add(n)
	all := make(chan struct{})
	go func() { executed.Wait(); close(all) }()
	f := crdbsim.On(pattern, crdbsim.Action{CallReply: func() {
		executed.Done()
		select {
		case <-all:
		case <-ctx.Done():
		}
	}})
	f.Times = n
	return f
}
