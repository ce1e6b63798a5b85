package cockroachdb

// cure is what a divergence is told to come from, perhaps, what could be done in place of running the transaction again, and the
// section of docs/tuning.md that has it all.
type cure struct{ why, instead, section string }

const (
	tuningPage    = "https://github.com/reprise-go/cockroachdb/blob/main/docs/tuning.md#"
	tuningSection = "my-transactions-diverge" // of no cure in particular
)

var (
	cureChanged   = cure{"", "read it FOR UPDATE, or later, or not at all", "a-row-changed"}
	cureGenerated = cure{", perhaps a key that the database made", "make the key in the application", "generated-keys"}
	cureClock     = cure{", perhaps by a clock or a random function", "compute that in the application", "clocks-and-random-numbers"}
	cureOrder     = cure{", or came in another order", "add ORDER BY, or read it FOR UPDATE", "the-order-of-rows"}
	cureCount     = cure{"", "don't ask for RowsAffected", "a-count-asked-for"}
	cureErrors    = cure{"", "write it so that it succeeds in any case, as with ON CONFLICT", "success-and-failure"}
	cureColumns   = cure{"", "name the columns", "the-columns-changed"}
)

// cureOf guesses, by the text of the statement, why its replay diverged. It is looked at only then.
func cureOf(kind DivergenceKind, r *record) cure {
	switch kind {
	case DivergedColumns:
		return cureColumns
	case DivergedCount:
		return cureCount
	case DivergedSQLState, DivergedError:
		return cureErrors
	}
	switch has := wordsOf(r.sql); {
	case has.generator, has.insert:
		return cureGenerated
	case has.clock:
		return cureClock
	case kind == DivergedRow && r.rows > 1 && !has.order:
		return cureOrder
	}
	return cureChanged
}

// hints are what in a text says why two runs of it may answer differently.
type hints struct{ insert, generator, clock, order bool }

func wordsOf(sql string) (has hints) {
	s := sqlScanner{sql: sql}
	for token := s.next(); token != tokenEnd; token = s.next() {
		if token != tokenWord {
			continue
		}
		word := s.text()
		called := s
		calls := called.next() == tokenOther && called.text() == "("
		switch {
		case isOneOf(word, "insert", "upsert"):
			has.insert = true
		case isKeyword(word, "order"):
			has.order = true
		case isOneOf(word, "current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"):
			has.clock = true
		case calls && isOneOf(word, "unique_rowid", "unordered_unique_rowid", "gen_random_uuid", "gen_random_ulid", "uuid_generate_v1", "uuid_generate_v4", "uuidv4", "uuidv7", "nextval"):
			has.generator = true
		case calls && isOneOf(word, "now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "cluster_logical_timestamp", "random", "gen_random_bytes"):
			has.clock = true
		}
	}
	return has
}
