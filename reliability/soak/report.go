package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// newTable is a table of a report, whose figures stand on the right.
func newTable(w io.Writer, head ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(head)
	configs := make([]table.ColumnConfig, 0, len(head))
	for i := 2; i <= len(head); i++ {
		configs = append(configs, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	return t
}

func (s *soaking) report(w io.Writer, samples *samples, left []string) {
	s.reportPrograms(w)
	s.reportFaults(w)
	s.reportDriver(w)
	reportSamples(w, samples)
	anomalies := 0
	for _, f := range s.found {
		anomalies += len(f.anomalies)
	}
	fmt.Fprintf(w, "\nanomalies: %d\nleft behind: %s\n", anomalies, cmp.Or(strings.Join(left, ", "), "nothing"))
}

func (s *soaking) reportPrograms(w io.Writer) {
	t := newTable(w, fmt.Sprintf("programs, in %d rounds of %d groups", s.tally.rounds, len(s.groups)), "number")
	t.AppendRow(table.Row{"run", s.tally.programs})
	t.AppendRow(table.Row{"told: committed", s.tally.committed})
	t.AppendRow(table.Row{"told: may be committed", s.tally.unknown})
	t.AppendRow(table.Row{"  of which were", s.tally.were})
	refused := 0
	for _, n := range s.tally.refused {
		refused += n
	}
	t.AppendRow(table.Row{"told: not committed", refused})
	appendSorted(t, s.tally.refused)
	t.Render()
}

func appendSorted(t table.Writer, numbers map[string]int) {
	names := slices.SortedFunc(maps.Keys(numbers), func(a, b string) int {
		return cmp.Or(numbers[b]-numbers[a], strings.Compare(a, b))
	})
	for _, name := range names {
		t.AppendRow(table.Row{"  " + name, numbers[name]})
	}
}

func (s *soaking) reportFaults(w io.Writer) {
	t := newTable(w, "faults injected", "number")
	sum := 0
	for _, n := range s.tally.faults {
		sum += n
	}
	t.AppendRow(table.Row{"all", sum})
	appendSorted(t, s.tally.faults)
	t.Render()
}

// reportDriver is what the driver's own metrics say.
func (s *soaking) reportDriver(w io.Writer) {
	c := metricsOf(s.metrics)
	t := newTable(w, "the driver", "number")
	row := func(name string, key string) {
		t.AppendRow(table.Row{name, int64(c[key])})
	}
	row("transactions", "transactions_total")
	row("  committed", "transactions_total/committed")
	row("  ambiguous", "transactions_total/ambiguous")
	row("  retries exhausted", "transactions_total/exhausted")
	row("  not replayable", "transactions_total/not_replayable")
	c["new attempts after conflicts"] = c["transaction_retries_total"] - c["transaction_retries_total/diverged"]
	c["at a statement"] = c["transaction_retries_total/statement"] - c["transaction_retries_total/diverged"]
	row("conflicts taken up: new attempts", "new attempts after conflicts")
	row("  met in place of an answer", "at a statement")
	row("  met in the middle of rows", "transaction_retries_total/rows")
	row("  met at the commit", "transaction_retries_total/commit")
	row("replays", "replay_duration_seconds")
	row("  statements run again", "replayed_statements_total")
	row("  divergences", "replay_divergences_total")
	t.Render()
}

func reportSamples(w io.Writer, s *samples) {
	t := newTable(w, fmt.Sprintf("%d samples", len(s.all)), "first third", "last third", "highest", "a minute", "")
	for q, name := range quantityNames {
		c := s.course(q)
		verdict := "flat"
		if !c.flat {
			verdict = "IT GROWS"
		}
		t.AppendRow(table.Row{
			name, figure(c.first), figure(c.last), figure(c.highest), fmt.Sprintf("%+.2f", c.slope), verdict,
		})
	}
	t.Render()
}

func figure(v float64) string { return fmt.Sprintf("%.1f", v) }

const (
	lineEvery     = 10 * time.Second
	terminalEvery = 250 * time.Millisecond
)

// showProgress keeps a line up to date on a terminal, and writes one every now and then elsewhere.
func (s *soaking) showProgress(w io.Writer, ended <-chan struct{}) {
	every, end := lineEvery, "\n"
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		every, end = terminalEvery, "\r"
		defer fmt.Fprint(w, "\x1b[2K") // the line goes
	}
	began, ticker := time.Now(), time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			programs, committed, faults := s.tally.now()
			fmt.Fprintf(w, "%v of %v: %d programs, %d committed, %d faults%s",
				time.Since(began).Round(time.Second), s.duration, programs, committed, faults, end)
		}
	}
}
