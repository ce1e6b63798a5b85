package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/reprise-go/cockroachdb/bench/internal/figures"
)

// The peers that ratios are made of.
var (
	ours   = []string{"transparent", "RunTx"}
	others = []string{"pgx-loop", "ExecuteTx"}
)

func tables(all *results) string {
	var b strings.Builder
	b.WriteString(ratios(all))
	b.WriteString("\n")
	all.measuredLatency(&b)
	for _, latency := range all.latencies {
		fmt.Fprintf(&b, "### %s\n\n", heading(latency))
		all.commits(&b, latency)
		all.perWorkload(&b, latency,
			"Milliseconds that a transaction took with all its retries, p50 · p95 · p99:",
			"p50-ms", "p95-ms", "p99-ms")
		all.perWorkload(&b, latency,
			"For each commit: round trips · retries · conflicts that the application saw:",
			"trips/commit", "retries/commit", "seen/commit")
	}
	all.perWorkload(&b, all.latencies[0],
		"### Allocations\n\nFor each commit, at "+heading(all.latencies[0])+
			", those of the stand-in in the same process included:",
		"allocs/op")
	return strings.TrimSuffix(b.String(), "\n")
}

func heading(latency string) string {
	if latency == "0s" {
		return "no latency"
	}
	return strings.Replace(latency, "ms", " ms", 1) + " each way"
}

// ratios has those over all workloads.
func ratios(all *results) string {
	var b strings.Builder
	runs, usual, most := all.spread("commits/s")
	fmt.Fprintf(&b, "Geometric means over the %d workloads: of commits/s, where more is better, and of p50 and p99, where less is.\n", len(all.workloads))
	fmt.Fprintf(&b, "Medians of %s. The commits/s of the same cell lie %s apart from the least to the most in the middle of all cells, %s in the worst.\n\n",
		count(runs, "run"), percent(usual), percent(most))
	head := []string{"latency", "peer"}
	for _, other := range others {
		head = append(head, "commits/s to "+other, "p50", "p99")
	}
	row(&b, head...)
	rule(&b, len(head))
	for _, latency := range all.latencies {
		for _, peer := range ours {
			cells := []string{heading(latency), peer}
			for _, other := range others {
				for _, unit := range []string{"commits/s", "p50-ms", "p99-ms"} {
					cells = append(cells, times(all.ratio(peer, other, latency, unit)))
				}
			}
			row(&b, cells...)
		}
	}
	return b.String()
}

// measuredLatency sets the round trip that was measured beside the one that was asked for.
func (all *results) measuredLatency(b *strings.Builder) {
	if len(all.values[cell{"Latency", "", "", all.latencies[0]}]) == 0 {
		return
	}
	b.WriteString("A round trip of `SELECT 1` through that latency, in milliseconds, with nothing else on the connection:\n\n")
	row(b, "latency", "asked for", "p50", "p99")
	rule(b, 4)
	for _, latency := range all.latencies {
		v := all.values[cell{"Latency", "", "", latency}]
		cells := []string{heading(latency)}
		for _, unit := range []string{"asked-ms", "p50-ms", "p99-ms"} {
			cells = append(cells, figure(figures.Median(v[unit])))
		}
		row(b, cells...)
	}
	b.WriteString("\n")
}

// commits has what was committed in a second, and the ratios.
func (all *results) commits(b *strings.Builder, latency string) {
	b.WriteString("Commits a second:\n\n")
	head := slices.Concat([]string{"workload"}, all.peers)
	for _, peer := range ours {
		for _, other := range others {
			head = append(head, peer+" to "+other)
		}
	}
	row(b, head...)
	rule(b, len(head))
	for _, w := range all.workloads {
		cells := []string{w}
		for _, peer := range all.peers {
			cells = append(cells, figure(all.of(w, peer, latency, "commits/s")))
		}
		for _, peer := range ours {
			for _, other := range others {
				cells = append(cells, times(all.of(w, peer, latency, "commits/s")/all.of(w, other, latency, "commits/s")))
			}
		}
		row(b, cells...)
	}
	b.WriteString("\n")
}

func (all *results) perWorkload(b *strings.Builder, latency, title string, units ...string) {
	fmt.Fprintf(b, "%s\n\n", title)
	row(b, slices.Concat([]string{"workload"}, all.peers)...)
	rule(b, 1+len(all.peers))
	for _, w := range all.workloads {
		cells := []string{w}
		for _, peer := range all.peers {
			figures := make([]string, len(units))
			for i, unit := range units {
				figures[i] = figure(all.of(w, peer, latency, unit))
			}
			cells = append(cells, strings.Join(figures, " · "))
		}
		row(b, cells...)
	}
	b.WriteString("\n")
}

func row(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func rule(b *strings.Builder, columns int) {
	fmt.Fprintf(b, "|%s\n", strings.Repeat(" --- |", columns))
}

// figure has as many digits as can mean something.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v == 0:
		return "0"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func times(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', 2, 64) + " ×"
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 0, 64) + " %" }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
