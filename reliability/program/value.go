package program

import (
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"time"
)

// A Column of the table kv. All but the number are there for their types.
type Column int

// The columns of the table kv, in the order in which they follow its key.
const (
	Number Column = iota
	Text
	Bytes
	Bool
	Float
	Decimal
	Time
	UUID
	JSON
	Array
	columns int = iota
)

// A value is what can be in a column: what it is as an argument, and as database/sql shows it.
type value struct{ arg, shown any }

func same(v any) value { return value{v, v} }

func asText(s string) value { return value{s, []byte(s)} }

// kinds are what columns are called, their types, and the few values that programs write into them. The first two are
// NULL and what it could be mistaken for.
var kinds = [columns]struct {
	name, sqlType string
	pool          []value
}{
	Number: {"i", "INT8", []value{
		same(nil), same(int64(0)), same(int64(1)), same(int64(2)), same(int64(-7)), same(int64(math.MaxInt32)),
	}},
	Text:  {"t", "TEXT", []value{same(nil), same(""), same("NULL"), same("it's \\ \"é\"\n")}},
	Bytes: {"b", "BYTEA", []value{same(nil), same([]byte{}), same([]byte{0}), same([]byte{0xff, 0, 'x'})}},
	Bool:  {"o", "BOOL", []value{same(nil), same(false), same(true)}},
	Float: {"f", "FLOAT8", []value{
		same(nil), same(0.0), same(math.Copysign(0, -1)), same(-1.5e300), same(math.Inf(1)), same(math.NaN()),
	}},
	Decimal: {"n", "NUMERIC", []value{same(nil), same("0"), same("0.00"), same("-12345678901234567890.5")}},
	Time: {"z", "TIMESTAMPTZ", []value{
		same(nil), same(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), same(time.Unix(0, 0)), // the first is zero on the wire
		same(time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.FixedZone("", 3600))),
	}},
	UUID: {"u", "UUID", []value{
		same(nil), same("00000000-0000-0000-0000-000000000000"), same("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
	}},
	JSON: {"j", "JSONB", []value{
		same(nil), asText("null"), asText("{}"), asText("false"), asText(`{"a": [1, null, ""]}`),
	}},
	Array: {"a", "INT8[]", []value{
		same(nil), {[]int64{}, "{}"}, {[]int64{0}, "{0}"}, {[]*int64{nil}, "{NULL}"}, {[]int64{1, 2}, "{1,2}"},
	}},
}

const lookalikes = 2

func (c Column) String() string { return kinds[c].name }

// longText is where a text is cut when it is shown.
const longText = 40

// show writes a value so that two are written alike only if they are equal.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64) + "f"
	case []byte:
		return fmt.Sprintf("b%q", v)
	case string:
		if len(v) > longText {
			return fmt.Sprintf("%q...(%d bytes, %x)", v[:longText], len(v), crc32.ChecksumIEEE([]byte(v)))
		}
		return strconv.Quote(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

func showRow(row []any) string {
	b := []byte{'('}
	for i, v := range row {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, show(v)...)
	}
	return string(append(b, ')'))
}
