package sqltext

import (
	"slices"
	"strings"
)

// KeyRead is a SELECT of a form of which it is certain that FOR UPDATE at its end makes it lock the rows that it
// returns, and changes nothing else:
//
//	SELECT column, … FROM table [AS alias] WHERE condition [AND condition] …
//	[ORDER BY column [ASC|DESC], …] [LIMIT value]
//
// A condition is column = value, or column IS [NOT] NULL, and may stand between parentheses. A column that is selected
// may be an asterisk, may have the table before it and another name after AS. Names may be quoted, the table's may have
// a schema before it. A value is a parameter, a literal or a whole number.
type KeyRead struct {
	Table string // its name with all parts quoted
	Where []Equality

	sql string
	end int // where the statement ends
}

// An Equality is the condition that a column equals a value.
type Equality struct {
	Column    string // as the server has its name
	Parameter int    // its number, from 1; 0 for a value that stands in the text
	Value     string // as it stands in the text
}

// ParseKeyRead returns what sql reads, or nil if it is not certain to be of the form of a [KeyRead]. Of a text that a
// server refuses it may return anything.
func ParseKeyRead(sql string) *KeyRead {
	p := keyParser{parser: parser{scanner{sql: sql}}}
	r := &KeyRead{sql: sql}
	if !p.keyword("select") || !p.columns() || !p.keyword("from") {
		return nil
	}
	if r.Table = p.source(); r.Table == "" || !p.conjunction() || !p.order() || !p.limit() {
		return nil
	}
	r.Where, r.end = p.where, p.pos
	if !p.end() || p.odd || p.open || checkText(sql) != nil {
		return nil
	}
	return r
}

// BeginsSelect reports whether sql begins with SELECT.
func BeginsSelect(sql string) bool {
	s := scanner{sql: sql}
	return isKeyword(s.word(), "select")
}

// Locking returns the text with FOR UPDATE at its end.
func (r *KeyRead) Locking() string { return r.sql[:r.end] + " FOR UPDATE" + r.sql[r.end:] }

// KeyWrite is an UPDATE or a DELETE, and those conditions that each row has to meet that it writes.
type KeyWrite struct {
	Table string // its name with all parts quoted
	Where []Equality
}

// ParseKeyWrite returns what sql writes; nil if it is not known.
func ParseKeyWrite(sql string) *KeyWrite {
	p := keyParser{parser: parser{scanner{sql: sql}}}
	switch word := p.word(); {
	case isKeyword(word, "update"):
	case !isKeyword(word, "delete"), !p.keyword("from"):
		return nil
	}
	w := &KeyWrite{}
	if w.Table = p.source(); w.Table == "" || !p.someOfConjunction() || p.odd || p.open {
		return nil
	}
	w.Where = p.where
	return w
}

// WrittenTable returns the table that sql inserts into, updates or deletes from, with all parts of its name quoted; ""
// if that is not known.
func WrittenTable(sql string) string {
	p := parser{scanner{sql: sql}}
	switch word := p.word(); {
	case isKeyword(word, "update"):
	case isOneOf(word, "insert", "upsert") && p.keyword("into"):
	case isKeyword(word, "delete") && p.keyword("from"):
	default:
		return ""
	}
	table, _ := p.table()
	return table
}

// SetsModes reports whether sql may change the isolation level of a transaction, or make it one that only reads, by
// words that are in it.
func SetsModes(sql string) bool { return contains(sql, "isolation") || contains(sql, "read only") }

// keyParser reads statements that read or write by key.
type keyParser struct {
	parser
	alias string // what the table is called in the statement
	where []Equality
}

// columns reads the columns of a SELECT.
func (p *keyParser) columns() bool {
	for {
		if !p.isNext('*') && !p.selected() {
			return false
		}
		if !p.isNext(',') {
			return true
		}
	}
}

// selected reads a column, or all of a table.
func (p *keyParser) selected() bool {
	if p.plainName() == "" {
		return false
	}
	if p.isNext('.') {
		if p.isNext('*') {
			return true
		}
		if p.name() == "" {
			return false
		}
	}
	return !p.isNextWord("as") || p.name() != ""
}

// plainName reads a name that does not mean anything else where a column may stand.
func (p *keyParser) plainName() string {
	name := p.name()
	if p.token == tokenWord && (isOneOf(name, valueWords...) || isOneOf(name, beforeColumns...)) {
		return ""
	}
	return name
}

// beforeColumns are words that may stand where a column may, and are none.
var beforeColumns = []string{"all", "any", "array", "case", "distinct", "exists", "into", "not", "only", "row", "some"}

