// Package digest computes digests of results, so that two runs of a statement can be compared without keeping the rows.
package digest

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
)

// seed is the process's own, so that no data can be made to collide.
var seed = maphash.MakeSeed()

// Marked is for how many rows, the first ones, a difference can be told to the row.
const Marked = 32

// MarksSize is how many bytes all marks take.
const MarksSize = Marked * int(unsafe.Sizeof(uint32(0)))

// Rows is a running digest of the rows that were handed over. Each row enters as the number of its values, each value
// as its length and its raw bytes, and NULL as a length that no value has. The encoding can be read in one way only,
// so two different results have the same digest with a probability of 2^-64.
type Rows struct {
	rows  int64
	marks [Marked]uint32
	used  int
	buf   [256]byte // the first used bytes: the sum so far, and what has not been taken into it
}

const (
	sumSize    = 8
	lengthSize = 4
	isNull     = math.MaxUint32 // is no length: a message is shorter
)

// Reset makes d the digest of no rows.
func (d *Rows) Reset() {
	clear(d.buf[:sumSize])
	d.rows, d.used = 0, sumSize
}

// Add adds a row, whose values have size bytes together.
func (d *Rows) Add(row [][]byte, size int) {
	need := lengthSize*(1+len(row)) + size
	switch {
	case need > len(d.buf)-sumSize:
		d.addLong(row)
		d.added()
		return
	case need > len(d.buf)-d.used:
		d.take()
	}
	place := d.buf[d.used : d.used+need]
	d.used += need
	binary.BigEndian.PutUint32(place, uint32(len(row)))
	place = place[lengthSize:]
	for _, value := range row {
		length := uint32(len(value))
		if value == nil {
			length = isNull
		}
		binary.BigEndian.PutUint32(place, length)
		if place = place[lengthSize:]; len(value) == 8 { // the size of most numbers and times
			binary.NativeEndian.PutUint64(place, binary.NativeEndian.Uint64(value))
		} else {
			copy(place, value)
		}
		place = place[len(value):]
	}
	d.added()
}

// added counts a row, and marks it if it is one of the first.
func (d *Rows) added() {
	if d.rows < Marked {
		d.mark()
	}
	d.rows++
}

func (d *Rows) mark() { d.marks[d.rows] = uint32(d.take()) }

// addLong is Add for a row that does not fit into the buffer.
func (d *Rows) addLong(row [][]byte) {
	d.length(uint32(len(row)))
	for _, value := range row {
		if value == nil {
			d.length(isNull)
			continue
		}
		d.length(uint32(len(value)))
		for len(value) > len(d.buf)-d.used {
			n := copy(d.buf[d.used:], value)
			value = value[n:]
			d.used = len(d.buf)
			d.take()
		}
		d.used += copy(d.buf[d.used:], value)
	}
}

// length adds a length, or isNull in place of one.
func (d *Rows) length(n uint32) {
	if len(d.buf)-d.used < lengthSize {
		d.take()
	}
	binary.BigEndian.PutUint32(d.buf[d.used:], n)
	d.used += lengthSize
}

// take takes what is in the buffer into the sum, and returns that. When it does so depends on nothing but what was
// added.
func (d *Rows) take() uint64 {
	sum := d.total()
	binary.BigEndian.PutUint64(d.buf[:], sum)
	d.used = sumSize
	return sum
}

func (d *Rows) total() uint64 { return maphash.Bytes(seed, d.buf[:d.used]) }

// Sum returns the digest of the rows so far, with the marks by which to find the first one that differs. The marks are
// d's own.
func (d *Rows) Sum() (uint64, []uint32) { return d.total(), d.marks[:min(d.rows, Marked)] }

// OfError returns a digest of what an application may act on. Where the error came up, in the statement or in the
// server's source, is not in it.
func OfError(err *pgconn.PgError) uint64 {
	var buf []byte
	for _, text := range [...]string{
		err.Message, err.Detail, err.Hint,
		err.SchemaName, err.TableName, err.ColumnName, err.DataTypeName, err.ConstraintName,
	} {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(text)))
		buf = append(buf, text...)
	}
	return maphash.Bytes(seed, buf)
}

// Size returns how many bytes the values of a row have together.
func Size(row [][]byte) (n int) {
	for _, value := range row {
		n += len(value)
	}
	return n
}

// OfColumns returns a digest of what an application can see of columns: their names, types, modifiers and formats.
func OfColumns(fields []pgconn.FieldDescription) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for i := range fields {
		field := &fields[i]
		var meta [14]byte
		binary.BigEndian.PutUint32(meta[0:], uint32(len(field.Name)))
		binary.BigEndian.PutUint32(meta[4:], field.DataTypeOID)
		binary.BigEndian.PutUint32(meta[8:], uint32(field.TypeModifier))
		binary.BigEndian.PutUint16(meta[12:], uint16(field.Format))
		_, _ = h.Write(meta[:])
		_, _ = h.WriteString(field.Name)
	}
	return h.Sum64()
}
