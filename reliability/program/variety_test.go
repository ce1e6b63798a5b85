package program

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A variety counts what programs are and do.
type variety map[string]int

func (v variety) round(r *Round) {
	r.each(v.statement)
	for name := range r.Faults.Rates {
		v[name]++
	}
	for _, o := range r.Faults.Outages {
		v[string(o.Way)]++
	}
	for _, p := range r.programs() {
		v.program(p)
	}
	v[fmt.Sprint("wrapped ", r.Wrapped)]++
	v[fmt.Sprint("marked ", r.Marked)]++
	v[fmt.Sprint("kept ", r.Kept)]++
	v[fmt.Sprint("taught ", r.Taught && r.learnsLocks())]++
	v[fmt.Sprint("through a balancer ", r.Through)]++
	v[fmt.Sprint("only conflicts ", len(r.Faults.Rates) > 0 && r.Faults.onlyConflicts())]++
	v["topic "+r.Topic]++
}

func (v variety) statement(s *Statement) {
	v[s.Kind.String()]++
	v[fmt.Sprint("how ", s.How)]++
	if s.Kind == Bear {
		v[fmt.Sprint("bear ", s.Hi-s.Lo, ", read ", s.Stop)]++
	}
	v[fmt.Sprint("mode ", s.Mode)]++
	v[fmt.Sprint(s.Kind, " to ", s.Word)]++
	v[fmt.Sprint(s.Kind, " ", s.shape().name)]++
	v[fmt.Sprint(s.Kind, " scope ", s.Scope, " of ", s.setting())]++
	if s.writes() && !s.Read {
		v[fmt.Sprint(s.Column, " = ", show(kinds[s.Column].pool[s.Pick].shown))]++
	}
	for name, is := range map[string]bool{
		"deaf": s.Deaf, "only prepared": s.Only, "row": s.Row, "names": s.Names, "keep": s.Keep, "a cursor that adds": s.Adds,
		"left open":                     s.Slot != 0 && s.Kind != Look,
		"left open by bear":             s.Slot != 0 && s.Kind == Bear,
		"left open in a write":          s.Slot != 0 && !readsOnly(s.Kind),
		"prepared and left open":        s.How == Prepared && s.Slot != 0,
		"a read of extra only prepared": s.Only && s.Kind == GetExtra,
		"a close without a read":        s.Stop == 0 && s.shows(),
	} {
		if is {
			v[name]++
		}
	}
}

func (v variety) program(p *Program) {
	v[fmt.Sprint("form ", p.Form)]++
	v[fmt.Sprint("policy ", p.Policy)]++
	v[fmt.Sprint("settings ", p.Settings)]++
	v[fmt.Sprint("mask ", int(p.Mask))]++
	v[fmt.Sprint("level ", p.Level, " by ", p.Form)]++
	for _, s := range p.Steps {
		if s.Block != nil {
			v[fmt.Sprint("block ", s.Block.End)]++
		}
	}
	for name, is := range map[string]bool{
		"cancelled": p.Cancel != nil, "own": p.Own, "careless": p.Careless, "patient": p.Patient, "forgo": p.Forgo,
		"careless in a long wait": p.Careless && p.Policy == Slow && p.Cancel != nil,
	} {
		if is {
			v[name]++
		}
	}
	if p.Form == Single {
		v[fmt.Sprint("alone, how ", p.Steps[0].How)]++
	}
	if h := p.Halves; h != nil {
		v[h.By.String()]++
		v[fmt.Sprint(h.By, " prepared ", h.Prepared)]++
		v[fmt.Sprint(h.By, " mode ", h.Mode)]++
	}
	if t := p.Tail; t != nil {
		v[fmt.Sprint("tail ", t.By, " by ", p.Form)]++
		v[fmt.Sprint("back ", t.Back)]++
		v[fmt.Sprint("only DDL ", p.onlySchema())]++
		v[fmt.Sprint(t.By, " prepared ", t.Prepared)]++
		v[fmt.Sprint("steps after ", len(t.Steps) > 0)]++
	}
}

