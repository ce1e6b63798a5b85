package wire

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// fieldsFrom makes columns of bytes that a fuzzer chooses.
func fieldsFrom(p []byte) (fields []pgconn.FieldDescription) {
	for len(p) >= 4 {
		n := min(int(p[0])%8, len(p)-4)
		fields = append(fields, pgconn.FieldDescription{
			Name: string(p[4 : 4+n]), DataTypeOID: uint32(p[1]) << (p[1] % 24),
			TypeModifier: int32(p[2]) - 1, Format: int16(p[3] % 2),
		})
		p = p[4+n:]
	}
	return fields
}

// FuzzColumns: columns have the same digest if names, types, modifiers and formats are the same, and only then; and
// the columns of a description fit an answer with that digest.
func FuzzColumns(f *testing.F) {
	for _, pair := range [][2]string{
		{"", "\x00\x19\x00\x00"},
		{"\x01\x19\x00\x00a", "\x01\x19\x00\x01a"},
		{"\x02\x19\x00\x00ab\x00\x19\x00\x00", "\x01\x19\x00\x00a\x01\x19\x00\x00b"},
		{"\x01\x19\x00\x00a", "\x01\x19\x04\x00a"},
		{"\x01\x19\x00\x00a", "\x01\x14\x00\x00a"},
		{"\x01\x19\x00\x00a", "\x01\x19\x00\x00a"},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, one, other []byte) {
		a, b := fieldsFrom(one), fieldsFrom(other)
		same := slices.Equal(a, b)
		described, answered := ColumnsOf(a), ColumnsOf(b)
		assert.Equal(t, same, described.Digest == answered.Digest, "%+v and %+v", a, b)
		assert.Equal(t, same, described.Fit(b))
		assert.Equal(t, described.Digest, ColumnsOf(slices.Clone(a)).Digest)
	})
}
