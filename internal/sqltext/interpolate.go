package sqltext

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Interpolate returns sql with each parameter $1, $2… replaced by its argument as a literal, for the simple protocol,
// which has no parameters. A nil argument is NULL. It is only right where standard_conforming_strings is on and the
// client's encoding is UTF-8, as CockroachDB has it always.
//
// What it returns is, byte for byte, what pgx sends for the same text and arguments. Where pgx would be wrong, it
// returns an error: sql that is not UTF-8 (pgx drops the rest of it), a NUL in sql or arguments (CockroachDB ignores
// what comes after it), and sql of which CockroachDB, PostgreSQL or pgx could take something for a literal that to
// another is not. It is an error, too, if a parameter has no argument or an argument no parameter.
func Interpolate(sql string, args [][]byte) (string, error) {
	if err := checkText(sql); err != nil {
		return "", err
	}
	size := len(sql)
	for i, arg := range args {
		if bytes.IndexByte(arg, 0) >= 0 {
			return "", fmt.Errorf("cockroachdb: argument $%d holds a NUL character, which SQL text can't", i+1)
		}
		size += len(arg) + len("  ''  ")
	}
	var out strings.Builder
	out.Grow(size)
	used := make([]bool, len(args))
	s := scanner{sql: sql}
	copied := 0
	for token := s.next(); token != tokenEnd; token = s.next() {
		if token != tokenParameter {
			continue
		}
		n := parameterNumber(s.text())
		if n < 1 || n > len(args) {
			return "", fmt.Errorf("cockroachdb: no argument for parameter %s: there are %d arguments", s.text(), len(args))
		}
		out.WriteString(sql[copied:s.start])
		writeLiteral(&out, args[n-1])
		copied = s.pos
		used[n-1] = true
	}
	if s.odd {
		return "", errors.New("cockroachdb: the simple protocol can't carry this statement: servers disagree on where a literal or comment in it ends")
	}
	for i := range used {
		if !used[i] {
			return "", fmt.Errorf("cockroachdb: argument $%d is not used by the statement", i+1)
		}
	}
	out.WriteString(sql[copied:])
	return out.String(), nil
}

// writeLiteral writes arg between two spaces: without the first, a parameter after a minus sign would make a comment
// of a negative number, and a literal after an e an escape string.
func writeLiteral(out *strings.Builder, arg []byte) {
	if arg == nil {
		out.WriteString(" null ")
		return
	}
	out.WriteString(" '")
	for _, c := range arg {
		if c == '\'' {
			out.WriteByte('\'')
		}
		out.WriteByte(c)
	}
	out.WriteString("' ")
}

// parameterNumber returns the number of a parameter such as $1. It is not exact beyond what any list of arguments has.
func parameterNumber(parameter string) int {
	n := 0
	for _, digit := range parameter[1:] {
		n = min(n*10+int(digit-'0'), 1<<24)
	}
	return n
}
