package program

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/reprise-go/cockroachdb"
)

// A History is what a round has come to: what each application was told and shown, and what is in the tables.
type History struct {
	Results map[int64]Result // by the program's ID
	Commits []Commit
	Clock   int64
	Rows    map[int]string // the table kv, by key
	Faults  map[string]int // how often which kind has struck
	Left    []string       // what was still there after all programs had ended
}

// A Commit is an entry in the table of commits.
type Commit struct {
	Clock, Program int64
	Call           int
}

// An Anomaly is something that must not be.
type Anomaly struct {
	Kind    string
	Program *Program // nil if it is about none
	Text    string
}

func (a Anomaly) String() string {
	if a.Program == nil {
		return a.Kind + ": " + a.Text
	}
	return fmt.Sprintf("%s: %s\n%s", a.Kind, a.Text, a.Program)
}

// The kinds of anomaly.
const (
	Twice     = "committed twice"
	Phantom   = "phantom commit"   // the application was told that it is not committed
	Lost      = "lost commit"      // it was told that it is
	Order     = "lost update"      // of the clock, so that there is no order of commits
	Shown     = "wrong answer"     // what was shown is not what the model shows
	Tables    = "wrong tables"     // what is there at the end is not what the model has
	Nameless  = "an unnamed error" // of which nobody can tell what it means for the transaction
	LeftOver  = "left over"
	unmatched = "%s was told %s, and is in the table of commits %d times"
)

// Check holds a history against the model.
func Check(r *Round, h *History) []Anomaly {
	c := &checker{round: r, history: h, programs: r.programs()}
	c.told()
	c.order()
	if len(c.found) == 0 { // else there is no order to run the model in
		c.replay()
	}
	for _, left := range h.Left {
		c.add(LeftOver, nil, "%s", left)
	}
	return c.found
}

type checker struct {
	round    *Round
	history  *History
	programs map[int64]*Program
	found    []Anomaly
}

func (c *checker) add(kind string, p *Program, format string, args ...any) {
	c.found = append(c.found, Anomaly{kind, p, fmt.Sprintf(format, args...)})
}

// told compares what applications were told of their commits with the commits there are.
func (c *checker) told() {
	entries := make(map[int64]int)
	for _, e := range c.history.Commits {
		entries[e.Program]++
	}
	for _, id := range slices.Sorted(maps.Keys(c.programs)) {
		p := c.programs[id]
		res, ran := c.history.Results[id]
		n, told := entries[id], p.Outcome(res.Err)
		delete(entries, id)
		switch {
		case !ran && n == 0:
		case !ran:
			c.add(Phantom, p, "%s was not run, and is in the table of commits", p.title())
		case told == Unnamed:
			c.add(Nameless, p, "%T: %v", res.Err, res.Err)
		case n > 1:
			c.add(Twice, p, unmatched, p.title(), told, n)
		case told == NotCommitted && n > 0:
			c.add(Phantom, p, unmatched+": %v", p.title(), told, n, res.Err)
		case told == Committed && n == 0 && p.enters():
			c.add(Lost, p, unmatched, p.title(), told, n)
		}
	}
	for id, n := range entries {
		c.add(Phantom, nil, "program %d, which there isn't, is in the table of commits %d times", id, n)
	}
}

// order looks whether the entries' clocks are one order, without gaps.
func (c *checker) order() {
	commits := c.history.Commits
	slices.SortFunc(commits, func(a, b Commit) int { return cmp.Compare(a.Clock, b.Clock) })
	for i, e := range commits {
		if e.Clock != int64(i+1) {
			c.add(Order, c.programs[e.Program], "commit %d in the order has clock %d", i+1, e.Clock)
			return
		}
	}
	if c.history.Clock != int64(len(commits)) {
		c.add(Order, nil, "the clock says %d after %d commits", c.history.Clock, len(commits))
	}
}

// replay runs the committed programs on the model, one after the other.
func (c *checker) replay() {
	m := newModel(c.round.Size.Keys)
	readers := c.readers()
	c.readAt(m, readers)
	for _, e := range c.history.Commits {
		p := c.programs[e.Program]
		res := c.history.Results[e.Program]
		if e.Call != max(len(res.Calls), 1) {
			c.add(Shown, p, "call %d of %d was committed", e.Call, len(res.Calls))
			return
		}
		m.clock = e.Clock
		if !c.compare(m, p, res) {
			return
		}
		c.readAt(m, readers)
	}
	for _, list := range readers {
		c.add(Shown, list[0], "it was shown a clock that never was: %s", c.history.Results[list[0].ID].last())
		return
	}
	c.tables(m)
}

