package crdbsim

import "strings"

// A token is one lexical element of SQL.
type token struct {
	kind tokenKind
	text string // words folded to lower case, quoted identifiers without their quotes
	pos  int    // where it begins
	end  int    // where it ends

	escapes bool // text has a backslash that stands for something else
}

type tokenKind byte

const (
	tokenWord   tokenKind = 'w'
	tokenQuoted tokenKind = 'q' // "identifier"
	tokenString tokenKind = 's'
	tokenSymbol tokenKind = 'y' // any other single character, and each character of a number
)

func (t token) is(word string) bool       { return t.kind == tokenWord && t.text == word }
func (t token) symbol(c byte) bool        { return t.kind == tokenSymbol && t.text[0] == c }
func (t token) name() bool                { return t.kind == tokenWord || t.kind == tokenQuoted }
func isSpace(c byte) bool                 { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }
func isDigit(c byte) bool                 { return c >= '0' && c <= '9' }
func isWordStart(c byte) bool             { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func isWordPart(c byte) bool              { return isWordStart(c) || isDigit(c) || c == '$' }
func hasPrefixAt(s, p string, i int) bool { return strings.HasPrefix(s[i:], p) }

// A lexer cuts SQL into tokens. It knows comments and every kind of quote, since a semicolon inside one ends nothing.
type lexer struct {
	sql string
	at  int
}

// next returns the next token, and false at the end.
func (l *lexer) next() (token, bool) {
	l.skipBlank()
	if l.at >= len(l.sql) {
		return token{}, false
	}
	start, c := l.at, l.sql[l.at]
	switch {
	case (c == 'e' || c == 'E') && hasPrefixAt(l.sql, "'", min(l.at+1, len(l.sql))):
		l.at++
		return l.quoted(start, '\'', true, tokenString), true
	case isWordStart(c):
		for l.at < len(l.sql) && isWordPart(l.sql[l.at]) {
			l.at++
		}
		return token{kind: tokenWord, text: strings.ToLower(l.sql[start:l.at]), pos: start, end: l.at}, true
	case c == '\'':
		return l.quoted(start, c, false, tokenString), true
	case c == '"':
		return l.quoted(start, c, false, tokenQuoted), true
	case c == '$':
		if tag := l.dollarTag(); tag != "" {
			return l.dollarQuoted(tag), true
		}
	}
	l.at++
	return token{kind: tokenSymbol, text: l.sql[start:l.at], pos: start, end: l.at}, true
}

// skipBlank passes white space and comments; those with /* nest.
func (l *lexer) skipBlank() {
	for l.at < len(l.sql) {
		switch {
		case isSpace(l.sql[l.at]):
			l.at++
		case hasPrefixAt(l.sql, "--", l.at):
			n := strings.IndexByte(l.sql[l.at:], '\n')
			if n < 0 {
				n = len(l.sql) - l.at
			}
			l.at += n
		case hasPrefixAt(l.sql, "/*", l.at):
			l.skipComment()
		default:
			return
		}
	}
}

func (l *lexer) skipComment() {
	for depth := 0; l.at < len(l.sql); {
		switch {
		case hasPrefixAt(l.sql, "/*", l.at):
			depth++
			l.at += 2
		case hasPrefixAt(l.sql, "*/", l.at):
			depth--
			l.at += 2
		default:
			l.at++
		}
		if depth == 0 {
			return
		}
	}
}

// quoted reads up to the closing quote; a doubled quote stands for itself, and so does one after a backslash if
// escapes is set.
func (l *lexer) quoted(start int, quote byte, escapes bool, kind tokenKind) token {
	l.at++
	from := l.at
	for l.at < len(l.sql) {
		c := l.sql[l.at]
		switch {
		case escapes && c == '\\':
			l.at++
		case c == quote && l.at+1 < len(l.sql) && l.sql[l.at+1] == quote:
			l.at++
		case c == quote:
			text := strings.ReplaceAll(l.sql[from:l.at], string([]byte{quote, quote}), string(quote))
			l.at++
			return token{kind, text, start, l.at, escapes && strings.Contains(text, `\\`)}
		}
		l.at++
	}
	l.at = len(l.sql)
	return token{kind: kind, text: l.sql[from:], pos: start, end: l.at}
}

// dollarTag returns the $tag$ that begins here, or nothing when this dollar begins something else, like $1.
func (l *lexer) dollarTag() string {
	i := l.at + 1
	if i < len(l.sql) && isDigit(l.sql[i]) {
		return ""
	}
	for i < len(l.sql) && isWordPart(l.sql[i]) && l.sql[i] != '$' {
		i++
	}
	if i >= len(l.sql) || l.sql[i] != '$' {
		return ""
	}
	return l.sql[l.at : i+1]
}

func (l *lexer) dollarQuoted(tag string) token {
	start := l.at
	from := l.at + len(tag)
	to := strings.Index(l.sql[from:], tag)
	if to < 0 {
		l.at = len(l.sql)
		return token{kind: tokenString, text: l.sql[from:], pos: start, end: l.at}
	}
	l.at = from + to + len(tag)
	return token{kind: tokenString, text: l.sql[from : from+to], pos: start, end: l.at}
}

// tokens returns all tokens of sql.
func tokens(sql string) []token {
	var all []token
	for l := (lexer{sql: sql}); ; {
		t, ok := l.next()
		if !ok {
			return all
		}
		all = append(all, t)
	}
}

// split cuts a string of statements at its semicolons. Pieces that hold nothing but blanks and comments are left out,
// as are the semicolons.
func split(sql string) []string {
	var (
		parts  []string
		inside nesting
		start  = -1 // of the piece at hand, -1 before its first token
		end    int
	)
	for _, t := range tokens(sql) {
		if inside.none() && t.symbol(';') {
			if start >= 0 {
				parts = append(parts, sql[start:end])
			}
			start, inside = -1, nesting{}
			continue
		}
		inside.add(t)
		if start < 0 {
			start = t.pos
		}
		end = t.end
	}
	if start >= 0 {
		parts = append(parts, sql[start:end])
	}
	return parts
}

// A nesting is where a token of a statement stands: inside parentheses (CREATE RULE), or between BEGIN ATOMIC and its
// END. A semicolon there does not end the statement.
type nesting struct {
	parens, blocks int
	last           token
}

func (n *nesting) none() bool { return n.parens <= 0 && n.blocks == 0 }

func (n *nesting) add(t token) {
	switch {
	case t.symbol('('):
		n.parens++
	case t.symbol(')'):
		n.parens--
	case t.is("atomic") && n.last.is("begin"), t.is("case") && n.blocks > 0:
		n.blocks++
	case t.is("end") && n.blocks > 0:
		n.blocks--
	}
	n.last = t
}
