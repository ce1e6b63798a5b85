package wire

import (
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/digest"
)

// Columns are the columns of a result as the application sees them.
type Columns struct {
	Fields []pgconn.FieldDescription
	Names  []string
	Digest uint64

	decoders []Decoder
}

// newColumns copies fields. Formats are those of the result: one for each column, one for all, or none for text.
func newColumns(fields []pgconn.FieldDescription, formats []int16) *Columns {
	c := &Columns{Fields: slices.Clone(fields), Names: make([]string, len(fields))}
	for i := range c.Fields {
		field := &c.Fields[i]
		field.Format = formatOf(formats, i)
		c.Names[i] = field.Name
	}
	c.Digest = digest.OfColumns(c.Fields)
	return c
}

func formatOf(formats []int16, column int) int16 {
	if len(formats) == 0 {
		return pgx.TextFormatCode
	}
	return formats[min(column, len(formats)-1)]
}

// ColumnsOf returns the columns of an answer that the server has described.
func ColumnsOf(fields []pgconn.FieldDescription) *Columns {
	formats := make([]int16, len(fields))
	for i := range fields {
		formats[i] = fields[i].Format
	}
	return newColumns(fields, formats)
}

// Fit reports whether c are the columns of an answer with these fields.
func (c *Columns) Fit(fields []pgconn.FieldDescription) bool {
	return slices.EqualFunc(c.Fields, fields, func(a, b pgconn.FieldDescription) bool {
		return a.DataTypeOID == b.DataTypeOID && a.TypeModifier == b.TypeModifier && a.Format == b.Format && a.Name == b.Name
	})
}

// Decoders returns what makes driver.Values of the columns' values. They are made once, for the types that m knows
// then.
func (c *Columns) Decoders(m *pgtype.Map) []Decoder {
	if c.decoders == nil {
		c.decoders = decodersFor(m, c.Fields)
	}
	return c.decoders
}

// databaseSQLFormats are the result formats that database/sql wants, as in pgx's stdlib: binary for what becomes a
// driver.Value directly, text for everything else, since that must scan into a string.
var databaseSQLFormats = pgx.QueryResultFormatsByOID{
	pgtype.BoolOID:        pgx.BinaryFormatCode,
	pgtype.ByteaOID:       pgx.BinaryFormatCode,
	pgtype.CIDOID:         pgx.BinaryFormatCode,
	pgtype.DateOID:        pgx.BinaryFormatCode,
	pgtype.Float4OID:      pgx.BinaryFormatCode,
	pgtype.Float8OID:      pgx.BinaryFormatCode,
	pgtype.Int2OID:        pgx.BinaryFormatCode,
	pgtype.Int4OID:        pgx.BinaryFormatCode,
	pgtype.Int8OID:        pgx.BinaryFormatCode,
	pgtype.OIDOID:         pgx.BinaryFormatCode,
	pgtype.TimestampOID:   pgx.BinaryFormatCode,
	pgtype.TimestamptzOID: pgx.BinaryFormatCode,
	pgtype.XIDOID:         pgx.BinaryFormatCode,
}

// formatsFor returns the result formats for fields.
func formatsFor(fields []pgconn.FieldDescription, byOID pgx.QueryResultFormatsByOID) []int16 {
	formats := make([]int16, len(fields))
	for i := range fields {
		formats[i] = byOID[fields[i].DataTypeOID]
	}
	return formats
}
