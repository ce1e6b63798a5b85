package cockroachdb

import (
	"errors"
	"slices"
	"strings"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// Pinning has a replay insert the values again that the database had generated and the application was shown, in place
// of new ones. It is for an INSERT of the form of [sqltext.Insert], and for columns of which the value is made by what
// does nothing else (pin_catalog.go). What the replay answers is compared as ever. The first run is never changed, nor
// is the statement that the application still reads.

// errUnpinned begins another attempt, in which something is not pinned any more.
var errUnpinned = errors.New("cockroachdb: a statement can't be replayed with the values that were shown")

// pins are the values that the application was shown of columns that an INSERT has the database make.
type pins struct {
	text    *pinText
	answer  *wire.Columns
	columns []int    // of the answer
	names   []string // their names
	values  [][]byte // of the rows that were handed over, one row after the other
	size    int      // how many bytes all of that takes

	off    bool            // this record is replayed as it is
	replay *wire.Statement // what the replay that is under way sends in its place; nil if nothing
	sent   []string        // the columns that are pinned in that
	asks   bool            // it is preceded by a question for what the table's columns are,

	asksMore bool // and for what reads sequences
}

// pinsSize is what pins take, besides the values.
const pinsSize = int(unsafe.Sizeof(pins{}))

// newPinTexts returns nil if nothing is to be pinned.
func newPinTexts(cfg *Config) *pinTexts {
	if !cfg.PinGenerated {
		return nil
	}
	return &pinTexts{byText: make(map[string]*pinText)}
}

// pinned returns what a replay sends in place of the statement, or nil.
func (r *record) pinned() *wire.Statement {
	if r.pins == nil {
		return nil
	}
	return r.pins.replay
}

// mayBePinned reports whether a replay may send something else in place of the statement.
func (r *record) mayBePinned() bool { return r.pins != nil && !r.pins.off }

// noteShown begins to keep what the application is shown of a statement with these columns, if it can be pinned.
func (t *tx) noteShown(r *record, columns *wire.Columns) {
	if t.pool.pins == nil || !t.explicit || !t.restartable() || r.Form == wire.Simple || r.Class.Several ||
		!sqltext.MayInsert(r.SQL) {
		return
	}
	text := t.pool.pins.text(r.SQL)
	if text.insert == nil || text.insert.Parameters() != len(r.Values) {
		return
	}
	if at, names := t.pool.pins.columns(text, columns); len(at) > 0 {
		r.pins = &pins{text: text, answer: columns, columns: at, names: names}
		t.keepBytes(r, pinsSize)
	}
}

// keepShown keeps what the application is handed of a row, as long as the record has room for it.
func (t *tx) keepShown(r *record, row [][]byte) {
	p := r.pins
	size := 0
	for _, column := range p.columns {
		size += wire.ValueSize + len(row[column])
	}
	if !t.restartable() || t.history.bytes+size > t.policy.MaxBytes {
		p.off = true
	}
	if p.off {
		return
	}
	var few [8][]byte
	shown := few[:0]
	for _, column := range p.columns {
		shown = append(shown, row[column])
	}
	p.values = append(p.values, t.history.arena.copyOf(shown)...)
	t.keepBytes(r, size)
}

func (t *tx) keepBytes(r *record, size int) {
	r.pins.size += size
	t.history.bytes += size
	t.pool.metrics().historyBytes(size)
}

// pinValues decides what the replay that begins pins. live is not: its answer may still fail in the application's
// hands.
func (t *tx) pinValues(live *record) {
	t.attempt.pinned = false
	may := t.mayPin()
	asked := make(map[*pinText]bool)
	for _, r := range t.history.records {
		p := r.pins
		if p == nil {
			continue
		}
		p.replay, p.asks = nil, false
		if !may || r == live || p.off || r.rows == 0 || r.code != "" {
			continue
		}
		if p.replay = t.pinnedStatement(r); p.replay != nil {
			p.asks, asked[p.text], t.attempt.pinned = !asked[p.text], true, true
		}
	}
}

// mayPin reports whether nothing in the transaction depends on that the database makes the values anew: a sequence that
// was created or reset in it begins anew with it, and one that a server has forgotten when it went down gives out the
// same value once more.
func (t *tx) mayPin() bool {
	if t.pool.pins == nil || t.attempt.losses+t.attempt.turnedAway > 0 && !t.c.crdb || t.c.hidesTriggers() {
		return false
	}
	return !slices.ContainsFunc(t.history.records, func(r *record) bool { return r.Class.DDL || readsLastValue(r) })
}

// readsLastValue reports whether a statement may read the value that the session has drawn last from a sequence. In a
// replay that draws less of them it is another one.
func readsLastValue(r *record) bool {
	return r.Class.Several || r.Class.Partly || sqltext.ReadsLastValue(r.SQL)
}

// mustUnpin reports whether a statement can't be run after a replay that has pinned something.
func (t *tx) mustUnpin(r *record) bool { return t.attempt.pinned && (r.Class.DDL || readsLastValue(r)) }

// pinnedStatement returns the statement with the values that were shown, or nil if nothing of it can be pinned.
func (t *tx) pinnedStatement(r *record) *wire.Statement {
	p := r.pins
	rows := len(p.values) / len(p.columns)
	insert := p.text.insert
	if int64(rows) != r.rows || !insert.Knows(rows, int(r.affected)) {
		return nil
	}
	var names, types []string
	var at []int // among those that were kept
	for i, name := range p.names {
		if !slices.Contains(names, name) && !t.pool.pins.excluded(p.text, name) {
			names, at = append(names, name), append(at, i)
			types = append(types, pinTypes[p.answer.Fields[p.columns[i]].DataTypeOID])
		}
	}
	if p.sent = names; len(names) == 0 {
		return nil
	}
	s := &wire.Statement{Form: wire.Unnamed, Class: r.Class, ResultFormats: r.ResultFormats}
	var places []sqltext.Place
	s.SQL, places = insert.Pin(names, types, rows, len(r.Values)+1)
	if len(r.Values)+len(places) > mostParameters {
		return nil
	}
	for i, value := range r.Values {
		s.AddParameter(r.ParamOID(i), r.ParamFormat(i), value)
	}
	for _, place := range places {
		field := &p.answer.Fields[p.columns[at[place.Column]]]
		s.AddParameter(field.DataTypeOID, field.Format, p.values[place.Row*len(p.columns)+at[place.Column]])
	}
	return s
}

const mostParameters = 1<<16 - 1

// unpinAfter decides what is not pinned any more after a pinned statement has failed with err, which may be due to
// that: the text, if it is a matter of what the statement may do, else this run of it. So it does where another number
// of rows was written: then some were skipped, now or before, and nobody knows whose values are whose. It reports
// whether there is something.
func (t *tx) unpinAfter(r *record, tag pgconn.CommandTag, differs *DivergenceError, err error) bool {
	if err == nil && (differs != nil || tag.RowsAffected() == r.affected) {
		return false
	}
	r.pins.off = true
	if pgerr.IsRefusal(err) || strings.HasPrefix(pgerr.Code(err), objectNotInState) {
		t.pool.pins.refuse(r.pins.text)
	}
	return true
}

// objectNotInState is the class of CockroachDB's answer to a value for a computed column.
const objectNotInState = "55"
