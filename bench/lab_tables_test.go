package bench

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

// tablesOf has the tables of each page. The calibration is in the docs; all the rest is beside the benchmarks.
var tablesOf = map[string]map[string]func(*testing.T) string{
	"docs/contention.md": {"shares": sharesTable, "policies": policiesTable},
	"bench/results/lab.md": {
		"peers": peersTable, "latency": latencyTable, "workers": workersTable, "buffered": bufferedTable,
		"nodes": nodesTable, "pools": poolsTable, "crowd": crowdTable, "goal": goalTable,
	},
}

// TestLaboratory measures all tables and writes them into the pages of the repository that LAB names, between marks
// that have the names of the tables. It is skipped where LAB is not set; see make lab.
func TestLaboratory(t *testing.T) {
	root, ok := os.LookupEnv("LAB")
	if !ok {
		t.Skip("takes a minute or two: run make lab")
	}
	began := time.Now()
	for page, tables := range tablesOf {
		t.Run(page, func(t *testing.T) { writeTables(t, filepath.Join(root, filepath.FromSlash(page)), tables) })
	}
	t.Logf("%v", time.Since(began).Round(time.Second))
}

// writeTables measures tables side by side and writes them into a file.
func writeTables(t *testing.T, file string, tables map[string]func(*testing.T) string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	written := make(chan [2]string, len(tables))
	t.Run("tables", func(t *testing.T) {
		for name, table := range tables {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				written <- [2]string{name, table(t)}
			})
		}
	})
	close(written)
	for table := range written {
		text = replaceTable(t, text, table[0], table[1])
	}
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

func replaceTable(t *testing.T, text []byte, name, table string) []byte {
	between := regexp.MustCompile(`(?s)(<!-- lab: ` + name + ` -->\n).*?(<!-- end -->)`)
	require.Len(t, between.FindAll(text, -1), 1, "the place of the table %s", name)
	return between.ReplaceAll(text, []byte("${1}\n"+strings.ReplaceAll(table, "$", "$$")+"\n${2}"))
}

// row is a row of a table.
func row(cells ...any) string {
	var b strings.Builder
	for _, c := range cells {
		fmt.Fprint(&b, "| ", c, " ")
	}
	return b.String() + "|\n"
}

// longEnough is for how much virtual time a cell of a table is measured.
const longEnough = 10 * time.Second

// peersTable is every workload by every peer, with no latency and with 1 ms.
func peersTable(t *testing.T) string {
	text := "| workload | latency " + strings.TrimSuffix(comparedHead, "\n") + " why a peer is ahead |\n" +
		row("---", "---", "---:", "---:", "---:", "---:", "---", "---", "---")
	for _, w := range workloads {
		for _, latency := range latencies[:2] {
			head := fmt.Sprint("| ", w.name, " | ", latency, " ")
			text += w.compare(t, head, cell{latency: latency, workers: 16, lasts: 2 * longEnough}, w.why)
		}
	}
	return text
}

// compare is a row that has all peers side by side: the loop's commits a second, the others' as multiples of it, and
// p99 and the most attempts of each, and what there is to remark.
func (w workload) compare(
	t *testing.T, head string, c cell, remarks ...func(*testing.T, cell, map[string]figures) string,
) string {
	t.Helper()
	c.workload, c.lasts = w, cmp.Or(c.lasts, longEnough)
	var base float64
	var p99s, attempts []string
	byPeer := map[string]figures{}
	for i, name := range labPeers {
		c.peer = peerNamed(t, name)
		f := measured(t, c)
		byPeer[name] = f
		if i == 0 {
			base = f.perSecond
			head += fmt.Sprintf("| %.0f ", base)
		} else {
			head += fmt.Sprintf("| %.2f × ", f.perSecond/base)
		}
		p99s = append(p99s, seconds(f.p99))
		attempts = append(attempts, fmt.Sprint(f.mostAttempts))
	}
	head += "| " + strings.Join(p99s, " / ") + " | " + strings.Join(attempts, " / ")
	for _, remark := range remarks {
		head += " | " + remark(t, c, byPeer)
	}
	return head + " |\n"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

const comparedHead = "| pgx-loop | ExecuteTx | transparent | RunTx | p99 | most attempts |\n"

func latencyTable(t *testing.T) string {
	text := "| workload | latency " + comparedHead + row("---", "---:", "---:", "---:", "---:", "---:", "---", "---")
	for _, w := range workloadsNamed(t, "transfer", "rmw", "ycsb-f") {
		for _, latency := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond} {
			text += w.compare(t, fmt.Sprint("| ", w.name, " | ", latency, " "), cell{latency: latency, workers: 16})
		}
	}
	return text
}

func workersTable(t *testing.T) string {
	text := "| workload | workers " + comparedHead + row("---", "---:", "---:", "---:", "---:", "---:", "---", "---")
	for _, w := range workloadsNamed(t, "transfer", "rmw") {
		for _, workers := range []int{4, 64} {
			head := fmt.Sprint("| ", w.name, " | ", workers, " ")
			text += w.compare(t, head, cell{latency: time.Millisecond, workers: workers})
		}
	}
	return text
}

func bufferedTable(t *testing.T) string {
	text := "| workload | writes " + comparedHead + row("---", "---", "---:", "---:", "---:", "---:", "---", "---")
	for _, w := range workloadsNamed(t, "transfer", "rmw", "write-skew", "wide-read") {
		c := cell{latency: time.Millisecond, workers: 16, change: func(cfg *crdbmodel.Config) { cfg.Buffered = true }}
		text += w.compare(t, "| "+w.name+" | buffered ", c)
	}
	return text
}

func nodesTable(t *testing.T) string {
	text := "| workload | nodes " + comparedHead + row("---", "---", "---:", "---:", "---:", "---:", "---", "---")
	for _, w := range workloadsNamed(t, "transfer", "rmw", "ycsb-f") {
		c := cell{workers: 16, change: func(cfg *crdbmodel.Config) { cfg.Nodes, cfg.Hop = 3, time.Millisecond/2 }}
		text += w.compare(t, "| "+w.name+" | 3, 0.5 ms apart ", c)
	}
	return text
}

// poolsTable has as many workers in one pool, with one lane, and in two and four.
func poolsTable(t *testing.T) string {
	text := row("workload", "peer", "1 pool", "2 pools", "4 pools") + row("---", "---", "---:", "---:", "---:")
	for _, w := range workloadsNamed(t, "transfer", "rmw", "new-order") {
		for _, name := range []string{"transparent", "RunTx"} {
			text += fmt.Sprintf("| %s | %s ", w.name, name)
			for _, pools := range []int{1, 2, 4} {
				f := measured(t, cell{
					workload: w, peer: peerNamed(t, name), latency: time.Millisecond, workers: 16, pools: pools, lasts: longEnough,
				})
				text += fmt.Sprintf("| %.0f ", f.perSecond)
			}
			text += "|\n"
		}
	}
	return text
}

// crowdTable has 64 workers on one row.
func crowdTable(t *testing.T) string {
	text := row("workload", "peer", "commits/s", "p99", "longest", "most attempts") +
		row("---", "---", "---:", "---:", "---:", "---:")
	for _, w := range oneRow {
		for _, name := range labPeers {
			f := measured(t, cell{
				workload: w, peer: peerNamed(t, name), latency: time.Millisecond, workers: crowd, lasts: longEnough,
			})
			text += fmt.Sprintf("| %s | %s | %.0f | %s | %s | %d |\n", w.name, name,
				f.perSecond, seconds(f.p99), seconds(f.longest), f.mostAttempts)
		}
	}
	return text
}