// readers are the programs that have written nothing and were told that they are committed, by the clock that they were shown. What a
// transaction is shown that is not committed in the end, no server vouches for.
func (c *checker) readers() map[string][]*Program {
	readers := make(map[string][]*Program)
	for _, id := range slices.Sorted(maps.Keys(c.programs)) {
		p, res := c.programs[id], c.history.Results[id]
		if p.enters() || p.Outcome(res.Err) != Committed {
			continue
		}
		for _, line := range res.last() {
			if strings.HasPrefix(line, ReadClock.String()) {
				readers[line] = append(readers[line], p)
			}
		}
	}
	return readers
}

// readAt runs those that were shown the model's clock.
func (c *checker) readAt(m *model, readers map[string][]*Program) {
	line := fmt.Sprintf("%v: %s end", ReadClock, showRow([]any{"clock", m.clock}))
	for _, p := range readers[line] {
		if !c.compare(m, p, c.history.Results[p.ID]) {
			break
		}
	}
	delete(readers, line)
}

// compare runs a program on the model and says whether it shows what the application was shown; as much as it was shown, if it was
// not told whether it is committed.
func (c *checker) compare(m *model, p *Program, res Result) bool {
	want, err := m.play(p)
	got := res.last()
	if p.Outcome(res.Err) == Unknown {
		if p.Form == Single {
			got = nil // it was shown an error
		}
		want = want[:min(len(got), len(want))]
	}
	for i := range max(len(got), len(want)) {
		if i < len(got) && i < len(want) && got[i] == want[i] {
			continue
		}
		c.add(Shown, p, "at clock %d\n  shown: %s\n  model: %s", m.clock, excerpt(got, want, i), excerpt(want, got, i))
		return false
	}
	if err != nil {
		c.add(Shown, p, "at clock %d it was committed, and the model fails: %v", m.clock, err)
		return false
	}
	return true
}

// excerpt is line i of a, around where it differs from b's.
func excerpt(a, b []string, i int) string {
	if i >= len(a) {
		return "nothing more"
	}
	const around, length = 40, 200
	line, at := a[i], 0
	if i < len(b) {
		for at < len(line) && at < len(b[i]) && line[at] == b[i][at] {
			at++
		}
	}
	if len(line) <= length {
		return line
	}
	return "..." + line[max(at-around, 0):min(at+length, len(line))] + "..."
}

func (c *checker) tables(m *model) {
	want := make(map[int]string)
	for k, r := range m.kv {
		want[k] = showRow(r[:])
	}
	for k := range c.round.Size.Keys {
		if got := c.history.Rows[k]; got != want[k] {
			c.add(Tables, nil, "key %d\n  there: %s\n  model: %s", k, cmp.Or(got, "nothing"), cmp.Or(want[k], "nothing"))
		}
	}
}

// last is what the latest call was shown.
func (r Result) last() []string {
	if len(r.Calls) == 0 {
		return nil
	}
	return r.Calls[len(r.Calls)-1]
}

func (p *Program) title() string { return fmt.Sprintf("program %d", p.ID) }

// enters says whether the program, if it is committed, is in the table of commits.
func (p *Program) enters() bool {
	return p.Form == Plain || p.Form == Closure || p.Form == Single && !readsOnly(p.Steps[0].Kind)
}

// An Outcome is what an application was told of its transaction.
type Outcome int

// What an application can be told.
const (
	Committed Outcome = iota
	NotCommitted
	Unknown // it may be committed or not
	Unnamed // an error that says neither
)

func (o Outcome) String() string {
	return []string{"that it is committed", "that it is not committed", "that it may be committed", "nothing"}[o]
}

// Outcome is what err tells the application.
func (p *Program) Outcome(err error) Outcome {
	_, ambiguous := errors.AsType[*cockroachdb.AmbiguousCommitError](err)
	switch {
	case err == nil:
		return Committed
	case ambiguous:
		return Unknown
	case p.Form == Single && !refusal(err):
		return Unknown // a statement outside of a transaction has the errors that it has without this driver
	case Named(err) == "":
		return Unnamed
	}
	return NotCommitted
}