// source reads a table and what it is called, and returns its name.
func (p *keyParser) source() (name string) {
	name, p.alias = p.table()
	if p.token == tokenWord && isOneOf(p.alias, "only", "lateral", "rows") {
		return ""
	}
	before := p.scanner
	switch p.next() {
	case tokenWord:
		if isOneOf(p.text(), "where", "set", "using") {
			p.scanner = before
			return name
		}
		if !isKeyword(p.text(), "as") {
			p.scanner = before
		}
		if p.alias = p.name(); p.alias == "" || p.token == tokenWord && p.alias == "of" {
			return ""
		}
	case tokenName:
		p.scanner = before
		p.alias = p.name()
	default:
		p.scanner = before
	}
	return name
}

// conjunction reads WHERE, and equalities with AND between them.
func (p *keyParser) conjunction() bool {
	if !p.keyword("where") {
		return false
	}
	for {
		if !p.enclosed() {
			return false
		}
		if !p.isNextWord("and") {
			return true
		}
	}
}

// enclosed reads a condition, between parentheses perhaps.
func (p *keyParser) enclosed() bool {
	if p.isNext('(') {
		return p.enclosed() && p.isNext(')')
	}
	return p.condition()
}

func (p *keyParser) condition() bool {
	e := Equality{Column: p.column()}
	switch {
	case e.Column == "":
		return false
	case p.isNextWord("is"):
		_ = p.isNextWord("not")
		return p.isNextWord("null")
	case !p.isNext('=') || !p.value(&e):
		return false
	}
	p.where = append(p.where, e)
	return true
}

// column reads a column, with the table before it perhaps, and returns its name.
func (p *keyParser) column() string {
	name := p.plainName()
	switch {
	case name == "" || !p.isNext('.'):
		return name
	case name != p.alias:
		return ""
	}
	return p.name()
}

// value reads what a column is to equal.
func (p *keyParser) value(e *Equality) bool {
	token := p.next()
	e.Value = p.text()
	switch token {
	case tokenParameter:
		e.Parameter = parameterNumber(e.Value)
		return !p.glued
	case tokenLiteral:
		return !p.escapes && !p.glued && strings.IndexByte(e.Value, '\\') < 0
	case tokenWord:
		return isWholeNumber(e.Value)
	}
	return false
}

func isWholeNumber(word string) bool {
	return !strings.ContainsFunc(word, func(r rune) bool { return r < '0' || r > '9' })
}

// order reads ORDER BY and columns, if it is there.
func (p *keyParser) order() bool {
	if !p.isNextWord("order") {
		return true
	}
	if !p.isNextWord("by") {
		return false
	}
	for {
		if p.column() == "" {
			return false
		}
		_ = p.isNextWord("asc") || p.isNextWord("desc")
		if !p.isNext(',') {
			return true
		}
	}
}

// limit reads LIMIT and a number, if it is there. By a unique key there is one row at most, whatever the number.
func (p *keyParser) limit() bool {
	if !p.isNextWord("limit") {
		return true
	}
	switch p.next() {
	case tokenParameter:
		return !p.glued
	case tokenWord:
		return isWholeNumber(p.text())
	}
	return false
}

// someOfConjunction goes to WHERE, and reads those equalities after it that stand between AND, and nothing else.
func (p *keyParser) someOfConjunction() bool {
	for p.skipTo("where", "from", "using") {
		if !isKeyword(p.text(), "where") {
			return false // the rows are those of a join
		}
		for {
			before, known := p.scanner, len(p.where)
			if !p.enclosed() || !p.isAtTerm() {
				p.scanner, p.where = before, p.where[:known]
			}
			if !p.skipTo("and", "or", "between", "returning") || isKeyword(p.text(), "returning") {
				return true
			}
			if !isKeyword(p.text(), "and") {
				return false
			}
		}
	}
	return false
}

// isAtTerm reports whether a condition is over here.
func (p *keyParser) isAtTerm() bool {
	after := p.scanner
	switch after.next() {
	case tokenEnd, tokenSemicolon:
		return true
	case tokenWord:
		return isOneOf(after.text(), "and", "or", "returning", "order", "limit", "for")
	}
	return false
}

// skipTo goes past the next of these words that is not between parentheses, and reports whether there is one.
func (p *keyParser) skipTo(words ...string) bool {
	for depth := 0; ; {
		switch p.next() {
		case tokenEnd, tokenSemicolon:
			return false
		case tokenWord:
			if depth == 0 && slices.ContainsFunc(words, func(w string) bool { return isKeyword(p.text(), w) }) {
				return true
			}
		case tokenOther:
			switch p.text() {
			case "(", "[":
				depth++
			case ")", "]":
				depth--
			}
		}
	}
}
