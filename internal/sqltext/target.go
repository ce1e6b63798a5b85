package sqltext

// Target returns the table that sql reads or writes, with all parts of its name quoted, and those conditions that each
// of its rows meets. It is for what does no harm if it is wrong: of a join it is the first table. "" is not known, and
// there may be no conditions.
func Target(sql string) (table string, where []Equality) {
	p := keyParser{parser: parser{scanner{sql: sql}}}
	switch word := p.word(); {
	case isKeyword(word, "update"):
	case isOneOf(word, "select", "delete"):
		if !p.skipTo("from") {
			return "", nil
		}
	default:
		return WrittenTable(sql), nil
	}
	if table = p.source(); table == "" || !p.someOfConjunction() {
		return table, nil
	}
	return table, p.where
}

// AwaitsRows reports whether sql waits until other transactions that have the rows have ended, which it writes or locks
// for itself: an UPDATE, a DELETE, or a SELECT … FOR UPDATE or FOR NO KEY UPDATE without NOWAIT or SKIP LOCKED. It is
// for what does no harm if it is wrong.
func AwaitsRows(sql string) bool {
	s := scanner{sql: sql}
	switch word := s.word(); {
	case isOneOf(word, "update", "delete"):
		return true
	case !isKeyword(word, "select"):
		return false
	}
	awaits, before := false, ""
	for token := s.next(); token != tokenEnd; token = s.next() {
		if token != tokenWord {
			continue
		}
		word := s.text()
		switch {
		case isOneOf(word, "nowait", "skip"):
			return false
		case isKeyword(word, "update") && isOneOf(before, "for", "key"):
			awaits = true
		}
		before = word
	}
	return awaits
}
