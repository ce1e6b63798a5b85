package sqltext

import (
	"slices"
	"strconv"
	"strings"
)

// Insert is an INSERT of a form of which it is certain what it means:
//
//	INSERT INTO table [AS alias] (column, …) rows [ON CONFLICT …] RETURNING column or expression [AS name], …
//
// Names may be quoted, the table's may have a schema before it, and RETURNING may be followed by an asterisk. Its rows
// stand in the text, or are made of arrays that are parameters (insert_select.go):
//
//	VALUES (expression, …), …
//	SELECT expression, …
//	SELECT expression, … FROM source, after WITH source AS (SELECT expression, …) before the INSERT
//
// For what may follow ON CONFLICT see insert_conflict.go.
type Insert struct {
	Table   string // its name with all parts quoted
	Rows    int    // how many rows VALUES has
	Selects bool   // the rows are those of a SELECT; how many they are the text does not say
	Skips   bool   // it may return fewer rows than it has
	Upserts bool   // it may update a row in place of inserting one, and returns for each whether its xmax is 0

	sql      string
	columns  []string // that it lists, as the server has their names
	list     int      // where the parenthesis is that closes the list
	tuples   []tuple
	largest  int      // the largest number of a parameter
	returned []string // as the server has their names, "" for an expression; nil for an asterisk
	excluded []string // columns of which an update reads what was to be inserted

	items  []item // of the SELECT
	end    int    // where its list ends
	source int    // where the list of the source ends; 0 if there is none
}

// tuple is one row of VALUES.
type tuple struct {
	end      int // where its closing parenthesis is
	defaults []defaultWord
}

// defaultWord is a DEFAULT in the place of a value.
type defaultWord struct{ column, at int }

const lengthOfDefault = len("DEFAULT")

// ParseInsert returns what sql inserts, or nil if it is not certain to be of the form of an [Insert]. Of a text that a
// server refuses it may return anything.
func ParseInsert(sql string) *Insert {
	p := insertParser{parser: parser{scanner{sql: sql}}, in: &Insert{sql: sql}}
	if !p.parse() || p.odd || p.open || checkText(sql) != nil || p.from != "" && contains(sql, pinLabel) {
		return nil
	}
	p.in.Rows = len(p.in.tuples)
	return p.in
}

// MayInsert reports whether sql may be an [Insert], by its first words.
func MayInsert(sql string) bool {
	s := scanner{sql: sql}
	word := s.word()
	return isKeyword(word, "insert") || isKeyword(word, "with") && contains(sql[s.pos:], "insert")
}

// ReadsLastValue reports whether sql may read what a sequence has given the session last, by a function whose name is
// in it.
func ReadsLastValue(sql string) bool { return contains(sql, "currval") || contains(sql, "lastval") }

// Fits reports whether an answer can be that of the insert, which has columns of these names.
func (in *Insert) Fits(columns []string) bool {
	return in.returned == nil || slices.EqualFunc(in.returned, columns, func(returned, column string) bool {
		return returned == "" || returned == column
	})
}

// Knows reports whether it is known which of the rows that it has the first rows of its answer are, if so many were
// written: of VALUES there may be fewer, and more if a function makes several of one.
func (in *Insert) Knows(rows, written int) bool {
	if in.Selects {
		return rows == written
	}
	return written == in.Rows && (rows == written || !in.Skips)
}

// Column returns the column of the table that a column of the answer is, both counted from 0 and the latter with the
// name that the answer has for it; "" if that is an expression, or not known.
func (in *Insert) Column(n int, name string) string {
	if in.returned == nil {
		return name
	}
	return in.returned[n]
}

// Generates reports whether the database makes the value of a column, in a row or in all of them, and nothing but the
// row itself has it.
func (in *Insert) Generates(column string) bool {
	listed := slices.Index(in.columns, column)
	switch {
	case listed < 0:
		return true
	case slices.Contains(in.excluded, column):
		return false
	case in.Selects:
		return in.items[listed].makes
	}
	return slices.ContainsFunc(in.tuples, func(t tuple) bool { return t.hasDefault(listed) })
}

// Draws reports whether the text itself has the value of a column drawn from a sequence.
func (in *Insert) Draws(column string) bool {
	listed := slices.Index(in.columns, column)
	return in.Selects && listed >= 0 && in.items[listed].draws
}

func (t *tuple) hasDefault(column int) bool {
	return slices.ContainsFunc(t.defaults, func(d defaultWord) bool { return d.column == column })
}

// Parameters returns the largest number of a parameter in the text.
func (in *Insert) Parameters() int { return in.largest }

// A Place is where a value is pinned: the column of a row, both counted from 0, the column among those that were given
// to [Insert.Pin].
type Place struct{ Row, Column int }

// Pin returns a text that differs from the insert's in this alone: in the first rows the columns have parameters where
// the database would have made the value. The parameters have the numbers from first, in the order of the places. Of a
// SELECT rows must be all that there are, and types those of the columns.
func (in *Insert) Pin(columns, types []string, rows, first int) (sql string, places []Place) {
	w := pinWriter{in: in, columns: columns, types: types, rows: rows, number: first}
	w.out.Grow(len(in.sql) + 16*len(columns)*(2+max(rows, len(in.tuples))))
	if in.source > 0 {
		w.inSource()
	}
	w.upTo(in.list)
	for _, column := range columns {
		if !slices.Contains(in.columns, column) {
			w.out.WriteString(", " + quoted(column))
		}
	}
	if in.Selects {
		w.selection()
	}
	for row := range in.tuples {
		w.tuple(row, row < rows)
	}
	w.upTo(len(in.sql))
	return w.out.String(), w.places
}

