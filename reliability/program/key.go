package program

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Keys that the database has made, and the application was shown. That one was shown is all that the model can foresee;
// which row it was shown with, the model knows by the row's number. In the end it must still be that row's.

// made is shown in the place of what the database has made.
const made hidden = "made"

type hidden string

// A bornKey is the key of a row of the table born.
type bornKey struct {
	number int    // to the model: of all rows, in its order
	id     any    // to the application,
	text   string // and what is never changed in the row, as it was shown
}

func (bornKey) String() string { return string(made) }

// numberOf is the number of a key; 0 if none was shown.
func numberOf(key any) int {
	k, _ := key.(bornKey)
	return k.number
}

// lastingText is what is never changed in a row, which begins with id, k, n, drawn and at.
func lastingText(row []any) string { return showRow([]any{row[0], row[1], row[3], row[4]}) }

// A bearResult is rows with the keys that the database has made.
type bearResult struct{ result }

func (r bearResult) next() ([]any, error) {
	row, err := r.result.next()
	if err != nil {
		return nil, err
	}
	return []any{bornKey{id: row[0], text: lastingText(row)}, row[1], row[2], made, made}, nil
}

// A meetResult is the row of a key, which must be as it was shown.
type meetResult struct {
	result
	key bornKey
}

func (r meetResult) next() ([]any, error) {
	row, err := r.result.next()
	switch {
	case err != nil:
		return nil, err
	case lastingText(row) != r.key.text:
		return []any{"another row than was shown", row[1], row[2], made, made}, nil
	}
	return []any{made, row[1], row[2], made, made}, nil
}

// hideMade hides what nobody can foresee.
func hideMade(s *Statement, v value, r result) result {
	switch s.Kind {
	case Bear:
		return bearResult{r}
	case Meet:
		key, _ := v.shown.(bornKey)
		return meetResult{r, key}
	}
	return r
}

// Keys are those that a part of a program was shown, by the number of the line.
type Keys map[int][]bornKey

// valueOf is what a statement writes, or the key that it is about.
func (p *player) valueOf(s *Statement) value {
	switch {
	case !specs[s.Kind].met:
		return s.value(p.number)
	case len(p.met) == 0:
		return value{}
	}
	key := p.met[s.Pick%len(p.met)]
	return value{key.id, key}
}

// keepKeys keeps the keys that were read for the line that is to be shown now.
func (p *player) keepKeys() {
	if len(p.fresh) == 0 {
		return
	}
	if p.keys == nil {
		p.keys = make(Keys)
	}
	p.keys[len(p.shown)], p.met = p.fresh, p.fresh
}

// A shownKey is a key, and who was shown it.
type shownKey struct {
	bornKey
	program *Program
}

// noteKeys takes note of the keys in so many lines of a part, the same lines that the model shows.
func (c *checker) noteKeys(p *Program, lines int, shown, model Keys) {
	for line, keys := range shown {
		if line >= lines {
			continue
		}
		for i, key := range keys {
			c.keys[model[line][i].number] = shownKey{key, p}
		}
	}
}

// births compares the rows whose keys were shown with those that are there under the keys.
func (c *checker) births(m *model) {
	for _, number := range slices.Sorted(maps.Keys(c.keys)) {
		key, should := c.keys[number], nothingThere
		if b, there := m.born[number]; there {
			should = key.text + showRow([]any{b.n, b.u})
		}
		is, there := c.history.Born[fmt.Sprint(key.id)]
		if !there {
			is = nothingThere
		}
		if is != should {
			c.add(Tables, key.program, "born, a key that was shown\n  there: %s\n  model: %s", is, should)
		}
	}
}

// lookAtBorn reads the rows by their keys.
func (g *Group) lookAtBorn(ctx context.Context, h *History) error {
	h.Born = make(map[string]string)
	return g.eachRow(ctx, "SELECT id, k, n, drawn, at, u FROM born", func(row []any) {
		h.Born[fmt.Sprint(row[0])] = lastingText(row) + showRow([]any{row[2], row[5]})
	})
}
