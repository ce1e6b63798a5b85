package cost_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// Metrics allocate nothing, switched on or off. Histograms do when a value falls into a bucket for the first time.
func TestCost_Metrics_AllocateNothing(t *testing.T) {
	for _, name := range []string{"exec", "queryrow", "tx=1", "tx=10", "tx,rows=100"} {
		t.Run(name, func(t *testing.T) {
			var n [2]float64
			for i, metrics := range []*cockroachdb.Metrics{nil, cockroachdb.NewMetrics()} {
				db := kit.Open(t, cannedpg.Start(t, cannedReplies).DSN(), func(cfg *cockroachdb.Config) { cfg.Metrics = metrics })
				db.SetMaxOpenConns(1)
				n[i] = math.Inf(1)
				for range 20 {
					n[i] = min(n[i], testing.AllocsPerRun(3, func() { workloads()[name](db, func(err error) { t.Fatal(err) }) }))
				}
			}
			assert.Equal(t, n[0], n[1])
		})
	}
}
