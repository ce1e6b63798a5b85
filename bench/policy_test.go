package bench

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A setting is a value of one of the policy's knobs.
type setting struct{ knob, value, param string }

// settings are the values that have been compared. The default of each knob is among them.
var settings = slices.Concat(
	values("lane-wait", "retry_lane_wait=", "0s", "50ms", "250ms", "1s", "5s", "30s"),
	values("initial-backoff", "retry_initial_backoff=", "0s", "2ms", "5ms", "10ms", "20ms", "50ms"),
)

func values(knob, param string, values ...string) (list []setting) {
	for _, v := range values {
		list = append(list, setting{knob, v, param + v})
	}
	return list
}

// with is the peer with a setting in its DSN.
func (s setting) with(p peer) peer {
	if s.param == "" {
		return p
	}
	open := p.open
	p.open = func(tb testing.TB, g ground) *client {
		separator := "?"
		if strings.Contains(g.dsn, "?") {
			separator = "&"
		}
		g.dsn += separator + s.param
		return open(tb, g)
	}
	return p
}

// BenchmarkPolicy sweeps the policy's knobs over workloads that contend in different ways, with every transaction in
// RunTx, so that the driver alone retries. BENCH_POLICY says what to sweep: "dsn" is all that can be set in a DSN;
// anything else is the name of a setting that the program was built with (knob:value), since with whom a transaction
// takes turns is no knob; bench/sweep does both.
func BenchmarkPolicy(b *testing.B) {
	list := settings
	switch build := os.Getenv("BENCH_POLICY"); build {
	case "":
		b.Skip("takes its time: run bench/sweep")
	case "dsn":
	default:
		knob, value, ok := strings.Cut(build, ":")
		require.True(b, ok, "BENCH_POLICY is %q: use dsn, or knob:value", build)
		list = []setting{{knob, value, ""}}
	}
	for _, w := range workloadsNamed(b, "transfer", "rmw", "ycsb-a", "new-order") {
		for _, latency := range []time.Duration{0, 5 * time.Millisecond} {
			for _, s := range list {
				b.Run("knob="+s.knob+"/value="+s.value+"/workload="+w.name+"/latency="+latency.String(), func(b *testing.B) {
					runTx := s.with(peerNamed(b, "RunTx"))
					measure(b, newArena(b, newGround(b, runTx.manners), w, runTx, 1, workers(b)), latency)
				})
			}
		}
	}
}

func workloadsNamed(tb testing.TB, names ...string) (list []workload) {
	for _, name := range names {
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
		require.GreaterOrEqual(tb, i, 0, name)
		list = append(list, workloads[i])
	}
	return list
}

func peerNamed(tb testing.TB, name string) peer {
	i := slices.IndexFunc(peers, func(p peer) bool { return p.name == name })
	require.GreaterOrEqual(tb, i, 0, name)
	return peers[i]
}

// oneRow is what is worst: all of them want the same row.
var oneRow = []workload{
	{"counter-1", keyValue(1), counter(1), sumIsKept},
	{"rmw-1", keyValue(1), readModifyWrite(1, "SELECT v FROM kv WHERE k = $1"), sumIsKept},
}

const crowd = 64

// BenchmarkOneRow has a crowd of workers on a single row. It must neither collapse nor starve anyone: most-attempts is
// that of the transaction that was tried most, p100-ms the time of the slowest.
func BenchmarkOneRow(b *testing.B) {
	for _, w := range oneRow {
		for _, latency := range latencies[:2] {
			for _, p := range peers {
				b.Run("workload="+w.name+"/peer="+p.name+"/latency="+latency.String(), func(b *testing.B) {
					measure(b, newArena(b, newGround(b, p.manners), w, p, 1, crowd), latency)
				})
			}
		}
	}
}

// BenchmarkPools has two pools, each with a retry lane of its own and half of the workers, as two processes have that
// know nothing of each other, beside one pool with all of them, with the lane and without.
func BenchmarkPools(b *testing.B) {
	for _, w := range workloadsNamed(b, "transfer", "rmw", "new-order") {
		for _, latency := range []time.Duration{0, 5 * time.Millisecond} {
			for _, s := range []setting{{"lane", "yes", ""}, {"lane", "no", "retry_lane_wait=0s"}} {
				for pools, name := range []string{1: "1", 2: "2"} {
					if pools == 0 {
						continue
					}
					b.Run("workload="+w.name+"/lane="+s.value+"/pools="+name+"/latency="+latency.String(), func(b *testing.B) {
						runTx := s.with(peerNamed(b, "RunTx"))
						measure(b, newArena(b, newGround(b, runTx.manners), w, runTx, pools, workers(b)), latency)
					})
				}
			}
		}
	}
}

// TestPools keeps both alive.
func TestPools(t *testing.T) {
	for _, w := range oneRow {
		t.Run(w.name, func(t *testing.T) {
			a := newArena(t, newGround(t, likePostgreSQL), w, settings[0].with(peerNamed(t, "RunTx")), 2, 4)
			_, _ = a.contend(t, times(50))
			require.EqualValues(t, 50, a.tally().commits)
			a.check(t)
		})
	}
}
