package cockroachdb

import (
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A value is pinned only where making it anew would do nothing but make it. The function of a default, or a trigger,
// may do more, as where it takes the next number of a counter in another table: a replay that inserts the number and
// leaves the counter would have it given out twice. So the server's catalogue is asked, directly before the first run
// of each text that is pinned and in the same round trip, for the columns and their defaults. A table with rules or
// with a BEFORE trigger has none that may be pinned, nor has a view, a partitioned table or a domain with a default.
const (
	catalogQuestion   = catalogColumns + catalogTables
	sequencesQuestion = catalogColumns + catalogSequences + catalogTables

	catalogColumns = `SELECT a.attname::TEXT, a.attidentity::TEXT, a.attgenerated::TEXT, ` + catalogDefault

	catalogDefault = `coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')`

	// In tgtype 7 is an INSERT, BEFORE, for each row.
	catalogTables = ` FROM pg_catalog.pg_class c ` +
		`JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid ` +
		`JOIN pg_catalog.pg_type y ON y.oid = a.atttypid ` +
		`LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum ` +
		`WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'r' AND NOT c.relhasrules ` +
		`AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t ` +
		`WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7) ` +
		`AND a.attnum > 0 AND NOT a.attisdropped AND y.typdefault IS NULL`

	// Where a column draws from a sequence, nothing that is stored in the database may read what the session has drawn
	// last: where a replay draws less that is another value. A function without a source has its body elsewhere, and
	// counts, as do rules. The first OID of what users make is 16384. Where no column does, PostgreSQL does not look.
	catalogSequences = `, CASE WHEN a.attidentity = '' AND ` + catalogDefault + ` NOT LIKE '%nextval%' THEN true ` +
		`ELSE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef x ` +
		`WHERE pg_catalog.pg_get_expr(x.adbin, x.adrelid) ~* '(currval|lastval)') ` +
		`AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_proc p ` +
		`WHERE p.oid >= 16384 AND (p.prosrc = '' OR p.prosrc ~* '(currval|lastval)')) ` +
		`AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_type <> '1' AND w.oid >= 16384) END`
)

// catalogOIDs are the types of the question's parameters.
var catalogOIDs = []uint32{pgtype.TextOID}

// addAgain adds a record to a replay, as it was or pinned.
func (t *tx) addAgain(rt *wire.RoundTrip, r *record) {
	pinned := r.pinned()
	if pinned == nil {
		rt.Add(&r.Statement)
		return
	}
	if r.pins.asks {
		rt.Add(t.catalogQuestion(r.pins))
	}
	rt.Add(pinned)
}

// catalogQuestion asks for what may be pinned in a text. To look for what reads sequences takes the longer the more is
// in the database, and so that is asked for only where one is drawn from, and not each time.
func (t *tx) catalogQuestion(p *pins) *wire.Statement {
	sql := catalogQuestion
	if p.asksMore = t.pool.pins.asksForSequences(p.text); p.asksMore {
		sql = sequencesQuestion
	}
	return &wire.Statement{
		Form: wire.Unnamed, SQL: sql, Values: [][]byte{[]byte(p.text.insert.Table)}, ParamOIDs: catalogOIDs,
	}
}

// catalogAnswers reads the answer to the question before a record of the replay, if there is one. The error is
// errUnpinned if one of the columns must not be pinned, or what keeps the replay from going on.
func (t *tx) catalogAnswers(rt *wire.RoundTrip, r *record) error {
	if r.pinned() == nil || !r.pins.asks {
		return nil
	}
	texts, text := t.pool.pins, r.pins.text
	says, err := readCatalogue(rt, text.insert, texts.sequencesAreFree(text))
	switch {
	case err != nil:
		return t.unanswered(r, err)
	case says.xmax && text.insert.Upserts:
		texts.refuse(text)
		return errUnpinned
	case says.draws && !r.pins.asksMore:
		texts.noteSequence(text)
		return errUnpinned
	case texts.exclude(text, r.pins.sent, says.may):
		return errUnpinned
	case r.pins.asksMore && !says.taken:
		texts.noteFreeSequences(text)
	}
	return nil
}

// unanswered is for an error in answer to the question. One that may pass, such as a timeout, is not held against the
// text.
func (t *tx) unanswered(r *record, err error) error {
	switch {
	case !t.isStatementError(err):
		return err
	case pgerr.IsInvalid(err):
		t.pool.pins.refuse(r.pins.text)
	default:
		r.pins.off = true
	}
	return errUnpinned
}

// readCatalogue reads the rows of the columns. free is as for add.
func readCatalogue(rt *wire.RoundTrip, insert *sqltext.Insert, free bool) (says catalogAnswer, err error) {
	a, err := rt.Next()
	if err != nil {
		return says, err
	}
	for a.Next() {
		says.add(insert, a.Row(), free)
	}
	_, err = a.Close()
	return says, err
}

// catalogAnswer is what the catalogue says of a table.
type catalogAnswer struct {
	may   []string // the columns that may be pinned
	draws bool     // one draws from a sequence, and it was not asked whether that may be left out
	taken bool     // something in the database may read what was drawn
	xmax  bool     // a column has the name that PostgreSQL keeps for its own
}

// add adds the row of a column. free says that nothing was found lately that reads what was drawn from sequences.
func (c *catalogAnswer) add(insert *sqltext.Insert, row [][]byte, free bool) {
	verdict := verdictOn(insert, row)
	switch {
	case verdict == pinColumn, verdict == askForSequences && free:
		c.may = append(c.may, string(row[0]))
	case verdict == askForSequences:
		c.draws = true
	}
	c.xmax = c.xmax || len(row) > 0 && string(row[0]) == "xmax"
	c.taken = c.taken || len(row) != 5 || string(row[4]) != "t"
}

// columnVerdict is what is done with a column of the catalogue.
type columnVerdict uint8

const (
	leaveColumn columnVerdict = iota
	pinColumn
	askForSequences // it draws from one, and it was not asked now whether that may be left out
)

// verdictOn decides on a column, given the catalogue's row. Where the text draws from a sequence, so must the default:
// only of these it is asked whether that may be left out.
func verdictOn(insert *sqltext.Insert, row [][]byte) columnVerdict {
	if len(row) < 4 || len(row[2]) > 0 {
		return leaveColumn
	}
	kind := sqltext.DefaultOf(string(row[3]))
	switch identity := string(row[1]); {
	case identity == "d":
		kind = sqltext.DefaultSequence
	case identity != "":
		return leaveColumn
	}
	switch {
	case kind == sqltext.DefaultUnknown, kind != sqltext.DefaultSequence && insert.Draws(string(row[0])):
		return leaveColumn
	case kind == sqltext.DefaultSequence && len(row) == 4:
		return askForSequences
	case kind == sqltext.DefaultSequence && string(row[4]) != "t":
		return leaveColumn
	}
	return pinColumn
}

// questionsBefore returns how many answers come besides those to the records.
func questionsBefore(records []*record) (n int) {
	for _, r := range records {
		if r.pinned() != nil && r.pins.asks {
			n++
		}
	}
	return n
}

// hidesTriggers reports whether the server can't be asked which tables have triggers: CockroachDB, from the version
// that has triggers to the one that shows them.
func (c *conn) hidesTriggers() bool {
	if c.version == (version{}) {
		return c.crdb
	}
	return c.version.since(24, 3) && !c.version.since(25, 3)
}
