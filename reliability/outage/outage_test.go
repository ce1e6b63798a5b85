package outage_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/reliability/outage"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func TestPlan_EachNodeGoesOnceInEachWay(t *testing.T) {
	t.Parallel()
	plan := outage.Plan(rand.New(rand.NewPCG(1, 1)), 3, 5)
	assert.Equal(t, plan, outage.Plan(rand.New(rand.NewPCG(1, 1)), 3, 5))
	assert.NotEqual(t, plan, outage.Plan(rand.New(rand.NewPCG(2, 1)), 3, 5))
	seen := make(map[outage.Outage]bool)
	for _, o := range plan {
		assert.Positive(t, o.For)
		assert.Positive(t, o.After)
		assert.LessOrEqual(t, o.After, 5)
		seen[outage.Outage{Node: o.Node, Way: o.Way}] = true
	}
	assert.Len(t, seen, 9)
}

func TestTakeAway_ConnectionIsLostAndNodeDown(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 1, crdbsim.Config{})
	for _, way := range []outage.Way{outage.Drain, outage.Kill, outage.Silence} {
		conn, err := pgx.Connect(t.Context(), c.DSN())
		require.NoError(t, err, way)
		_, err = conn.Exec(t.Context(), "BEGIN")
		require.NoError(t, err)
		require.NoError(t, outage.TakeAway(t.Context(), c.Node(1), way, 20*time.Millisecond))
		_, err = conn.Exec(t.Context(), "SELECT 1")
		require.Error(t, err, way)
		require.True(t, conn.IsClosed(), way)
		_, err = pgx.Connect(t.Context(), c.DSN())
		require.Error(t, err, way)
		require.NoError(t, c.Node(1).Return())
	}
}

func TestTakeAway_StoppedBeforeItsTime_NodeIsDown(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 1, crdbsim.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, way := range []outage.Way{outage.Drain, outage.Kill, outage.Silence} {
		require.NoError(t, outage.TakeAway(ctx, c.Node(1), way, time.Hour))
		_, err := pgx.Connect(t.Context(), c.DSN())
		require.Error(t, err, way)
		require.NoError(t, c.Node(1).Return())
	}
}

func TestRoll_GoesOnAsTransactionsEnd_AllAreBackAtTheEnd(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 2, crdbsim.Config{})
	roll := outage.Start(c.Cluster, []outage.Outage{
		{Node: 1, Way: outage.Kill, After: 2, For: time.Millisecond}, {Node: 2, Way: outage.Kill, After: 1, For: time.Hour},
	})
	ready := func(node int, is bool) {
		require.Eventually(t, func() bool { return c.Node(node).Ready() == is }, time.Minute, time.Millisecond)
	}
	roll.Ended()
	assert.True(t, c.Node(1).Ready(), "only one has ended")
	for c.Node(2).Ready() {
		roll.Ended()
	}
	ready(1, true)
	gone, err := roll.Stop()
	require.NoError(t, err)
	assert.Equal(t, map[outage.Way]int{outage.Kill: 2}, gone)
	ready(2, true)
}

func TestRoll_NoPlan_DoesNothing(t *testing.T) {
	t.Parallel()
	roll := outage.Start(nil, nil)
	roll.Ended()
	gone, err := roll.Stop()
	require.NoError(t, err)
	assert.Empty(t, gone)
}
