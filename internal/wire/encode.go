package wire

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// An encoder encodes the arguments of one statement after the other, into memory that it uses again.
type encoder struct {
	builder pgx.ExtendedQueryBuilder

	types   plainTypes
	values  [][]byte
	formats []int16
	bytes   []byte
}

// maxKeptBytes bounds the memory that an idle connection keeps for its next arguments.
const maxKeptBytes = 256

// plainTypes says which types are left to pgtype's own codecs. Arguments of these are encoded without the detour
// through a plan.
type plainTypes struct{ known, int4, int8 bool }

// Encode encodes the arguments of st as pgx does. The result is valid until the next call. If an argument can't be
// encoded, n is its number, counted from 0.
func (s *Session) Encode(st *Statement, args []any) (n int, err error) {
	e, m := &s.encoder, s.Pgx.TypeMap()
	var desc *pgconn.StatementDescription
	if st.Prepared != nil {
		desc = st.Prepared.Desc
		if e.encodePlain(m, desc.ParamOIDs, args) {
			st.Values, st.ParamFormats = e.values, e.formats
			return 0, nil
		}
	}
	if err := e.builder.Build(m, desc, args); err != nil {
		return len(e.builder.ParamValues), errors.Unwrap(err) // it stops at the first that fails
	}
	st.Values, st.ParamFormats = e.builder.ParamValues, e.builder.ParamFormats
	return 0, nil
}

// encodePlain encodes integers and strings. It reports false if there is anything else.
func (e *encoder) encodePlain(m *pgtype.Map, oids []uint32, args []any) bool {
	if len(oids) != len(args) {
		return false
	}
	e.values, e.formats, e.bytes = e.values[:0], e.formats[:0], e.bytes[:0]
	if e.bytes == nil || cap(e.bytes) > maxKeptBytes {
		e.bytes = make([]byte, 0, maxKeptBytes) // not nil: an empty string would be NULL
	}
	for i, arg := range args {
		begin, format := len(e.bytes), int16(pgtype.BinaryFormatCode)
		if s, ok := arg.(string); ok { // goes as text, whatever the type
			e.bytes, format = append(e.bytes, s...), pgtype.TextFormatCode
		} else if n, ok := integer(arg); !ok || !e.encodeInteger(m, oids[i], n) {
			return false
		}
		e.values, e.formats = append(e.values, e.bytes[begin:len(e.bytes):len(e.bytes)]), append(e.formats, format)
	}
	return true
}

func integer(arg any) (int64, bool) {
	switch n := arg.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case int32:
		return int64(n), true
	}
	return 0, false
}

func (e *encoder) encodeInteger(m *pgtype.Map, oid uint32, n int64) bool {
	if !e.types.known {
		e.types = plainTypes{
			known: true,
			int4:  isPlainBinary(m, pgtype.Int4OID, m.FormatCodeForOID(pgtype.Int4OID), pgtype.Int4Codec{}),
			int8:  isPlainBinary(m, pgtype.Int8OID, m.FormatCodeForOID(pgtype.Int8OID), pgtype.Int8Codec{}),
		}
	}
	switch {
	case oid == pgtype.Int8OID && e.types.int8:
		e.bytes = binary.BigEndian.AppendUint64(e.bytes, uint64(n))
	case oid == pgtype.Int4OID && e.types.int4 && math.MinInt32 <= n && n <= math.MaxInt32:
		e.bytes = binary.BigEndian.AppendUint32(e.bytes, uint32(int32(n)))
	default:
		return false
	}
	return true
}
