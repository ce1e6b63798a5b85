package program

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// A generator makes programs out of random numbers.
type generator struct {
	*rand.Rand
	theme
	program *Program
	blocks  int        // made so far
	peeked  *Statement // the latest Peek; nil for none
}

// oneIn says yes one time in n, and never if n is 0.
func (g *generator) oneIn(n int) bool { return n > 0 && g.IntN(n) == 0 }

const (
	maxSteps      = 6
	maxBlockSteps = 3
	maxDepth      = 2
	maxRange      = 3
	maxSlots      = 2
	maxCancel     = 4 * time.Millisecond
)

var forms = weighted[Form]{{Plain, 8}, {Closure, 9}, {ReadOnly, 2}, {Single, 3}}

func (g *generator) newProgram(id int64) *Program {
	p := &Program{ID: id, Form: forms.pick(g)}
	g.program = p
	switch {
	case p.Form == Single:
	case g.plain:
		p.Form = Plain
	case g.oneIn(g.looping):
		p.Form = Looped
	}
	switch p.Form {
	case Single:
		p.Own = g.oneIn(g.own)
		if g.oneIn(g.halving) {
			g.halves(p)
			break
		}
		p.Steps = []Step{{Statement: g.single(g.alone().pick(g))}}
	case ReadOnly:
		g.reader(p)
	default:
		g.writer(p)
	}
	p.Policy = weighted[Policy]{{Default, 8}, {Stay, 3}, {Tight, 2}, {Never, 1}}.pick(g)
	if g.oneIn(g.slow) {
		p.Policy = Slow
	}
	if g.oneIn(g.cancel) {
		p.Cancel = &Cancel{Step: g.IntN(len(p.Steps) + 1), After: upTo(g.Rand, maxCancel)}
		p.Cancel.Whole = g.oneIn(2) && !p.Careless
	}
	return p
}

// single is a statement that is a transaction of its own.
func (g *generator) single(k Kind) Statement {
	s := g.statement(k)
	s.Slot, s.Row, s.Only = 0, false, false
	switch s.How {
	case Shared:
		s.How = Prepared
	case Raw:
		s.How = Direct
	}
	return s
}

// reader makes a program that writes nothing.
func (g *generator) reader(p *Program) {
	for range 1 + g.IntN(maxSteps) {
		s := g.statement(g.reads().pick(g))
		if s.Lock = false; s.Kind == Peek && s.shape().name == shareShape { // it would lock
			s.Shape = g.shapes[0]
		}
		p.Steps = append(p.Steps, Step{Statement: s})
	}
	// Its number is nothing that a later step may depend on: it is not of the program's own making.
	at := g.IntN(len(p.Steps) + 1)
	p.Steps = slices.Insert(p.Steps, at, Step{Statement: Statement{Kind: ReadClock, Stop: -1}})
}

func (g *generator) writer(p *Program) {
	p.Own = p.Form != Closure && g.oneIn(g.own)
	p.Patient = g.oneIn(2)
	if g.oneIn(g.settings) {
		p.Settings = Inside
		if p.Own && !g.oneIn(4) {
			p.Settings = Outside
		}
	}
	p.Steps = g.steps(g.masked(p), 1+g.IntN(maxSteps), 0)
	if g.cursors && p.Mask != BySelect {
		p.Steps = append(g.declarations(p.Mask), p.Steps...)
	}
	p.Clock = g.IntN(len(p.Steps) + 1)
	if g.oneIn(2) { // the later the clock is touched, the more happens at the same time
		p.Clock = len(p.Steps)
	}
	p.Enter = p.Clock + g.IntN(len(p.Steps)+1-p.Clock)
	switch {
	case g.oneIn(g.tails):
		g.tail(p)
	case g.oneIn(20):
		p.Forgo = true
	default:
		p.Careless = p.Form == Plain && g.oneIn(g.careless)
	}
	if !g.locks && g.oneIn(levelled) {
		g.level(p)
	}
}

// tail has a program commit before its end.
func (g *generator) tail(p *Program) {
	t := &Tail{By: By(g.IntN(2))}
	switch {
	case g.server.showsCommitTimestamp() && g.oneIn(3):
		t.By = ShowTimestamp
	case g.server.schemaChangesCommit() && g.oneIn(2):
		t.By = SchemaChange
	}
	p.Tail = t
	switch t.By {
	case ShowTimestamp:
		t.Back = p.Form == Plain && g.oneIn(4)
		return
	case SchemaChange:
		t.Prepared = g.oneIn(2)
		if g.oneIn(2) { // it is the first statement
			p.Steps, p.Clock, p.Enter = nil, 0, 0
		}
	case HalfwayText:
		t.Pair = [2]Statement{g.add(), g.add()}
	case CommitText:
		t.Prepared = g.oneIn(3)
		t.Back = p.Form == Plain && g.oneIn(4)
	}
	for range g.IntN(3) {
		s := g.single(writes.pick(g))
		s.Read = false
		t.Steps = append(t.Steps, s)
	}
}

// add is an addition to one key, as text.
func (g *generator) add() Statement {
	return Statement{Kind: Add, Lo: g.key(), Delta: 1 + g.Int64N(3)}.one()
}

func (s Statement) one() Statement {
	s.Hi = s.Lo + 1
	return s
}

