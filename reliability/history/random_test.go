package history_test

import (
	"context"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/reliability/history"
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
	for server, cfg := range servers {
		for name, open := range workloads {
			t.Run(server+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, cfg)
				w, err := open(r, within(t))
				require.NoError(t, err)
				r.random(w, rand.Uint64())
			})
		}
	}
}

// Shares of all attempts that conflict, or so: fewer would test little.
const (
	fewestConflicts = 0.10
	fewestCommits   = 0.25 // of all transactions
)

func (r *rig) random(w workload, seed uint64) {
	faults := r.disturb(seed)
	err := history.Run(within(r.T), clients, steps, seed, w.Step)
	require.NoError(r, err, "seed %d", seed)
	if r.sim != nil {
		r.sim.ClearFaults()
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
}

// disturb injects faults for as long as the test runs. On a real CockroachDB there are none.
func (r *rig) disturb(seed uint64) []*crdbsim.Fault {
	if r.sim == nil {
		return nil
	}
	fault := func(pattern string, chance float64, a crdbsim.Action) *crdbsim.Fault {
		return &crdbsim.Fault{
			Pattern: regexp.MustCompile("(?i)" + pattern), Times: -1,
			Chance: chance, Rand: rand.New(rand.NewPCG(seed, 0)), Action: a,
		}
	}
	const statement = "^(select|update|insert)"
	all := []*crdbsim.Fault{
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
	r.sim.Inject(all...)
	return all
}
