package main

import (
	"fmt"
	"strings"
)

// A row of the dashboard has panels side by side.
type row struct {
	title  string
	panels []panel
}

// A panel shows what its queries give.
type panel struct {
	title   string
	means   string // for the user's application, in a sentence or two
	kind    kind
	unit    string  // as Grafana calls it
	axis    string  // what the numbers are; unused at a glance
	bad     float64 // from here on the number is red, at a glance; 0 for never
	whole   bool    // shown without decimals: a count that increase() has extrapolated
	queries []query
}

type kind int

const (
	series kind = iota
	glance      // one number
	heat        // a histogram's buckets over time
)

type query struct{ legend, expr string }

// Grafana's names of units.
const (
	perSecond = "cps"
	number    = "short"
	seconds   = "s"
	share     = "percentunit"
	bytes     = "bytes"
)

// of selects a metric's series by the dashboard's variables, and by what else is said.
func of(metric string, matchers ...string) string {
	all := append([]string{`job=~"$job"`, `instance=~"$instance"`, `db_name=~"$db_name"`}, matchers...)
	return metric + "{" + strings.Join(all, ", ") + "}"
}

// rate is how much a counter grows in a second.
func rate(metric string, matchers ...string) string {
	return "rate(" + of(metric, matchers...) + "[$__rate_interval])"
}

// shareOf is which part of a counter's growth the series have that matcher selects, for each value of the label by.
func shareOf(by, metric, matcher string) string {
	return sum(by, rate(metric, matcher)) + " / (" + sum(by, rate(metric)) + " > 0)"
}

// sum adds up everything that has the same labels by; with none it adds up all.
func sum(by, expr string) string {
	if by == "" {
		return "sum(" + expr + ")"
	}
	return "sum by (" + by + ") (" + expr + ")"
}

// quantile is of a histogram with classic buckets.
func quantile(q float64, by, metric string, matchers ...string) string {
	if by != "" {
		by = ", " + by
	}
	return fmt.Sprintf("histogram_quantile(%v, %s)", q, sum("le"+by, rate(metric+"_bucket", matchers...)))
}

// retriesPerTransaction does not count those of statements outside a transaction, for which there is nothing to divide
// by.
var retriesPerTransaction = fmt.Sprintf("(%[1]s - %[2]s) / %[2]s",
	sum("", rate("cockroachdb_transaction_attempts_sum")), sum("", rate("cockroachdb_transaction_attempts_count")))

// duringRange is how much a counter has grown in all that the dashboard shows.
func duringRange(metric string, matchers ...string) string {
	return sum("", "increase("+of(metric, matchers...)+"[$__range])")
}
