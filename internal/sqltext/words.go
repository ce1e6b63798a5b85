package sqltext

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// isSingle reports whether sql is certain to hold no more than one statement. It is false of a few with one: those
// that CockroachDB and PostgreSQL read differently, those that neither can read, and bodies between BEGIN ATOMIC and
// END.
func isSingle(sql string) bool {
	if strings.IndexByte(sql, ';') < 0 {
		return true
	}
	if checkText(sql) != nil {
		return false
	}
	s := scanner{sql: sql}
	for ended := false; ; {
		switch token := s.next(); {
		case token == tokenEnd:
			return !s.open && !s.odd
		case token == tokenSemicolon:
			ended = true
		case ended, token == tokenParameter && s.glued: // a$1 is a name to the servers, and may go on: a$1$$
			return false
		}
	}
}

// isBlank reports whether sql may hold no statement at all.
func isBlank(sql string) bool {
	s := scanner{sql: sql}
	return !s.toStatement()
}

// toStatement goes to the next statement, past empty ones, and reports whether there is one. The next token is its
// first.
func (s *scanner) toStatement() bool {
	for {
		before := *s
		switch s.next() {
		case tokenSemicolon:
		case tokenEnd:
			return false
		default:
			*s = before
			return true
		}
	}
}

// toEnd goes past the end of the statement.
func (s *scanner) toEnd() {
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
	}
}

// firstWord returns the word that the first statement begins with, or "" if it begins with something else.
func (s *scanner) firstWord() string {
	token := s.next()
	for token == tokenSemicolon { // an empty statement
		token = s.next()
	}
	if token != tokenWord {
		return ""
	}
	return s.text()
}

// word returns the next token if it is a word, and "" if it is something else.
func (s *scanner) word() string {
	if s.next() != tokenWord {
		return ""
	}
	return s.text()
}

// isKeyword reports whether word is keyword, which is in lower case, in any case. As to the servers, only ASCII has
// case: strings.EqualFold would take U+017F for an s.
func isKeyword(word, keyword string) bool {
	if len(word) != len(keyword) {
		return false
	}
	for i := range len(word) {
		if lower(word[i]) != keyword[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

func isOneOf(word string, keywords ...string) bool {
	for _, keyword := range keywords {
		if isKeyword(word, keyword) {
			return true
		}
	}
	return false
}

// contains reports whether keyword, which is in lower case, is somewhere in sql, in any case.
func contains(sql, keyword string) bool {
	for i := 0; i+len(keyword) <= len(sql); i++ {
		if lower(sql[i]) == keyword[0] && isKeyword(sql[i:i+len(keyword)], keyword) {
			return true
		}
	}
	return false
}

func trimQuotes(text string, quote byte) string {
	return strings.Trim(text, string(quote))
}

// checkText returns an error for what is not text to a server.
func checkText(sql string) error {
	switch {
	case strings.IndexByte(sql, 0) >= 0:
		return errors.New("cockroachdb: the statement holds a NUL character, which SQL text can't")
	case !utf8.ValidString(sql):
		return errors.New("cockroachdb: the statement is not valid UTF-8")
	}
	return nil
}
