package cockroachdb

import "github.com/reprise-go/cockroachdb/internal/sqltext"

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
	switch has := sqltext.HintsIn(r.SQL); {
	case has.Generator, has.Insert:
		return cureGenerated
	case has.Clock:
		return cureClock
	case kind == DivergedRow && r.rows > 1 && !has.Order:
		return cureOrder
	}
	return cureChanged
}