// TestVariety looks whether everything that a program can be or do does come up.
func TestVariety(t *testing.T) {
	t.Parallel()
	seen := make(variety)
	for _, server := range Servers {
		for seed := range uint64(400) {
			seen.round(NewRound(server, seed, Size{Workers: 2, Programs: 20, Keys: 6}))
		}
	}
	for _, what := range slices.Concat(varietyOfStatements(), varietyOfPrograms()) {
		assert.NotZero(t, seen[what], what)
	}
}

func varietyOfStatements() (want []string) {
	for k := range tick {
		want = append(want, k.String())
	}
	for _, k := range kinds {
		for _, v := range k.pool {
			want = append(want, fmt.Sprint(k.name, " = ", show(v.shown)))
		}
	}
	for _, s := range shapes {
		want = append(want, fmt.Sprint(Peek, " ", s.name), fmt.Sprint(Raise, " ", s.name))
	}
	for kind, all := range map[Kind][]string{
		Retype: typesOf, PutTyped: numerals, Feel: moods, Hurry: timeouts, Bear: slices.Collect(maps.Keys(broods)),
	} {
		for _, word := range all {
			want = append(want, fmt.Sprint(kind, " to ", word))
		}
	}
	for rows := range maxRange {
		for stop := -1; stop <= rows; stop++ {
			want = append(want, fmt.Sprint("bear ", rows+1, ", read ", stop))
		}
	}
	for scope := range Scope(scopes) {
		for _, setting := range []string{settingWord, settingPath} {
			want = append(want, fmt.Sprint(Assign, " scope ", scope, " of ", setting))
		}
	}
	return want
}

func varietyOfPrograms() (want []string) {
	for _, t := range topics {
		want = append(want, "topic "+t.what.name)
	}
	for _, k := range faultKinds {
		want = append(want, k.name)
	}
	for _, m := range modes {
		want = append(want, fmt.Sprint("mode ", m))
	}
	for by := CommitText; by <= SchemaChange; by++ {
		want = append(want, fmt.Sprint("tail ", by, " by ", Plain), fmt.Sprint("tail ", by, " by ", Closure))
	}
	for _, by := range []By{CommitText, SchemaChange} {
		want = append(want, fmt.Sprint(by, " prepared true"), fmt.Sprint(by, " prepared false"))
	}
	for _, how := range []How{Direct, Prepared} {
		want = append(want, fmt.Sprint("alone, how ", how))
	}
	for _, level := range levels {
		want = append(want, fmt.Sprint("level ", level, " by ", Plain), fmt.Sprint("level ", level, " by ", Closure))
	}
	for by := range halvings {
		want = append(want, by.String())
	}
	for _, by := range []Halving{Procedure, Anonymous} {
		want = append(want, fmt.Sprint(by, " prepared true"), fmt.Sprint(by, " prepared false"))
	}
	for _, m := range modes {
		want = append(want, fmt.Sprint(Procedure, " mode ", m))
	}
	for what, n := range map[string]int{"how": 4, "form": 6, "policy": 5, "block": 3, "settings": 3, "mask": 4} {
		for i := range n {
			want = append(want, fmt.Sprint(what, " ", i))
		}
	}
	return append(want, "deaf", "only prepared", "row", "names", "keep", "left open", "left open in a write",
		"left open by bear",
		"a cursor that adds", "prepared and left open", "a read of extra only prepared", "a close without a read",
		"cancelled", "own", "careless", "patient", "forgo", "careless in a long wait",
		"drain", "kill", "silence", "through a balancer true", "through a balancer false",
		"back true", "only DDL true", "only DDL false",
		"steps after true", "wrapped true", "wrapped false",
		"marked true", "marked false", "kept true", "kept false", "taught true", "taught false", "only conflicts true")
}
