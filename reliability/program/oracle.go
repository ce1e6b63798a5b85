package program

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A History is what a round has come to: what each application was told and shown, and what is in the tables.
type History struct {
	Began   time.Time        // when the pool had a connection
	Results map[int64]Result // by the program's ID
	Commits []Commit
	Clock   int64
	Tables  map[string]string // the rows, by table and key
	Born    map[string]string // the rows of that table, by their keys
	Made    []string          // the tables that programs have made of their own
	Faults  map[string]int    // how often which kind has struck
	Left    []string          // what was still there after all programs had ended
	Stuck   []string          // connections that failed over and over when all was calm again
	Told    []string          // what the driver has told to its hooks, and must not have
	Crashed bool              // the pooler has, so that no connection was to be had from then on

	Locks     Locks
	Farewells map[uint64]Farewell // by the connection's number
}

// A Commit is an entry in the table of commits.
type Commit struct {
	Clock, Program int64
	Call, Part     int
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
	Twice      = "committed twice"
	Phantom    = "phantom commit"   // the application was told that it is not committed
	Lost       = "lost commit"      // it was told that it is
	Order      = "lost update"      // of the clock, so that there is no order of commits
	Shown      = "wrong answer"     // what was shown is not what the model shows
	Tables     = "wrong tables"     // what is there at the end is not what the model has
	Nameless   = "an unnamed error" // of which nobody can tell what it means for the transaction
	Rerun      = "told to run again"
	Misleading = "a misleading error" // it says less than is known, or something else
	Unretried  = "a conflict that was not retried"
	Needless   = "a needless divergence"
	Reasonless = "an error without its reason"
	Stuck      = "a connection that does not recover"
	Stranded   = "a lost connection that was not replaced"
	LeftOver   = "left over"
	WrongLock  = "a wrong lock" // that the driver has added to a text
	unmatched  = "%s was told %s, and is in the table of commits %d times"
)

// Check holds a history against the model.
func Check(r *Round, h *History) []Anomaly {
	c := &checker{round: r, history: h, programs: r.programs(), keys: make(map[int]shownKey)}
	c.told()
	c.reasons()
	c.lockErrors()
	c.order()
	if len(c.found) == 0 { // else there is no order to run the model in
		c.replay()
	}
	for kind, texts := range map[string][]string{
		LeftOver: h.Left, Stuck: h.Stuck, Reasonless: h.Told, WrongLock: h.Locks.Wrong,
	} {
		for _, text := range texts {
			c.add(kind, nil, "%s", text)
		}
	}
	return c.found
}

type checker struct {
	round    *Round
	history  *History
	programs map[int64]*Program
	keys     map[int]shownKey // that were shown, by the number that the model has given the row
	found    []Anomaly
}

func (c *checker) add(kind string, p *Program, format string, args ...any) {
	c.found = append(c.found, Anomaly{kind, p, fmt.Sprintf(format, args...)})
}

// A piece is a part of a program, as it is in the table of commits.
type piece struct {
	program int64
	part    int
}

// told compares what applications were told of their commits with the commits there are.
func (c *checker) told() {
	entries, made := make(map[piece]int), c.made()
	for _, e := range c.history.Commits {
		entries[piece{e.Program, e.Part}]++
	}
	for _, id := range slices.Sorted(maps.Keys(c.programs)) {
		p := c.programs[id]
		res, ran := c.history.Results[id]
		some := made[id] > 0
		for part := 1; part <= p.parts(); part++ {
			n := entries[piece{id, part}]
			delete(entries, piece{id, part})
			c.toldOf(p, part, n, ran, res)
			some = some || n > 0
		}
		c.toldOfSchema(p, made[id], res)
		if some && runAgain(res.Err) {
			c.add(Rerun, p, "%s is committed, or a part of it, and was told %T: %v", p.title(), res.Err, res.Err)
		}
	}
	for e, n := range entries {
		const text = "program %d, which does not exist, is in the table of commits %d times, part %d"
		c.add(Phantom, nil, text, e.program, n, e.part)
	}
}

func (c *checker) toldOf(p *Program, part, n int, ran bool, res Result) {
	told := p.told(res, part)
	switch {
	case !ran && n == 0:
	case !ran:
		c.add(Phantom, p, "%s was not run, and is in the table of commits", p.title())
	case told == Unnamed:
		c.add(Nameless, p, "%T: %v", res.Err, res.Err)
	case n > 1:
		c.add(Twice, p, unmatched+": %v", p.titleOf(part), told, n, res.Err)
	case told == NotCommitted && n > 0:
		c.add(Phantom, p, unmatched+": %v", p.titleOf(part), told, n, res.Err)
	case told == Committed && n == 0 && p.enters(part):
		c.add(Lost, p, unmatched, p.titleOf(part), told, n)
	case n > 0 && part == 1 && res.Err == nil && p.rollsBack():
		c.add(Phantom, p, "%s is committed, and Rollback returned nil", p.title())
	}
}

// rollsBack reports whether the program ends by a Rollback of all that it did.
func (p *Program) rollsBack() bool {
	return p.ends(1) && p.Tail.By != HalfwayText && p.Tail.Back
}

// makesTable reports whether a program makes a table of its own.
func (p *Program) makesTable() bool {
	return p.Tail != nil && p.Tail.By == SchemaChange || p.Halves != nil && p.Halves.By == MakeTable
}

