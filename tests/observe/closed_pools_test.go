package observe_test

import (
	"database/sql"
	"fmt"
	"testing"

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
		cfg, err := cockroachdb.ParseConfig(fmt.Sprintf("postgresql://u@127.0.0.1:1/tenant_%d?sslmode=disable", i))
		require.NoError(t, err)
		cfg.Metrics = m
		db := sql.OpenDB(kit.NewConnector(t, cfg))
		if i == 0 {
			require.NotZero(t, testutil.CollectAndCount(m))
		}
		require.NoError(t, db.Close())
	}
	assert.Zero(t, testutil.CollectAndCount(m))
}
