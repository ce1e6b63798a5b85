package program

import (
	"fmt"
	"strings"
)

// What the table kv is for: keys with values of many types.

const (
	wideRows = 40
	wideText = 500
)

var kvSpecs = map[Kind]spec{
	Get: {
		name: "get", about: aboutColumn, reads: true, sql: getText,
		columns: func(s *Statement) []string { return []string{"k", "i", kinds[s.Column].name} },
		query:   (*model).get,
	},
	Scan: {
		name: "scan", about: func(s *Statement) string { return aboutRange(s) + "." + s.Column.String() }, reads: true,
		sql: func(s *Statement, _ value) (string, []any) {
			text := "SELECT k, i, " + kinds[s.Column].name + " FROM kv WHERE k >= $1 AND k < $2 ORDER BY k"
			return text, []any{s.Lo, s.Hi}
		},
		columns: func(s *Statement) []string { return []string{"k", "i", kinds[s.Column].name} },
		query:   (*model).scan,
	},
	Wide: {
		name: "wide", about: aboutRange, reads: true,
		sql: func(s *Statement, _ value) (string, []any) {
			return fmt.Sprintf("SELECT k, i, g, repeat('x', %d) AS x FROM kv, generate_series(1, %d) AS g "+
				"WHERE k >= $1 AND k < $2 ORDER BY k, g", wideText, wideRows), []any{s.Lo, s.Hi}
		},
		columns: names("k", "i", "g", "x"),
		query:   (*model).wide,
	},
	Count: {
		name: "count", about: aboutRange, reads: true,
		sql:     ranged("SELECT count(*), max(i), count(i) AS n FROM kv WHERE k >= $1 AND k < $2"),
		columns: names("count", "max", "n"),
		query:   (*model).count,
	},
	Divide: {
		name: "divide", about: aboutKey, reads: true,
		sql:     keyed("SELECT k, 100 % i AS rest FROM kv WHERE k = $1"),
		columns: names("k", "rest"),
		query:   (*model).divide,
	},
	Set: {
		name: "set", about: aboutColumn, takes: true, exec: (*model).change,
		sql: func(s *Statement, v value) (string, []any) {
			c := kinds[s.Column]
			return "UPDATE kv SET " + c.name + " = $2::" + c.sqlType + " WHERE k = $1", []any{s.Lo, v.arg}
		},
	},
	Add: {
		name: "add", exec: (*model).addAll,
		about: func(s *Statement) string { return fmt.Sprintf("%s %+d", aboutRange(s), s.Delta) },
		sql: func(s *Statement, _ value) (string, []any) {
			return "UPDATE kv SET i = i + $3::INT8 WHERE k >= $1 AND k < $2", []any{s.Lo, s.Hi, s.Delta}
		},
	},
	Insert: {name: "insert", about: aboutColumn, takes: true, sql: inserting(""), exec: (*model).insert},
	Return: {
		name: "insert returning", about: aboutColumn, takes: true, sql: inserting(" RETURNING k, i"),
		columns: names("k", "i"), query: (*model).insertReturning,
	},
	Quiet: {
		name: "insert quietly", about: aboutColumn, takes: true, exec: (*model).insertQuietly,
		sql: inserting(" ON CONFLICT (k) DO NOTHING"),
	},
	Upsert: {
		name: "upsert", about: aboutColumn, takes: true, columns: names("k", "i"), query: (*model).upsert,
		sql: func(s *Statement, v value) (string, []any) {
			col := kinds[s.Column].name
			return inserting(" ON CONFLICT (k) DO UPDATE SET "+col+" = excluded."+col+" RETURNING k, i")(s, v)
		},
	},
	Delete: {
		name: "delete", about: aboutRange, exec: (*model).remove, sql: ranged("DELETE FROM kv WHERE k >= $1 AND k < $2"),
	},
	Texts: {
		name: "texts", about: aboutKey, exec: (*model).texts,
		sql: func(s *Statement, _ value) (string, []any) {
			const text = "UPDATE kv SET i = i + 1 WHERE k = %d; UPDATE kv SET o = false WHERE k < %d"
			return fmt.Sprintf(text, s.Lo, s.Hi), nil
		},
	},
	ReadClock: {
		name: "read clock", reads: true, whole: true, columns: names("c", "n"),
		sql:   plain("SELECT 'clock' AS c, n FROM clock"),
		query: func(m *model, _ *Statement, _ any) ([][]any, error) { return [][]any{{"clock", m.clock}}, nil },
	},
	Survey: {
		name: "survey", about: aboutRange, reads: true,
		sql: func(s *Statement, _ value) (string, []any) {
			return fmt.Sprintf("SELECT clock.n, k, i, repeat('x', %d) AS x FROM clock, kv, generate_series(1, %d) AS g "+
				"WHERE k >= $1 AND k < $2 ORDER BY k, g", wideText, wideRows), []any{s.Lo, s.Hi}
		},
		columns: names("n", "k", "i", "x"),
		query:   (*model).survey,
	},
}

