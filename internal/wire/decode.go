package wire

import (
	"database/sql/driver"
	"encoding/binary"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Decoder makes a driver.Value of a value from the wire, of the same Go types as pgx's stdlib makes.
type Decoder func(src []byte) (driver.Value, error)

// decodersFor returns the decoders of a result's columns. They share state with nothing but themselves: one row at a
// time.
func decodersFor(m *pgtype.Map, fields []pgconn.FieldDescription) []Decoder {
	decoders := make([]Decoder, len(fields))
	for i, field := range fields {
		decoders[i] = decoderFor(m, field.DataTypeOID, field.Format)
	}
	return decoders
}

func decoderFor(m *pgtype.Map, oid uint32, format int16) Decoder {
	switch oid {
	case pgtype.BoolOID:
		return decodeAs(m, oid, format, func(v *bool) (driver.Value, error) { return *v, nil })
	case pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID:
		return decodeAs(m, oid, format, func(v *[]byte) (driver.Value, error) { return *v, nil })
	case pgtype.CIDOID, pgtype.OIDOID, pgtype.XIDOID:
		return decodeAs(m, oid, format, func(v *pgtype.Uint32) (driver.Value, error) { return v.Value() })
	case pgtype.DateOID:
		return decodeAs(m, oid, format, func(v *pgtype.Date) (driver.Value, error) { return v.Value() })
	case pgtype.Float4OID:
		return decodeAs(m, oid, format, func(v *float32) (driver.Value, error) { return float64(*v), nil })
	case pgtype.Float8OID:
		return decodeAs(m, oid, format, func(v *float64) (driver.Value, error) { return *v, nil })
	case pgtype.Int2OID:
		return decodeAs(m, oid, format, func(v *int16) (driver.Value, error) { return int64(*v), nil })
	case pgtype.Int4OID:
		return decodeInt4(m, format)
	case pgtype.Int8OID:
		return decodeInt8(m, format)
	case pgtype.TimestampOID:
		return decodeAs(m, oid, format, func(v *pgtype.Timestamp) (driver.Value, error) { return v.Value() })
	case pgtype.TimestamptzOID:
		return decodeAs(m, oid, format, func(v *pgtype.Timestamptz) (driver.Value, error) { return v.Value() })
	default:
		if format == pgtype.TextFormatCode { // to pgtype, too, it is a string then, whatever the type
			return func(src []byte) (driver.Value, error) { return string(src), nil }
		}
		return decodeAs(m, oid, format, func(v *string) (driver.Value, error) { return *v, nil })
	}
}

func decodeAs[T any](m *pgtype.Map, oid uint32, format int16, value func(*T) (driver.Value, error)) Decoder {
	var v T
	plan := m.PlanScan(oid, format, &v)
	return func(src []byte) (driver.Value, error) {
		if err := plan.Scan(src, &v); err != nil {
			return nil, err
		}
		return value(&v)
	}
}

func decodeInt4(m *pgtype.Map, format int16) Decoder {
	planned := decodeAs(m, pgtype.Int4OID, format, func(v *int32) (driver.Value, error) { return int64(*v), nil })
	if !isPlainBinary(m, pgtype.Int4OID, format, pgtype.Int4Codec{}) {
		return planned
	}
	return func(src []byte) (driver.Value, error) {
		if len(src) != 4 {
			return planned(src)
		}
		return int64(int32(binary.BigEndian.Uint32(src))), nil
	}
}

func decodeInt8(m *pgtype.Map, format int16) Decoder {
	planned := decodeAs(m, pgtype.Int8OID, format, func(v *int64) (driver.Value, error) { return *v, nil })
	if !isPlainBinary(m, pgtype.Int8OID, format, pgtype.Int8Codec{}) {
		return planned
	}
	return func(src []byte) (driver.Value, error) {
		if len(src) != 8 {
			return planned(src)
		}
		return int64(binary.BigEndian.Uint64(src)), nil
	}
}

// isPlainBinary reports whether values come in binary, and their type is left to this codec of pgtype's. They can be
// decoded without the detour through a plan then.
func isPlainBinary(m *pgtype.Map, oid uint32, format int16, codec pgtype.Codec) bool {
	t, ok := m.TypeForOID(oid)
	return ok && t.Codec == codec && format == pgtype.BinaryFormatCode
}

// ScanType returns the Go type to scan a column of this type into.
func ScanType(oid uint32) reflect.Type {
	switch oid {
	case pgtype.Float8OID, pgtype.NumericOID:
		return reflect.TypeFor[float64]()
	case pgtype.Float4OID:
		return reflect.TypeFor[float32]()
	case pgtype.Int8OID:
		return reflect.TypeFor[int64]()
	case pgtype.Int4OID:
		return reflect.TypeFor[int32]()
	case pgtype.Int2OID:
		return reflect.TypeFor[int16]()
	case pgtype.BoolOID:
		return reflect.TypeFor[bool]()
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return reflect.TypeFor[time.Time]()
	case pgtype.ByteaOID:
		return reflect.TypeFor[[]byte]()
	default:
		return reflect.TypeFor[string]()
	}
}
