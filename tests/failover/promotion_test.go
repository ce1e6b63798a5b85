//go:build unix

package failover_test

import (
	"testing"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// TestPromotion_PrimaryKilled_GoesOnOnTheStandby kills a primary under load and promotes its synchronous standby. The
// DSN names both, and asks for the one that takes writes.
func TestPromotion_PrimaryKilled_GoesOnOnTheStandby(t *testing.T) {
	t.Parallel()
	if e := enginetest.Get(t); e.IsCockroach() {
		t.Skip("needs PostgreSQL; this engine is " + e.Name())
	}
	for _, way := range []contender{pgxAlone, ours} {
		t.Run(way.driver, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			s := outage{
				dsn:    p.dsn(),
				direct: p.dsn(),
				leave:  func(t *testing.T, _ *load) { p.failOver(t) },
			}
			s.run(t, way)
		})
	}
}
