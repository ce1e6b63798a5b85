package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sweepOutput = `BenchmarkPolicy/knob=width/value=1/workload=rmw/latency=0s-2 	 100	 800 commits/s	 3 most-attempts	 20 p99-ms
BenchmarkPolicy/knob=width/value=4/workload=rmw/latency=0s-2 	 100	 400 commits/s	 5 most-attempts	 30 p99-ms
BenchmarkOneRow/workload=rmw-1/peer=RunTx/latency=1ms-2 	 100	 90 commits/s	 7 most-attempts	 40 p99-ms	 55 p100-ms
BenchmarkPools/workload=rmw/lane=yes/pools=1/latency=0s-2 	 100	 11 commits/s	 1 p99-ms
BenchmarkPools/workload=rmw/lane=yes/pools=2/latency=0s-2 	 100	 22 commits/s	 2 p99-ms
BenchmarkPools/workload=rmw/lane=no/pools=1/latency=0s-2 	 100	 33 commits/s	 3 p99-ms
BenchmarkPools/workload=rmw/lane=no/pools=2/latency=0s-2 	 100	 44 commits/s	 4 p99-ms
`

func TestPolicyTablesAndCurves(t *testing.T) {
	dir := t.TempDir()
	output, doc, curves := filepath.Join(dir, "out.txt"), filepath.Join(dir, "doc.md"), filepath.Join(dir, "curves.svg")
	require.NoError(t, os.WriteFile(output, []byte(sweepOutput), 0o600))
	older := "before\n" + policyMark.begin() + "\nold\n" + policyMark.end() + "\nafter\n"
	require.NoError(t, os.WriteFile(doc, []byte(older), 0o600))
	require.NoError(t, run([]string{"--policy", doc, "--curves", curves, output}, t.Output()))

	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	for _, line := range []string{
		"before", "after", "| workload | latency | 1 | 4 |", "| rmw | no latency | 800 · 20.0 · 3.00 | 400 · 30.0 · 5.00 |",
		"| rmw-1 | 1 ms each way | 90.0 · 40.0 · 55.0 · 7.00 |",
		"| rmw | no latency | 11.0 · 1.00 | 22.0 · 2.00 | 33.0 · 3.00 | 44.0 · 4.00 |",
	} {
		assert.Contains(t, string(text), line+"\n")
	}
	assert.NotContains(t, string(text), "old")

	svg, err := os.ReadFile(curves)
	require.NoError(t, err)
	assert.Contains(t, string(svg), "<svg")
	assert.Contains(t, string(svg), "width")
}

func TestPolicyOfNothing(t *testing.T) {
	output := filepath.Join(t.TempDir(), "out.txt")
	require.NoError(t, os.WriteFile(output, []byte("PASS\n"), 0o600))
	assert.ErrorContains(t, run([]string{"--curves", filepath.Join(t.TempDir(), "c.svg"), output}, t.Output()),
		"bench/sweep")
}
