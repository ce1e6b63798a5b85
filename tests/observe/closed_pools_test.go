package observe_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func TestMetrics_OfClosedPools_GoAway(t *testing.T) {
	t.Parallel()
	m := cockroachdb.NewMetrics()
	for i := range 20 {
		db := kit.Open(t, fmt.Sprintf("postgresql://u@127.0.0.1:1/tenant_%d?sslmode=disable", i),
			func(cfg *cockroachdb.Config) { cfg.Metrics = m })
		if i == 0 {
			require.NotZero(t, testutil.CollectAndCount(m))
		}
		require.NoError(t, db.Close())
	}
	assert.Zero(t, testutil.CollectAndCount(m))
}

// A program that opens a database for each tenant by its DSN counts in DefaultMetrics.
func TestMetrics_OfClosedPoolsOfADSN_GoAway(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(cockroachdb.DefaultMetrics))
	ofTenants := func() (n int) {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, label := range m.GetLabel() {
					if strings.HasPrefix(label.GetValue(), "tenant_of_a_dsn_") {
						n++
					}
				}
			}
		}
		return n
	}
	for i := range 20 {
		db, err := sql.Open("cockroachdb", fmt.Sprintf("postgresql://u@127.0.0.1:1/tenant_of_a_dsn_%d?sslmode=disable", i))
		require.NoError(t, err)
		if i == 0 {
			require.NotZero(t, ofTenants())
		}
		require.NoError(t, db.Close())
	}
	assert.Zero(t, ofTenants())
}
