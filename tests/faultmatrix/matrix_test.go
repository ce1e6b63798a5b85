package faultmatrix_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

var updateGolden = flag.Bool("update", false, "write the golden file anew")

// FAULT_MATRIX=full puts all faults everywhere, and in each replay all of them again, which takes hours.
// FAULT_MATRIX=sample tries a seventh. What follows is a transaction's name.
const settingFull, settingSample = "full", "sample"

// A matrixCase is one case of the matrix, under the name of the row in which it counts.
type matrixCase struct {
	*variant
	row     string
	strikes []strike
	before  *result // of the run that showed where the last fault can strike
}

// A matrix is all the cases, and how they have ended.
type matrix struct {
	t      *testing.T
	full   bool
	sample bool

	mu     sync.Mutex
	clean  map[string]*result // of each variant
	counts map[string]*[endings]int
	next   []matrixCase // what has turned out to be there to be tried
}

// TestFaultMatrix puts faults at every boundary of every transaction. See CONTRIBUTING.md.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	runByGolden(t, variants(), "testdata/fault_matrix.golden")
}

// runByGolden runs these, which are to end as a file says.
func runByGolden(t *testing.T, all []*variant, file string) {
	t.Helper()
	m, only := runAll(t, all)
	t.Log(m.totals())
	if m.full || m.sample || only != "" || t.Failed() {
		return
	}
	if *updateGolden {
		require.NoError(t, os.WriteFile(file, []byte(m.table(all)), 0o644))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(golden), m.table(all), "other outcomes than before: if that is meant, go test ./tests/faultmatrix -update")
}

// runAll runs these, or those of them that FAULT_MATRIX asks for.
func runAll(t *testing.T, all []*variant) (m *matrix, only string) {
	t.Helper()
	setting, only, _ := strings.Cut(os.Getenv("FAULT_MATRIX"), " ")
	require.Contains(t, []string{"", settingFull, settingSample}, setting, "FAULT_MATRIX")
	m = &matrix{
		t: t, full: setting == settingFull, sample: setting == settingSample,
		clean: map[string]*result{}, counts: map[string]*[endings]int{},
	}
	beds := make([]*bed, 4)
	for i := range beds {
		beds[i] = newBed(t, all)
	}
	var cases []matrixCase
	for _, s := range all {
		if strings.Contains(s.String(), only) {
			cases = append(cases, matrixCase{variant: s, row: "none"})
		}
	}
	for len(cases) > 0 && !t.Failed() { // without faults; with one; with two
		m.run(beds, cases)
		cases, m.next = m.next, nil
	}
	return m, only
}

func variants() (all []*variant) {
	for _, m := range []dialect{ofCockroachDB, ofPostgreSQL} {
		for _, sloppy := range []bool{false, true} {
			for _, p := range matrixTransactions {
				if !p.careful || !sloppy {
					all = append(all, &variant{p, m, sloppy, len(all)})
				}
			}
		}
	}
	return append(all, lockedVariants(len(all))...)
}

// run has the beds share these cases.
func (m *matrix) run(beds []*bed, cases []matrixCase) {
	queue := make(chan matrixCase)
	var running sync.WaitGroup
	for _, h := range beds {
		running.Go(func() {
			for tr := range queue {
				m.try(h, tr)
			}
		})
	}
	for i, tr := range cases {
		if m.sample && tr.strikes != nil && i%7 != 0 {
			continue
		}
		queue <- tr
	}
	close(queue)
	running.Wait()
}

