//go:build unix

package failover_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
)

// TestHAProxy_Drain restarts each of three nodes behind HAProxy, as an upgrade does: HAProxy has noticed before the
// node refuses anybody.
func TestHAProxy_Drain(t *testing.T) {
	t.Parallel()
	steps := []crdbsim.Step{
		{Enter: crdbsim.Unready, AtMost: time.Second},
		{Enter: crdbsim.Refusing, AtMost: 2 * time.Second},
		{Enter: crdbsim.Closing, AtMost: 10 * time.Second},
		{Enter: crdbsim.Ended, AtMost: 10 * time.Second},
		{Enter: crdbsim.Dead},
	}
	behindHAProxy(t, true, func(t *testing.T, n *crdbsim.Node) {
		require.NoError(t, n.Drain(t.Context(), steps...))
	})
}

// TestHAProxy_Kill kills each of three nodes.
func TestHAProxy_Kill(t *testing.T) {
	t.Parallel()
	behindHAProxy(t, false, func(_ *testing.T, n *crdbsim.Node) { n.Kill() })
}

// behindHAProxy takes one node after the other away under load, and brings it back.
func behindHAProxy(t *testing.T, planned bool, takeAway func(*testing.T, *crdbsim.Node)) {
	ways := []contender{pgxAlone, ours}
	if !planned {
		ways = append(ways, marked)
	}
	for _, way := range ways {
		t.Run(way.name(), func(t *testing.T) {
			t.Parallel()
			c := clustertest.New(t, 3, crdbsim.Config{})
			h := newHAProxy(t, c)
			s := outage{dsn: h.url, direct: c.Direct, planned: planned, leave: func(t *testing.T, l *load) {
				for _, n := range c.Nodes() {
					takeAway(t, n)
					l.goesOn(t)
					require.NoError(t, n.Return())
					h.awaitNode(t, n.ID())
				}
			}}
			s.run(t, way)
		})
	}
}
