package cockroachdb

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// mostRows bounds over how many rows a transaction takes turns, and mostLooked in how many of its statements they are
// looked for.
const mostRows, mostLooked = 16, 64

// lostOver returns what the transaction has lost a conflict over, in words that are the same for all that have lost
// over the same thing, so that they take turns. None means that this is not known.
//
// On PostgreSQL that is a row, as the conditions of the statement name it: of all that want to write a row only one
// can, and the others lose again. Those that want other rows are not in its way. With it come the other rows that the
// transaction writes or locks: who has them all to itself does not deadlock. After a deadlock over a row that is not
// known it is the table.
//
// On CockroachDB it is never known. Who has lost keeps its locks there, and is in everybody's way.
func (t *tx) lostOver(conflict error, at site) []string {
	n := min(at.statement, len(t.history.records))
	if t.c.crdb || n == 0 { // or it was the commit
		return nil
	}
	lost := t.history.records[n-1]
	if row := lost.row(); row != "" {
		rows := t.rowsOf(row)
		t.pool.contested.note(rows)
		return rows
	}
	if reasonOf(conflict) == ReasonDeadlock {
		return []string{lost.table()}
	}
	return nil
}

// firstRecords returns the statements in which rows are looked for.
func (t *tx) firstRecords() []*record {
	return t.history.records[:min(len(t.history.records), mostLooked)]
}

// rowsOf returns the row and those that the transaction writes or locks besides.
func (t *tx) rowsOf(row string) []string {
	rows := []string{row}
	for _, r := range t.firstRecords() {
		if len(rows) == mostRows || !sqltext.AwaitsRows(r.SQL) {
			continue
		}
		if row := r.row(); row != "" && !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	return rows
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
