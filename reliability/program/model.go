package program

import (
	"maps"
	"slices"
	"strings"
)

// A model is the table kv as a map, for one program at a time.
type model struct {
	kv    map[int]row
	clock int64
	saved []saved
}

type row [columns]any

type saved struct {
	name string
	kv   map[int]row
}

// newModel is how a round begins: every other key is there.
func newModel(keys int) *model {
	m := &model{kv: make(map[int]row)}
	for k := 0; k < keys; k += 2 {
		m.kv[k] = row{Number: int64(k), Bool: false}
	}
	return m
}

// A code is an error that the server would answer with.
type code string

func (c code) Error() string    { return "SQLSTATE " + string(c) }
func (c code) SQLState() string { return string(c) }

// play runs a program, all of it or nothing, and gives what it was shown.
func (m *model) play(p *Program) ([]string, error) {
	before := maps.Clone(m.kv)
	pl := player{on: m, program: p, at: func(int) {}}
	err := pl.play()
	m.saved = nil
	if err != nil {
		m.kv = before
	}
	return pl.shown, err
}

func (m *model) savepoint(verb, name string) error {
	if verb == savepoint {
		m.saved = append(m.saved, saved{name, maps.Clone(m.kv)})
		return nil
	}
	i := len(m.saved) - 1
	for ; i >= 0 && m.saved[i].name != name; i-- {
	}
	if i < 0 {
		return code("3B001")
	}
	if verb == rollbackTo {
		m.kv = maps.Clone(m.saved[i].kv)
		i++ // it stays
	}
	m.saved = m.saved[:i]
	return nil
}

func (m *model) run(s *Statement, v value) (answer, error) {
	if s.Kind.rows() {
		rows, err := m.query(s, v.shown)
		if s.Stop < 0 {
			return answer{rows: rows, end: true}, err
		}
		return answer{rows: rows[:min(s.Stop, len(rows))], end: s.Stop > len(rows)}, err
	}
	n, err := m.exec(s, v.shown)
	return answer{affected: n}, err
}

// keys are those of the range that are there, in order.
func (m *model) keys(s *Statement) (keys []int) {
	for k := range m.kv {
		if k >= s.Lo && k < s.Hi {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m *model) query(s *Statement, v any) (rows [][]any, err error) {
	r, found := m.kv[s.Lo]
	switch s.Kind {
	case Get:
		if found {
			rows = append(rows, []any{int64(s.Lo), r[Number], r[s.Column]})
		}
	case Scan:
		for _, k := range m.keys(s) {
			rows = append(rows, []any{int64(k), m.kv[k][Number], m.kv[k][s.Column]})
		}
	case Wide:
		for _, k := range m.keys(s) {
			for g := range wideRows {
				rows = append(rows, []any{int64(k), m.kv[k][Number], int64(g + 1), strings.Repeat("x", wideText)})
			}
		}
	case Count:
		rows = append(rows, m.count(s))
	case Divide:
		return m.divide(s)
	case Return:
		if found {
			return nil, code(codeDuplicate)
		}
		rows = append(rows, []any{int64(s.Lo), m.set(s, v)[Number]})
	case Upsert:
		rows = append(rows, []any{int64(s.Lo), m.set(s, v)[Number]})
	case ReadClock:
		rows = append(rows, []any{"clock", m.clock})
	}
	return rows, nil
}

func (m *model) count(s *Statement) []any {
	var numbers int64
	var highest any
	keys := m.keys(s)
	for _, k := range keys {
		n, ok := m.kv[k][Number].(int64)
		if !ok {
			continue
		}
		numbers++
		if h, ok := highest.(int64); !ok || n > h {
			highest = n
		}
	}
	return []any{int64(len(keys)), highest, numbers}
}

func (m *model) divide(s *Statement) ([][]any, error) {
	r, found := m.kv[s.Lo]
	if !found {
		return nil, nil
	}
	var rest any
	if n, ok := r[Number].(int64); ok {
		if n == 0 {
			return nil, code(codeDivision)
		}
		rest = 100 % n
	}
	return [][]any{{int64(s.Lo), rest}}, nil
}

// set writes to a key, there or not.
func (m *model) set(s *Statement, v any) row {
	r := m.kv[s.Lo]
	r[s.Column] = v
	m.kv[s.Lo] = r
	return r
}

func (m *model) exec(s *Statement, v any) (affected int64, err error) {
	_, found := m.kv[s.Lo]
	switch s.Kind {
	case Insert:
		if found {
			return 0, code(codeDuplicate)
		}
		m.set(s, v)
		return 1, nil
	case Quiet:
		if found {
			return 0, nil
		}
		m.set(s, v)
		return 1, nil
	case Set:
		if !found {
			return 0, nil
		}
		m.set(s, v)
		return 1, nil
	case Add:
		for _, k := range m.keys(s) {
			m.add(k, s.Delta)
			affected++
		}
	case Delete:
		for _, k := range m.keys(s) {
			delete(m.kv, k)
			affected++
		}
	case Texts:
		m.add(s.Lo, 1)
		for k, r := range m.kv {
			if k < s.Hi {
				r[Bool] = false
				m.kv[k] = r
				affected++
			}
		}
	}
	return affected, nil
}

func (m *model) add(k int, delta int64) {
	r, found := m.kv[k]
	if n, ok := r[Number].(int64); found && ok {
		r[Number] = n + delta
		m.kv[k] = r
	}
}
