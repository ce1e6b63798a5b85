package program

import (
	"errors"
	"fmt"
	"io"
)

// A table whose keys the database makes. Nobody can foresee them, so that a program shows only that it has read one;
// but it looks for the row by it, and finds it if the key is that of the row that is there.

// someBorn is shown in the place of a key.
const someBorn = "a key"

var bornSpecs = map[Kind]spec{
	Bear: {
		name: "bear", about: aboutKey, whole: true, columns: names("id", "k", "at"), query: (*model).bear,
		sql: keyed("INSERT INTO born (k) VALUES ($1) RETURNING id, k, at"),
	},
	Meet: {
		name: "meet", about: aboutKey, reads: true, whole: true, columns: names("id", "k", "at"), query: (*model).meet,
		sql: keyed("SELECT id, k, at FROM born WHERE id = $1"), // the runner has the key
	},
}

const createBorn = "CREATE TABLE born (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), k INT8, " +
	"at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())"

// A birth is a row of that table to the model.
type birth struct {
	number int // of all, in the order of the model
	k      int64
}

func (m *model) bear(s *Statement, _ any) ([][]any, error) {
	m.births++
	m.met = birth{m.births, int64(s.Lo)}
	m.born[m.births] = m.met.k
	return [][]any{{someBorn, m.met.k, someBorn}}, nil
}

func (m *model) meet(*Statement, any) (rows [][]any, _ error) {
	if _, there := m.born[m.met.number]; there {
		rows = append(rows, []any{someBorn, m.met.k, someBorn})
	}
	return rows, nil
}

// bornTables counts the rows of each k.
func (s state) bornTables(all map[string]string) {
	counts := make(map[int64]int64)
	for _, k := range s.born {
		counts[k]++
	}
	for k, n := range counts {
		all[fmt.Sprint("born ", k)] = showRow([]any{n})
	}
}

// A bornResult hides what nobody can foresee. The key becomes the program's own once the end of the rows was seen; what
// came with it must be the same whenever it is looked at.
type bornResult struct {
	result
	s    *server
	kind Kind
	row  []any
}

// queryBorn is query for what looks at that table. It is never left open, nor a *sql.Row.
func (s *server) queryBorn(st *Statement, r ready) (result, error) {
	var rows result
	var err error
	if r.stmt != nil {
		rows, err = s.rows(r.stmt.QueryContext(r.ctx, r.args...))
	} else {
		rows, err = s.rows(s.on.QueryContext(r.ctx, r.text, r.args...))
	}
	if err != nil {
		return nil, err
	}
	return &bornResult{result: rows, s: s, kind: st.Kind}, nil
}

func (r *bornResult) next() ([]any, error) {
	row, err := r.result.next()
	switch {
	case errors.Is(err, io.EOF) && r.kind == Bear:
		r.s.met = r.row
	case err == nil && r.kind == Meet && showRow(row) != showRow(r.s.met):
		return []any{"another row than was shown", row[1], someBorn}, nil
	}
	if err != nil {
		return nil, err
	}
	r.row = row
	return []any{someBorn, row[1], someBorn}, nil
}

// metKey is the key that was shown last, or NULL.
func (s *server) metKey() any {
	if s.met == nil {
		return nil
	}
	return s.met[0]
}
