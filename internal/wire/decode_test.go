package wire

import (
	"database/sql/driver"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var decodedOIDs = []uint32{
	pgtype.BoolOID, pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID,
	pgtype.XMLOID, pgtype.CIDOID, pgtype.OIDOID, pgtype.XIDOID,
	pgtype.DateOID, pgtype.Float4OID, pgtype.Float8OID, pgtype.Int2OID,
	pgtype.Int4OID, pgtype.Int8OID, pgtype.TimestampOID,
	pgtype.TimestamptzOID, pgtype.TextOID, pgtype.NumericOID, pgtype.UUIDOID, pgtype.IntervalOID, 987654,
}

// FuzzDecode: whatever a server sends, it is decoded to a driver.Value or an error, and what was sent is left alone.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "t", "\x00\x00\x00\x07", "2024-02-29", "infinity", `{"a":1}`, "\x7f\xff\xff\xff\xff\xff\xff\xff", `\x00`,
	} {
		f.Add([]byte(seed))
	}
	m := pgtype.NewMap()
	f.Fuzz(func(t *testing.T, src []byte) {
		was := string(src)
		for _, oid := range decodedOIDs {
			for _, format := range []int16{0, 1} {
				v, err := decoderFor(m, oid, format)(src)
				if err == nil {
					assert.True(t, driver.IsValue(v), "%d: %T", oid, v)
				}
				require.Equal(t, was, string(src))
			}
		}
	})
}

// always42 is a codec of the application's for integers.
type always42 struct{ pgtype.Int8Codec }

func (always42) PlanScan(*pgtype.Map, uint32, int16, any) pgtype.ScanPlan { return always42{} }

func (always42) Scan(_ []byte, dst any) error {
	switch dst := dst.(type) {
	case *int64:
		*dst = 42
	case *int32:
		*dst = 42
	}
	return nil
}

// Integers are decoded without pgtype's plan only where the plan would be pgtype's own, and have the right size.
func TestDecodeIntegers(t *testing.T) {
	m, own := pgtype.NewMap(), pgtype.NewMap()
	for oid, src := range map[uint32]string{
		pgtype.Int4OID: "\xff\xff\xff\xfe", pgtype.Int8OID: "\xff\xff\xff\xff\xff\xff\xff\xfe",
	} {
		v, err := decoderFor(m, oid, pgtype.BinaryFormatCode)([]byte(src))
		require.NoError(t, err)
		assert.Equal(t, int64(-2), v)
		v, err = decoderFor(m, oid, pgtype.TextFormatCode)([]byte("-2"))
		require.NoError(t, err)
		assert.Equal(t, int64(-2), v)
		_, err = decoderFor(m, oid, pgtype.BinaryFormatCode)([]byte(src + "\x00"))
		require.Error(t, err)

		own.RegisterType(&pgtype.Type{Name: "own", OID: oid, Codec: always42{}})
		v, err = decoderFor(own, oid, pgtype.BinaryFormatCode)([]byte(src))
		require.NoError(t, err)
		assert.Equal(t, int64(42), v)
	}
}

func TestColumns_Fit(t *testing.T) {
	fields := []pgconn.FieldDescription{{Name: "a", DataTypeOID: pgtype.Int4OID, TypeModifier: -1, Format: 1}}
	s := ColumnsOf(fields)
	assert.True(t, s.Fit(fields))
	assert.False(t, s.Fit(nil))
	for _, change := range []func(*pgconn.FieldDescription){
		func(f *pgconn.FieldDescription) { f.Name = "b" },
		func(f *pgconn.FieldDescription) { f.DataTypeOID = pgtype.TextOID },
		func(f *pgconn.FieldDescription) { f.TypeModifier = 8 },
		func(f *pgconn.FieldDescription) { f.Format = 0 },
	} {
		other := []pgconn.FieldDescription{fields[0]}
		change(&other[0])
		assert.False(t, s.Fit(other))
		assert.NotEqual(t, s.Digest, ColumnsOf(other).Digest, "a replay would notice, too")
	}
}
