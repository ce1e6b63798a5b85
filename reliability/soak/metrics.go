package main

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// counts are the driver's metrics, by name and the value of one label, as in "transaction_retries_total/commit", and
// by name alone: each the sum over all other labels. Of a histogram it is the number of observations.
type counts map[string]float64

func metricsOf(c prometheus.Collector) counts {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		panic(err) // the collector is at odds with itself
	}
	all := make(counts)
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "cockroachdb_")
		for _, m := range family.GetMetric() {
			v := valueOf(m)
			all[name] += v
			for _, l := range m.GetLabel() {
				all[name+"/"+l.GetValue()] += v
			}
		}
	}
	return all
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return float64(m.GetHistogram().GetSampleCount())
}
