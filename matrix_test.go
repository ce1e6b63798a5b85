package cockroachdb_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

var updateGolden = flag.Bool("update", false, "write the golden file anew")

// FAULT_MATRIX=full puts all faults everywhere, and in each replay all of them again, which takes hours. What follows it is a play's name.
const settingFull = "full"

const matrixGolden = "testdata/fault_matrix.golden"

// A trial is one case of the matrix, under the name of the row in which it counts.
type trial struct {
	*performance
	row   string
	blows []blow
}

// A matrix is all the cases, and how they have ended.
type matrix struct {
	t    *testing.T
	full bool

	mu     sync.Mutex
	clean  map[string]*result // of each performance
	counts map[string]*[verdicts]int
	next   []trial // what has turned out to be there to be tried
}

// TestFaultMatrix puts faults at every boundary of every drama. See CONTRIBUTING.md.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	m, only := playedAll(t, performances())
	t.Log(m.totals())
	if m.full || only != "" || testing.Short() || t.Failed() {
		return
	}
	if *updateGolden {
		require.NoError(t, os.WriteFile(matrixGolden, []byte(m.table()), 0o644))
	}
	golden, err := os.ReadFile(matrixGolden)
	require.NoError(t, err)
	assert.Equal(t, string(golden), m.table(), "other outcomes than before: if that is meant, go test -run TestFaultMatrix -update .")
}

// playedAll plays these, or those of them that FAULT_MATRIX asks for.
func playedAll(t *testing.T, all []*performance) (m *matrix, only string) {
	t.Helper()
	setting, only, _ := strings.Cut(os.Getenv("FAULT_MATRIX"), " ")
	require.Contains(t, []string{"", settingFull}, setting, "FAULT_MATRIX")
	m = &matrix{t: t, full: setting == settingFull, clean: map[string]*result{}, counts: map[string]*[verdicts]int{}}
	houses := make([]*house, 4)
	for i := range houses {
		houses[i] = newHouse(t)
	}
	var trials []trial
	for _, s := range all {
		if strings.Contains(s.String(), only) {
			trials = append(trials, trial{performance: s, row: "none"})
		}
	}
	for len(trials) > 0 && !t.Failed() { // without faults; with one; with two
		m.play(houses, trials)
		trials, m.next = m.next, nil
	}
	return m, only
}

func performances() (all []*performance) {
	for _, m := range []manners{ofCockroachDB, ofPostgreSQL} {
		for _, sloppy := range []bool{false, true} {
			for _, p := range matrixPlays {
				if !p.careful || !sloppy {
					all = append(all, &performance{p, m, sloppy, len(all)})
				}
			}
		}
	}
	return all
}

// play has the houses share these trials.
func (m *matrix) play(houses []*house, trials []trial) {
	queue := make(chan trial)
	var running sync.WaitGroup
	for _, h := range houses {
		running.Go(func() {
			for tr := range queue {
				m.try(h, tr)
			}
		})
	}
	for i, tr := range trials {
		if testing.Short() && tr.blows != nil && i%7 != 0 {
			continue
		}
		queue <- tr
	}
	close(queue)
	running.Wait()
}

