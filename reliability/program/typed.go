package program

import (
	"math"
	"strconv"
)

// A table whose columns change their types, so that what a connection knows of a statement is out of date.

// A typed is that table.
type typed struct {
	of   string // the type of the one column
	rows map[int]typedRow
}

type typedRow struct {
	v string // digits, whatever the type
	m any    // a label, or NULL
}

const (
	firstType    = "INT4"
	codeTooLarge = "22003"
)

// What the columns can be and hold. Labels stay the same, but the type that has them is another one each time.
var (
	typesOf   = []string{"INT4", "INT8", "TEXT"}
	numerals  = []string{"7", "40000", "3000000000"}
	moods     = []string{"calm", "cross"}
	makeMoods = "CREATE TYPE mood AS ENUM ('calm', 'cross')"
)

var typedSpecs = map[Kind]spec{
	GetTyped: {
		name: "get typed", about: aboutKey, reads: true, columns: names("k", "i", "v", "m"), query: (*model).getTyped,
		sql: keyed("SELECT k, NULL::INT8 AS i, v, m FROM typed WHERE k = $1"),
	},
	PutTyped: {
		name: "put typed", about: aboutKeyWord, exec: (*model).putTyped,
		sql: worded("INSERT INTO typed (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"),
	},
	Feel: {
		name: "feel", about: aboutKeyWord, exec: (*model).feel, sql: worded("UPDATE typed SET m = $2 WHERE k = $1"),
	},
	Retype: {
		name: "retype", about: aboutWord, exec: (*model).retype,
		sql: func(s *Statement, _ value) (string, []any) { return retypeText(s.Word), nil },
	},
	Remake: {name: "remake the enum", sql: plain(remakeText), exec: nothing},
}

func retypeText(to string) string {
	return "ALTER TABLE typed ALTER COLUMN v TYPE " + to + " USING v::" + to
}

var remakeText = "ALTER TYPE mood RENAME TO mood_before; " + makeMoods +
	"; ALTER TABLE typed ALTER COLUMN m TYPE mood USING m::TEXT::mood; DROP TYPE mood_before"

func aboutKeyWord(s *Statement) string { return aboutKey(s) + " = " + s.Word }

func worded(text string) func(*Statement, value) (string, []any) {
	return func(s *Statement, _ value) (string, []any) { return text, []any{s.Lo, s.Word} }
}

func newTyped() typed { return typed{of: firstType, rows: make(map[int]typedRow)} }

// shown is how database/sql shows the digits.
func (t typed) shown(digits string) any {
	if t.of == "TEXT" {
		return digits
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil // there is nothing in the column
	}
	return n
}

// fits is the error of a number that is too large for the type.
func fits(digits, of string) error {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil && of == "INT4" && n > math.MaxInt32 {
		return code(codeTooLarge)
	}
	return nil
}

func (m *model) getTyped(s *Statement, _ any) (rows [][]any, _ error) {
	if r, found := m.typed.rows[s.Lo]; found {
		rows = append(rows, []any{int64(s.Lo), nil, m.typed.shown(r.v), r.m})
	}
	return rows, nil
}

func (m *model) putTyped(s *Statement, _ any) (int64, error) {
	if err := fits(s.Word, m.typed.of); err != nil {
		return 0, err
	}
	r := m.typed.rows[s.Lo]
	r.v = s.Word
	m.typed.rows[s.Lo] = r
	return 1, nil
}

func (m *model) feel(s *Statement, _ any) (int64, error) {
	r, found := m.typed.rows[s.Lo]
	if !found {
		return 0, nil
	}
	r.m = s.Word
	m.typed.rows[s.Lo] = r
	return 1, nil
}

func (m *model) retype(s *Statement, _ any) (int64, error) {
	for _, r := range m.typed.rows {
		if err := fits(r.v, s.Word); err != nil {
			return 0, err
		}
	}
	m.typed.of = s.Word
	return 0, nil
}
