package sqltext

// Default is what making the value of a column does besides, when no value is given.
type Default uint8

// The kinds of default.
const (
	DefaultUnknown  Default = iota // anything: it calls a function that is not known
	DefaultPure                    // nothing
	DefaultSequence                // it draws from a sequence, which is not undone
)

// DefaultOf looks what the expression of a column's default does, as the server's catalogue has it. It goes by the
// names of the functions that are called.
func DefaultOf(expression string) Default {
	kind := DefaultPure
	s := scanner{sql: expression}
	var last [3]string // the latest tokens, the latest first
	for token := s.next(); token != tokenEnd; token = s.next() {
		here := s.text()
		switch {
		case token == tokenSemicolon, token == tokenParameter, token == tokenWord && isKeyword(here, "select"):
			return DefaultUnknown
		case token != tokenOther || here != "(":
		case isKeyword(last[0], "nextval"):
			kind = DefaultSequence
		case isOneOf(last[0], generators...):
		case callsWriter(last):
			return DefaultUnknown
		}
		last = [3]string{here, last[0], last[1]}
	}
	if s.odd || s.open {
		return DefaultUnknown
	}
	return kind
}
