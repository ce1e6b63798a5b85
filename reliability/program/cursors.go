package program

import (
	"fmt"
	"maps"
)

// Cursors as text, and functions that write: a text that looks like a read and is none. A rollback to a savepoint
// undoes the making of a cursor, but neither its closing nor its moves.

const (
	codeNoCursor    = "34000"
	codeCursorThere = "42P03"
)

var cursorNames = []string{"c1", "c2"}

// createBump makes the functions that write: one for a statement in a transaction, one that counts the clock up and
// notes the commit too, and those that do one of these.
var createBump = []string{
	"CREATE FUNCTION bump(INT8, INT8) RETURNS INT8 LANGUAGE SQL AS " +
		"'UPDATE kv SET i = i + $2 WHERE k = $1 RETURNING i'",
	"CREATE FUNCTION bump_alone(INT8, INT8, INT8, INT8, INT8) RETURNS INT8 LANGUAGE SQL AS " +
		"'UPDATE clock SET n = n + 1; INSERT INTO commits SELECT n, $3, $4, $5 FROM clock; " +
		"UPDATE kv SET i = i + $2 WHERE k = $1 RETURNING i'",
	"CREATE FUNCTION count_up() RETURNS INT8 LANGUAGE SQL AS 'UPDATE clock SET n = n + 1 RETURNING n'",
	"CREATE FUNCTION note_commit(INT8, INT8, INT8) RETURNS INT8 LANGUAGE SQL AS " +
		"'INSERT INTO commits SELECT n, $1, $2, $3 FROM clock RETURNING n'",
}

var cursorSpecs = map[Kind]spec{
	Bump: {
		name: "bump", about: aboutDelta, columns: names("k", "n"), query: (*model).bump,
		sql: func(s *Statement, _ value) (string, []any) {
			return "SELECT $1::INT8 AS k, bump($1::INT8, $2::INT8) AS n", []any{s.Lo, s.Delta}
		},
	},
	Declare: {
		name: "declare", about: aboutCursor, exec: (*model).declare,
		sql: func(s *Statement, _ value) (string, []any) {
			n := "i"
			if s.Adds {
				n = fmt.Sprintf("bump(k, %d)", s.Delta)
			}
			const text = "DECLARE %s CURSOR FOR SELECT k, %s AS n FROM kv WHERE k >= %d AND k < %d ORDER BY k"
			return fmt.Sprintf(text, s.Word, n, s.Lo, s.Hi), nil
		},
	},
	Fetch: {
		name: "fetch", about: aboutCursor, columns: names("k", "n"), query: (*model).fetch,
		sql: func(s *Statement, _ value) (string, []any) {
			return fmt.Sprintf("FETCH %d FROM %s", s.Delta, s.Word), nil
		},
	},
	Move: {
		name: "move", about: aboutCursor, exec: (*model).move,
		sql: func(s *Statement, _ value) (string, []any) {
			return fmt.Sprintf("MOVE %d FROM %s", s.Delta, s.Word), nil
		},
	},
	CloseCursor: {
		name: "close", about: aboutWord, exec: (*model).closeCursor,
		sql: func(s *Statement, _ value) (string, []any) { return "CLOSE " + s.Word, nil },
	},
}

// aboutCursor names the cursor, what it is for, and how many rows it is moved by.
func aboutCursor(s *Statement) string {
	switch {
	case s.Kind != Declare:
		return fmt.Sprintf("%d of %s", s.Delta, s.Word)
	case s.Adds:
		return fmt.Sprintf("%s that adds %d to %s", s.Word, s.Delta, aboutRange(s))
	}
	return fmt.Sprintf("%s for %s", s.Word, aboutRange(s))
}

// bumpAlone makes a text of Bump that is a transaction of its own.
func bumpAlone(args []any, e entry) (string, []any) {
	const text = "SELECT $1::INT8 AS k, bump_alone($1::INT8, $2::INT8, $3::INT8, $4::INT8, $5::INT8) AS n"
	return text, append(args, e.program, e.call, e.part)
}

