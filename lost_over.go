package cockroachdb

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// deadlockLasts is for how long a deadlock is taken as a sign that there will be others. It is what PostgreSQL takes to
// find one, unless it is told otherwise.
const deadlockLasts = time.Second

// lostOver returns what the transaction has lost a conflict over, in words that are the same for all that have lost
// over the same thing, so that they take turns. "" means that this is not known.
//
// On PostgreSQL that is a row, as the conditions of the statement name it: of all that want to write a row only one
// can, and the others lose again. Those that want other rows are not in its way, unless there are deadlocks: those take
// long to be found. Then everybody takes turns over the table.
//
// On CockroachDB it is never known. Who has lost keeps its locks there, and is in everybody's way.
func (t *tx) lostOver(conflict error, at site) string {
	if t.c.crdb {
		return ""
	}
	if reasonOf(conflict) == ReasonDeadlock {
		t.pool.deadlocked.note(time.Now())
	}
	n := min(at.statement, len(t.history.records))
	if n == 0 { // it was the commit
		return ""
	}
	r := t.history.records[n-1]
	if t.pool.deadlocked.within(deadlockLasts) {
		return r.table()
	}
	row := r.row()
	if row != "" {
		t.pool.contested.note(row, time.Now())
	}
	return row
}

// table returns the table that the statement is about; the statement's text if that is not known.
func (r *record) table() string {
	table, _ := sqltext.Target(r.SQL)
	return cmp.Or(table, r.SQL)
}

// row returns the row that the statement is about, by its table and its conditions; "" if that is not known.
func (r *record) row() string {
	table, where := sqltext.Target(r.SQL)
	if len(where) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(table)
	for _, e := range where {
		b.WriteString(" " + e.Column + "=")
		switch i := e.Parameter - 1; {
		case i < 0:
			b.WriteString(e.Value)
		case i < len(r.Values):
			b.WriteString(strconv.Quote(string(r.Values[i])))
		}
	}
	return b.String()
}
