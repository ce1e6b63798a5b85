package bench

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/bench/internal/transact"
)

// learning is unchanged code with learned locks.
var learning = peer{"learned locks", likeCockroachDB, ours(transact.Once, func(c *cockroachdb.Config) {
	c.LearnLocks = cockroachdb.LearnLocksAlways
})}

// forLocks are all workloads, and those that read two rows in either order.
func forLocks() []workload {
	return append(slices.Clone(workloads), two, twoForUpdate)
}

// two reads two rows and writes them, and twoForUpdate locks both by its own words.
var (
	two          = workload{"rmw-two", keyValue(hotRows), readModifyWriteTwo("", asDrawn), sumIsKept}
	twoForUpdate = workload{"rmw-two-for-update", keyValue(hotRows), readModifyWriteTwo(forUpdate, asDrawn), sumIsKept}
)

// TestLab_LearnedLocks_AreWrittenDown measures unchanged code with learned locks and without, and writes the table into
// the file that LAB_LOCKS names.
func TestLab_LearnedLocks_AreWrittenDown(t *testing.T) {
	file, ok := os.LookupEnv("LAB_LOCKS")
	if !ok {
		t.Skip("it writes: set LAB_LOCKS to results/learned-locks.md")
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, replaceTable(t, text, "locks", locksTable(t)), 0o600))
}

func locksTable(t *testing.T) string {
	text := row("workload", "latency", "off, commits/s", "on", "calls that failed, off", "on", "p99, off", "on") +
		row("---", "---", "---:", "---:", "---:", "---:", "---:", "---:")
	for _, w := range forLocks() {
		for _, latency := range latencies[:2] {
			c := cell{workload: w, peer: peerNamed(t, "transparent"), latency: latency, workers: 16, lasts: longEnough}
			off := measured(t, c)
			c.peer = learning
			on := measured(t, c)
			text += row(w.name, latency, fmt.Sprintf("%.0f", off.perSecond), fmt.Sprintf("%.2f ×", on.perSecond/off.perSecond),
				fmt.Sprintf("%.1f %%", 100*off.share()), fmt.Sprintf("%.1f %%", 100*on.share()), seconds(off.p99), seconds(on.p99))
		}
	}
	return text
}

// TestLab_LearnedLocks_SpareReadsTheirDivergences: where each transaction reads a row and writes it, locks that are
// learned spare nearly all of them the failure that unchanged code sees without.
func TestLab_LearnedLocks_SpareReadsTheirDivergences(t *testing.T) {
	t.Parallel()
	c := cell{
		workload: workloadsNamed(t, "rmw")[0], peer: peerNamed(t, "transparent"),
		latency: time.Millisecond, workers: 16, lasts: short,
	}
	off := measured(t, c)
	c.peer = learning
	on := measured(t, c)
	assert.Greater(t, off.share(), 0.1)
	assert.Less(t, on.share(), off.share()/5)
}
