package sqltext

import (
	"slices"
	"strings"
)

// conflict reads what is to be done with a row that is there already, if that is said:
//
//	ON CONFLICT [(…) [WHERE …] | ON CONSTRAINT name] DO NOTHING | DO UPDATE SET …
//
// A row that was updated is not new, and what it shows must not be inserted if it is gone in a replay. So DO UPDATE
// has to return for each row whether it is new: then the comparison of the answers finds that out. Of a SELECT with DO
// NOTHING, or DO UPDATE with a WHERE, nobody knows which rows are missing from the answer.
func (p *insertParser) conflict() bool {
	if !p.isNextWord("on") {
		return true
	}
	if !p.keyword("conflict") || !p.arbiter() || !p.keyword("do") {
		return false
	}
	p.in.Skips = true
	if p.isNextWord("nothing") {
		return !p.in.Selects
	}
	p.in.Upserts = true
	return p.keyword("update") && p.keyword("set") && p.assignments()
}

// arbiter reads which conflicts are meant.
func (p *insertParser) arbiter() bool {
	switch {
	case p.isNextWord("on"):
		return p.keyword("constraint") && p.name() != ""
	case p.isNext('('):
		return p.toClosing() && (!p.isNextWord("where") || p.expression("do", p.plain))
	}
	return true
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

// assignments reads what DO UPDATE sets.
func (p *insertParser) assignments() bool {
	return p.expression("returning", func() bool {
		if p.named() != "excluded" {
			return p.plain()
		}
		name := ""
		if p.isNext('.') {
			name = p.name()
		}
		p.in.excluded = append(p.in.excluded, name)
		return slices.Contains(p.in.columns, name)
	})
}

// queryWords begin a query within an expression, which may read the source, or end the expression.
var queryWords = []string{"select", "values", "table", "with", "where", "into", "returning"}

// plain reports whether the token has no place in a query within the expression.
func (p *insertParser) plain() bool { return p.token != tokenWord || !isOneOf(p.text(), queryWords...) }

// expression goes to the keyword that ends an expression, outside of parentheses; if that is "", to a comma, or to the
// end of the statement. The function is called with each token, and reports whether it may be there.
func (p *insertParser) expression(until string, may func() bool) bool {
	for depth, tokens := 0, 0; ; tokens++ {
		before := p.scanner
		token := p.next()
		text := p.text()
		switch {
		case depth == 0 && p.ends(until):
			p.scanner = before
			return tokens > 0
		case p.endsInsert(token, text) || !may():
			return false
		case token == tokenOther && strings.Contains("([", text):
			depth++
		case token == tokenOther && strings.Contains(")]", text):
			if depth--; depth < 0 {
				return false
			}
		}
	}
}

func (p *insertParser) ends(until string) bool {
	if until != "" {
		return p.token == tokenWord && isKeyword(p.text(), until)
	}
	return p.token == tokenEnd || p.token == tokenSemicolon || p.token == tokenOther && p.text() == ","
}
