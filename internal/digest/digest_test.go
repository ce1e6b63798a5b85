package digest

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rowsFrom makes rows of bytes that a fuzzer chooses: 0 ends a row, 1 is NULL, 2 an empty value; a value is its
// length, less 2, and its bytes, whatever they are.
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
	var d Rows
	d.Reset()
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
		d.Add(shared, Size(shared))
	}
	sum, marks := d.Sum()
	return sum, slices.Clone(marks)
}

// FuzzDigest: rows have the same digest if they are the same, and, but for one chance in 2^64, only then. The marks of
// the rows that two results begin with alike are alike.
func FuzzRows(f *testing.F) {
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
		for alike < min(len(a), len(b), Marked) && sameRows(a[alike:alike+1], b[alike:alike+1]) {
			alike++
		}
		require.Equal(t, wasMarks[:alike], isMarks[:alike])

		lead := slices.Repeat([][][]byte{{[]byte("row")}}, Marked) // after which rows are added faster, and not marked
		was1, _ := digestOf(slices.Concat(lead, a))
		is1, _ := digestOf(slices.Concat(lead, b))
		require.Equal(t, sameRows(a, b), was1 == is1, "after %d rows: %q and %q", Marked, a, b)

		again, _ := digestOf(rowsFrom(slices.Clone(one)))
		require.Equal(t, was, again)
	})
}

// The fuzz targets can fail: they see the faults that the drivers of others have.
func TestFuzzTarget_SeesFaults(t *testing.T) {
	null, empty := [][][]byte{{nil}}, [][][]byte{{{}}}
	assert.False(t, sameRows(null, empty))
	assert.True(t, sameRows(null, [][][]byte{{nil}}))
	assert.False(t, sameRows([][][]byte{{[]byte("a")}, {[]byte("b")}}, [][][]byte{{[]byte("a"), []byte("b")}}))
	assert.Equal(t, [][][]byte{{nil, {}}, {[]byte("a\x00")}}, rowsFrom([]byte("\x01\x02\x00\x04a\x00")))
}
