package program

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

func step(s Statement) Step {
	s.Stop = -1
	return Step{Statement: s}
}

// aRound is four programs, each with something that can be told wrongly.
func aRound() *Round {
	add := step(Statement{Kind: Add, Lo: 0, Hi: 1, Delta: 5, Ask: true})
	return &Round{Server: CockroachDB, Size: Size{Keys: 4}, Workers: [][]*Program{
		{
			{ID: 1, Steps: []Step{add}},
			{ID: 2, Form: Closure, Steps: []Step{step(Statement{Kind: Set, Lo: 2, Column: Bool, Pick: 0})}},
		},
		{{ID: 3, Form: Closure, Steps: []Step{step(Statement{Kind: Get, Lo: 2, Column: Bool}), add}}},
		{
			{
				ID:    4,
				Form:  ReadOnly,
				Steps: []Step{step(Statement{Kind: ReadClock}), step(Statement{Kind: Get, Lo: 2, Column: Bool})},
			},
		},
	}}
}

// honest is what a server would come to that runs the programs one after the other, in the order of their IDs, and
// nothing else.
func honest(r *Round) *History {
	h := &History{Results: make(map[int64]Result)}
	m := newModel(r.Server, r.Size.Keys)
	programs := r.programs()
	for id := int64(1); id <= int64(len(programs)); id++ {
		p := programs[id]
		if p.Forgo || p.Tail != nil && p.Tail.Back {
			panic("no such program is in these tests: the model does not take back what it did")
		}
		h.Results[id] = honestly(m, p, h)
	}
	h.Clock = m.clock
	h.Tables, h.Born = m.tables(), bornOf(m)
	return h
}

func honestly(m *model, p *Program, h *History) Result {
	var call Call
	for part := 1; part <= p.parts(); part++ {
		shown, err := m.play(p, part, nil)
		call = append(call, Part{shown, err, given(m.shown)})
		if err != nil { // some error that means that it is rolled back
			return Result{Err: errForgone, Calls: []Call{call}}
		}
		if p.enters(part) {
			m.clock++
			h.Commits = append(h.Commits, Commit{Clock: m.clock, Program: p.ID, Call: 1, Part: part})
		}
		if part == 1 && p.makesTable() {
			h.Made = append(h.Made, madeTable(entry{p.ID, 1, 1}))
		}
	}
	return Result{Calls: []Call{call}}
}

// lines are those of the only call of a program.
func (h *History) lines(program int64) []string { return h.Results[program].shown(1) }

func TestHonest(t *testing.T) {
	t.Parallel()
	assert.Empty(t, Check(aRound(), honest(aRound())))
	for _, server := range Servers {
		for seed := range uint64(50) {
			r := NewRound(server, seed, Size{Workers: 3, Programs: 10, Keys: 5})
			for _, p := range r.programs() {
				p.Forgo, p.Careless = false, false // the model can't tell that a transaction has failed
				if p.Tail != nil {
					p.Tail.Back = false
				}
			}
			require.Empty(t, Check(r, honest(r)), "%v, seed %d", server, seed)
		}
	}
}

