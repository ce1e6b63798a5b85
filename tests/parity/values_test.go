package parity_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// parityValues are values of all types that have a way of their own into a driver.Value, of all other types that pgx
// knows, and of some that it does not know; with the values at which they end.
var parityValues = []string{
	"true", "NULL::bool", "'t'::text", "''::text", "NULL::text",
	"'x'::varchar(10)", "'x'::varchar", "'x'::char(3)", `'x'::"char"`, "'x'::name",
	"7::int2", "NULL::int2", "-7::int4", "9223372036854775807::int8", "NULL::int8",
	"1.5::float4", "'NaN'::float4", "0.1::float8", "'-Infinity'::float8", "NULL::float8",
	"12.340::numeric", "12.340::numeric(10, 3)", "'NaN'::numeric", "NULL::numeric",
	"1e30::numeric", "1e-30::numeric", "-0.5::numeric", "repeat('9', 200)::numeric",
	`'\x00ff'::bytea`, "''::bytea", "NULL::bytea",
	"'2024-02-29 12:34:56.789012'::timestamp", "'infinity'::timestamp", "NULL::timestamp",
	"'12345-06-07 08:09:10'::timestamp", "'0044-03-15 12:00:00 BC'::timestamp",
	"'2024-02-29 12:34:56+02'::timestamptz", "'-infinity'::timestamptz",
	"'12345-06-07 08:09:10+00'::timestamptz", "'0044-03-15 12:00:00+00 BC'::timestamptz",
	"'0044-03-15 BC'::date", "'2024-02-29'::date", "'infinity'::date",
	"'-infinity'::date", "'12345-06-07'::date", "NULL::date",
	"'12:34:56'::time", "'24:00:00'::time", "'12:34:56+02'::timetz",
	"'1 year 2 days 00:00:03'::interval", "'-1 mon -00:00:00.000001'::interval", "NULL::interval",
	`'{"a": [1, null]}'::json`, `'{"a": [1, null]}'::jsonb`, "'null'::jsonb", "NULL::jsonb", "'$.a[*]'::jsonpath",
	"'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", "NULL::uuid", "'happy'::mood", "NULL::mood",
	"'{sad,happy}'::mood[]", "7::small", "row(1, 'a')::pair", "ARRAY[row(1, 'a')::pair]",
	"'{1,2,3}'::int[]", "'{1,NULL}'::int[]", "'{}'::int[]", "NULL::int[]",
	"'{a,\"b c\"}'::text[]", "'{{1,2},{3,4}}'::int8[]", "'[2:3]={7,8}'::int[]",
	"'{t,f}'::bool[]", "'{1.5,NaN}'::float8[]", "'{1.50,NULL}'::numeric[]", `'{"\\x00ff"}'::bytea[]`,
	"'{2024-02-29,infinity}'::date[]", "'{\"2024-02-29 12:34:56+00\"}'::timestamptz[]",
	"'{6ba7b810-9dad-11d1-80b4-00c04fd430c8}'::uuid[]", `'{"{\\"a\\": 1}"}'::jsonb[]`,
	"'{10.0.0.1}'::inet[]", "'{NULL,\"\",\"NULL\"}'::text[]", "'{x,y}'::varchar(5)[]", "'{x,y}'::name[]",
	"'10.0.0.1'::inet", "'10.1.0.0/16'::inet", "'::1'::inet", "'10.1.0.0/16'::cidr",
	"'08:00:2b:01:02:03'::macaddr", "'08:00:2b:01:02:03:04:05'::macaddr8",
	"42::oid", "'7'::xid", "'7'::xid8", "'7'::cid", "'(1,2)'::tid",
	"'0/16B374D8'::pg_lsn", "'parity'::regclass", "'int4'::regtype", "'1 2'::int2vector",
	"int4range(1, 5)", "int8range(NULL, 5)", "'empty'::int4range", "numrange(1.5, 2.5, '[]')",
	"daterange('2024-02-29', 'infinity')", "tsrange('2024-02-29', NULL)", "tstzrange(NULL, NULL)", "NULL::int4range",
	"int4multirange(int4range(1, 3), int4range(5, 7))", "'{}'::nummultirange", "ARRAY[int4range(1, 5)]",
	"'101'::varbit(5)", "'101'::bit(3)", "point(1, 2)", "'{1,2,3}'::line", "'[(1,2),(3,4)]'::lseg", "'(1,2),(3,4)'::box",
	"'((1,2),(3,4))'::path", "'[(1,2),(3,4)]'::path", "'((1,2),(3,4))'::polygon", "'<(1,2),3>'::circle",
	"'12.34'::money", "'<a/>'::xml", "row(1, 'a')", "'a fat cat'::tsvector", "'fat & cat'::tsquery", "NULL", "pg_sleep(0)",
}

