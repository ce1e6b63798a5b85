package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"

	"github.com/reprise-go/cockroachdb/bench/internal/figures"
)

// A cell is one benchmark: its name without the number of processors.
type cell struct{ bench, workload, peer, latency string }

// results are what was measured in each cell, by unit, once for each run.
type results struct {
	values                      map[cell]map[string][]float64
	workloads, peers, latencies []string // in the order of the benchmark's output
}

func read(files []string) (*results, error) {
	all := &results{values: make(map[cell]map[string][]float64)}
	in := benchfmt.Files{Paths: files}
	for in.Scan() {
		switch r := in.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, r
		case *benchfmt.Result:
			all.add(r)
		}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(all.workloads) == 0 {
		return nil, fmt.Errorf("no result of BenchmarkContention in %s", strings.Join(files, ", "))
	}
	return all, nil
}

func (all *results) add(r *benchfmt.Result) {
	bench, parts := nameParts(r.Name)
	if bench != "Contention" && bench != "Latency" {
		return
	}
	c := cell{bench, parts["workload"], parts["peer"], parts["latency"]}
	if all.values[c] == nil {
		all.values[c] = make(map[string][]float64)
	}
	for _, v := range r.Values {
		all.values[c][v.Unit] = append(all.values[c][v.Unit], v.Value)
	}
	if c.bench == "Contention" {
		all.workloads = with(all.workloads, c.workload)
		all.peers = with(all.peers, c.peer)
		all.latencies = with(all.latencies, c.latency)
	}
}

func with(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// nameParts returns what a benchmark is called, and the values of its name's parts.
func nameParts(name benchfmt.Name) (bench string, values map[string]string) {
	base, parts := name.Parts()
	values = make(map[string]string)
	for _, part := range parts {
		key, value, _ := strings.Cut(strings.TrimPrefix(string(part), "/"), "=")
		values[key] = value
	}
	return string(base), values
}

// of is the median of all runs, NaN if there is none.
func (all *results) of(workload, peer, latency, unit string) float64 {
	return figures.Median(all.values[cell{"Contention", workload, peer, latency}][unit])
}

// ratio is how many times another peer's figure a peer's is, in the geometric mean over all workloads that have both.
func (all *results) ratio(peer, other, latency, unit string) float64 {
	sum, n := 0.0, 0
	for _, w := range all.workloads {
		if r := all.of(w, peer, latency, unit) / all.of(w, other, latency, unit); r > 0 && !math.IsInf(r, 0) {
			sum += math.Log(r)
			n++
		}
	}
	return math.Exp(sum / float64(n)) // NaN if there is none
}

// spread is how far apart the runs of a cell are, from the least to the most as a share of the median: in half of the
// cells it is no more than usual, in the worst it is most.
func (all *results) spread(unit string) (runs int, usual, most float64) {
	var spreads []float64
	for c, units := range all.values {
		if v := units[unit]; c.bench == "Contention" && len(v) > 0 {
			runs = max(runs, len(v))
			spreads = append(spreads, (slices.Max(v)-slices.Min(v))/figures.Median(v))
		}
	}
	return runs, figures.Median(spreads), slices.Max(spreads)
}
