package main

import (
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// counts are what the driver says of itself, of one database: every counter, by name and label values as in
// "backoff_seconds_total/lane", and by name alone the sum over them. A driver that has no metrics has no counts.
type counts struct {
	values   map[string]float64
	attempts map[float64]float64 // number of transactions, by how many attempts they took (the upper end of a bucket)
}

func readCounts(from prometheus.Gatherer, database string) (counts, error) {
	families, err := from.Gather()
	if err != nil {
		return counts{}, err
	}
	c := counts{values: make(map[string]float64), attempts: make(map[float64]float64)}
	for _, family := range families {
		name, ok := strings.CutPrefix(family.GetName(), "cockroachdb_")
		if !ok {
			continue
		}
		for _, m := range family.GetMetric() {
			if labels, ok := otherLabels(m, database); ok {
				c.take(name, labels, m)
			}
		}
	}
	return c, nil
}

// otherLabels are the values of all labels but db_name, if that is the one wanted.
func otherLabels(m *dto.Metric, database string) (labels string, ok bool) {
	for _, l := range m.GetLabel() {
		if l.GetName() == "db_name" {
			ok = l.GetValue() == database
		} else {
			labels += "/" + l.GetValue()
		}
	}
	return labels, ok
}

func (c counts) take(name, labels string, m *dto.Metric) {
	switch {
	case m.Counter != nil:
		c.values[name] += m.Counter.GetValue()
		if labels != "" {
			c.values[name+labels] += m.Counter.GetValue()
		}
	case name == "transaction_attempts":
		for end, n := range nativeBuckets(m.GetHistogram()) {
			c.attempts[end] += n
		}
	}
}

// nativeBuckets are the buckets of a native histogram, by their upper ends.
func nativeBuckets(h *dto.Histogram) map[float64]float64 {
	buckets := make(map[float64]float64)
	base := math.Exp2(math.Exp2(-float64(h.GetSchema())))
	index, count, next := int32(0), int64(0), 0
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			count += h.GetPositiveDelta()[next]
			buckets[math.Pow(base, float64(index))] = float64(count)
			index++
			next++
		}
	}
	return buckets
}

// since is what has been counted after before was read.
func (c counts) since(before counts) counts {
	d := counts{values: make(map[string]float64), attempts: make(map[float64]float64)}
	for name, v := range c.values {
		if v -= before.values[name]; v != 0 {
			d.values[name] = v
		}
	}
	for end, n := range c.attempts {
		if n -= before.attempts[end]; n > 0 {
			d.attempts[end] = n
		}
	}
	return d
}

// divergences are replays that would have shown the application something else.
func (c counts) divergences() int64 { return int64(c.values["replay_divergences_total"]) }

// retries are new attempts. Each one follows a 40001: RunTx's next call after a replay that diverged is a part of the
// same.
func (c counts) retries() int64 {
	return int64(c.values["transaction_retries_total"] - c.values["transaction_retries_total/statement/diverged"])
}

// pinned is how many INSERTs replays have run with the keys that the application was shown.
func (c counts) pinned() int64 { return int64(c.values["pinned_statements_total"]) }

// lockedReads is how many reads the driver has added FOR UPDATE to.
func (c counts) lockedReads() int64 { return int64(c.values["locked_reads_total"]) }

// mostAttempts is the largest number of attempts that a transaction took, to within a tenth.
func (c counts) mostAttempts() int {
	most := 0.0
	for end := range c.attempts {
		most = max(most, end)
	}
	return int(math.Round(most))
}
