package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

// A variant is a value of something that the driver's policy decides, tried in the laboratory.
type variant struct {
	setting
	change  func(*crdbmodel.Config)
	crowded bool // a hundred processes, each with one worker and a lane of its own
}

// variants are those that can be set in a DSN. The default of each knob is among them.
func variants() (all []variant) {
	for _, s := range settings {
		all = append(all, variant{setting: s})
	}
	for _, list := range [][]setting{
		values("max-backoff", "retry_max_backoff=", "20ms", "100ms", "250ms", "1s", "5s"),
		values("throttle: tokens per commit",
			"retry_throttle_tokens=100&retry_throttle_tokens_per_commit=", "0.1", "1", "10"),
		values("learned locks in RunTx", "retry_learn_locks=", "off", "runtx"),
		values("restart", "retry_restart=", "savepoint", "begin"),
	} {
		for _, s := range list {
			all = append(all, variant{setting: s})
		}
	}
	for _, s := range values("restart, writes buffered", "retry_restart=", "savepoint", "begin", "auto") {
		all = append(all, variant{setting: s, change: buffered})
	}
	return all
}

func buffered(cfg *crdbmodel.Config) { cfg.Buffered = true }

// built are the variants of a program that was built with another value of what is no knob; see bench/curves.
func built(name string) []variant {
	knob, value, _ := strings.Cut(name, ":")
	all := []variant{{setting: setting{knob: knob, value: value}}}
	if knob == "priority" {
		all = append(all, variant{setting: setting{knob: knob + ", 100 processes", value: value}, crowded: true})
	}
	return all
}

// ofCurves are the workloads for which there is something to decide: all transactions are RunTx's.
func ofCurves(tb testing.TB) []workload {
	return append(workloadsNamed(tb, "transfer", "rmw", "wide-read", "write-skew", "ycsb-f"), two, twoForUpdate)
}

// TestCurves measures what each value of the policy's knobs commits, and appends it to the file that LAB_CURVES names,
// in the format of Go's benchmarks. LAB_BUILT names what the program was built with, as knob:value.
func TestCurves(t *testing.T) {
	file, ok := os.LookupEnv("LAB_CURVES")
	if !ok {
		t.Skip("takes five minutes: run make curves")
	}
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	list := variants()
	if name := os.Getenv("LAB_BUILT"); name != "" {
		list = built(name)
	}
	lines := make([][]string, len(list))
	t.Run("all", func(t *testing.T) {
		for i, v := range list {
			t.Run(v.knob+" "+v.value, func(t *testing.T) {
				t.Parallel()
				lines[i] = v.measure(t)
			})
		}
	})
	_, err = fmt.Fprintln(out, strings.Join(slices.Concat(lines...), "\n"))
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// measure returns lines of a benchmark's output.
func (v variant) measure(t *testing.T) (lines []string) {
	escape := strings.NewReplacer(" ", "_", "/", "_")
	for _, w := range ofCurves(t) {
		for _, latency := range latencies[:2] {
			c := cell{
				workload: w, peer: v.with(peerNamed(t, "RunTx")), latency: latency, workers: 16, lasts: short, change: v.change,
			}
			if v.crowded {
				c.workers, c.pools = 100, 100
			}
			f := measured(t, c)
			lines = append(lines, fmt.Sprintf(
				"BenchmarkPolicy/knob=%s/value=%s/workload=%s/latency=%s 1 %.1f commits/s %d most-attempts %.1f p99-ms",
				escape.Replace(v.knob), v.value, w.name, latency, f.perSecond, f.mostAttempts, float64(f.p99.Microseconds())/1000))
		}
	}
	return lines
}