// try tries one case, and finds what there is to be tried next to it.
func (m *matrix) try(h *house, tr trial) {
	r, err := h.put(tr.performance, tr.blows...)
	if err != nil {
		m.t.Errorf("%v %v: %v", tr.performance, tr.blows, err)
		return
	}
	clean := r
	if tr.blows != nil {
		m.mu.Lock()
		clean = m.clean[tr.String()]
		m.mu.Unlock()
	}
	v, err := tr.judge(r, clean)
	switch {
	case err != nil:
		m.t.Errorf("%v: %v", tr.performance, err)
		return
	case len(r.struck) != len(tr.blows), tr.blows == nil && v != doneOnce:
		m.t.Errorf("%v: not as it was before: of %v there was %q; error: %v", tr.performance, tr.blows, r.struck, r.err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count(tr, v)
	switch {
	case tr.blows == nil:
		m.clean[tr.String()] = r
		m.next = append(m.next, m.firstFaults(tr.performance, r)...)
	case len(tr.blows) == 1 && tr.blows[0].fault == conflictFault && r.occasions[tr.blows[0].at].stage == crdbsim.AtExecute:
		m.next = append(m.next, m.secondFaults(tr, r)...)
	}
}

func (m *matrix) count(tr trial, v verdict) {
	key := rowOf(tr.performance, tr.row)
	if m.counts[key] == nil {
		m.counts[key] = &[verdicts]int{}
	}
	m.counts[key][v]++
}

// firstFaults puts faults at the boundaries of a conversation.
func (m *matrix) firstFaults(s *performance, r *result) (trials []trial) {
	turns := turns{all: m.full, every: 1, from: s.number}
	if s.long || s.sloppy {
		turns.every = 5
	} else {
		turns.most = s.manners != ofPostgreSQL
	}
	turns.take(boundaries(s, r, 0, 0, 0), func(f *fault, at int) {
		trials = append(trials, trial{s, f.name, []blow{{f, at}}})
	})
	return trials
}

// secondFaults puts each fault at each boundary behind the conflict of the trial, which has been played.
func (m *matrix) secondFaults(first trial, r *result) (trials []trial) {
	at := first.blows[0].at
	if first.sloppy && !m.full {
		return nil
	}
	turns := turns{all: m.full, every: 23, from: at}
	turns.take(boundaries(first.performance, r, at+1, r.client, r.server), func(f *fault, then int) {
		trials = append(trials, trial{first.performance, "40001, then another", []blow{first.blows[0], {f, then}}})
	})
	return trials
}

// turns are which faults are put at which boundaries: all at all; or most of them, which are all but those at Parse and Bind; and one, by
// turns, at some.
type turns struct {
	all, most bool
	every     int // boundary of how many
	from      int // which of the faults the first turn is
}

func (s turns) take(all []boundary, put func(f *fault, at int)) {
	for n, b := range all {
		for i, f := range b.faults {
			turn := (n/s.every+s.from)%len(b.faults) == i && (n+s.from)%s.every == 0
			if turn || s.all || s.most && (!b.early || f == conflictFault) {
				put(f, b.at)
			}
		}
	}
}

// A boundary is a place in a conversation at which something can happen.
type boundary struct {
	at     int // its number, among those of its kind
	faults []*fault
	early  bool // at Parse or Bind
}

// boundaries are those of r from the given occasion and messages on.
func boundaries(s *performance, r *result, occasion, client, server int) []boundary {
	var all []boundary
	add := func(b boundary, happens func(*fault) bool) {
		for _, f := range matrixFaults {
			if happens(f) {
				b.faults = append(b.faults, f)
			}
		}
		all = append(all, b)
	}
	for i := occasion; i < len(r.occasions); i++ {
		add(boundary{at: i, early: r.occasions[i].stage != crdbsim.AtExecute}, func(f *fault) bool { return f.strikesAt(r.occasions[i], s.manners) })
	}
	for i := client; i < len(r.talk.Client); i++ {
		add(boundary{at: i}, func(f *fault) bool { return f.side == wirecut.Client })
	}
	for i := server; i < len(r.talk.Server); i++ {
		if !amidRows(r.talk.Server, i) {
			add(boundary{at: i}, func(f *fault) bool { return f.side == wirecut.Server })
		}
	}
	return all
}

// amidRows says whether a message is one of many rows of which most are passed over: they are all alike.
func amidRows(types string, i int) bool {
	const near = 3
	for j := max(0, i-near); j <= min(i+near, len(types)-1); j++ {
		if types[j] != 'D' {
			return false
		}
	}
	return i%67 != 0
}

var verdictNames = [verdicts]string{"committed", "refused", "whole", "part", "none"}

// table is all that the golden file holds.
func (m *matrix) table() string {
	var b strings.Builder
	b.WriteString("How the cases of TestFaultMatrix end; go test -run TestFaultMatrix -update . writes this file. Whole, part and none are what\n" +
		"turns out to be committed where the outcome was called ambiguous.\n\n")
	fmt.Fprintf(&b, "%-22s %9s", "", "cases")
	for _, name := range verdictNames {
		fmt.Fprintf(&b, " %9s", name)
	}
	b.WriteByte('\n')
	for _, s := range performances() {
		fmt.Fprintf(&b, "\n%v\n", s)
		for _, row := range rows() {
			if c := m.counts[rowOf(s, row)]; c != nil {
				b.WriteString(line(row, c))
			}
		}
	}
	fmt.Fprintf(&b, "\n%s", line("all", m.all()))
	return b.String()
}

func rowOf(s *performance, row string) string { return s.String() + ": " + row }

func line(row string, counts *[verdicts]int) string {
	text := fmt.Sprintf("%-22s", row)
	for _, n := range append([]int{sum(counts[:])}, counts[:]...) {
		if n == 0 {
			text += fmt.Sprintf(" %9s", ".")
			continue
		}
		text += fmt.Sprintf(" %9d", n)
	}
	return text + "\n"
}

func rows() []string {
	all := []string{"none"}
	for _, f := range matrixFaults {
		all = append(all, f.name)
	}
	return append(all, "40001, then another")
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// all adds the rows up.
func (m *matrix) all() *[verdicts]int {
	all := &[verdicts]int{}
	for _, counts := range m.counts {
		for v, n := range counts {
			all[v] += n
		}
	}
	return all
}

// totals is one line.
func (m *matrix) totals() string {
	all := m.all()
	text := fmt.Sprintf("%d cases:", sum(all[:]))
	for v, name := range verdictNames {
		text += fmt.Sprintf(" %s %d", name, all[v])
	}
	return text
}