// pinWriter writes the text of an insert with parameters in place of what the database makes.
type pinWriter struct {
	in      *Insert
	columns []string
	types   []string // of the columns
	rows    int
	number  int // of the next parameter
	places  []Place
	out     strings.Builder
	copied  int // up to here the insert's text has been written
}

func (w *pinWriter) upTo(at int) {
	w.out.WriteString(w.in.sql[w.copied:at])
	w.copied = at
}

// tuple writes a row; pinned says that its values are.
func (w *pinWriter) tuple(row int, pinned bool) {
	t := &w.in.tuples[row]
	for _, d := range t.defaults {
		column := slices.Index(w.columns, w.in.columns[d.column])
		if !pinned || column < 0 {
			continue
		}
		w.upTo(d.at)
		w.parameter(row, column)
		w.copied += lengthOfDefault
	}
	w.upTo(t.end)
	for column, name := range w.columns {
		switch {
		case slices.Contains(w.in.columns, name):
		case pinned:
			w.out.WriteString(", ")
			w.parameter(row, column)
		default:
			w.out.WriteString(", DEFAULT")
		}
	}
}

func (w *pinWriter) parameter(row, column int) {
	w.out.WriteByte('$')
	w.out.WriteString(strconv.Itoa(w.number))
	w.number++
	w.places = append(w.places, Place{row, column})
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// insertParser reads an insert, token by token. Its methods return false where the text is not of the form.
type insertParser struct {
	parser
	in    *Insert
	alias string // what the table is called in the statement
	from  string // what the source is called; "" if there is none
	isNew bool   // whether a row is new is returned
}

func (p *insertParser) parse() bool {
	return p.source() && p.keyword("insert") && p.keyword("into") && p.table() && p.list() && p.rows() &&
		p.conflict() && p.keyword("returning") && p.returning() && p.end() && (p.isNew || !p.in.Upserts)
}

func (p *insertParser) table() bool {
	p.in.Table, p.alias = p.parser.table()
	if p.in.Table != "" && p.isNextWord("as") {
		p.alias = p.name()
	}
	return p.alias != ""
}

func (p *insertParser) list() bool {
	if !p.isNext('(') {
		return false
	}
	for {
		name := p.name()
		if name == "" || slices.Contains(p.in.columns, name) {
			return false
		}
		p.in.columns = append(p.in.columns, name)
		if p.isNext(')') {
			p.in.list = p.start
			return true
		}
		if !p.isNext(',') {
			return false
		}
	}
}

func (p *insertParser) rows() bool {
	word := p.word()
	if isKeyword(word, "select") {
		return p.selects()
	}
	return isKeyword(word, "values") && p.from == "" && p.values()
}

func (p *insertParser) values() bool {
	for {
		if !p.tuple() {
			return false
		}
		if !p.isNext(',') {
			return true
		}
	}
}

func (p *insertParser) tuple() bool {
	if !p.isNext('(') {
		return false
	}
	var t tuple
	for column := 0; ; column++ {
		if column == len(p.in.columns) || !p.value(&t, column) {
			return false
		}
		if p.text() == ")" {
			t.end = p.start
			p.in.tuples = append(p.in.tuples, t)
			return column+1 == len(p.in.columns)
		}
	}
}

// value reads a value of a tuple, and the comma or the parenthesis after it.
func (p *insertParser) value(t *tuple, column int) bool {
	tokens, isDefault, at := 0, false, 0
	for depth := 0; ; tokens++ {
		token := p.next()
		text := p.text()
		if p.endsInsert(token, text) || p.isLateDefault(tokens) {
			return false
		}
		switch {
		case token == tokenWord && tokens == 0:
			isDefault, at = isKeyword(text, "default"), p.start
		case token != tokenOther:
		case text == "(", text == "[":
			depth++
		case depth == 0 && (text == "," || text == ")"):
			if isDefault && tokens == 1 {
				t.defaults = append(t.defaults, defaultWord{column, at})
			}
			return tokens > 0
		case text == ")", text == "]":
			if depth--; depth < 0 {
				return false
			}
		}
	}
}

// isLateDefault reports whether a token is a DEFAULT after others of a value. To PostgreSQL it may be in parentheses.
func (p *insertParser) isLateDefault(tokens int) bool {
	return tokens > 0 && p.token == tokenWord && isKeyword(p.text(), "default")
}

// endsInsert reports whether a token makes the text none that is understood.
func (p *insertParser) endsInsert(kind token, text string) bool {
	switch kind {
	case tokenEnd, tokenSemicolon:
		return true
	case tokenParameter:
		return !p.parameter()
	}
	return kind == tokenOther && (text == "{" || text == "}")
}

// parameter takes note of a parameter. One that directly follows a word is a part of a name to some.
func (p *insertParser) parameter() bool {
	p.in.largest = max(p.in.largest, parameterNumber(p.text()))
	return !p.glued
}
