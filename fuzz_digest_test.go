package cockroachdb

import (
	"bytes"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rowsFrom makes rows of bytes that a fuzzer chooses: 0 ends a row, 1 is NULL, 2 an empty value; a value is its length, less 2, and its
// bytes, whatever they are.
func rowsFrom(p []byte) (rows [][][]byte) {
	var row [][]byte
	for len(p) > 0 {
		op := p[0]
		p = p[1:]
		switch op {
		case 0:
			rows, row = append(rows, row), nil
		case 1:
			row = append(row, nil)
		default:
			n := min(int(op)-2, len(p))
			row, p = append(row, p[:n:n]), p[n:]
		}
	}
	return append(rows, row)
}

func sameRows(a, b [][][]byte) bool {
	return slices.EqualFunc(a, b, func(a, b [][]byte) bool {
		return slices.EqualFunc(a, b, func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) })
	})
}

// digestOf hands rows over one by one, all of them in the same memory, as pgconn does.
func digestOf(rows [][][]byte) (uint64, []uint32) {
	var d digest
	d.reset()
	buf := []byte{} // nil would be NULL
	for _, row := range rows {
		buf = buf[:0]
		for _, v := range row {
			buf = append(buf, v...)
		}
		at, shared := 0, make([][]byte, len(row))
		for i, v := range row {
			if v != nil {
				shared[i] = buf[at : at+len(v)]
				at += len(v)
			}
		}
		d.add(shared, sizeOf(shared))
	}
	sum, marks := d.sum()
	return sum, slices.Clone(marks)
}

// FuzzDigest: rows have the same digest if they are the same, and, but for one chance in 2^64, only then. The marks of the rows
// that two results begin with alike are alike.
func FuzzDigest(f *testing.F) {
	for _, pair := range [][2]string{
		{"", "\x00"},
		{"\x01", "\x02"},
		{"\x01\x01", "\x01"},
		{"\x03a\x03b", "\x04ab"},
		{"\x03a\x02", "\x02\x03a"},
		{"\x03a\x00\x03b", "\x03a\x03b"},
		{"\x03N", "\x01"},
		{"\x03\x00", "\x02"},
		{"\x03a\x00", "\x00\x03a"},
		{"\x03R", "\x00"},
		{"\x07V\x00\x00\x00\x01", "\x03\x00"},
		{"\x00\x00", "\x00"},
		{"\x06\x00\x00\x00\x01", "\x03\x01"},
		{"\x03a\x00\x03a", "\x03a\x00\x03a"},
		{"\x01\x00\x01", "\x01\x00\x01"},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		a, b := rowsFrom(one), rowsFrom(other)
		was, wasMarks := digestOf(a)
		is, isMarks := digestOf(b)
		require.Equal(t, sameRows(a, b), was == is, "%q and %q", a, b)

		alike := 0
		for alike < min(len(a), len(b), marked) && sameRows(a[alike:alike+1], b[alike:alike+1]) {
			alike++
		}
		require.Equal(t, wasMarks[:alike], isMarks[:alike])

		lead := slices.Repeat([][][]byte{{[]byte("row")}}, marked) // behind which rows are taken in faster, and not marked
		was1, _ := digestOf(slices.Concat(lead, a))
		is1, _ := digestOf(slices.Concat(lead, b))
		require.Equal(t, sameRows(a, b), was1 == is1, "behind %d rows: %q and %q", marked, a, b)

		again, _ := digestOf(rowsFrom(slices.Clone(one)))
		require.Equal(t, was, again)
		checkSettled(t, a, was)
	})
}

// checkSettled: an observation is the same before and after it is settled, and compareRows takes it for that.
func checkSettled(t *testing.T, rows [][][]byte, want uint64) {
	d := &digest{}
	d.reset()
	o := observation{live: d}
	for _, row := range rows {
		d.add(row, sizeOf(row))
		o.rows++
	}
	live, liveMarks := o.seen()
	liveMarks = slices.Clone(liveMarks)
	o.settle()
	d.add([][]byte{[]byte("another statement's")}, 19) // the memory is used again
	settled, marks := o.seen()
	require.Equal(t, want, live)
	require.Equal(t, live, settled)
	if len(rows) > 1 {
		require.Equal(t, liveMarks, marks)
	}
}

// fieldsFrom makes columns of bytes that a fuzzer chooses.
func fieldsFrom(p []byte) (fields []pgconn.FieldDescription) {
	for len(p) >= 4 {
		n := min(int(p[0])%8, len(p)-4)
		fields = append(fields, pgconn.FieldDescription{
			Name: string(p[4 : 4+n]), DataTypeOID: uint32(p[1]) << (p[1] % 24), TypeModifier: int32(p[2]) - 1, Format: int16(p[3] % 2),
		})
		p = p[4+n:]
	}
	return fields
}

// FuzzShapeDigest: columns have the same digest if names, types, modifiers and formats are the same, and only then; and the columns of
// a description fit an answer with that digest.
func FuzzShapeDigest(f *testing.F) {
	for _, pair := range [][2]string{
		{"", "\x00\x19\x00\x00"},
		{"\x01\x19\x00\x00a", "\x01\x19\x00\x01a"},
		{"\x02\x19\x00\x00ab\x00\x19\x00\x00", "\x01\x19\x00\x00a\x01\x19\x00\x00b"},
		{"\x01\x19\x00\x00a", "\x01\x19\x04\x00a"},
		{"\x01\x19\x00\x00a", "\x01\x14\x00\x00a"},
		{"\x01\x19\x00\x00a", "\x01\x19\x00\x00a"},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		a, b := fieldsFrom(one), fieldsFrom(other)
		same := slices.Equal(a, b)
		described, answered := shapeOfAnswer(a), shapeOfAnswer(b)
		assert.Equal(t, same, described.digest == answered.digest, "%+v and %+v", a, b)
		assert.Equal(t, same, described.fits(b))
		assert.Equal(t, described.digest, shapeOfAnswer(slices.Clone(a)).digest)
	})
}

// The fuzz targets can fail: they see the faults that the drivers of others have.
func TestDigestTargetSeesFaults(t *testing.T) {
	null, empty := [][][]byte{{nil}}, [][][]byte{{{}}}
	assert.False(t, sameRows(null, empty))
	assert.True(t, sameRows(null, [][][]byte{{nil}}))
	assert.False(t, sameRows([][][]byte{{[]byte("a")}, {[]byte("b")}}, [][][]byte{{[]byte("a"), []byte("b")}}))
	assert.Equal(t, [][][]byte{{nil, {}}, {[]byte("a\x00")}}, rowsFrom([]byte("\x01\x02\x00\x04a\x00")))
}