// lies are histories that must not be, each with what the oracle has to call it.
var lies = map[string]struct {
	lie   func(*History)
	kind  string
	words string // in the anomaly
}{
	"an update is lost": {
		func(h *History) { h.Commits[1].Clock, h.Clock = 1, 2 }, Order, "commit 2 in the order has clock 1",
	},
	"a commit leaves no entry": {func(h *History) {
		h.Commits, h.Results[2] = h.Commits[:1], Result{Err: &cockroachdb.AmbiguousCommitError{}}
		delete(h.Results, 3)
	}, Order, "the clock says 3 after 1 commits"},
	"a transaction is committed twice": {func(h *History) {
		h.Commits, h.Clock = append(h.Commits, Commit{4, 2, 1, 1}), 4
	}, Twice, "program 2 was told that it is committed, and is in the table of commits 2 times"},
	"one of unknown outcome is committed twice": {func(h *History) {
		h.Results[2] = Result{Err: &cockroachdb.AmbiguousCommitError{}}
		h.Commits, h.Clock = append(h.Commits, Commit{4, 2, 1, 1}), 4
	}, Twice, "program 2 was told that it may be committed, and is in the table of commits 2 times"},
	"it is committed and told that it has diverged": {func(h *History) {
		h.Results[2] = Result{Err: &cockroachdb.DivergenceError{}}
	}, Phantom, "program 2 was told that it is not committed, and is in the table of commits 1 times"},
	"it is committed and was not run": {func(h *History) { delete(h.Results, 2) }, Phantom, "was not run"},
	"it is committed and there is none": {func(h *History) {
		h.Commits, h.Clock = append(h.Commits, Commit{4, 9, 1, 1}), 4
	}, Phantom, "program 9, which does not exist"},
	"it is told that it is committed, and is not": {func(h *History) {
		h.Commits, h.Clock = h.Commits[:2], 2
	}, Lost, "program 3 was told that it is committed, and is in the table of commits 0 times"},
	"NULL is shown as false": {func(h *History) {
		h.lines(3)[0] = strings.Replace(h.lines(3)[0], "NULL", "false", 1)
	}, Shown, "shown: get 2.o: (2, 2, false) end\n  model: get 2.o: (2, 2, NULL) end"},
	"a count is wrong": {func(h *History) {
		h.lines(1)[0] = strings.Replace(h.lines(1)[0], "1 rows", "2 rows", 1)
	}, Shown, "shown: add 0-1 +5: 2 rows affected"},
	"less is shown": {
		func(h *History) { h.Results[3].Calls[0][0].Shown = h.lines(3)[:1] }, Shown, "shown: nothing more",
	},
	"a call that was not the last": {
		func(h *History) { h.Results[3] = Result{Calls: append(h.Results[3].Calls, nil)} },
		Shown, "call 1 of 2 was committed",
	},
	"an old answer": {func(h *History) { // of before program 2
		h.lines(3)[0] = "get 2.o: (2, 2, false) end"
	}, Shown, "program 3"},
	"a reader is shown what is not there yet": {func(h *History) {
		h.lines(4)[0] = strings.Replace(h.lines(4)[0], "3", "1", 1)
	}, Shown, "at clock 1"},
	"a reader is shown a clock that never was": {func(h *History) {
		h.lines(4)[0] = strings.Replace(h.lines(4)[0], "3", "7", 1)
	}, Shown, "a clock that never was"},
	"a statement ran twice": {
		func(h *History) { h.Tables["kv 0"] = strings.Replace(h.Tables["kv 0"], "10", "15", 1) }, Tables, "kv 0",
	},
	"a row is gone":  {func(h *History) { delete(h.Tables, "kv 2") }, Tables, "there: nothing"},
	"a row is there": {func(h *History) { h.Tables["kv 3"] = h.Tables["kv 0"] }, Tables, "model: nothing"},
	"an error without a name": {
		func(h *History) { h.Results[4] = Result{Err: errors.New("broken pipe")} }, Nameless, "broken pipe",
	},
	"something stays behind": {func(h *History) { h.Left = []string{"a connection"} }, LeftOver, "a connection"},
}

// wantFirst asserts what the oracle has found first, and what it says of that.
func wantFirst(t *testing.T, found []Anomaly, kind, words string) {
	t.Helper()
	require.NotEmpty(t, found)
	assert.Equal(t, kind, found[0].Kind)
	assert.Contains(t, found[0].String(), words)
}

func TestLies(t *testing.T) {
	t.Parallel()
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := aRound()
			h := honest(r)
			l.lie(h)
			wantFirst(t, Check(r, h), l.kind, l.words)
		})
	}
}

// TestAlone has statements outside of a transaction fail in the middle: one that writes may be done, and must be told
// to be so.
func TestAlone(t *testing.T) {
	t.Parallel()
	write := &Program{Form: Single, Steps: []Step{step(Statement{Kind: Set})}}
	read := &Program{Form: Single, Steps: []Step{step(Statement{Kind: ReadClock})}}
	assert.Equal(t, Unnamed, write.Outcome(io.EOF))
	assert.Equal(t, Unknown, write.Outcome(&cockroachdb.AmbiguousCommitError{}))
	assert.Equal(t, Unknown, read.Outcome(io.EOF), "and there is nothing to be done")

	prepared := &Program{Steps: []Step{step(Statement{Kind: Set, How: Prepared})}}
	assert.Equal(t, NotCommitted, prepared.Outcome(errors.New(stmtClosed)))
}

// TestSurvey has a statement outside of a transaction read what was there before the latest commit.
func TestSurvey(t *testing.T) {
	t.Parallel()
	r := aRound()
	survey := &Program{ID: 5, Form: Single, Steps: []Step{step(Statement{Kind: Survey, Lo: 0, Hi: 1, Names: true})}}
	r.Workers = append(r.Workers, []*Program{survey})
	h := honest(r)
	assert.Empty(t, Check(r, h))

	line := &h.lines(5)[0]
	assert.Contains(t, *line, "(3, 0, ")
	*line = strings.ReplaceAll(*line, "(3, 0, ", "(2, 0, ")
	wantFirst(t, Check(r, h), Shown, "survey 0-1")
}

// TestUnknown has programs that don't know whether they are committed: they may be or not.
func TestUnknown(t *testing.T) {
	t.Parallel()
	r, h := aRound(), honest(aRound())
	h.Results[2] = Result{Err: &cockroachdb.AmbiguousCommitError{}, Calls: h.Results[2].Calls}
	assert.Empty(t, Check(r, h), "it is")

	h.Commits = []Commit{{1, 1, 1, 1}, {2, 3, 1, 1}}
	h.Clock = 2
	h.lines(3)[0] = "get 2.o: (2, 2, false) end"
	h.Results[4] = Result{Calls: []Call{{{Shown: []string{`read clock: ("clock", 2) end`, "get 2.o: (2, 2, false) end"}}}}}
	h.Tables["kv 2"] = strings.Replace(h.Tables["kv 0"], "10", "2", 1)
	assert.Empty(t, Check(r, h), "it is not")
}
