package history_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/reliability/history"
	"github.com/reprise-go/cockroachdb/reliability/outage"
)

// A workload is one of the package's, set up.
type workload interface {
	Step(ctx context.Context, client int, rnd *rand.Rand) error
	Check(ctx context.Context) ([]history.Anomaly, error)
}

const clients = 12

// steps is how many transactions each client runs. HISTORY_STEPS=5000 has them run for longer.
var steps = stepsOr(25)

func stepsOr(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("HISTORY_STEPS")); err == nil {
		return n
	}
	return usual
}

// onClusters are the workloads that are run on clusters too: to lose a connection takes its time.
var onClusters = []string{"lists", "numbers", "bank"}

// TestRandom has many clients run random transactions under conflicts of their own making, and under faults.
func TestRandom(t *testing.T) {
	t.Parallel()
	workloads := map[string]func(r *rig, ctx context.Context) (workload, error){
		"lists": func(r *rig, ctx context.Context) (workload, error) { return history.NewLists(ctx, r.db, clients*steps) },
		"numbers": func(r *rig, ctx context.Context) (workload, error) {
			return history.NewRegisters(ctx, r.db, history.Numbers, clients*steps)
		},
		"truths": func(r *rig, ctx context.Context) (workload, error) {
			return history.NewRegisters(ctx, r.db, history.Truths, clients*steps)
		},
		"pairs": func(r *rig, ctx context.Context) (workload, error) {
			return history.NewRegisters(ctx, r.db, history.Pairs, clients*steps)
		},
		"bank": func(r *rig, ctx context.Context) (workload, error) { return history.NewBank(ctx, r.db) },
		"duty": func(r *rig, ctx context.Context) (workload, error) { return history.NewDuty(ctx, r.db) },
	}
	for name, open := range workloads {
		run := func(server string, rigOf func(t *testing.T, seed uint64) *rig) {
			t.Run(server+"/"+name, func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				r := rigOf(t, seed)
				w, err := open(r, within(t))
				require.NoError(t, err)
				r.random(w, seed)
			})
		}
		for server, cfg := range servers {
			run(server, func(t *testing.T, _ uint64) *rig { return newRig(t, cfg) })
		}
		if slices.Contains(onClusters, name) {
			run("CockroachDB cluster", func(t *testing.T, seed uint64) *rig { return newClusterRig(t, seed%2 == 0) })
		}
	}
}

// Shares of all attempts that conflict, or so: fewer would test little.
const (
	fewestConflicts = 0.10
	fewestCommits   = 0.25 // of all transactions
)

func (r *rig) random(w workload, seed uint64) {
	faults, roll := r.disturb(seed), r.roll(seed)
	err := history.Run(within(r.T), clients, steps, seed, func(ctx context.Context, client int, rnd *rand.Rand) error {
		defer roll.Ended()
		return w.Step(ctx, client, rnd)
	})
	gone, rollErr := roll.Stop()
	require.NoError(r, errors.Join(err, rollErr), "seed %d", seed)
	for _, sim := range r.sims() {
		sim.ClearFaults()
	}
	found, err := w.Check(within(r.T))
	r.none(found, err)

	injected := 0
	for _, f := range faults {
		if f.Action.Error.Code == r.lost.Code {
			injected += f.Hits()
		}
	}
	attempts, conflicts := r.count("transaction_attempts"), r.count("transaction_retries_total")
	transactions := r.count("transactions_total")
	committed := r.count("transactions_total", "committed")
	r.Logf("seed %d: %v transactions, %v committed, %v diverged, %v ambiguous; %v attempts, %.0f %% of them ended by a conflict; %d conflicts were injected", seed,
		transactions, committed, r.count("replay_divergences_total"),
		r.count("ambiguous_commits_total"), attempts, 100*conflicts/attempts, injected)
	assert.Greater(r, conflicts/attempts, fewestConflicts, "hardly any conflicts")
	assert.Greater(r, committed/transactions, fewestCommits, "hardly anything commits")
	// All that these transactions do can be run again, and where one node goes away others are there.
	assert.Zero(r, r.count("transactions_total", "connection_lost"), "a lost connection was not replaced")
	if r.nodes != nil {
		replaced := r.count("failovers_total", "replaced")
		r.Logf("nodes went away: %v; %v connections were replaced under a transaction", gone, replaced)
		assert.NotZero(r, r.count("failovers_total", "replaced"))
	}
}

// roll takes one node of a cluster away after the other.
func (r *rig) roll(seed uint64) *outage.Roll {
	if r.nodes == nil {
		return outage.Start(nil, nil)
	}
	return outage.Start(r.nodes, outage.Plan(rand.New(rand.NewPCG(seed, 1)), clusterSize, mostAfter))
}

// sims are those of all nodes.
func (r *rig) sims() (all []*crdbsim.Sim) {
	switch {
	case r.nodes != nil:
		for _, n := range r.nodes.Nodes() {
			all = append(all, n.Sim)
		}
	case r.sim != nil:
		all = append(all, r.sim)
	}
	return all
}

// disturb injects faults for as long as the test runs. On a real CockroachDB there are none.
func (r *rig) disturb(seed uint64) (all []*crdbsim.Fault) {
	for i, sim := range r.sims() {
		some := r.newFaults(seed + uint64(i))
		sim.Inject(some...)
		all = append(all, some...)
	}
	return all
}

func (r *rig) newFaults(seed uint64) []*crdbsim.Fault {
	fault := func(pattern string, chance float64, a crdbsim.Action) *crdbsim.Fault {
		return &crdbsim.Fault{
			Pattern: regexp.MustCompile("(?i)" + pattern), Times: -1,
			Chance: chance, Rand: rand.New(rand.NewPCG(seed, 0)), Action: a,
		}
	}
	const statement = "^(select|update|insert)"
	return []*crdbsim.Fault{
		fault(r.commit, .01, crdbsim.Action{Then: crdbsim.ExecuteCut}),
		fault(r.commit, .01, crdbsim.Action{Then: crdbsim.Cut}),
		fault(r.commit, .01, crdbsim.Action{
			Then: crdbsim.ExecuteFail, Error: crdbsim.Error{Code: "40003", Message: "injected"},
		}),
		fault(r.commit, .20, crdbsim.Action{Then: crdbsim.Fail, Error: r.lost}),
		fault(statement, .05, crdbsim.Action{Then: crdbsim.Fail, Error: r.lost}),
		fault(statement, .03, crdbsim.Action{Then: crdbsim.ExecuteFail, Error: r.lost}),
		fault(statement, .005, crdbsim.Action{Then: crdbsim.Cut}),
		fault(statement, .005, crdbsim.Action{Then: crdbsim.ExecuteCut}),
	}
}
