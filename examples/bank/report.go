package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// report is what the program has to say.
type report struct {
	options
	engine   string
	contends manner
	phases   []phase
}

func (r report) writeHead(w io.Writer) {
	fmt.Fprintf(w, "engine:     %s\ncontention: %s\n", r.engine, r.contends.name)
	fmt.Fprintf(w, "bank:       %d accounts, %d workers, %d kinds of transfer, %v each\n",
		r.accounts, r.workers, len(r.kinds), r.window().Round(time.Millisecond))
	fmt.Fprintf(w, "settings:   %s for cockroachdb, unless its name says otherwise\n\n", learning.Encode())
}

func (r report) writeTable(w io.Writer) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options = table.Options{SeparateHeader: true, SeparateRows: false}
	t.AppendHeader(table.Row{
		"driver", "transfer", "committed", "failed", "absorbed", "diverged", "tx/s", "p50", "p99", "slowest",
	})
	configs := []table.ColumnConfig{{Number: 1, AutoMerge: true}}
	for n := 3; n <= 10; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for _, p := range r.phases {
		for _, row := range p.rows {
			t.AppendRow(p.cells(p.contender.title(row.kind), row))
		}
		if len(p.rows) > 1 {
			t.AppendRow(p.cells("all", p.all))
		}
		t.AppendSeparator()
	}
	fmt.Fprintln(w, t.Render())
	r.writeWords(w)
}

func (p phase) cells(title string, r row) table.Row {
	absorbed, diverged := "-", "-"
	if p.measured() {
		absorbed, diverged = grouped(r.absorbed()), grouped(r.divergences())
	}
	return table.Row{
		p.contender.name, title, grouped(r.committed),
		fmt.Sprintf("%s %6s", grouped(r.failed), percent(r.failedShare())), absorbed, diverged,
		grouped(int64(r.perSecond())), r.quantile(50), r.quantile(99), r.quantile(100),
	}
}

// writeWords says what the table means.
func (r report) writeWords(w io.Writer) {
	fmt.Fprintln(w)
	for _, p := range r.phases {
		fmt.Fprintf(w, "With %s, %s of the transfers failed", p.contender.name, percent(p.all.failedShare()))
		if p.measured() {
			fmt.Fprintf(w, ", and %s retries went unnoticed. %s INSERTs were replayed with the key that was shown, "+
				"and %s reads had a learned lock", grouped(p.all.absorbed()), grouped(p.all.pinned()), grouped(p.all.lockedReads()))
		}
		fmt.Fprintf(w, ". The balances add up to %s%s\n", grouped(p.total), p.verdict())
	}
	fmt.Fprint(w, `
failed    a conflict reached the application (SQLSTATE 40001), and the money did not move
absorbed  retries by the driver that the application did not notice; with RunTx, those of its function too
diverged  retries that would have shown the application another balance than it had already read. The driver does
          not hide that: the transfer fails, or, in RunTx, the function is called again
tx/s      transfers committed per second; p50, p99, slowest: what each of those took, from BeginTx to the answer
          to Commit, with all retries and waits. Failed transfers are in none of them
`)
	fmt.Fprint(w, r.contends.note)
}

// measured says whether the driver has metrics.
func (p phase) measured() bool { return p.contender.driver == "cockroachdb" }

func (p phase) balanced() bool { return p.total == p.expected }

func (p phase) verdict() string {
	if p.balanced() {
		return ", as they must."
	}
	return fmt.Sprintf(" AND NOT TO %s!", grouped(p.expected))
}

func (r report) balanced() bool {
	for _, p := range r.phases {
		if !p.balanced() {
			return false
		}
	}
	return true
}

// writeJSON writes everything there is, a line per driver and kind.
func (r report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	for _, p := range r.phases {
		for _, row := range p.rows {
			err := encoder.Encode(map[string]any{
				"engine": r.engine, "contention": r.contends.name, "driver": p.contender.name, "kind": row.kind.name,
				"workers": r.workers, "accounts": r.accounts, "seconds": row.elapsed.Seconds(),
				"committed": row.committed, "failed": row.failed, "gave_up": row.gaveUp,
				"commits_per_second": row.perSecond(), "p50_ms": row.milliseconds(50),
				"p99_ms": row.milliseconds(99), "max_ms": row.milliseconds(100),
				"retries": row.retries(), "absorbed": row.absorbed(), "diverged": row.divergences(),
				"most_attempts": row.mostAttempts(), "counters": row.values, "balanced": p.balanced(),
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// absorbed is how many retries the application never heard of.
func (r row) absorbed() int64 { return r.retries() - r.tally.diverged }

func (t tally) failedShare() float64 {
	return float64(t.failed) / float64(max(t.failed+t.committed, 1))
}

func (t tally) perSecond() float64 { return float64(t.committed) / max(t.elapsed, 1).Seconds() }

func (t tally) milliseconds(quantile float64) float64 {
	return float64(t.latency.ValueAtQuantile(quantile)) / 1000
}

func (t tally) quantile(q float64) string {
	switch ms := t.milliseconds(q); {
	case t.committed == 0:
		return "-"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0f ms", ms)
	default:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
}

func percent(share float64) string {
	if share > 0 && share < 0.001 {
		return "<0.1%"
	}
	return fmt.Sprintf("%.1f%%", share*100)
}

func grouped(n int64) string { return message.NewPrinter(language.English).Sprintf("%d", n) }
