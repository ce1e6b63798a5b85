package sqltext

import (
	"math/rand/v2"
	"regexp"
	"strings"
)

// randomRuns is how many random texts a test tries.
const randomRuns = 10_000

// randomSQL returns what is hardly SQL, made of all that makes SQL hard to read.
func randomSQL() string {
	parts := strings.Split("'~E'a'\n'~'~E'~e'~b'~''~\\~\\'~\"~$$~$$~$a$~$1~$1~$~--~/*~*/~#~/~|~||~\n~\r~\r\n~\n'~;~;~ ~ ~a~e~1~1e~é~*~-~x", "~")
	var sql strings.Builder
	for range 1 + rand.IntN(16) {
		sql.WriteString(parts[rand.IntN(len(parts))])
	}
	return sql.String()
}

// sqlReaders are the two servers.
var sqlReaders = map[string]sqlReader{"PostgreSQL": postgresReader, "CockroachDB": cockroachReader}

// A sqlReader is how one server cuts SQL text into tokens, written down naively, as a list of patterns, after
// PostgreSQL's scan.l and CockroachDB's scan.go. The scanner under test is held against both.
type sqlReader struct{ patterns []sqlPattern }

type sqlPattern struct {
	kind string // "" for what is skipped
	re   *regexp.Regexp
}

var postgresReader = sqlReader{patterns: []sqlPattern{
	{"", regexp.MustCompile(`^[ \t\n\r\f\v]+`)},
	{"", regexp.MustCompile(`^--[^\n\r]*`)},
	{"comment", regexp.MustCompile(`^/\*`)},
	{"literal", regexp.MustCompile(`(?s)^[eE]'(?:[^'\\]|\\.|'')*'(?:[ \t\r\f\v]*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'(?:[^'\\]|\\.|'')*')*`)},
	{"literal", regexp.MustCompile(`^[bBxXnN]?'(?:[^']|'')*'`)},
	{"name", regexp.MustCompile(`^"(?:[^"]|"")*"`)},
	{"parameter", regexp.MustCompile(`^\$[0-9]+`)},
	{"dollar", regexp.MustCompile(`^\$(?:[A-Za-z_\P{ASCII}][A-Za-z0-9_\P{ASCII}]*)?\$`)},
	{"word", regexp.MustCompile(`^[A-Za-z_\P{ASCII}][A-Za-z0-9_$\P{ASCII}]*`)},
	{"word", regexp.MustCompile(`^(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?`)},
}}

var cockroachReader = sqlReader{patterns: []sqlPattern{
	{"", regexp.MustCompile(`^[ \t\n\r\f]+`)},
	{"", regexp.MustCompile(`^--[^\n]*`)},
	{"comment", regexp.MustCompile(`^/\*`)},
	{"literal", regexp.MustCompile(`(?s)^[eEb]'(?:[^'\\]|\\.|'')*'(?:[ \t\r\f]*\n[ \t\n\r\f]*'(?:[^'\\]|\\.|'')*')*`)},
	{"literal", regexp.MustCompile(`^[BxX]?'(?:[^']|'')*'`)},
	{"name", regexp.MustCompile(`^"(?:[^"]|"")*"`)},
	{"parameter", regexp.MustCompile(`^\$[0-9]+`)},
	{"dollar", regexp.MustCompile(`^\$(?:[A-Za-z_\P{ASCII}][A-Za-z0-9_\P{ASCII}]*)?\$`)},
	{"word", regexp.MustCompile(`^[A-Za-z_\P{ASCII}][A-Za-z0-9_$\P{ASCII}]*`)},
	{"word", regexp.MustCompile(`^(?:0[xX][0-9a-fA-F]*|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)`)},
	{"other", regexp.MustCompile(`^(?:#-|//|\|\|/|\|/|->>|->|#>>|#>)`)},
}}

// read returns the kinds of sql's tokens, and false if there is something it can't read.
func (r sqlReader) read(sql string) (kinds []string, ok bool) {
	for sql != "" {
		kind, length := r.token(sql)
		if length < 0 {
			return nil, false
		}
		if kind != "" {
			kinds = append(kinds, kind)
		}
		sql = sql[length:]
	}
	return kinds, true
}

// token returns the kind of the first token of sql, and its length, negative if it can't be read.
func (r sqlReader) token(sql string) (kind string, length int) {
	for _, p := range r.patterns {
		token := p.re.FindString(sql)
		switch {
		case token == "":
			continue
		case p.kind == "comment":
			return "", endOfComment(sql)
		case p.kind == "dollar":
			body := strings.Index(sql[len(token):], token)
			if body < 0 {
				return "", -1
			}
			return "literal", body + 2*len(token)
		}
		return p.kind, len(token)
	}
	if strings.ContainsAny(sql[:1], "'\"\v") { // a quote that does not end, and a character unknown to CockroachDB
		return "", -1
	}
	return sql[:1], 1
}

func endOfComment(sql string) int {
	depth, i := 1, 2
	for depth > 0 {
		if i >= len(sql) {
			return -1
		}
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth, i = depth+1, i+2
		case strings.HasPrefix(sql[i:], "*/"):
			depth, i = depth-1, i+2
		default:
			i++
		}
	}
	return i
}

// statements counts the statements in sql; ok is false if the reader can't read it, and then the server runs none.
func (r sqlReader) statements(sql string) (n int, ok bool) {
	kinds, ok := r.read(sql)
	empty := true
	for _, kind := range kinds {
		if kind == ";" {
			empty = true
		} else if empty {
			empty = false
			n++
		}
	}
	return n, ok
}