// masks reports whether the program does s in the form of a read.
func (p *Program) masks(s *Statement) bool {
	return p.Mask != Unmasked && (s.Kind == tick || s.Kind == enter)
}

// execMasked does in the form of a read what only counts or notes.
func (s *server) execMasked(st *Statement) error {
	name, call := "ticking", "count_up()"
	if st.Kind == enter {
		name, call = "entering", fmt.Sprintf("note_commit(%d, %d, 1)", s.entry.program, s.entry.call)
	}
	if s.program.Mask == BySelect {
		_, err := s.on.ExecContext(s.ctx, "SELECT "+call)
		return err
	}
	if _, err := s.on.ExecContext(s.ctx, "DECLARE "+name+" CURSOR FOR SELECT "+call); err != nil {
		return err
	}
	verb := "FETCH"
	if s.program.Mask == ByMove {
		verb = "MOVE"
	}
	_, err := s.on.ExecContext(s.ctx, verb+" 1 FROM "+name)
	return err
}

// A cursor is one to the model. It has the rows of when it was declared; one that adds does so as each row is fetched.
type cursor struct {
	rows [][]any
	adds bool
	by   int64
}

func (m *model) declare(s *Statement, _ any) (int64, error) {
	if m.cursors[s.Word] != nil {
		return 0, code(codeCursorThere)
	}
	c := &cursor{adds: s.Adds, by: s.Delta}
	for _, k := range m.keys(s) {
		c.rows = append(c.rows, []any{int64(k), m.kv[k][Number]})
	}
	if m.cursors == nil {
		m.cursors = make(map[string]*cursor)
	}
	m.cursors[s.Word] = c
	return 0, nil
}

func (m *model) fetch(s *Statement, _ any) ([][]any, error) {
	c := m.cursors[s.Word]
	if c == nil {
		return nil, code(codeNoCursor)
	}
	n := min(int(s.Delta), len(c.rows))
	rows := c.rows[:n]
	c.rows = c.rows[n:]
	if !c.adds {
		return rows, nil
	}
	for i, r := range rows {
		k := int(r[0].(int64))
		m.add(k, c.by)
		rows[i] = []any{r[0], m.kv[k][Number]}
	}
	return rows, nil
}

func (m *model) move(s *Statement, v any) (int64, error) {
	rows, err := m.fetch(s, v)
	return int64(len(rows)), err
}

func (m *model) closeCursor(s *Statement, _ any) (int64, error) {
	if m.cursors[s.Word] == nil {
		return 0, code(codeNoCursor)
	}
	delete(m.cursors, s.Word)
	return 0, nil
}

func (m *model) bump(s *Statement, _ any) ([][]any, error) {
	m.add(s.Lo, s.Delta)
	return [][]any{{int64(s.Lo), m.kv[s.Lo][Number]}}, nil
}

// survivors are the cursors that were there before, and still are.
func survivors(before, now map[string]*cursor) map[string]*cursor {
	still := maps.Clone(now)
	maps.DeleteFunc(still, func(name string, c *cursor) bool { return before[name] != c })
	return still
}

// cursor chooses which one a statement is about, and by how many rows.
func (g *generator) cursor(s *Statement) {
	s.Word = cursorNames[g.IntN(len(cursorNames))]
	s.Adds = s.Kind == Declare && g.oneIn(2)
}

// masked chooses whether a program masks what it writes, and returns the kinds of its other statements. One that masks
// it by SELECT has no cursor, since nobody knows what that will do.
func (g *generator) masked(p *Program) weighted[Kind] {
	if !g.cursors || g.oneIn(3) {
		return g.kinds
	}
	p.Mask = Mask(1 + g.IntN(int(ByMove)))
	if p.Mask == BySelect {
		return reads
	}
	return fetches
}

// declarations make a program's cursors. Those of a masked one only read.
func (g *generator) declarations(m Mask) (steps []Step) {
	for _, name := range cursorNames {
		s := g.statement(Declare)
		s.Word, s.Adds = name, s.Adds && m == Unmasked
		steps = append(steps, Step{Statement: s})
	}
	return steps
}
