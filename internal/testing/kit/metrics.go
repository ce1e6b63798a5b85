package kit

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// Counted gives a pool metrics of its own.
func Counted(m **cockroachdb.Metrics) func(*cockroachdb.Config) {
	return func(cfg *cockroachdb.Config) {
		*m = cockroachdb.NewMetrics()
		cfg.Metrics = *m
	}
}

// Count is the sum of the series of that name that have that label value, or of all if label is "". There must be one.
func Count(t testing.TB, m *cockroachdb.Metrics, name, label string) (sum float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	found := false
	for series, n := range countsOf(t, registry) {
		labels := strings.Fields(series)
		if labels[0] == name && (label == "" || slices.Contains(labels[1:], label)) {
			sum, found = sum+n, true
		}
	}
	require.True(t, found, "no series %s %s", name, label)
	return sum
}

// Counts are all series by name and label values, such as "transactions_total committed"; a histogram is its count and
// sum.
func (r *Rig) Counts(t testing.TB) map[string]float64 {
	t.Helper()
	return countsOf(t, r.Registry)
}

func countsOf(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "cockroachdb_") + LabelValues(m)
			if h := m.GetHistogram(); h != nil {
				all[name+" count"], all[name+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				continue
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}

// LabelValues are those of a series, each after a space, without the pool's name.
func LabelValues(m *dto.Metric) (text string) {
	for _, pair := range m.GetLabel() {
		if pair.GetName() != "db_name" {
			text += " " + pair.GetValue()
		}
	}
	return text
}

// Moved is what has changed since before.
func (r *Rig) Moved(t testing.TB, before map[string]float64) map[string]float64 {
	t.Helper()
	now := r.Counts(t)
	maps.DeleteFunc(now, func(name string, v float64) bool { return v == before[name] })
	for name, v := range now {
		now[name] = v - before[name]
	}
	return now
}