// parityDestinations are pointers to scan into; a new one each time.
var parityDestinations = []func() any{
	func() any { return new(any) }, func() any { return new(string) },
	func() any { return new([]byte) }, func() any { return new(sql.RawBytes) },
	func() any { return new(bool) }, func() any { return new(int16) },
	func() any { return new(int64) }, func() any { return new(uint8) },
	func() any { return new(float32) }, func() any { return new(float64) },
	func() any { return new(time.Time) }, func() any { return new(json.RawMessage) },
	func() any { return new(*string) }, func() any { return new(*int64) }, func() any { return new(*time.Time) },
	func() any { return new(sql.NullString) }, func() any { return new(sql.NullTime) },
	func() any { return new(sql.Null[int64]) },
	func() any { return new(sql.NullInt64) }, func() any { return new(sql.NullInt32) },
	func() any { return new(sql.NullInt16) }, func() any { return new(sql.NullByte) },
	func() any { return new(sql.NullBool) }, func() any { return new(sql.NullFloat64) },
	func() any { return new(sql.Null[time.Time]) }, func() any { return new(sql.Null[[]byte]) },
	func() any { return new(int) }, func() any { return new(int8) }, func() any { return new(uint64) },
	func() any { return new(*bool) }, func() any { return new(*[]byte) }, func() any { return new(mine) },
	func() any { return new(pgtype.Text) }, func() any { return new(pgtype.Int8) },
	func() any { return new(pgtype.Float8) }, func() any { return new(pgtype.Bool) },
	func() any { return new(pgtype.Timestamp) },
	func() any { return new(pgtype.Time) }, func() any { return new(pgtype.Bits) },
	func() any { return new(pgtype.Point) }, func() any { return new(pgtype.Hstore) },
	func() any { return new(pgtype.Uint32) },
	func() any { return new(netip.Prefix) }, func() any { return new(net.IP) },
	func() any { return new(net.HardwareAddr) },
	func() any { return new(pgtype.FlatArray[int64]) }, func() any { return new([]float64) },
	func() any { return new([]bool) }, func() any { return new([][]byte) },
	func() any { return new(pgtype.Multirange[pgtype.Range[pgtype.Int4]]) },
	func() any { return new(pgtype.Numeric) },
	func() any { return new(pgtype.Timestamptz) }, func() any { return new(pgtype.Date) },
	func() any { return new(pgtype.Interval) }, func() any { return new(pgtype.UUID) },
	func() any { return new(pgtype.Range[pgtype.Int4]) },
	func() any { return new(pgtype.PreallocBytes) },
	func() any { return new([16]byte) }, func() any { return new(netip.Addr) },
	func() any { return new([]int64) }, func() any { return new([]*int32) },
	func() any { return new([]string) }, func() any { return new([][]int64) },
	func() any { return new(map[string]any) }, func() any { return new(unencodable) },
}

// throughMap are scanned with pgtype's Map.SQLScanner, which works in every Go.
var throughMap = []func() any{
	func() any { return new([]int64) }, func() any { return new([]*int32) },
	func() any { return new([]string) }, func() any { return new([][]int64) },
	func() any { return new(pgtype.Range[pgtype.Int4]) },
	func() any { return new(map[string]any) }, func() any { return new(int64) },
	func() any { return new(pgtype.Range[pgtype.Numeric]) },
	func() any { return new(pgtype.Multirange[pgtype.Range[pgtype.Int4]]) },
	func() any { return new(pgtype.Array[pgtype.Text]) },
	func() any { return new(pgtype.FlatArray[pgtype.Date]) }, func() any { return new(netip.Prefix) },
	func() any { return new(pgtype.Line) }, func() any { return new(pgtype.Bits) },
}

// mine is a sql.Scanner, which keeps what it was given.
type mine struct{ got string }

func (m *mine) Scan(src any) error {
	m.got = fmt.Sprintf("%T %#v", src, src)
	if t, ok := src.(time.Time); ok {
		m.got = t.String()
	}
	return nil
}

// shown is what a destination holds.
func shown(dest any) string {
	v := reflect.ValueOf(dest).Elem()
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		return fmt.Sprintf("*%#v", v.Elem().Interface())
	}
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		return t.String()
	}
	if tz, ok := reflect.TypeAssert[pgtype.Timestamptz](v); ok {
		return fmt.Sprint(tz)
	}
	if s, ok := reflect.TypeAssert[[]*int32](v); ok {
		all := make([]any, len(s))
		for i, n := range s {
			if n != nil {
				all[i] = *n
			}
		}
		return fmt.Sprint(all)
	}
	return fmt.Sprintf("%#v", v.Interface())
}

