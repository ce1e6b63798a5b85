package program

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// given are the keys that the model foresees as an honest server would give them out.
func given(foreseen Keys) Keys {
	keys := make(Keys)
	for line, some := range foreseen {
		for _, k := range some {
			keys[line] = append(keys[line], givenKey(k.number))
		}
	}
	return keys
}

func givenKey(number int) bornKey {
	return bornKey{id: fmt.Sprint("key ", number), text: fmt.Sprint("row ", number)}
}

// bornOf is the model's table by those keys.
func bornOf(m *model) map[string]string {
	born := make(map[string]string)
	for number, b := range m.born {
		key := givenKey(number)
		born[fmt.Sprint(key.id)] = key.text + showRow([]any{b.n, b.u})
	}
	return born
}

// aRoundOfBirths inserts several rows at once, of which some are read; some are there already, and one is rolled back.
func aRoundOfBirths() *Round {
	bear := func(lo, hi, stop int, word string) Step {
		return Step{Statement: Statement{Kind: Bear, Lo: lo, Hi: hi, Stop: stop, Word: word}}
	}
	return &Round{Server: CockroachDB, Size: Size{Keys: 4}, Workers: [][]*Program{{
		{ID: 1, Steps: []Step{
			bear(0, 3, -1, leftOut), step(Statement{Kind: Meet, Pick: 1}), step(Statement{Kind: Rear, Pick: 4, Delta: 7}),
		}},
		{ID: 2, Steps: []Step{bear(1, 2, -1, unique)}},
		{ID: 3, Form: Closure, Steps: []Step{bear(0, 3, -1, unlessThere), step(Statement{Kind: Leave, Lo: 2, Hi: 3})}},
		{ID: 4, Steps: []Step{
			{Block: &Block{Name: "s", Steps: []Step{bear(0, 1, -1, defaulted)}, End: RollBack}},
			bear(0, 3, 2, oneGiven), step(Statement{Kind: Rear, Delta: 1, Ask: true}),
		}},
	}}}
}

func TestHonestBirths(t *testing.T) {
	t.Parallel()
	r := aRoundOfBirths()
	h := honest(r)
	require.Empty(t, Check(r, h))
	assert.Equal(t, []string{
		"bear 0-3 what the list leaves out: (made, 0, 0, made, made) (made, 1, 0, made, made) (made, 2, 0, made, made) end",
		"meet row 2: (made, 1, 0, made, made) end", "rear row 5 +7",
	}, h.lines(1))
	assert.Equal(t, "bear 0-3 unless there: (made, 0, 0, made, made) (made, 2, 0, made, made) end", h.lines(3)[0])
	assert.Equal(t, "row 2(7, NULL)", h.Born["key 2"], "the second row that was shown")
	assert.NotContains(t, h.Born, "key 6", "it has left")
	assert.NotContains(t, h.Born, "key 7", "it was rolled back")
	assert.Equal(t, "(3, 1, 1)", h.Tables["born 0"])
}

// liesOfBirths are histories that must not be, each with what the oracle has to call it.
var liesOfBirths = map[string]struct {
	lie   func(*History)
	kind  string
	words string // in the anomaly
}{
	"the values of one row are in another": {func(h *History) {
		h.Born["key 1"], h.Born["key 2"] = h.Born["key 2"], h.Born["key 1"]
	}, Tables, "born, a key that was shown\n  there: row 2(7, NULL)\n  model: row 1(0, NULL)\nprogram 1"},
	"a key was made anew": {func(h *History) {
		h.Born["another"] = h.Born["key 3"]
		delete(h.Born, "key 3")
	}, Tables, "there: nothing\n  model: row 3(0, NULL)\nprogram 1"},
	"a time was made anew": {func(h *History) { h.Born["key 9"] = "another row(0, NULL)" }, Tables, "program 4"},
	"the number of a row went to another": {func(h *History) {
		h.Born["key 1"], h.Born["key 2"] = "row 1(7, NULL)", "row 2(0, NULL)"
	}, Tables, "there: row 1(7, NULL)"},
	"the row that was not shown is left out": {func(h *History) {
		h.Tables["born 2"] = "(1, 0, 0)"
		delete(h.Born, "key 10")
	}, Tables, "born 2\n  there: (1, 0, 0)\n  model: (2, 0, 0)"},
	"a row that was rolled back is there": {func(h *History) {
		h.Born["key 7"] = "row 7(0, NULL)"
	}, Tables, "there: row 7(0, NULL)\n  model: nothing\nprogram 4"},
	"a row is called inserted that was there": {func(h *History) {
		h.lines(3)[0] = h.lines(1)[0]
	}, Shown, "program 3"},
	"another row comes by the key": {func(h *History) {
		h.lines(1)[1] = `meet row 2: ("another row than was shown", 0, 0, made, made) end`
	}, Shown, "program 1"},
}

func TestLiesOfBirths(t *testing.T) {
	t.Parallel()
	for name, l := range liesOfBirths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := aRoundOfBirths()
			h := honest(r)
			l.lie(h)
			wantFirst(t, Check(r, h), l.kind, l.words)
		})
	}
}

// TestNeedless has programs diverge: it is needless only where nobody can have changed what was shown.
func TestNeedless(t *testing.T) {
	t.Parallel()
	found := func(change func(*Round)) []Anomaly {
		r := aRoundOfBirths()
		r.Workers[0] = r.Workers[0][:1]
		change(r)
		lost := &pgconn.PgError{Code: "40001", Severity: "ERROR"}
		h := &History{Results: map[int64]Result{1: {Err: errors.Join(&cockroachdb.DivergenceError{}, lost)}}}
		h.Tables = newModel(r.Server, r.Size.Keys).tables()
		return Check(r, h)
	}
	all := found(func(*Round) {})
	require.Len(t, all, 1)
	assert.Equal(t, Needless, all[0].Kind)
	for why, change := range map[string]func(*Round){
		"a row may be there": func(r *Round) { r.Workers[0][0].Steps[0].Word = unlessThere },
		"no room":            func(r *Round) { r.Workers[0][0].Policy = Tight },
		"a read of others":   func(r *Round) { r.Workers[0][0].Steps[1].Kind = Get },
		"another fault":      func(r *Round) { r.Faults.Rates = map[string]float64{"another error": 1} },
	} {
		assert.Empty(t, found(change), why)
	}
}
