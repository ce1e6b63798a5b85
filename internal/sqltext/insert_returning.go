package sqltext

import (
	"slices"
	"strings"
)

func (p *insertParser) returning() bool {
	if p.isNext('*') {
		return true
	}
	for {
		name, ok := p.returned()
		if !ok {
			return false
		}
		p.in.returned = append(p.in.returned, name)
		if !p.isNext(',') {
			return slices.ContainsFunc(p.in.returned, func(name string) bool { return name != "" })
		}
	}
}

// returned reads one column of the answer. It returns the table's column that it certainly is, or "".
func (p *insertParser) returned() (name string, ok bool) {
	before := p.scanner
	if name = p.returnedColumn(); name != "" {
		after := p.scanner
		if p.next(); p.ends("") {
			p.scanner = after
			return name, true
		}
	}
	p.scanner = before
	return "", p.returnedExpression()
}

// returnedColumn reads a column's name, with the table's before it or without.
func (p *insertParser) returnedColumn() string {
	name := p.name()
	if !p.isNext('.') {
		if p.token == tokenWord && isOneOf(name, valueWords...) {
			return ""
		}
		return name
	}
	if !p.isTable(name) {
		return ""
	}
	return p.name()
}

// isTable reports whether a name before a point is certainly the table's. To PostgreSQL 18 old and new are others.
func (p *insertParser) isTable(name string) bool {
	return name == p.alias && name != "old" && name != "new"
}

// returnedExpression reads an expression, which is one column of the answer: not all of a row's.
func (p *insertParser) returnedExpression() bool {
	var words []string
	named := false
	last := ""
	ok := p.expression("", func() bool {
		text := p.text()
		if p.token == tokenOther && text == "*" && (last == "" || last == ".") {
			return false
		}
		last = text
		if p.token == tokenWord {
			text = strings.ToLower(text)
		}
		if named = named || p.token == tokenWord && text == "as"; !named {
			words = append(words, text)
		}
		return p.plain()
	})
	p.isNew = p.isNew || p.tellsNew(words)
	return ok
}

// tellsNew reports whether an expression tells rows that are new from others: only PostgreSQL has xmax, which is 0 in a
// row that was just inserted, and is not in one that ON CONFLICT has locked.
func (p *insertParser) tellsNew(words []string) bool {
	for len(words) > 2 && words[0] == "(" && words[len(words)-1] == ")" {
		words = words[1 : len(words)-1]
	}
	if len(words) > 2 && p.isTable(words[0]) && words[1] == "." {
		words = words[2:]
	}
	switch strings.Join(words, " ") {
	case "xmax = 0", "xmax ! = 0", "xmax < > 0":
		return true
	}
	return false
}
