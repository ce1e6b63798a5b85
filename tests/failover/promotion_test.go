//go:build unix

package failover_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// TestPromotion_PrimaryKilled_GoesOnOnTheStandby kills a primary under load and promotes its synchronous standby. The
// DSN names both, and asks for the one that takes writes.
func TestPromotion_PrimaryKilled_GoesOnOnTheStandby(t *testing.T) {
	t.Parallel()
	needsPostgreSQL(t)
	for _, way := range []contender{pgxAlone, ours, marked} {
		t.Run(way.name(), func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.outage(func(*testing.T) {}, nil).run(t, way)
		})
	}
}

// TestPromotion_CommitsUnderWay_AreAskedFor kills the primary while each worker waits for a commit that the standby has
// received, and nobody acknowledges; or that it has not received.
func TestPromotion_CommitsUnderWay_AreAskedFor(t *testing.T) {
	t.Parallel()
	needsPostgreSQL(t)
	for name, moment := range map[string]struct {
		before func(*pair, *testing.T)
		answer cockroachdb.CommitAnswer
	}{
		"received":     {(*pair).unacknowledged, cockroachdb.CommitAnswerCommitted},
		"not received": {(*pair).unreceived, cockroachdb.CommitAnswerRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			var asExpected, unknown atomic.Int64
			s := p.outage(func(t *testing.T) { moment.before(p, t) }, func(_ context.Context, e cockroachdb.CommitEvent) {
				switch e.Answer {
				case moment.answer:
					asExpected.Add(1)
				case cockroachdb.CommitAnswerUnknown:
					unknown.Add(1)
				}
			})
			s.run(t, marked)
			t.Logf("%d were %s", asExpected.Load(), moment.answer)
			assert.Positive(t, asExpected.Load())
			assert.Zero(t, unknown.Load())
		})
	}
}

func needsPostgreSQL(t *testing.T) {
	t.Helper()
	if e := enginetest.Get(t); e.IsCockroach() {
		t.Skip("needs PostgreSQL; this engine is " + e.Name())
	}
}

// outage is the loss of the primary, at a moment.
func (p *pair) outage(before func(*testing.T), asked func(context.Context, cockroachdb.CommitEvent)) outage {
	return outage{
		dsn: p.dsn(), direct: p.dsn(), asked: asked,
		leave: func(t *testing.T, _ *load) {
			before(t)
			p.failOver(t)
		},
	}
}
