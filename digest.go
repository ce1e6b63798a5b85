package cockroachdb

import (
	"encoding/binary"
	"hash/maphash"
	"math"

	"github.com/jackc/pgx/v5/pgconn"
)

// digestSeed is the process's own, so that no data can be made to collide.
var digestSeed = maphash.MakeSeed()

// marked is for how many rows, the first ones, a divergence can be told to the row.
const marked = 32

// digest is a running digest of the rows that were handed over: of the raw bytes of each value, with its length, or what no length
// is for NULL, and of the number of values in each row. What goes in can be read in one way only, and so two different results
// have the same digest by a chance of one in 2^64.
type digest struct {
	rows  int64
	marks [marked]uint32
	used  int
	buf   [256]byte // the first used of them: the sum so far, and what has not been taken into it, of however many rows
}

const (
	sumSize    = 8
	lengthSize = 4
	isNull     = math.MaxUint32 // is no length: a message is shorter
)

func (d *digest) reset() {
	clear(d.buf[:sumSize])
	d.rows, d.used = 0, sumSize
}

// add takes one more row in, whose values have this many bytes together.
func (d *digest) add(row [][]byte, size int) {
	need := lengthSize*(1+len(row)) + size
	if need > len(d.buf)-d.used || d.rows < marked {
		d.addLong(row)
		return
	}
	place := d.buf[d.used : d.used+need]
	d.used += need
	d.rows++
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
}

// addLong is add for a row that the buffer may have no place for, or that is to be marked.
func (d *digest) addLong(row [][]byte) {
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
	if d.rows < marked {
		d.marks[d.rows] = uint32(d.total())
	}
	d.rows++
}

// length takes in a length, or what stands for one.
func (d *digest) length(n uint32) {
	if len(d.buf)-d.used < lengthSize {
		d.take()
	}
	binary.BigEndian.PutUint32(d.buf[d.used:], n)
	d.used += lengthSize
}

// take takes what is in the buffer into the sum. When it does depends on nothing but what has gone in.
func (d *digest) take() {
	binary.BigEndian.PutUint64(d.buf[:], d.total())
	d.used = sumSize
}

func (d *digest) total() uint64 { return maphash.Bytes(digestSeed, d.buf[:d.used]) }

// sum is the digest of the rows so far, with the marks by which to find the first one that differs.
func (d *digest) sum() (uint64, []uint32) { return d.total(), d.marks[:min(d.rows, marked)] }

// digestOfError is a digest of what an application may act on: not of where in the server's source, or in the statement, it came up.
func digestOfError(err *pgconn.PgError) uint64 {
	var buf []byte
	for _, text := range [...]string{
		err.Message, err.Detail, err.Hint, err.SchemaName, err.TableName, err.ColumnName, err.DataTypeName, err.ConstraintName,
	} {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(text)))
		buf = append(buf, text...)
	}
	return maphash.Bytes(digestSeed, buf)
}
