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
	buf   [256]byte // begins with the sum so far
}

const (
	sumSize = 8
	isNull  = math.MaxUint32 // is no length: a message is shorter
)

func (d *digest) reset() {
	clear(d.buf[:sumSize])
	d.rows = 0
}

// add takes one more row in.
func (d *digest) add(row [][]byte) {
	buf := binary.BigEndian.AppendUint32(d.buf[:sumSize], uint32(len(row)))
	for _, value := range row {
		length := uint32(len(value))
		if value == nil {
			length = isNull
		}
		if len(buf)+4+len(value) > len(d.buf) {
			buf = d.take(buf)
		}
		buf = binary.BigEndian.AppendUint32(buf, length)
		if len(buf)+len(value) > len(d.buf) {
			buf, value = d.takeLong(buf, value)
		}
		buf = append(buf, value...)
	}
	d.take(buf)
	if d.rows < marked {
		d.marks[d.rows] = uint32(d.total())
	}
	d.rows++
}

// takeLong takes in pieces of a value that is too long for the buffer, and gives what is left of it.
func (d *digest) takeLong(buf, value []byte) (_, rest []byte) {
	for len(buf)+len(value) > len(d.buf) {
		n := len(d.buf) - len(buf)
		buf, value = d.take(append(buf, value[:n]...)), value[n:]
	}
	return buf, value
}

// take takes the bytes behind the sum in buf into the sum.
func (d *digest) take(buf []byte) []byte {
	return binary.BigEndian.AppendUint64(d.buf[:0], maphash.Bytes(digestSeed, buf))
}

func (d *digest) total() uint64 { return binary.BigEndian.Uint64(d.buf[:]) }

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
