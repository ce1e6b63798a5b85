package sqltext

// Hints are what in a text may be the reason why two runs of it answer differently, or that they do not.
type Hints struct {
	Insert    bool // it inserts, and may return what the database has generated
	Generator bool // it calls a function that makes keys
	Clock     bool // it reads a clock, or calls a random function
	Order     bool // it says in which order the rows come
	Locks     bool // it is a query that locks the rows that it returns, as FOR UPDATE does
}

// HintsIn looks for hints in the words of sql.
func HintsIn(sql string) (has Hints) {
	s := scanner{sql: sql}
	before := ""
	for token := s.next(); token != tokenEnd; token = s.next() {
		if token != tokenWord {
			continue
		}
		word := s.text()
		has.Locks = has.Locks || isOneOf(word, "update", "share") && isOneOf(before, "for", "key")
		before = word
		switch {
		case isOneOf(word, "insert", "upsert"):
			has.Insert = true
		case isKeyword(word, "order"):
			has.Order = true
		case isOneOf(word, clocks...), s.calls() && isOneOf(word, clockFunctions...):
			has.Clock = true
		case s.calls() && isOneOf(word, generators...):
			has.Generator = true
		}
	}
	return has
}

var (
	clocks         = []string{"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"}
	clockFunctions = []string{
		"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday",
		"cluster_logical_timestamp", "random", "gen_random_bytes",
	}
	generators = []string{
		"unique_rowid", "unordered_unique_rowid", "gen_random_uuid", "gen_random_ulid", "uuid_generate_v1",
		"uuid_generate_v4", "uuidv4", "uuidv7", "nextval",
	}
)

// calls reports whether an opening parenthesis comes next.
func (s scanner) calls() bool { return s.next() == tokenOther && s.text() == "(" }
