package bench

import (
	"database/sql"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

// BenchmarkLatency shows what becomes of the latency that was asked for: how long a round trip takes that has next to
// nothing else to do, with nobody else on the server. It takes a little more than twice that, since timers are late
// and PostgreSQL answers too.
func BenchmarkLatency(b *testing.B) {
	for _, latency := range latencies {
		b.Run("latency="+latency.String(), func(b *testing.B) {
			g := newGround(b, likePostgreSQL)
			db := peers[0].open(b, g).db
			defer func() { require.NoError(b, db.Close()) }()
			db.SetMaxOpenConns(1)
			trip(b, db) // connects, and prepares
			g.network.SetLatency(latency)
			took := newHistogram()
			for b.Loop() {
				began := time.Now()
				trip(b, db)
				_ = took.RecordValue(time.Since(began).Microseconds())
			}
			g.network.SetLatency(0)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(2*milliseconds(latency), "asked-ms")
			reportQuantiles(b, took)
		})
	}
}

// trip is a round trip.
func trip(tb testing.TB, db *sql.DB) {
	var one int
	require.NoError(tb, db.QueryRowContext(tb.Context(), "SELECT 1").Scan(&one))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func reportQuantiles(b *testing.B, took *hdrhistogram.Histogram) {
	for name, q := range map[string]float64{"p50-ms": 50, "p95-ms": 95, "p99-ms": 99, "p100-ms": 100} {
		b.ReportMetric(float64(took.ValueAtQuantile(q))/1000, name)
	}
}
