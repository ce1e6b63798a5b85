package wire

import (
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever the arguments and the types of the parameters, the bytes are those that pgx would send.
func TestEncode_AnyArguments_AsPgx(t *testing.T) {
	m, e := pgtype.NewMap(), encoder{}
	args := []any{
		"", "x", "7", 0, 1, -1, int64(1), int32(-7), int64(math.MaxInt32 + 1), math.MinInt32, int64(math.MinInt64), int8(3),
		nil, true, 1.5,
		[]byte{},
		[]byte(nil), []byte("x"), new(string), strings.Repeat("long", 1000),
	}
	plain := 0
	for _, oid := range append(decodedOIDs, 0) {
		for _, first := range args {
			for _, second := range args {
				both := []any{first, second}
				desc := &pgconn.StatementDescription{ParamOIDs: []uint32{oid, pgtype.Int8OID}}
				var want pgx.ExtendedQueryBuilder
				wantErr := want.Build(m, desc, both)
				if !e.encodePlain(m, desc.ParamOIDs, both) {
					continue
				}
				plain++
				require.NoError(t, wantErr, "%d: %v", oid, both)
				require.Equal(t, want.ParamValues, e.values, "%d: %v", oid, both)
				require.Equal(t, want.ParamFormats, e.formats, "%d: %v", oid, both)
			}
		}
	}
	assert.Greater(t, plain, 1000)
}

func TestEncode_TypeWithAnotherCodec_IsLeftToIt(t *testing.T) {
	for _, codec := range []pgtype.Codec{&pgtype.LtreeCodec{}, pgtype.Int2Codec{}} {
		m, e := pgtype.NewMap(), encoder{}
		m.RegisterType(&pgtype.Type{Name: "int8", OID: pgtype.Int8OID, Codec: codec})
		assert.False(t, e.encodePlain(m, []uint32{pgtype.Int8OID}, []any{1}))
		assert.True(t, e.encodePlain(m, []uint32{pgtype.Int4OID}, []any{1}))
	}
}

func TestEncode_MoreOrFewerArguments_AreLeftToPgx(t *testing.T) {
	m, e := pgtype.NewMap(), encoder{}
	assert.False(t, e.encodePlain(m, []uint32{pgtype.Int8OID}, nil))
	assert.False(t, e.encodePlain(m, nil, []any{"x"}))
}
