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

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows are the rows of a query as database/sql wants them. What it is handed here is what the application has observed.
type rows struct {
	cursor
	shape  *shape
	digest digest
	ahead  bool // the next row has been read already, but not handed over
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
func (t *tx) query(ctx context.Context, s *statement, end traceEnd) (driver.Rows, error) {
	r := &rows{cursor: cursor{t: t, ctx: ctx, trace: end}}
	r.open(s)
	r.ahead = r.next()
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

// next moves to the next row. A statement outside of a transaction leaves the lane with its first row: the application may take any
// time to read the rest, and those who wait for the lane must not wait for that.
func (r *rows) next() bool {
	more := r.cursor.next()
	if more && !r.t.explicit {
		r.t.leaveLane()
	}
	return more
}

// show notes that the application sees the columns from here on.
func (r *rows) show() {
	rec, fields := r.rec, r.fields
	if r.ahead {
		fields = r.ans.result.FieldDescriptions()
	}
	r.shape = rec.statement.shape
	if r.shape == nil || !r.shape.fits(fields) { // a description in the cache may be out of date
		r.shape = shapeOfAnswer(fields)
	}
	rec.shown, rec.columns = true, r.shape.digest
	r.digest.reset()
	rec.live = &r.digest
	if r.over {
		rec.settle()
	}
}

// advance hands over the next row. It returns io.EOF at the end.
func (r *rows) advance() error {
	if !r.ahead && !r.next() {
		r.done()
		r.rec.end = true // in front of an error, too
		if r.err != nil {
			return r.err
		}
		return io.EOF
	}
	r.ahead = false
	if len(r.row) != len(r.shape.fields) {
		return r.misfit()
	}
	r.digest.add(r.row, r.size)
	r.rec.rows++
	return nil
}

// misfit is the end of rows of which one has more or fewer values than there are columns.
func (r *rows) misfit() error {
	r.t.c.die()
	_, _ = r.ans.close()
	r.finish(pgconn.CommandTag{}, errProtocol)
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
	decoders := r.shape.decoders
	if decoders == nil {
		decoders = r.decoders()
	}
	for i, src := range r.row {
		if src == nil {
			dest[i] = nil
			continue
		}
		var err error
		if dest[i], err = decoders[i](src); err != nil {
			return misencoded(i, err)
		}
	}
	return nil
}

func (r *rows) decoders() []decoder {
	if r.shape.decoders == nil {
		r.shape.decoders = decodersFor(r.t.c.pc.TypeMap(), r.shape.fields)
	}
	return r.shape.decoders
}

// misencoded is the error of the value in a column, counted from 0, that can't be decoded.
func misencoded(i int, err error) error {
	return &quietError{err: err, text: fmt.Sprintf(
		"cockroachdb: column %d is not as its type says; the wrapped error has the reason, and may quote the value", i+1)}
}

// Close reads what is left of the answer. A conflict that only shows now is absorbed like any other; where it can't be, that may
// well go unheard: few look at the error of Close, and database/sql itself does not always.
func (r *rows) Close() error {
	told := r.over
	r.ahead = false
	r.drain()
	r.done()
	if !told && r.err != nil && r.t.state == txConflict {
		r.t.unheard = true
	}
	return r.err
}

// Columns gives the names of the columns.
func (r *rows) Columns() []string { return r.shape.names }

// ColumnTypeDatabaseTypeName gives the name of the type in upper case, or its OID where the name is not known.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	oid := r.shape.fields[i].DataTypeOID
	if dt, ok := r.t.c.pc.TypeMap().TypeForOID(oid); ok {
		return strings.ToUpper(dt.Name)
	}
	return strconv.FormatUint(uint64(oid), 10)
}

const varHeaderSize = 4

// ColumnTypeLength gives the length of types of variable length.
func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	field := r.shape.fields[i]
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

// ColumnTypePrecisionScale gives precision and scale of decimals.
func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	field := r.shape.fields[i]
	if field.DataTypeOID != pgtype.NumericOID {
		return 0, 0, false
	}
	mod := field.TypeModifier - varHeaderSize
	return int64((mod >> 16) & 0xffff), int64(mod & 0xffff), true
}

// ColumnTypeScanType gives the Go type to scan a column into.
func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	return scanType(r.shape.fields[i].DataTypeOID)
}
