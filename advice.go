package cockroachdb

import "github.com/reprise-go/cockroachdb/internal/sqltext"

// advice is what the message of a divergence says of its cause, perhaps, of what could be done other than running the
// transaction again, and of the section of docs/tuning.md that tells more.
type advice struct{ why, instead, section string }

const (
	tuningPage    = "https://github.com/reprise-go/cockroachdb/blob/main/docs/tuning.md#"
	tuningSection = "my-transactions-diverge" // of no advice in particular
)

var (
	adviceChanged   = advice{"", "read it FOR UPDATE, or later, or not at all", "a-row-changed"}
	adviceGenerated = advice{", perhaps a key that the database made", "make the key in the application", "generated-keys"}
	adviceOrder     = advice{", or came in another order", "add ORDER BY, or read it FOR UPDATE", "the-order-of-rows"}
	adviceCount     = advice{"", "don't ask for RowsAffected", "a-count-asked-for"}
	adviceErrors    = advice{"", "write it so that it succeeds in any case, as with ON CONFLICT", "success-and-failure"}
	adviceColumns   = advice{"", "name the columns", "the-columns-changed"}
	adviceClock     = advice{
		", perhaps by a clock or a random function", "compute that in the application", "clocks-and-random-numbers",
	}
)

// adviceOn guesses, by the text of the statement, why its replay diverged. It is looked at only then. rows is how many
// the application was handed.
func adviceOn(kind DivergenceKind, sql string, rows int64) advice {
	switch kind {
	case DivergedColumns:
		return adviceColumns
	case DivergedCount:
		return adviceCount
	case DivergedSQLState, DivergedError:
		return adviceErrors
	}
	switch has := sqltext.HintsIn(sql); {
	case has.Generator, has.Insert:
		return adviceGenerated
	case has.Clock:
		return adviceClock
	case kind == DivergedRow && rows > 1 && !has.Order:
		return adviceOrder
	}
	return adviceChanged
}
