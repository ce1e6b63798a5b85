package sqltext

import "strings"

// parser reads the parts that statements of a narrow form have in common. Where the text is not of the form, its
// methods return false, or nothing.
type parser struct{ scanner }

func (p *parser) keyword(keyword string) bool { return isKeyword(p.word(), keyword) }

// isNext reports whether a byte comes next, and goes past it if so.
func (p *parser) isNext(c byte) bool {
	after := p.scanner
	if after.next() != tokenOther || p.sql[after.start] != c {
		return false
	}
	p.scanner = after
	return true
}

// isNextWord reports whether a keyword comes next, and goes past it if so.
func (p *parser) isNextWord(keyword string) bool {
	after := p.scanner
	if !isKeyword(after.word(), keyword) {
		return false
	}
	p.scanner = after
	return true
}

// longestName is how long a name may be; of a longer one the server takes a part.
const longestName = 63

// name reads a name, and returns it as the server has it; "" for something else. Which letters beyond ASCII a server
// makes small is up to its version.
func (p *parser) name() string {
	p.next()
	return p.named()
}

// named returns the name that the token is, as the server has it; "" for something else.
func (p *parser) named() string {
	var name string
	switch p.token {
	case tokenWord:
		name = strings.ToLower(p.text())
		if isDigit(name[0]) || strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
			return ""
		}
	case tokenName:
		if p.open {
			return ""
		}
		name = strings.ReplaceAll(p.sql[p.start+1:p.pos-1], `""`, `"`)
	}
	if len(name) > longestName {
		return ""
	}
	return name
}

// table reads the name of a table, with up to two parts before it. It returns the name with all parts quoted, and the
// last part; two empty strings for something else.
func (p *parser) table() (name, last string) {
	for parts := 1; ; parts++ {
		last = p.name()
		if last == "" || parts > 3 {
			return "", ""
		}
		name += quoted(last)
		if !p.isNext('.') {
			return name, last
		}
		name += "."
	}
}

// valueWords are the words that stand for a value, and not for a column, unless they are quoted.
var valueWords = []string{
	"current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp",
	"current_user", "default", "false", "localtime", "localtimestamp", "nothing", "null", "session_user", "system_user",
	"true", "user",
}

// end reports whether nothing comes any more, but for a semicolon.
func (p *parser) end() bool {
	token := p.next()
	for token == tokenSemicolon {
		token = p.next()
	}
	return token == tokenEnd
}
