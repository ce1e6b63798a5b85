package program

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/reprise-go/cockroachdb/reliability/outage"
)

// A Size is how large rounds are. With the seed it decides everything about a round but the interleaving.
type Size struct {
	Workers  int // that run programs at a time
	Programs int // for each of them, one after the other
	Keys     int // the fewer, the hotter
}

// A Round is what is run between two looks at the tables: a list of programs for each worker, and the faults that
// strike them.
type Round struct {
	Server  Server
	Seed    uint64
	Topic   string
	Wrapped bool // the programs reach the driver through another one
	Through bool // the driver reaches the nodes of a cluster through a balancer
	Marked  bool // commits have markers
	Kept    bool // the programs of a worker that have a connection of their own have the same, while it is of use
	Taught  bool // where locks are learned: they were before the programs began; else almost
	Size    Size
	Workers [][]*Program
	Faults  Faults
}

// NewRound makes the round of that seed for a server.
func NewRound(server Server, seed uint64, size Size) *Round {
	return NewRoundAbout("", server, seed, size)
}

// NewRoundAbout makes a round whose programs have a certain topic, which the server must have ([Server.Has]); "" leaves
// the choice to the seed.
func NewRoundAbout(topic string, server Server, seed uint64, size Size) *Round {
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := &Round{Server: server, Seed: seed, Size: size, Wrapped: rnd.IntN(6) == 0, Faults: newFaults(rnd, size)}
	r.Taught = rand.New(rand.NewPCG(seed, 3)).IntN(3) > 0
	r.Marked = rand.New(rand.NewPCG(seed, 2)).IntN(3) == 0
	theme := newTheme(rnd, topic, server, size.Keys)
	r.Topic = theme.name
	if calm := rand.New(rand.NewPCG(seed, 4)); theme.calm && calm.IntN(2) == 0 {
		r.Faults = conflictsAlone(calm)
	}
	switch server {
	case Cluster:
		r.roll(rand.New(rand.NewPCG(seed, 1)))
		r.Kept = theme.settings == 0 && rand.New(rand.NewPCG(seed, 6)).IntN(2) == 0
	case Pooled:
		r.killPooler(rand.New(rand.NewPCG(seed, 5)))
	}
	for w := range size.Workers {
		var list []*Program
		for i := range size.Programs {
			g := generator{Rand: rnd, theme: theme}
			list = append(list, g.newProgram(int64(w*size.Programs+i+1)))
		}
		r.Workers = append(r.Workers, list)
	}
	return r
}

// roll has the nodes of a cluster go away, one after the other.
func (r *Round) roll(rnd *rand.Rand) {
	r.Through = rnd.IntN(2) == 0
	r.Faults.Nodes, r.Faults.Outages = nil, outage.Plan(rnd, clusterSize, mostAfter)
}

// killPooler has the pooler go in place of the node, by half of the faults of that kind.
func (r *Round) killPooler(rnd *rand.Rand) {
	for i := range r.Faults.Nodes {
		r.Faults.Nodes[i].Pooler = rnd.IntN(2) == 0
	}
}

// programs are those of all workers.
func (r *Round) programs() map[int64]*Program {
	all := make(map[int64]*Program)
	for _, list := range r.Workers {
		for _, p := range list {
			all[p.ID] = p
		}
	}
	return all
}

// each calls do for every statement.
func (r *Round) each(do func(*Statement)) {
	for _, p := range r.programs() {
		eachOf(p.Steps, do)
		if p.Tail != nil {
			for i := range p.Tail.Steps {
				do(&p.Tail.Steps[i])
			}
		}
	}
}

// eachOf calls do for every statement of steps.
func eachOf(steps []Step, do func(*Statement)) {
	for i := range steps {
		if b := steps[i].Block; b != nil {
			eachOf(b.Steps, do)
		} else {
			do(&steps[i].Statement)
		}
	}
}

// has reports whether there is a statement of one of these kinds.
func (r *Round) has(kinds ...Kind) (found bool) {
	r.each(func(s *Statement) { found = found || slices.Contains(kinds, s.Kind) })
	return found
}

func (r *Round) changesTypes() bool { return r.has(Retype, Remake) }

func (r *Round) changesSchema() bool { return r.has(Retype, Remake, Create, Drop) }

func (r *Round) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v, keys 0 to %d, topic: %s\nfaults: %v\n", r.Server, r.Size.Keys-1, r.Topic, r.Faults)
	if r.Wrapped {
		b.WriteString("through a driver around this one\n")
	}
	if r.Through {
		b.WriteString("through a balancer\n")
	}
	if r.Marked {
		b.WriteString("with commit markers\n")
	}
	if r.learnsLocks() {
		b.WriteString(map[bool]string{true: "locks are learned before it\n", false: "locks are learned in it\n"}[r.Taught])
	}
	for i, list := range r.Workers {
		fmt.Fprintf(&b, "worker %d\n", i+1)
		for _, p := range list {
			b.WriteString(p.String())
		}
	}
	return b.String()
}
