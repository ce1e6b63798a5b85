package bench

import (
	"database/sql"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// BenchmarkLatency shows what becomes of the latency that was asked for: how long a round trip takes that has next to nothing else to
// do, with nobody else on the server. It takes a little more than twice that, since timers are late and PostgreSQL answers too.
func BenchmarkLatency(b *testing.B) {
	for _, latency := range latencies {
		b.Run("latency="+latency.String(), func(b *testing.B) {
			sim, dsn := enginetest.NewSim(b, crdbsim.Config{})
			db, err := sql.Open("pgx", dsn)
			require.NoError(b, err)
			defer func() { require.NoError(b, db.Close()) }()
			db.SetMaxOpenConns(1)
			trip := func() {
				var one int
				require.NoError(b, db.QueryRowContext(b.Context(), "SELECT 1").Scan(&one))
			}
			trip() // connects, and prepares
			sim.SetLatency(latency)
			took := newHistogram()
			for b.Loop() {
				began := time.Now()
				trip()
				_ = took.RecordValue(time.Since(began).Microseconds())
			}
			sim.SetLatency(0)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(2*milliseconds(latency), "asked-ms")
			reportQuantiles(b, took)
		})
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func reportQuantiles(b *testing.B, took *hdrhistogram.Histogram) {
	for name, q := range map[string]float64{"p50-ms": 50, "p95-ms": 95, "p99-ms": 99, "p100-ms": 100} {
		b.ReportMetric(float64(took.ValueAtQuantile(q))/1000, name)
	}
}
