package exactlyonce

import (
	"fmt"
	"slices"
	"strings"
)

// A Result is what an exploration has found.
type Result struct {
	// States is how many different states were reached, the first one included.
	States int
	// Steps is how many steps lead from one of them to another.
	Steps int
	// Depth is how many steps it takes to the state that is farthest from the first.
	Depth int
	// Taken counts the steps by the words of their rules.
	Taken map[string]int
	// Violation is nil if the properties hold.
	Violation *Violation
}

// A Violation is a property that does not hold, and the shortest way to where it does not.
type Violation struct {
	Property Property
	Trace    []string
}

// Explore visits every state that can be reached within the bounds, those that fewer steps lead to first. It checks the
// properties in each, all of them if none is named, and ends at the first that does not hold.
func Explore(bounds Bounds, mistake Mistake, names ...Property) Result {
	e := &explorer{model: model{bounds: bounds, mistake: mistake}, known: map[state]struct{}{}}
	for _, p := range properties {
		if len(names) == 0 || slices.Contains(names, p.name) {
			e.properties = append(e.properties, p)
		}
	}
	return e.run()
}

type explorer struct {
	model      model
	properties []property
	known      map[state]struct{} // the states of visits
	visits     []visit
	next       visit // a step that is being tried
	taken      []int // by rule
}

// A visit is a state and how it was reached first.
type visit struct {
	state state
	from  int32
	rule  uint8
	who   uint8
	depth int16
}

func (e *explorer) run() Result {
	e.taken = make([]int, len(rules))
	e.next = visit{state: e.model.begin(), from: -1}
	e.reach()
	for n := 0; n < len(e.visits); n++ {
		rests := e.expand(int32(n))
		if broken := e.check(&e.visits[n].state, rests); broken != "" {
			return e.result(&Violation{Property: broken, Trace: e.trace(int32(n))})
		}
	}
	return e.result(nil)
}

// expand takes every step that is possible from a state. It reports whether the state is at rest: nothing would happen
// but faults.
func (e *explorer) expand(from int32) (rests bool) {
	rests = true
	for r := range rules {
		for who := uint8(1); who <= e.model.numbers(rules[r].of); who++ {
			e.next = visit{e.visits[from].state, from, uint8(r), who, e.visits[from].depth + 1}
			if !e.model.try(&rules[r], &e.next.state, who) || e.next.state == e.visits[from].state {
				continue
			}
			rests = rests && !rules[r].faultless
			e.taken[r]++
			e.reach()
		}
	}
	return rests
}

// reach notes the next visit, if its state is a new one.
func (e *explorer) reach() {
	if _, known := e.known[e.next.state]; !known {
		e.known[e.next.state] = struct{}{}
		e.visits = append(e.visits, e.next)
	}
}

// check returns the first property that does not hold, "" if all do.
func (e *explorer) check(s *state, rests bool) Property {
	for _, p := range e.properties {
		if (rests || !p.atRest) && !p.holds(&e.model, s) {
			return p.name
		}
	}
	return ""
}

func (e *explorer) result(v *Violation) Result {
	r := Result{States: len(e.visits), Violation: v, Taken: map[string]int{}}
	for n, count := range e.taken {
		r.Steps += count
		r.Taken[rules[n].words] = count
	}
	if v == nil {
		r.Depth = int(e.visits[len(e.visits)-1].depth)
	}
	return r
}

// trace tells the way to a state, one step a line, and after a step what has changed of what can be seen.
func (e *explorer) trace(n int32) (lines []string) {
	for ; e.visits[n].from >= 0; n = e.visits[n].from {
		v := &e.visits[n]
		before := &e.visits[v.from].state
		line := rules[v.rule].say(before, &v.state, v.who)
		if now := v.state.String(); now != before.String() {
			line += "\n        " + now
		}
		lines = append(lines, line)
	}
	slices.Reverse(lines)
	for i := range lines {
		lines[i] = fmt.Sprintf("%3d. %s", i+1, lines[i])
	}
	return lines
}

// String tells what a person would look at: the table, what is committed, and what the application was told.
func (s state) String() string {
	parts := []string{"no sentinel"}
	if s.epoch != 0 {
		parts[0] = numbered("epoch", s.epoch)
	}
	for key, row := range s.rows {
		if row != noRow {
			parts = append(parts, fmt.Sprintf("key %d: refused=%t", key, row == refusedRow))
		}
	}
	for n, c := range s.commits {
		if c.effect {
			parts = append(parts, fmt.Sprintf("commit %d has committed transaction %d", n, c.transaction))
		}
	}
	for t, told := range s.told {
		if told != nothing {
			parts = append(parts, fmt.Sprintf("transaction %d was told %v", t, told))
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (t told) String() string {
	return [...]string{
		"nothing", "committed", "not committed", "ambiguous", "ambiguous and then committed",
		"ambiguous and then not committed",
	}[t]
}

func numbered(what string, n uint8) string { return fmt.Sprintf("%s %d", what, n) }