func (g *generator) steps(of weighted[Kind], n, depth int) []Step {
	steps := make([]Step, 0, n)
	for range n {
		s := Step{If: weighted[If]{{Always, 8}, {Even, 1}, {Odd, 1}}.pick(g)}
		if depth < maxDepth && g.oneIn(6) {
			s.Block = g.block(of, depth)
		} else {
			s.Statement = g.statement(of.pick(g))
		}
		steps = append(steps, s)
	}
	return steps
}

func (g *generator) block(of weighted[Kind], depth int) *Block {
	g.blocks++
	b := &Block{Name: fmt.Sprintf("s%d", g.blocks), End: End(g.IntN(3))}
	if g.oneIn(3) {
		b.Name = "again" // names may be used again, inside one another too
	}
	b.Steps = g.steps(of, 1+g.IntN(maxBlockSteps), depth+1)
	if g.oneIn(2) { // which fails, as often as not
		b.Steps = append(b.Steps, Step{Statement: g.statement(failures.pick(g))})
	}
	return b
}

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeSimpleProtocol,
	pgx.QueryExecModeExec,
}

// modesFor are those in which a statement can run. Without a description a string is a text, and goes into no column of
// another type.
func modesFor(k Kind) []pgx.QueryExecMode {
	if k == PutTyped || k == Feel {
		return modes[:len(modes)-1]
	}
	return modes
}

// key is mostly a hot one.
func (g *generator) key() int {
	if g.oneIn(4) {
		return g.IntN(g.keys)
	}
	return g.IntN(g.hot)
}

func (g *generator) statement(k Kind) Statement {
	s := Statement{Kind: k, Lo: g.key(), Column: Number, Stop: -1, Delta: 1 + g.Int64N(3), Ask: !k.rows() && g.oneIn(3)}
	s.Hi = s.Lo + 1 + g.IntN(maxRange)
	s.Column = weighted[Column]{{Number, 3}, {g.column, 4}, {Column(g.IntN(columns)), 1}}.pick(g)
	s.Pick = g.IntN(len(kinds[s.Column].pool))
	if g.oneIn(2) {
		s.Pick = g.IntN(lookalikes)
	}
	s.Read = s.Column == Number && g.oneIn(2)
	if g.oneIn(4) && !specs[k].whole {
		s.Stop = g.IntN(3)
		if k == Wide || k == Survey {
			s.Stop = g.IntN(2 * wideRows)
		}
	}
	s.Lock = k == Get && g.oneIn(4)
	g.manner(&s)
	g.special(&s)
	g.word(&s)
	return s
}

// manner chooses how a statement is run, and how its rows are read.
func (g *generator) manner(s *Statement) {
	s.How = weighted[How]{{Direct, 7}, {Prepared, 2}, {Shared, 1}}.pick(g)
	if s.How == Direct && g.oneIn(3) {
		some := modesFor(s.Kind)
		s.Mode = some[g.IntN(len(some))]
	}
	if s.Kind.rows() && !specs[s.Kind].whole {
		s.Deaf = s.Stop >= 0 && g.oneIn(3)
		s.Names = g.oneIn(6)
		if g.oneIn(g.open) {
			s.Slot, s.Row = 1+g.IntN(maxSlots), g.oneIn(3)
		}
	}
	if g.oneIn(g.only) {
		s.How, s.Mode, s.Only, s.Slot, s.Row = Prepared, 0, true, 0, false
	}
	if g.program != nil && g.program.Own && slices.Contains([]Kind{Set, Add, Quiet, Delete}, s.Kind) && g.oneIn(g.raw) {
		s.How, s.Mode = Raw, 0
	}
}

// special sees to what only some kinds have, or can't have.
func (g *generator) special(s *Statement) {
	plainly := func() { s.How, s.Mode, s.Only = Direct, 0, false }
	switch s.Kind {
	case Texts, Remake, Create, Drop, Retype, Hurry, Assign, Show: // some are several statements, which can't be prepared
		plainly()
	case GetExtra, PutExtra:
		if s.How == Shared { // the table is not there when the round begins
			s.How = Prepared
		}
	case Peek, Raise:
		g.shape(s)
	case Copy:
		plainly()
		s.How = Raw
	case Look:
		plainly()
		s.Slot, s.Keep, s.Deaf = 1+g.IntN(maxSlots), g.oneIn(3), g.oneIn(3)
	}
}

// word chooses what is set, or written as a word.
func (g *generator) word(s *Statement) {
	switch s.Kind {
	case Bear:
		g.bear(s)
	case PutTyped:
		s.Word = numerals[g.IntN(len(numerals))]
	case Feel:
		s.Word = moods[g.IntN(len(moods))]
	case Retype:
		s.Word = typesOf[g.IntN(len(typesOf))]
	case Hurry:
		s.Word = timeouts[g.IntN(len(timeouts))]
	case Assign, Config, Show:
		g.setting(s)
	case Declare, Fetch, Move, CloseCursor:
		g.cursor(s)
	}
}

func (g *generator) setting(s *Statement) {
	s.Path, s.Scope = g.oneIn(2), Scope(g.IntN(scopes))
	if s.Kind == Config {
		s.Scope = Scope(g.IntN(int(ToDefault)))
	}
	s.Word = words[g.IntN(len(words))]
	if s.Path {
		s.Word = paths[g.IntN(len(paths))]
	}
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