// made counts the tables that programs have made, by program.
func (c *checker) made() map[int64]int {
	made := make(map[int64]int)
	for _, table := range c.history.Made {
		var id int64
		var call int
		if n, _ := fmt.Sscanf(table, "made_%d_%d", &id, &call); n == 2 {
			made[id]++
		}
	}
	return made
}

// toldOfSchema compares what a program was told of the table that it makes with the tables there are.
func (c *checker) toldOfSchema(p *Program, n int, res Result) {
	if !p.makesTable() {
		return
	}
	call := res.last()
	done := len(call) > 0 && call[0].Err == nil
	const text = "%s was told %s of its table, and there are %d"
	switch told := p.told(res, 1); {
	case n > 1:
		c.add(Twice, p, text, p.title(), told, n)
	case done && n == 0:
		c.add(Lost, p, text, p.title(), told, n)
	case told == NotCommitted && n > 0:
		c.add(Phantom, p, text+": %v", p.title(), told, n, res.Err)
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
	m := newModel(c.round.Server, c.round.Size.Keys)
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
		if !c.compare(m, p, e.Part, res) {
			return
		}
		c.readAt(m, readers)
	}
	for _, list := range readers {
		c.add(Shown, list[0], "it was shown a clock that never was: %s", c.history.Results[list[0].ID].shown(1))
		return
	}
	c.tables(m)
	c.births(m)
}

// clockRead finds the clock in what a program was shown that has read it.
var clockRead = regexp.MustCompile(
	`^(?:` + ReadClock.String() + `|` + Survey.String() + ` [-0-9]+):(?: \[.*?\])? \((?:"clock", )?([0-9]+)`)

// readers are the programs that have written nothing and were told that they are committed, by the clock that they were
// shown. What a transaction is shown that is not committed in the end, no server vouches for.
func (c *checker) readers() map[string][]*Program {
	readers := make(map[string][]*Program)
	for _, id := range slices.Sorted(maps.Keys(c.programs)) {
		p, res := c.programs[id], c.history.Results[id]
		if !p.readsOnly() || p.Outcome(res.Err) != Committed {
			continue
		}
		for _, line := range res.shown(1) {
			if found := clockRead.FindStringSubmatch(line); found != nil {
				readers[found[1]] = append(readers[found[1]], p)
			}
		}
	}
	return readers
}

// readAt runs those that were shown the model's clock.
func (c *checker) readAt(m *model, readers map[string][]*Program) {
	clock := strconv.FormatInt(m.clock, 10)
	for _, p := range readers[clock] {
		if !c.compare(m, p, 1, c.history.Results[p.ID]) {
			break
		}
	}
	delete(readers, clock)
}

// compare runs a part on the model and says whether it shows what the application was shown; as much as it was shown,
// if it was not told whether it is committed, or its result is lost.
func (c *checker) compare(m *model, p *Program, part int, res Result) bool {
	got, unknown := res.shown(part), p.told(res, part) == Unknown || resultLost(res.err(part))
	if unknown {
		got = p.beforeTheError(got, part)
	}
	want, err := m.play(p, part, got)
	if unknown {
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
	c.noteKeys(p, len(got), res.keys(part), m.shown)
	return true
}

// beforeTheError is what was shown before the error that leaves open what has become of the part. Where a program goes
// on after errors, only what commits can leave that open.
func (p *Program) beforeTheError(shown []string, part int) []string {
	if p.outside() || p.standsAlone(part) {
		return nil
	}
	last := len(shown) - 1
	if last < 0 || p.Careless && (p.Tail == nil || !strings.HasPrefix(shown[last], p.Tail.By.String())) {
		return shown
	}
	if strings.Contains(shown[last], ": error ") || strings.HasSuffix(shown[last], cancelledText) {
		return shown[:last]
	}
	return shown
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

const nothingThere = "nothing"

func (c *checker) tables(m *model) {
	want, got := m.tables(), c.history.Tables
	rows := maps.Clone(want)
	maps.Copy(rows, got)
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		if got[row] != want[row] {
			is, should := cmp.Or(got[row], nothingThere), cmp.Or(want[row], nothingThere)
			c.add(Tables, nil, "%s\n  there: %s\n  model: %s", row, is, should)
		}
	}
}

// last is the latest call.
func (r Result) last() Call {
	if len(r.Calls) == 0 {
		return nil
	}
	return r.Calls[len(r.Calls)-1]
}

// shown is what a part of the latest call has shown.
func (r Result) shown(part int) []string {
	if call := r.last(); len(call) >= part {
		return call[part-1].Shown
	}
	return nil
}

// keys are those that a part of the latest call was shown.
func (r Result) keys(part int) Keys {
	if call := r.last(); len(call) >= part {
		return call[part-1].Keys
	}
	return nil
}

// err is what the application was told of a part of the latest call.
func (r Result) err(part int) error {
	if call := r.last(); len(call) >= part {
		return call[part-1].Err
	}
	return r.Err
}

func (p *Program) title() string { return fmt.Sprintf("program %d", p.ID) }

func (p *Program) titleOf(part int) string {
	if p.parts() == 1 {
		return p.title()
	}
	return fmt.Sprintf("part %d of program %d", part, p.ID)
}

// readsOnly reports whether the program writes nothing.
func (p *Program) readsOnly() bool {
	return p.Form == ReadOnly || p.Form == Single && readsOnly(p.Steps[0].Kind)
}

// enters reports whether a part, if it is committed, is in the table of commits.
func (p *Program) enters(part int) bool { return !p.readsOnly() && (part > 1 || !p.onlySchema()) }
