package cockroachdb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/digest"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// rows are the rows of a query as database/sql wants them. What it is handed here is what the application has observed.
type rows struct {
	cursor
	columns *wire.Columns
	ahead   bool // the next row has been read already, but not handed over
}

// Ensure the interfaces are implemented.
var (
	_ driver.Rows                           = (*rows)(nil)
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
)

// query runs a query as far as its first row: only then is it known what columns there are, and whether it fails.
func (t *tx) query(ctx context.Context, s *wire.Statement, locked *lockedRead, tr traced) (driver.Rows, error) {
	r := &rows{cursor: cursor{t: t, ctx: ctx, trace: tr}}
	r.open(s, locked)
	switch {
	case r.marked:
		r.keep(t.policy.MaxBytes)
	case !t.explicit && !t.history.passive && r.rec.Class.RowsOnly && !r.rec.Class.Reads:
		r.keep(maxKeptAlone)
	default:
		r.ahead = r.read()
	}
	if r.err != nil {
		r.rec.end = true
		return nil, r.err
	}
	r.show()
	if !r.over {
		t.rows = r
	}
	return r, nil
}

// maxKeptAlone is how many bytes of the answer to a write outside a transaction are kept back until it is committed.
// PostgreSQL itself sends nothing before it has as much, and CockroachDB nothing before it has more.
const maxKeptAlone = 8 << 10

// keep reads the rows of a write outside a transaction as far as its end, or until they have so many bytes. So the
// application sees none before the commit. If that loses a conflict, the write can be run again; and if it is lost, few
// would hear of that: hardly anyone looks at the error of Rows.Close.
func (r *rows) keep(most int) {
	for r.buffered < most && r.read() {
		r.buffer = append(r.buffer, r.t.history.arena.copyOf(r.row))
		r.buffered += r.size
	}
}

// show notes that the application sees the columns from here on; and the end of an empty result, which was read and
// can't be served from a new attempt any more.
func (r *rows) show() {
	rec, fields := r.rec, r.fields
	if !r.over {
		fields = r.ans.Fields()
	}
	r.columns = rec.Columns
	if r.columns == nil || !r.columns.Fit(fields) {
		r.columns = wire.ColumnsOf(fields)
		if p := rec.Prepared; p != nil && rec.Columns != nil { // what was learnt is out of date
			r.t.c.unlearn(p)
		}
	}
	rec.shown, rec.observation.columns = true, r.columns.Digest
	rec.live = &r.t.c.shown
	rec.live.Reset()
	r.t.noteShown(rec, r.columns)
	if r.over {
		rec.end = true
		rec.settle()
		own := *rec // the connection may run another statement, with its record, before these rows are handed over
		r.rec = &own
	}
	r.t.nothingToLose()
}

// revealMore notes that the application learns of a row that was read ahead, without being handed it: another statement
// is refused because of it.
func (r *rows) revealMore() { r.rec.more = r.rec.more || r.ahead }

// advance hands over the next row. It returns io.EOF at the end.
func (r *rows) advance() error {
	if !r.next() {
		r.done()
		r.rec.end = true // even if an error comes in its place
		if r.err != nil {
			return r.err
		}
		return io.EOF
	}
	if len(r.row) != len(r.columns.Fields) {
		return r.misfit()
	}
	if live := r.rec.live; live != nil { // else the answer was read to its end before its rows were shown
		live.Add(r.row, r.size)
	}
	if r.rec.pins != nil {
		r.t.keepShown(r.rec, r.row)
	}
	r.rec.rows++
	return nil
}

// next moves to the next row.
func (r *rows) next() bool {
	switch {
	case len(r.buffer) > 0:
		r.row, r.buffer = r.buffer[0], r.buffer[1:]
		r.size = digest.Size(r.row)
		return true
	case r.ahead:
		r.ahead = false
		return true
	}
	return r.read()
}

// misfit is the end of rows of which one has more or fewer values than there are columns.
func (r *rows) misfit() error {
	r.t.session().Die()
	r.ans.Discard()
	f := fault{err: wire.ErrProtocol, reach: wire.InStatement, class: r.rec.Class}
	r.cursor.fail(r.t.report(f), f)
	r.done()
	return r.err
}

func (r *rows) done() {
	if r.t.rows == r {
		r.t.rows = nil
	}
}

// Next hands over the next row.
func (r *rows) Next(dest []driver.Value) error {
	if err := r.advance(); err != nil {
		return err
	}
	decoders := r.columns.Decoders(r.typeMap())
	for i, src := range r.row {
		if src == nil {
			dest[i] = nil
			continue
		}
		var err error
		if dest[i], err = decoders[i](src); err != nil {
			return r.misencoded(i, err)
		}
	}
	return nil
}

func (r *rows) typeMap() *pgtype.Map { return r.t.session().Pgx.TypeMap() }

// misencoded returns the error of the value in a column, counted from 0, that can't be decoded. What was learnt of the
// columns may be out of date.
func (r *rows) misencoded(i int, err error) error {
	if p := r.rec.Prepared; p != nil {
		r.t.c.unlearn(p)
	}
	return &quietError{err: err, text: fmt.Sprintf(
		"cockroachdb: column %d is not as its type says; the wrapped error has the reason, and may quote the value", i+1)}
}

// Close reads what is left of the answer. A conflict that only shows now is absorbed like any other. Where it can't be,
// few would see it: hardly anybody looks at the error of Close, and database/sql itself does not always.
func (r *rows) Close() error {
	told := r.over
	r.ahead, r.buffer = false, nil
	r.drain()
	r.done()
	if !told && r.err != nil {
		r.t.keepUnread()
	}
	return r.err
}

// Columns returns the names of the columns.
func (r *rows) Columns() []string { return r.columns.Names }

// ColumnTypeDatabaseTypeName returns the name of the type in upper case, or its OID where the name is not known.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	oid := r.columns.Fields[i].DataTypeOID
	if dt, ok := r.typeMap().TypeForOID(oid); ok {
		return strings.ToUpper(dt.Name)
	}
	return strconv.FormatUint(uint64(oid), 10)
}

const varHeaderSize = 4

// ColumnTypeLength returns the length of types of variable length.
func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	field := r.columns.Fields[i]
	switch field.DataTypeOID {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		return int64(field.TypeModifier - varHeaderSize), true
	case pgtype.VarbitOID:
		return int64(field.TypeModifier), true
	default:
		return 0, false
	}
}

// ColumnTypePrecisionScale returns precision and scale of decimals.
func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	field := r.columns.Fields[i]
	if field.DataTypeOID != pgtype.NumericOID {
		return 0, 0, false
	}
	mod := field.TypeModifier - varHeaderSize
	return int64((mod >> 16) & 0xffff), int64(mod & 0xffff), true
}

// ColumnTypeScanType returns the Go type to scan a column into.
func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	return wire.ScanType(r.columns.Fields[i].DataTypeOID)
}
