package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// output is two runs of a workload, the second half as fast.
//
//nolint:lll // the lines of go test
const output = `goos: linux
BenchmarkLatency/latency=0s-2 	 100	 0 asked-ms	 0.1 p50-ms	 0.2 p99-ms
BenchmarkContention/workload=rmw/peer=pgx-loop/latency=0s-2 	 100	 400 commits/s	 2.000 p50-ms	 3.000 p95-ms	 8.000 p99-ms	 0.5 retries/commit	 0.5 seen/commit	 6 trips/commit	 10 allocs/op
BenchmarkContention/workload=rmw/peer=ExecuteTx/latency=0s-2 	 100	 100 commits/s
BenchmarkContention/workload=rmw/peer=RunTx/latency=0s-2 	 100	 800 commits/s	 1.000 p50-ms	 2.000 p95-ms	 4.000 p99-ms
BenchmarkContention/workload=rmw/peer=pgx-loop/latency=0s-2 	 100	 200 commits/s
BenchmarkContention/workload=rmw/peer=ExecuteTx/latency=0s-2 	 100	 50 commits/s
BenchmarkContention/workload=rmw/peer=RunTx/latency=0s-2 	 100	 400 commits/s
PASS
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTables(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run([]string{write(t, "out.txt", output)}, &out))
	for _, want := range []string{
		"Medians of 2 runs. The commits/s of the same cell lie 67 % apart",
		"| no latency | RunTx | 2.00 × | 0.50 × | 0.50 × | 8.00 × | – | – |",
		"| no latency | transparent | – |",
		"| no latency | 0 | 0.10 | 0.20 |",
		"| rmw | 300 | 75.0 | 600 | – | – | 2.00 × | 8.00 × |",
		"| rmw | 2.00 · 3.00 · 8.00 | – · – · – | 1.00 · 2.00 · 4.00 |",
		"| rmw | 6.00 · 0.50 · 0.50 |",
	} {
		assert.Contains(t, out.String(), want)
	}
}

func TestDocument(t *testing.T) {
	in := write(t, "out.txt", output)
	doc := write(t, "doc.md", "before\n"+tablesMark.begin()+"\nold\n"+tablesMark.end()+"\nafter\n")
	chart := filepath.Join(t.TempDir(), "chart.svg")
	for range 2 { // the second time changes nothing
		require.NoError(t, run([]string{"--doc", doc, "--chart", chart, in}, nil))
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		assert.Regexp(t, `(?s)^before\n`+tablesMark.begin()+`\n\nGeometric.*\| rmw \|.*\n`+tablesMark.end()+`\nafter\n$`,
			string(text))
		assert.NotContains(t, string(text), "old")
	}
	svg, err := os.ReadFile(chart)
	require.NoError(t, err)
	assert.Contains(t, string(svg), ">rmw<")
}

func TestRefusals(t *testing.T) {
	in := write(t, "out.txt", output)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no file":          {nil, "name the files"},
		"no such file":     {[]string{filepath.Join(t.TempDir(), "gone.txt")}, "gone.txt"},
		"nothing in it":    {[]string{write(t, "empty.txt", "PASS\n")}, "no result of BenchmarkContention"},
		"nowhere to write": {[]string{"--doc", write(t, "doc.md", "text"), in}, "does not say where the tables go"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, run(c.args, nil), c.want) })
	}
}

// TestPublished holds the published tables and chart against the output that is saved beside them.
func TestPublished(t *testing.T) {
	root := filepath.Join("..", "..")
	saved, err := filepath.Glob(filepath.Join(root, "bench", "results", "contention-*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, saved)
	made := t.TempDir()
	paths := map[string]string{
		"--doc": "bench/results/contention.md", "--summary": "docs/performance.md", "--chart": "bench/results/contention.svg",
	}
	var args []string
	for flag, path := range paths {
		published, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(made, filepath.Base(path)), published, 0o600))
		args = append(args, flag, filepath.Join(made, filepath.Base(path)))
	}
	require.NoError(t, run(append(args, saved...), nil))
	for _, path := range paths {
		want, err := os.ReadFile(filepath.Join(made, filepath.Base(path)))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), "%s is not what the saved figures make: run make performance", path)
	}
}
