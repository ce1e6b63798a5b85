package kit

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// Count is the sum of the series of that name that have that label value, or of all if label is "". There must be one.
func (p Pool) Count(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	found := false
	for series, n := range p.Counts(t) {
		labels := strings.Fields(series)
		if labels[0] == name && (label == "" || slices.Contains(labels[1:], label)) {
			sum, found = sum+n, true
		}
	}
	require.True(t, found, "no series %s %s", name, label)
	return sum
}

// Moved is what has changed of Counts since before.
func (p Pool) Moved(t testing.TB, before map[string]float64) map[string]float64 {
	t.Helper()
	moved := map[string]float64{}
	for name, v := range p.Counts(t) {
		if v != before[name] {
			moved[name] = v - before[name]
		}
	}
	return moved
}

// Counts is [Counts] of the pool's metrics.
func (p Pool) Counts(t testing.TB) map[string]float64 {
	t.Helper()
	return Counts(t, p.Config.Metrics)
}

// Counts are all series by name and label values, such as "transactions_total committed"; a histogram is its count and
// sum.
func Counts(t testing.TB, m *cockroachdb.Metrics) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			parts := []string{strings.TrimPrefix(family.GetName(), "cockroachdb_")}
			for _, label := range m.GetLabel() {
				if label.GetName() != "db_name" {
					parts = append(parts, label.GetValue())
				}
			}
			name := strings.Join(parts, " ")
			if h := m.GetHistogram(); h != nil {
				all[name+" count"], all[name+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				continue
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}
