package program

import (
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

var (
	seed   = flag.Uint64("seed", 1, "of the first round; the following ones count on")
	rounds = flag.Int("rounds", 6, "how many")
	about  = flag.String("topic", "", "of all rounds; if it is empty, each has one of its own")
	times  = flag.Int("times", 1, "how often each is played, until something is found")
	sought = flag.String("kinds", "", "of anomaly that count, with commas between; all of them, if it is empty")
	shrink = flag.Duration("shrink", 30*time.Second, "how long to look for a smaller round that shows the same")
)

func newGroup(t *testing.T, workers int, server Server) *Group {
	t.Helper()
	e := enginetest.Get(t)
	if e.IsCockroach() {
		t.Skip("injects faults, which needs crdbsim; this engine is " + e.Name())
	}
	g, err := NewGroup(t.Context(), e, workers, server, cockroachdb.NewMetrics())
	if errors.Is(err, pgbouncer.ErrNone) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// TestRandomPrograms is a short run of what the soak does for as long as it is told. To repeat a round: -seed N -rounds
// 1. As the interleaving is not to be had again, it may take several tries: -times 20.
func TestRandomPrograms(t *testing.T) {
	t.Parallel()
	size := Size{Workers: 4, Programs: 10, Keys: 6}
	for _, server := range Servers {
		t.Run(server.String(), func(t *testing.T) {
			t.Parallel()
			if !server.Has(*about) {
				t.Skipf("%v has no topic %q", server, *about)
			}
			g := newGroup(t, size.Workers, server)
			committed := 0
			for i := range *rounds * *times {
				r := NewRoundAbout(*about, server, *seed+uint64(i / *times), size)
				h, err := g.Play(t.Context(), r)
				require.NoError(t, err)
				committed += len(h.Commits)
				if found := slices.DeleteFunc(Check(r, h), isOther); len(found) > 0 {
					explain(t, g, r, found)
				}
			}
			assert.NotZero(t, committed)
			t.Logf("%d rounds of %d programs: %d commits", *rounds, size.Workers*size.Programs, committed)
		})
	}
}

// isOther reports whether an anomaly is of a kind that does not count.
func isOther(a Anomaly) bool {
	return *sought != "" && !slices.Contains(strings.Split(*sought, ","), a.Kind)
}

// explain tells what was found in a round, and in as small a one as can be had in the time there is.
func explain(t *testing.T, g *Group, r *Round, found []Anomaly) {
	t.Helper()
	t.Errorf("seed %d", r.Seed)
	for _, a := range found {
		t.Errorf("anomaly: %v", a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), *shrink)
	defer cancel()
	small, found := g.Smallest(ctx, r, 10)
	t.Fatalf("shrunk: %v\n%v", found, small)
}

// TestModel has programs run one after the other, with nothing in their way: the model must know all there is to know
// about them.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, server := range []Server{CockroachDB, NewerCockroachDB, PostgreSQL} { // a cluster's manners are the first's
		t.Run(server.String(), func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, 1, server)
			for i := range *rounds {
				r := NewRoundAbout(*about, server, 1000+*seed+uint64(i), Size{Workers: 1, Programs: 15, Keys: 6})
				r.Faults, r.Wrapped = Faults{}, false
				for _, p := range r.programs() {
					p.Cancel, p.Careless = nil, false
					if p.Tail != nil {
						p.Tail.Back = false
					}
					eachOf(p.Steps, withTime)
				}
				h, err := g.Play(t.Context(), r)
				require.NoError(t, err)
				require.Empty(t, ofTheModel(Check(r, h)), "seed %d", r.Seed)
				if r.changesTypes() {
					continue // it may fail by what the driver believes of types
				}
				m := newModel(server, r.Size.Keys)
				for id := int64(1); id <= int64(len(h.Results)); id++ {
					sameAsModel(t, m, r, id, h.Results[id])
				}
			}
		})
	}
}

// withTime makes timeouts so long that no machine is too slow for them.
func withTime(s *Statement) {
	if s.Kind == Hurry {
		s.Word = "statement_timeout = '10min'"
	}
}

// ofTheModel are the anomalies by which the model could be wrong. What the driver says in errors it does not know.
func ofTheModel(found []Anomaly) []Anomaly {
	return slices.DeleteFunc(found, func(a Anomaly) bool {
		return !slices.Contains([]string{Shown, Tables, Order}, a.Kind)
	})
}

// sameAsModel compares a program that was rolled back with the model, too.
func sameAsModel(t *testing.T, m *model, r *Round, id int64, res Result) {
	t.Helper()
	p := r.programs()[id]
	for part := 1; part <= len(res.last()); part++ {
		before := m.clone()
		shown, err := m.play(p, part, nil)
		if p.Forgo || part > 1 && p.Tail != nil && p.Tail.By == HalfwayText && res.Err != nil {
			m.state = before
		}
		if p.Form != ReadOnly && p.Steps != nil && !slices.Contains([]Kind{ReadClock, Survey}, p.Steps[0].Kind) {
			require.Equal(t, shown, res.shown(part), "seed %d: %v", r.Seed, p)
		}
		told := res.last()[part-1].Err
		require.Equal(t, codeOf(err), codeWithin(told), "seed %d: %v %v", r.Seed, p, told)
	}
}

// TestPlayEnds has a round end before it has begun.
func TestPlayEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := NewRound(CockroachDB, 1, Size{Workers: 2, Programs: 5, Keys: 2})
	h, err := newGroup(t, 2, CockroachDB).Play(ctx, r)
	require.NoError(t, err)
	assert.Empty(t, h.Results)
	assert.Empty(t, Check(r, h))
}

// TestSeed makes the same round twice, and another one.
func TestSeed(t *testing.T) {
	t.Parallel()
	size := Size{Workers: 3, Programs: 20, Keys: 5}
	assert.Equal(t, NewRound(CockroachDB, 7, size), NewRound(CockroachDB, 7, size))
	assert.NotEqual(t, NewRound(CockroachDB, 7, size).String(), NewRound(CockroachDB, 8, size).String())
}

// TestLearnedLocks counts the locks that programs have met, before which their pools have learned them.
func TestLearnedLocks(t *testing.T) {
	t.Parallel()
	for _, server := range unpooled {
		t.Run(server.String(), func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, 4, server)
			sent, changes := 0, make(map[cockroachdb.LockChange]int)
			for seed := range uint64(4) {
				r := NewRoundAbout("locks", server, seed, Size{Workers: 4, Programs: 10, Keys: 4})
				h, err := g.Play(t.Context(), r)
				require.NoError(t, err)
				require.Empty(t, Check(r, h), "seed %d", seed)
				sent += h.Locks.Sent
				for c, n := range h.Locks.Changes {
					changes[c] += n
				}
			}
			assert.NotZero(t, sent, "reads with a lock")
			assert.NotZero(t, changes[cockroachdb.LockLearned])
			t.Logf("%d reads with a lock; texts: %v", sent, changes)
		})
	}
}
