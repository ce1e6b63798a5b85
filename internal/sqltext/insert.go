package sqltext

import (
	"slices"
	"strconv"
	"strings"
)

// Insert is an INSERT of rows that stand in its text, of a form of which it is certain what it means:
//
//	INSERT INTO table [AS alias] (column, …) VALUES (expression, …), … [ON CONFLICT … DO NOTHING] RETURNING column, …
//
// Names may be quoted, the table's may have a schema before it, and RETURNING may be followed by an asterisk.
type Insert struct {
	Table string // its name with all parts quoted
	Rows  int    // how many rows it inserts, at most
	Skips bool   // it may insert fewer of them

	sql      string
	columns  []string // that it lists, as the server has their names
	list     int      // where the parenthesis is that closes the list
	tuples   []tuple
	largest  int      // the largest number of a parameter
	returned []string // nil for an asterisk
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
	if !p.parse() || p.odd || p.open || checkText(sql) != nil {
		return nil
	}
	p.in.Rows = len(p.in.tuples)
	return p.in
}

// BeginsInsert reports whether sql begins with INSERT.
func BeginsInsert(sql string) bool {
	s := scanner{sql: sql}
	return s.next() == tokenWord && isKeyword(s.text(), "insert")
}

// ReadsLastValue reports whether sql may read what a sequence has given the session last, by a function whose name is
// in it.
func ReadsLastValue(sql string) bool { return contains(sql, "currval") || contains(sql, "lastval") }

// Fits reports whether an answer can be that of the insert, which has columns of these names and rows, and whether each
// row is known to be that of the tuple of the same number.
func (in *Insert) Fits(columns []string, rows int) bool {
	if rows > in.Rows || in.Skips && rows < in.Rows {
		return false
	}
	return in.returned == nil || slices.Equal(in.returned, columns)
}

// Generates reports whether the database makes the value of a column, in a row or in all of them.
func (in *Insert) Generates(column string) bool {
	listed := slices.Index(in.columns, column)
	return listed < 0 || slices.ContainsFunc(in.tuples, func(t tuple) bool { return t.hasDefault(listed) })
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
// the database would have made the value. The parameters have the numbers from first, in the order of the places.
func (in *Insert) Pin(columns []string, rows, first int) (sql string, places []Place) {
	w := pinWriter{in: in, columns: columns, number: first}
	w.out.Grow(len(in.sql) + 16*len(columns)*(1+len(in.tuples)))
	w.upTo(in.list)
	for _, column := range columns {
		if !slices.Contains(in.columns, column) {
			w.out.WriteString(", " + quoted(column))
		}
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
}

func (p *insertParser) parse() bool {
	return p.keyword("insert") && p.keyword("into") && p.table() && p.list() &&
		p.keyword("values") && p.values() && p.conflict() && p.keyword("returning") && p.returning() && p.end()
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
		if p.endsInsert(token, text) {
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

// conflict reads ON CONFLICT, if there is one. Only with DO NOTHING the rows that are returned are certain to be new.
func (p *insertParser) conflict() bool {
	if !p.isNextWord("on") {
		return true
	}
	if !p.keyword("conflict") {
		return false
	}
	switch {
	case p.isNextWord("on"):
		if !p.keyword("constraint") || p.name() == "" {
			return false
		}
	case p.isNext('('):
		if !p.toClosing() {
			return false
		}
	}
	p.in.Skips = true
	return p.keyword("do") && p.keyword("nothing")
}

// toClosing goes past the parenthesis that closes the one before.
func (p *insertParser) toClosing() bool {
	for depth := 1; depth > 0; {
		switch p.next() {
		case tokenEnd, tokenSemicolon:
			return false
		case tokenParameter:
			if !p.parameter() {
				return false
			}
		case tokenOther:
			switch p.text() {
			case "(":
				depth++
			case ")":
				depth--
			}
		}
	}
	return true
}

func (p *insertParser) returning() bool {
	if p.isNext('*') {
		return true
	}
	for {
		name := p.returnedColumn()
		if name == "" {
			return false
		}
		p.in.returned = append(p.in.returned, name)
		if !p.isNext(',') {
			return true
		}
	}
}

// returnedColumn reads a column's name, with the table's before it or without. To PostgreSQL 18 old and new are tables
// too.
func (p *insertParser) returnedColumn() string {
	name := p.name()
	if !p.isNext('.') {
		if p.token == tokenWord && isOneOf(name, valueWords...) {
			return ""
		}
		return name
	}
	if name != p.alias || name == "old" || name == "new" {
		return ""
	}
	return p.name()
}