func valueCases() []parityCase {
	var cases []parityCase
	for _, value := range parityValues {
		cases = append(cases,
			parityCase{"value " + value, func(ctx context.Context, q kit.Querier, say func(string, ...any)) {
				sayValue(ctx, q, say, "SELECT "+value+" AS v")
			}})
	}
	for _, c := range parityArguments() {
		name := fmt.Sprintf("argument %T for %s", c.arg, c.expr)
		cases = append(cases, queryCase(name, "SELECT "+c.expr, c.arg), execCase(name+" in exec", "SELECT "+c.expr, c.arg))
	}
	nul := "a\x00b"
	return append(cases, queryCase("NUL", "SELECT $1::text", nul), execCase("NUL in exec", "SELECT $1::text", nul))
}

func sayValue(ctx context.Context, q kit.Querier, say func(string, ...any), query string) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		say("query: %s", kit.Describe(err))
		return
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	say("types: %s", kit.Describe(err))
	for _, ct := range types {
		length, hasLength := ct.Length()
		precision, scale, isDecimal := ct.DecimalSize()
		nullable, known := ct.Nullable()
		say("%s %s %v: length %d %t, decimal %d %d %t, nullable %t %t", ct.Name(), ct.DatabaseTypeName(), ct.ScanType(),
			length, hasLength, precision, scale, isDecimal, nullable, known)
	}
	say("next %t", rows.Next())
	m := pgtype.NewMap()
	for _, dest := range parityDestinations {
		d := dest()
		err := rows.Scan(d)
		say("into %T: %s %s", d, shown(d), kit.Describe(err))
	}
	for _, dest := range throughMap {
		d := dest()
		err := rows.Scan(m.SQLScanner(d))
		say("by SQLScanner into %T: %s %s", d, shown(d), kit.Describe(err))
	}
	say("scan of too many: %s", kit.Describe(rows.Scan(new(any), new(any))))
	say("next %t, %s, %s", rows.Next(), kit.Describe(rows.Err()), kit.Describe(rows.Close()))
}

// A priced is a driver.Valuer; a negative one refuses.
type priced int

func (p priced) Value() (driver.Value, error) {
	if p < 0 {
		return nil, errors.New("no price")
	}
	return fmt.Sprintf("%d.00", int(p)), nil
}

type parityArgument struct {
	expr string
	arg  any
}

func parityArguments() []parityArgument {
	when := time.Date(2024, 2, 29, 12, 34, 56, 789012000, time.FixedZone("east", 7200))
	seven, none := 7, (*int)(nil)
	return []parityArgument{
		{"$1::int", 7},
		{"$1::int", &seven},
		{"$1::int", none},
		{"$1::int", nil},
		{"$1::int", "7"},
		{"$1::int", int64(math.MaxInt64)},
		{"$1::int8", uint64(math.MaxUint64)},
		{"$1::int", 1.5},
		{"$1::int", true},
		{"$1::int", []byte("7")},
		{"$1::text", "it's"},
		{"$1::text", "\xff"},
		{"$1::text", []byte("bytes")},
		{"$1::text", 7},
		{"$1::text", sql.NullString{String: "x", Valid: true}},
		{"$1::text", sql.NullString{}},
		{"$1::bytea", []byte{0, 255}},
		{"$1::bytea", []byte{}},
		{"$1::bytea", []byte(nil)},
		{"$1::bool", false},
		{"$1::float8", 0.1},
		{"$1::float8", math.Inf(1)},
		{"$1::float4", float32(0.1)},
		{"$1::numeric", "12.340"},
		{"$1::numeric", 12.34},
		{"$1::numeric", pgtype.Numeric{NaN: true, Valid: true}},
		{"$1::numeric", priced(5)},
		{"$1::numeric", priced(-5)},
		{"$1::timestamptz", when},
		{"$1::timestamp", when},
		{"$1::date", when},
		{"$1::date", pgtype.Date{InfinityModifier: pgtype.Infinity, Valid: true}},
		{"$1::interval", 90 * time.Second},
		{"$1::jsonb", json.RawMessage(`{"a":1}`)},
		{"$1::jsonb", map[string]int{"a": 1}},
		{"$1::jsonb", []byte(`{"a":1}`)},
		{"$1::jsonb", "{\"a\": 1}"},
		{"$1::json", nil},
		{"$1::uuid", [16]byte{0x6b, 0xa7, 0xb8, 0x10}},
		{"$1::uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
		{"$1::int[]", []int{1, 2, 3}},
		{"$1::int[]", []int{}},
		{"$1::int[]", "{4,5}"},
		{"$1::text[]", []string{"a", "b c", `"`}},
		{"$1::mood", "happy"},
		{"$1::mood", "angry"},
		{"$1::inet", netip.MustParseAddr("10.0.0.1")},
	}
}
