package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata anew")

// tallyOf is that of a second, with a slow transfer in it.
func tallyOf(committed, failed, diverged int64) tally {
	t := newTally()
	t.committed, t.failed, t.diverged, t.elapsed = committed, failed, diverged, time.Second
	for range committed - 1 {
		_ = t.latency.RecordValue(2500)
	}
	_ = t.latency.RecordValue(12_500_000)
	return t
}

func countsOf(retries, divergences float64) counts {
	return counts{values: map[string]float64{
		"transaction_retries_total": retries, "replay_divergences_total": divergences,
		"pinned_statements_total": 12, "locked_reads_total": 3456,
	}}
}

func TestTable(t *testing.T) {
	opts, err := parseOptions([]string{"-kinds", "blind,modify"}, os.Stderr)
	require.NoError(t, err)
	own := manner{"CockroachDB's own", ""}
	r := report{options: opts, engine: "CockroachDB v26.2 (COCKROACH_URL)", contends: own, phases: []phase{
		{
			contender: opts.contenders[0], total: 10_000_000, expected: 10_000_000,
			rows: []row{
				{kind: opts.kinds[0], tally: tallyOf(284, 288, 0)},
				{kind: opts.kinds[1], tally: tallyOf(1, 12345, 0)},
			},
			all: row{tally: tallyOf(285, 12633, 0)},
		},
		{
			contender: opts.contenders[1], total: 9_999_995, expected: 10_000_000,
			rows: []row{
				{kind: opts.kinds[0], tally: tallyOf(12345, 0, 0), counts: countsOf(181, 0)},
				{kind: opts.kinds[1], tally: tallyOf(9876, 2, 2), counts: countsOf(1043, 43)},
			},
			all: row{tally: tallyOf(22221, 2, 2), counts: countsOf(1224, 43)},
		},
	}}
	golden(t, "testdata/table.golden", r)
	r.contends = manner{"PostgreSQL's", noteOfPostgreSQL}
	golden(t, "testdata/stand-in.golden", r)
	assert.False(t, r.balanced())
}

func golden(t *testing.T, file string, r report) {
	var got bytes.Buffer
	r.writeHead(&got)
	r.writeTable(&got)
	if *update {
		require.NoError(t, os.WriteFile(file, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got.String())
}

func TestNothingHappened(t *testing.T) {
	none := newTally()
	assert.Equal(t, "-", none.quantile(99))
	assert.Zero(t, none.failedShare())
	assert.Zero(t, none.perSecond())
}

func TestMostAttempts(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "cockroachdb", Name: "transaction_attempts", Help: "Number of attempts.", NativeHistogramBucketFactor: 1.1,
	}, []string{"db_name"})
	registry.MustRegister(h)
	read := func() counts {
		c, err := readCounts(registry, "bank")
		require.NoError(t, err)
		return c
	}
	for _, n := range []float64{1, 1, 1, 32} {
		h.WithLabelValues("bank").Observe(n)
	}
	h.WithLabelValues("another").Observe(100)
	before := read()
	assert.Equal(t, 32, before.mostAttempts())
	for _, n := range []float64{1, 1, 4} {
		h.WithLabelValues("bank").Observe(n)
	}
	assert.Equal(t, 4, read().since(before).mostAttempts())
}

func TestBar(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, 2*time.Second)
	for range 2 {
		l := &load{window: time.Second}
		l.committed.Store(1234)
		b.watch("pgx, blind updates", l)()
	}
	b.end()
	assert.Contains(t, out.String(), "pgx, blind updates: 1,234 committed, 0 failed")
	assert.Equal(t, 2*time.Second, b.done)
}
