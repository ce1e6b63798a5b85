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
