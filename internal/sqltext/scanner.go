package sqltext

import "strings"

type token int

const (
	tokenEnd       token = iota
	tokenWord            // a keyword, a name without quotes, a number
	tokenName            // a name in double quotes
	tokenLiteral         // '…', E'…', $tag$…$tag$
	tokenParameter       // $1
	tokenSemicolon
	tokenOther // one other byte
)

// A scanner cuts SQL text into tokens, just finely enough to know what is inside a literal, a quoted name or a
// comment and what is not. Its zero value with sql set is ready; it does not allocate.
//
// CockroachDB, PostgreSQL and pgx differ here and there on where a literal or comment ends. The scanner does not
// choose: it sets odd, and ends. Nearly all such texts are errors to at least one of the two servers, so nobody misses
// them.
type scanner struct {
	sql        string
	start, pos int // of the token: sql[start:pos]
	token      token

	glued   bool // the token follows a word, with nothing in between
	escapes bool // the token is a literal in which backslashes escape, or perhaps do
	open    bool // the text ended inside a literal, a name or a comment
	odd     bool // the text can be read in more than one way
}

// text returns the token.
func (s *scanner) text() string { return s.sql[s.start:s.pos] }

// next goes to the next token that is not white space or a comment.
func (s *scanner) next() token {
	from := s.pos
	s.skipBlank()
	s.glued = s.token == tokenWord && s.pos == from
	s.start = s.pos
	s.token = s.scan()
	if s.token != tokenLiteral {
		s.escapes = false
	}
	if s.odd {
		s.token, s.pos = tokenEnd, len(s.sql)
	}
	return s.token
}

// scan reads the token at pos.
func (s *scanner) scan() token {
	if s.pos >= len(s.sql) {
		return tokenEnd
	}
	switch c := s.sql[s.pos]; {
	case isWordByte(c):
		s.pos = s.endOfWord()
		if s.peek(0) == '\'' && (s.text() == "e" || s.text() == "E") {
			s.escapes = true
			s.close(s.endOfQuote(s.pos, true))
			return tokenLiteral
		}
		return tokenWord
	case c == '\'':
		return s.scanLiteral()
	case c == '"':
		s.close(s.endOfQuote(s.pos, false))
		return tokenName
	case c == '$':
		return s.scanDollar()
	case c == ';':
		s.pos++
		return tokenSemicolon
	default:
		s.pos++
		return tokenOther
	}
}

// scanLiteral reads '…'. To CockroachDB backslashes escape in b'…' too; to pgx in whatever follows an e, like'…' for
// instance; and to both servers in a literal that continues an E'…' on another line.
func (s *scanner) scanLiteral() token {
	end := s.endOfQuote(s.pos, false)
	if s.glued || s.escapes {
		s.escapes = true
		s.odd = s.odd || end != s.endOfQuote(s.pos, true)
	}
	s.close(end)
	return tokenLiteral
}

// scanDollar reads a parameter, or a literal between dollar signs. Directly after a word the dollar sign of such a
// literal is a part of the word to the servers, and not to pgx. A parameter after an E'…' makes no sense, but would,
// once replaced by a literal on the next line, continue the E'…', and then backslashes in its argument would escape.
func (s *scanner) scanDollar() token {
	if isDigit(s.peek(1)) {
		s.odd = s.odd || s.escapes
		for s.pos++; isDigit(s.peek(0)); s.pos++ {
		}
		return tokenParameter
	}
	tag := s.dollarTag(s.pos)
	if tag == "" || s.glued {
		s.odd = true
		return tokenEnd
	}
	body := s.pos + len(tag)
	if length := strings.Index(s.sql[body:], tag); length >= 0 {
		s.close(body + length + len(tag))
	} else {
		s.close(-1)
	}
	return tokenLiteral
}

// close ends the token at end, or, if end is negative, with the text.
func (s *scanner) close(end int) {
	if end < 0 {
		s.open = true
		end = len(s.sql)
	}
	s.pos = end
}

// endOfQuote returns where the quoted text ends whose opening quote is at from, or -1 if it does not.
func (s *scanner) endOfQuote(from int, escapes bool) int {
	quote := s.sql[from]
	for i := from + 1; i < len(s.sql); i++ {
		switch c := s.sql[i]; {
		case c == '\\' && escapes:
			i++
		case c != quote:
		case i+1 < len(s.sql) && s.sql[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// endOfWord returns where the word at pos ends. A dollar sign in it belongs to it, but not if it could begin a
// parameter (pgx takes it for one) or a literal.
func (s *scanner) endOfWord() int {
	for i := s.pos + 1; i < len(s.sql); i++ {
		c := s.sql[i]
		if isWordByte(c) {
			continue
		}
		if c != '$' || i+1 < len(s.sql) && isDigit(s.sql[i+1]) || s.dollarTag(i) != "" {
			return i
		}
	}
	return len(s.sql)
}

// dollarTag returns the tag that begins a literal at from, such as $$ or $body$, or "" if there is none.
func (s *scanner) dollarTag(from int) string {
	for i := from + 1; i < len(s.sql); i++ {
		switch c := s.sql[i]; {
		case c == '$':
			return s.sql[from : i+1]
		case !isWordByte(c), isDigit(c) && i == from+1:
			return ""
		}
	}
	return ""
}

// skipBlank skips white space and comments.
func (s *scanner) skipBlank() {
	var before byte // the operator that a comment follows with nothing in between
	if s.token == tokenOther {
		before = s.sql[s.pos-1]
	}
	for ; s.pos < len(s.sql); before = 0 {
		switch c := s.sql[s.pos]; {
		case isSpace(c):
			s.pos++
		case c == '-' && s.peek(1) == '-':
			s.odd = s.odd || before == '#' // CockroachDB reads #-- as the operator #- and a minus sign
			s.skipLineComment()
		case c == '/' && s.peek(1) == '*':
			s.odd = s.odd || before == '/' || before == '|' // and //* as // and an asterisk, |/* likewise
			s.skipBlockComment()
		default:
			return
		}
	}
}

// skipLineComment skips from -- to the end of the line.
func (s *scanner) skipLineComment() {
	length := strings.IndexAny(s.sql[s.pos:], "\r\n")
	if length < 0 {
		s.pos = len(s.sql)
		return
	}
	s.pos += length
	if s.sql[s.pos] == '\r' && s.peek(1) != '\n' && s.pos+1 < len(s.sql) {
		s.odd = true // to PostgreSQL the comment ends here, to CockroachDB it does not
	}
}

// skipBlockComment skips from /* to the */ that belongs to it; comments nest.
func (s *scanner) skipBlockComment() {
	depth := 0
	for s.pos < len(s.sql) {
		switch c := s.sql[s.pos]; {
		case c == '/' && s.peek(1) == '*':
			depth++
			s.pos += 2
		case c == '*' && s.peek(1) == '/':
			depth--
			s.pos += 2
			if depth == 0 {
				return
			}
		default:
			s.pos++
		}
	}
	s.open = true
}

// peek returns the byte at offset from pos, or zero at the end.
func (s *scanner) peek(offset int) byte {
	if i := s.pos + offset; i < len(s.sql) {
		return s.sql[i]
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isWordByte reports whether c can be part of a name, a keyword or a number; all that is not ASCII can.
func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '_' || c >= 0x80
}