// try tries one case, and finds what there is to be tried next to it.
func (m *matrix) try(h *bed, tr matrixCase) {
	r, err := h.put(tr.variant, tr.strikes...)
	if err != nil {
		m.t.Errorf("%v %v: %v", tr.variant, tr.strikes, err)
		return
	}
	clean := r
	if tr.strikes != nil {
		m.mu.Lock()
		clean = m.clean[tr.String()]
		m.mu.Unlock()
	}
	v, err := tr.judge(r, clean)
	if err == nil {
		err = tr.judgeVain(r, v)
	}
	switch {
	case err != nil:
		m.t.Errorf("%v: %v", tr.variant, err)
		return
	case len(r.struck) != len(tr.strikes), tr.strikes == nil && v != doneOnce:
		const text = "%v: not as it was before: of %v there was %q; error: %v%s"
		m.t.Errorf(text, tr.variant, tr.strikes, r.struck, r.err, tr.talks(r))
		return
	}
	if tr.strikes == nil && tr.dialect.learnsLocks() != r.locked() {
		m.t.Errorf("%v: a read with a lock: %t", tr.variant, r.locked())
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count(tr, v)
	switch {
	case tr.strikes == nil:
		m.clean[tr.String()] = r
		m.next = append(m.next, m.firstFaults(tr.variant, r)...)
	case len(tr.strikes) == 1 && tr.strikes[0].isFirst(r):
		m.next = append(m.next, m.secondFaults(tr, r)...)
	}
}

// isFirst reports whether another fault is put after b, which has struck r.
func (b strike) isFirst(r *result) bool {
	return b.rest == onlyAtRest || b.fault == conflictFault && r.points[b.at].stage == crdbsim.AtExecute
}

// talks shows the conversation of r, and the one before it.
func (tr matrixCase) talks(r *result) string {
	talks := fmt.Sprintf("\nnow    %v %v", r.talk, r.points)
	if tr.before != nil {
		talks += fmt.Sprintf("\nbefore %v %v", tr.before.talk, tr.before.points)
	}
	return talks
}

func (m *matrix) count(tr matrixCase, v ending) {
	key := rowOf(tr.variant, tr.row)
	if m.counts[key] == nil {
		m.counts[key] = &[endings]int{}
	}
	m.counts[key][v]++
}

// firstFaults puts faults at the boundaries of a conversation.
func (m *matrix) firstFaults(s *variant, r *result) (cases []matrixCase) {
	turns := turns{all: m.full || s.thorough, rests: !s.long, every: 1, from: s.number}
	switch {
	case s.long || s.sloppy:
		turns.every = 5
	case s.dialect.overSockets():
		turns.every = 11
	default:
		turns.most = slices.Contains([]dialect{ofCockroachDB, ofNewerCockroachDB, ofLockingCockroachDB}, s.dialect.server())
	}
	turns.take(boundaries(s, r, 0, 0, 0), func(f *fault, at int) {
		cases = append(cases, matrixCase{s, f.name, []strike{{f, at}}, r})
	})
	return cases
}

// secondFaults puts each fault at each boundary after the first of the case, which has been run.
func (m *matrix) secondFaults(first matrixCase, r *result) (cases []matrixCase) {
	at, row := first.strikes[0].at, conflictThenAnother
	if first.sloppy && !m.full {
		return nil
	}
	turns := turns{all: m.full || first.thorough, every: 23, from: at}
	all := boundaries(first.variant, r, at+1, r.client, r.server)
	if first.dialect.overSockets() && !m.full {
		turns.every, all = 7, slices.DeleteFunc(all, func(b boundary) bool { return !b.atRest() })
	}
	if first.strikes[0].rest == onlyAtRest {
		row = endedTwice
	}
	turns.take(all, func(f *fault, then int) {
		cases = append(cases, matrixCase{first.variant, row, []strike{first.strikes[0], {f, then}}, r})
	})
	return cases
}

// turns are which faults are put at which boundaries: all at all; or most of them, which are all but those at Parse
// and Bind; and one, by turns, at some.
type turns struct {
	all, most bool
	rests     bool // all that strikes only at rest, besides
	every     int  // boundary of how many
	from      int  // which of the faults the first turn is
}

func (s turns) take(all []boundary, put func(f *fault, at int)) {
	for n, b := range all {
		for i, f := range b.faults {
			turn := (n/s.every+s.from)%len(b.faults) == i && (n+s.from)%s.every == 0
			if turn || s.all || s.most && (!b.early || f == conflictFault) || s.rests && f.rest == onlyAtRest {
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

// atRest reports whether the server has answered there, and waits.
func (b boundary) atRest() bool {
	return slices.ContainsFunc(b.faults, func(f *fault) bool { return f.rest == onlyAtRest })
}

// boundaries are those of r from the given point and messages on.
func boundaries(s *variant, r *result, point, client, server int) []boundary {
	var all []boundary
	add := func(b boundary, happens func(*fault) bool) {
		for _, f := range s.dialect.faults() {
			if happens(f) {
				b.faults = append(b.faults, f)
			}
		}
		all = append(all, b)
	}
	for i := point; i < len(r.points); i++ {
		add(boundary{at: i, early: r.points[i].stage != crdbsim.AtExecute}, func(f *fault) bool {
			return f.strikesAt(r.points[i], s.dialect)
		})
	}
	for i := client; i < len(r.talk.Client); i++ {
		add(boundary{at: i}, func(f *fault) bool { return f.side == wirecut.Client })
	}
	for i := server; i < len(r.talk.Server); i++ {
		if !amidRows(r.talk.Server, i) {
			add(boundary{at: i}, func(f *fault) bool { return f.side == wirecut.Server && f.rest.mayBe(r.talk.Server[i]) })
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

// The rows of cases with two faults.
const (
	conflictThenAnother = "40001, then another"
	endedTwice          = "ended at rest, twice"
)

var endingNames = [endings]string{"committed", "refused", "whole", "part", "none"}

// table is all that the golden file of these variants holds.
func (m *matrix) table(all []*variant) string {
	var b strings.Builder
	fmt.Fprintf(&b, "How the cases of %s end; go test -run TestFaultMatrix -update . writes this file. Whole, part and none are what\n"+
		"turns out to be committed where the outcome was called ambiguous.\n\n", m.t.Name())
	fmt.Fprintf(&b, "%-22s %9s", "", "cases")
	for _, name := range endingNames {
		fmt.Fprintf(&b, " %9s", name)
	}
	b.WriteByte('\n')
	for _, s := range all {
		fmt.Fprintf(&b, "\n%v\n", s)
		for _, row := range s.dialect.rows() {
			if c := m.counts[rowOf(s, row)]; c != nil {
				b.WriteString(line(row, c))
			}
		}
	}
	fmt.Fprintf(&b, "\n%s", line("all", m.all()))
	return b.String()
}

func rowOf(s *variant, row string) string { return s.String() + ": " + row }

func line(row string, counts *[endings]int) string {
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

func (m dialect) rows() []string {
	all := []string{"none"}
	for _, f := range m.faults() {
		all = append(all, f.name)
	}
	return append(all, conflictThenAnother, endedTwice)
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// all adds the rows up.
func (m *matrix) all() *[endings]int {
	all := &[endings]int{}
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
	for v, name := range endingNames {
		text += fmt.Sprintf(" %s %d", name, all[v])
	}
	return text
}