func names(all ...string) func(*Statement) []string {
	return func(*Statement) []string { return all }
}

// keyed is a text about a key, and ranged one about a range.
func keyed(text string) func(*Statement, value) (string, []any) {
	return func(s *Statement, _ value) (string, []any) { return text, []any{s.Lo} }
}

func ranged(text string) func(*Statement, value) (string, []any) {
	return func(s *Statement, _ value) (string, []any) { return text, []any{s.Lo, s.Hi} }
}

func inserting(rest string) func(*Statement, value) (string, []any) {
	return func(s *Statement, v value) (string, []any) {
		c := kinds[s.Column]
		return "INSERT INTO kv (k, " + c.name + ") VALUES ($1::INT8, $2::" + c.sqlType + ")" + rest, []any{s.Lo, v.arg}
	}
}

func getText(s *Statement, _ value) (string, []any) {
	text := "SELECT k, i, " + kinds[s.Column].name + " FROM kv WHERE k = $1"
	if s.Lock {
		text += " FOR UPDATE"
	}
	return text, []any{s.Lo}
}

func (m *model) get(s *Statement, _ any) (rows [][]any, _ error) {
	if r, found := m.kv[s.Lo]; found {
		rows = append(rows, []any{int64(s.Lo), r[Number], r[s.Column]})
	}
	return rows, nil
}

func (m *model) scan(s *Statement, _ any) (rows [][]any, _ error) {
	for _, k := range m.keys(s) {
		rows = append(rows, []any{int64(k), m.kv[k][Number], m.kv[k][s.Column]})
	}
	return rows, nil
}

func (m *model) wide(s *Statement, _ any) (rows [][]any, _ error) {
	for _, k := range m.keys(s) {
		for g := range wideRows {
			rows = append(rows, []any{int64(k), m.kv[k][Number], int64(g + 1), strings.Repeat("x", wideText)})
		}
	}
	return rows, nil
}

func (m *model) survey(s *Statement, _ any) (rows [][]any, _ error) {
	for _, k := range m.keys(s) {
		for range wideRows {
			rows = append(rows, []any{m.clock, int64(k), m.kv[k][Number], strings.Repeat("x", wideText)})
		}
	}
	return rows, nil
}

func (m *model) count(s *Statement, _ any) ([][]any, error) {
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
	return [][]any{{int64(len(keys)), highest, numbers}}, nil
}

func (m *model) divide(s *Statement, _ any) ([][]any, error) {
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

func (m *model) change(s *Statement, v any) (int64, error) {
	if _, found := m.kv[s.Lo]; !found {
		return 0, nil
	}
	m.set(s, v)
	return 1, nil
}

func (m *model) insert(s *Statement, v any) (int64, error) {
	if _, found := m.kv[s.Lo]; found {
		return 0, code(codeDuplicate)
	}
	m.set(s, v)
	return 1, nil
}

func (m *model) insertReturning(s *Statement, v any) ([][]any, error) {
	if _, err := m.insert(s, v); err != nil {
		return nil, err
	}
	return [][]any{{int64(s.Lo), m.kv[s.Lo][Number]}}, nil
}

func (m *model) insertQuietly(s *Statement, v any) (int64, error) {
	n, err := m.insert(s, v)
	if err != nil {
		return 0, nil
	}
	return n, nil
}

func (m *model) upsert(s *Statement, v any) ([][]any, error) {
	return [][]any{{int64(s.Lo), m.set(s, v)[Number]}}, nil
}

func (m *model) addAll(s *Statement, _ any) (affected int64, _ error) {
	for _, k := range m.keys(s) {
		m.add(k, s.Delta)
		affected++
	}
	return affected, nil
}

func (m *model) remove(s *Statement, _ any) (affected int64, _ error) {
	for _, k := range m.keys(s) {
		delete(m.kv, k)
		affected++
	}
	return affected, nil
}

func (m *model) texts(s *Statement, _ any) (affected int64, _ error) {
	m.add(s.Lo, 1)
	for k, r := range m.kv {
		if k < s.Hi {
			r[Bool] = false
			m.kv[k] = r
			affected++
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
