package cockroachdb

// A blame is what has ended a protection: the cause, and the text of the statement that did it, if it was one.
type blame struct {
	cause  Cause
	text   string
	remedy string // in place of the cause's own
}

// A shield is what is known of the protection of a transaction, or of a statement outside one.
type shield struct {
	lost   blame // the first thing that has ended it
	atRisk bool  // its commit was sent such that nobody could find out what became of it
}

// remedyText says what to do.
func (b *blame) remedyText() string {
	if b.remedy != "" {
		return b.remedy + "; or use RunTx"
	}
	return remedies[b.cause]
}

// remedies say what to do about what ended a protection.
var remedies = map[Cause]string{
	CauseStatements:           "split the transaction, or raise retry_max_statements",
	CauseBytes:                "split the transaction, or raise retry_max_bytes",
	CauseRaw:                  "keep Raw and COPY in a transaction, and on a connection, of their own; or use RunTx",
	CauseSession:              "move SET before all other statements or use SET LOCAL; keep PREPARE, temporary tables, session locks and the like on connections of their own",
	CauseAsOfSystemTime:       "run it again yourself: it only reads",
	CauseApplicationSavepoint: "leave the retries to the driver: drop the SAVEPOINT cockroach_restart of your own",
	CauseRetriesOff:           "switch retries on: no WithoutRetries, and retry_max_attempts above 1",
	CauseBegunAsText:          "begin transactions by BeginTx, not by a BEGIN of your own",
	CauseMayCommit:            "keep what commits out of transactions, and one statement in one text; DDL, CALL and DO have no better way",
	CauseFailoversOff:         "raise retry_max_failovers above 0",
	CauseDiverged:             "use RunTx, or see docs/tuning.md",
	CauseRowsOfWrite:          "run it in a transaction, or don't read its rows",
}
