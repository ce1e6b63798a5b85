package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// report prints the results side by side, and what of the promises has not held.
func report(w io.Writer, o options, results []*result) error {
	head, configs := table.Row{""}, []table.ColumnConfig{}
	for i, r := range results {
		head = append(head, r.driver)
		configs = append(configs, table.ColumnConfig{Number: i + 2, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.SetColumnConfigs(configs)
	t.AppendHeader(head)
	for _, line := range lines(results) {
		row := table.Row{line.name}
		for _, r := range results {
			row = append(row, line.of(r))
		}
		t.AppendRow(row)
	}
	t.Render()
	var broken []string
	for _, r := range results {
		printExamples(w, r)
		broken = append(broken, r.broken(o)...)
	}
	for _, b := range broken {
		fmt.Fprintln(w, "NOT HELD:", b)
	}
	if len(broken) > 0 {
		return errBroken
	}
	return nil
}

// A line is a row of the report.
type line struct {
	name string
	of   func(*result) any
}

func lines(results []*result) []line {
	all := []line{
		{"committed", func(r *result) any { return len(r.tally.commits) }},
		{"  a second", func(r *result) any { return int(float64(len(r.tally.commits)) / r.ran.Seconds()) }},
		{"errors seen", func(r *result) any { return r.failures() }},
	}
	for _, kind := range kinds(results) {
		all = append(all, line{"  " + kind, func(r *result) any { return r.tally.failures[kind] }})
	}
	return append(all,
		line{"ambiguous commits", func(r *result) any { return r.tally.ambiguous }},
		line{"transfers", func(r *result) any { return r.account.transfers }},
		line{"  lost: told committed, not there", func(r *result) any { return r.account.lost }},
		line{"  doubled: there more than once", func(r *result) any { return r.account.doubled }},
		line{"  risen: told failed, there", func(r *result) any { return r.account.risen }},
		line{"  of the ambiguous, there", func(r *result) any { return r.account.decided }},
		line{"accounts that do not match the journal", func(r *result) any { return r.account.unbooked }},
		line{"anomalies of the lists", func(r *result) any { return len(r.anomalies) }},
		line{"p50", func(r *result) any { return short(r.tally.quantile(0.5)) }},
		line{"p99", func(r *result) any { return short(r.tally.quantile(0.99)) }},
		line{"longest gap without a commit", func(r *result) any { return short(r.tally.longestGap(r.ran)) }},
		line{"dials", func(r *result) any { return r.dials }},
		line{"connections at the end", func(r *result) any { return r.spread }},
	)
}

func kinds(results []*result) []string {
	all := make(map[string]bool)
	for _, r := range results {
		for kind := range r.tally.failures {
			all[kind] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func short(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// printExamples prints the first error of each kind, and the anomalies.
func printExamples(w io.Writer, r *result) {
	for _, kind := range slices.Sorted(maps.Keys(r.tally.examples)) {
		fmt.Fprintf(w, "%s, %s, the first: %s\n", r.driver, kind, r.tally.examples[kind])
	}
	for _, a := range r.anomalies {
		fmt.Fprintf(w, "%s: %v\n", r.driver, a)
	}
}
