package program

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// A generator makes programs out of random numbers.
type generator struct {
	*rand.Rand
	theme
	blocks int // made so far
}

// A theme is what the programs of a round have in common, so that they get into each other's way: mostly a few of the keys, one of the columns,
// and there NULL and what it could be mistaken for;
// or keys that come and go.
type theme struct {
	keys, hot int
	column    Column
	kinds     weighted[Kind]
}

func newTheme(rnd *rand.Rand, keys int) theme {
	t := theme{keys: keys, hot: 1 + rnd.IntN(keys), column: Column(rnd.IntN(columns)), kinds: all}
	if rnd.IntN(3) == 0 {
		t.kinds = comings
	}
	return t
}

// oneIn says yes one time in n.
func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

const (
	maxSteps      = 6
	maxBlockSteps = 3
	maxDepth      = 2
	maxRange      = 3
	maxCancel     = 4 * time.Millisecond
)

var forms = weighted[Form]{{Plain, 8}, {Closure, 9}, {ReadOnly, 2}, {Single, 3}}

func (g *generator) program(id int64) *Program {
	p := &Program{ID: id, Form: forms.pick(g)}
	switch p.Form {
	case Single:
		p.Steps = []Step{{Statement: g.statement(singles.pick(g))}}
		p.Steps[0].How = Direct
	case ReadOnly:
		for range 1 + g.IntN(maxSteps) {
			s := g.statement(reads.pick(g))
			s.Lock = false
			p.Steps = append(p.Steps, Step{Statement: s})
		}
		// Its number is nothing that a step behind it may depend on: it is not of the program's own making.
		at := g.IntN(len(p.Steps) + 1)
		p.Steps = append(p.Steps[:at:at], append([]Step{{Statement: Statement{Kind: ReadClock, Stop: -1}}}, p.Steps[at:]...)...)
	default:
		p.Steps = g.steps(1+g.IntN(maxSteps), 0)
		p.Clock = g.IntN(len(p.Steps) + 1)
		if g.oneIn(2) { // the later the clock is touched, the more happens at the same time
			p.Clock = len(p.Steps)
		}
		p.Enter = p.Clock + g.IntN(len(p.Steps)+1-p.Clock)
		p.Forgo = g.oneIn(20)
	}
	p.Policy = weighted[Policy]{{Default, 8}, {Tight, 2}, {Never, 1}}.pick(g)
	if g.oneIn(12) {
		p.Cancel = &Cancel{Step: g.IntN(len(p.Steps) + 1), After: upTo(g.Rand, maxCancel), Whole: g.oneIn(2)}
	}
	return p
}

func (g *generator) steps(n, depth int) []Step {
	steps := make([]Step, 0, n)
	for range n {
		s := Step{If: weighted[If]{{Always, 8}, {Even, 1}, {Odd, 1}}.pick(g)}
		if depth < maxDepth && g.oneIn(6) {
			s.Block = g.block(depth)
		} else {
			s.Statement = g.statement(g.kinds.pick(g))
		}
		steps = append(steps, s)
	}
	return steps
}

func (g *generator) block(depth int) *Block {
	g.blocks++
	b := &Block{Name: fmt.Sprintf("s%d", g.blocks), End: End(g.IntN(3))}
	if g.oneIn(3) {
		b.Name = "again" // names may be used again, inside one another too
	}
	b.Steps = g.steps(1+g.IntN(maxBlockSteps), depth+1)
	if g.oneIn(2) { // which fails, as often as not
		b.Steps = append(b.Steps, Step{Statement: g.statement(failures.pick(g))})
	}
	return b
}

var (
	all = weighted[Kind]{
		{Get, 6}, {Scan, 2}, {Wide, 1}, {Count, 2}, {Divide, 1}, {Set, 6}, {Add, 5}, {Insert, 1}, {Return, 1}, {Quiet, 2}, {Upsert, 3}, {Delete, 1}, {Texts, 1},
	}
	comings  = weighted[Kind]{{Get, 3}, {Scan, 1}, {Count, 2}, {Set, 2}, {Insert, 4}, {Return, 3}, {Quiet, 2}, {Upsert, 1}, {Delete, 5}}
	reads    = weighted[Kind]{{Get, 4}, {Scan, 3}, {Wide, 1}, {Count, 2}}
	singles  = weighted[Kind]{{ReadClock, 1}, {Set, 2}, {Add, 3}, {Quiet, 1}, {Upsert, 2}, {Delete, 1}}
	failures = weighted[Kind]{{Insert, 1}, {Return, 1}, {Divide, 1}}
	modes    = []pgx.QueryExecMode{
		pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	}
)

func (g *generator) statement(k Kind) Statement {
	s := Statement{Kind: k, Lo: g.IntN(g.hot), Column: Number, Stop: -1, Delta: 1 + g.Int64N(3), Ask: !k.rows() && g.oneIn(3)}
	if g.oneIn(4) {
		s.Lo = g.IntN(g.keys)
	}
	s.Hi = s.Lo + 1 + g.IntN(maxRange)
	s.Column = weighted[Column]{{Number, 3}, {g.column, 4}, {Column(g.IntN(columns)), 1}}.pick(g)
	s.Pick = g.IntN(len(kinds[s.Column].pool))
	if g.oneIn(2) {
		s.Pick = g.IntN(lookalikes)
	}
	s.Read = s.Column == Number && g.oneIn(2)
	if g.oneIn(4) {
		s.Stop = g.IntN(3)
		if k == Wide {
			s.Stop = g.IntN(2 * wideRows)
		}
	}
	s.Lock = k == Get && g.oneIn(4)
	s.How = weighted[How]{{Direct, 7}, {Prepared, 2}, {Shared, 1}}.pick(g)
	if s.How == Direct && g.oneIn(3) {
		s.Mode = modes[g.IntN(len(modes))]
	}
	switch k {
	case Texts: // no prepared statement holds two
		s.How, s.Mode = Direct, 0
	case ReadClock:
		s.Stop = -1
	}
	return s
}

// weighted is a choice, some of it likelier.
type weighted[T any] []struct {
	what   T
	weight int
}

func (w weighted[T]) pick(g *generator) T {
	sum := 0
	for _, c := range w {
		sum += c.weight
	}
	n := g.IntN(sum)
	for _, c := range w {
		if n -= c.weight; n < 0 {
			return c.what
		}
	}
	panic("weights that add up to nothing")
}
