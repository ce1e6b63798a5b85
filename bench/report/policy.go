package main

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"

	"github.com/reprise-go/cockroachdb/bench/internal/figures"
)

// sweeps are what bench/sweep or bench/curves has measured: of each benchmark by the parts of its name, the figures by
// unit.
type sweeps struct{ cells []sweepCell }

type sweepCell struct {
	bench  string
	parts  map[string]string
	values map[string]float64
}

func readSweeps(files []string) (*sweeps, error) {
	var all sweeps
	in := benchfmt.Files{Paths: files}
	for in.Scan() {
		r, ok := in.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		c := sweepCell{values: make(map[string]float64)}
		c.bench, c.parts = nameParts(r.Name)
		for _, v := range r.Values {
			c.values[v.Unit] = v.Value
		}
		all.cells = append(all.cells, c)
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(all.list("Policy", "knob")) == 0 {
		names := strings.Join(files, ", ")
		return nil, fmt.Errorf("no result of BenchmarkPolicy in %s: run bench/sweep or bench/curves", names)
	}
	return &all, nil
}

// list has the values of a part of the name, in the order of the output.
func (all *sweeps) list(bench, part string, where ...string) (list []string) {
	for _, c := range all.cells {
		if c.bench == bench && c.is(where) {
			list = with(list, c.parts[part])
		}
	}
	return list
}

// is says whether the parts of the name are these: key, value, key, value, …
func (c sweepCell) is(where []string) bool {
	for i := 0; i < len(where); i += 2 {
		if c.parts[where[i]] != where[i+1] {
			return false
		}
	}
	return true
}

// of is the median of what fits.
func (all *sweeps) of(bench, unit string, where ...string) float64 {
	var values []float64
	for _, c := range all.cells {
		if v, ok := c.values[unit]; ok && c.bench == bench && c.is(where) {
			values = append(values, v)
		}
	}
	return figures.Median(values)
}

// policyTables has a table for each knob, and of bench/sweep one for the crowd on one row and one for two pools.
func policyTables(all *sweeps) string {
	var b strings.Builder
	for _, knob := range all.list("Policy", "knob") {
		all.knobTable(&b, knob)
	}
	if len(all.list("OneRow", "peer")) > 0 {
		all.oneRowTable(&b)
	}
	if len(all.list("Pools", "pools")) > 0 {
		all.poolsTable(&b)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (all *sweeps) knobTable(b *strings.Builder, knob string) {
	values := all.list("Policy", "value", "knob", knob)
	fmt.Fprintf(b, "### %s\n\nCommits a second · p99 in ms · the most attempts of one transaction:\n\n", spaced(knob))
	row(b, slices.Concat([]string{"workload", "latency"}, values)...)
	rule(b, 2+len(values))
	for _, latency := range all.list("Policy", "latency") {
		for _, w := range all.list("Policy", "workload") {
			cells := []string{w, heading(latency)}
			for _, v := range values {
				var figures []string
				for _, unit := range []string{"commits/s", "p99-ms", "most-attempts"} {
					of := all.of("Policy", unit, "knob", knob, "value", v, "workload", w, "latency", latency)
					figures = append(figures, figure(of))
				}
				cells = append(cells, strings.Join(figures, " · "))
			}
			row(b, cells...)
		}
	}
	b.WriteString("\n")
}

// spaced is a part of a benchmark's name as it is read.
func spaced(part string) string { return strings.ReplaceAll(part, "_", " ") }

func (all *sweeps) oneRowTable(b *strings.Builder) {
	peers := all.list("OneRow", "peer")
	b.WriteString("### 64 workers, one row\n\nCommits a second · p99 · the slowest, in ms · the most attempts of one transaction:\n\n")
	row(b, slices.Concat([]string{"workload", "latency"}, peers)...)
	rule(b, 2+len(peers))
	for _, w := range all.list("OneRow", "workload") {
		for _, latency := range all.list("OneRow", "latency") {
			cells := []string{w, heading(latency)}
			for _, p := range peers {
				var figures []string
				for _, unit := range []string{"commits/s", "p99-ms", "p100-ms", "most-attempts"} {
					figures = append(figures, figure(all.of("OneRow", unit, "workload", w, "latency", latency, "peer", p)))
				}
				cells = append(cells, strings.Join(figures, " · "))
			}
			row(b, cells...)
		}
	}
	b.WriteString("\n")
}

func (all *sweeps) poolsTable(b *strings.Builder) {
	b.WriteString("### Two pools, each with a lane of its own\n\nCommits a second · p99 in ms:\n\n")
	row(b, "workload", "latency", "one pool", "two pools",
		"one pool, no waiting for the lane", "two pools, no waiting for the lane")
	rule(b, 6)
	for _, latency := range all.list("Pools", "latency") {
		for _, w := range all.list("Pools", "workload") {
			cells := []string{w, heading(latency)}
			for _, lane := range []string{"yes", "no"} {
				for _, pools := range []string{"1", "2"} {
					where := []string{"workload", w, "latency", latency, "lane", lane, "pools", pools}
					commits, slowest := all.of("Pools", "commits/s", where...), all.of("Pools", "p99-ms", where...)
					cells = append(cells, figure(commits)+" · "+figure(slowest))
				}
			}
			row(b, cells...)
		}
	}
	b.WriteString("\n")
}
