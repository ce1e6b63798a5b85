package wire

import (
	"cmp"
	"slices"
	"unsafe"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/digest"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// Form says how a statement goes over the wire.
type Form uint8

// The forms of a statement.
const (
	Named   Form = iota // Bind and Execute of a statement that is prepared under a name, with Parse the first time
	Unnamed             // Parse, Bind and Execute in one go
	Simple              // a Query message, which can hold several statements and can't be put into a pipeline
	Parse               // Parse and Describe only: the application has prepared it
)

// Statement is a statement by value: its text and its encoded arguments, the same bytes however often it is sent.
type Statement struct {
	Form     Form
	SQL      string
	Template string    // the text as the application gave it, where arguments have been written into SQL; else ""
	Prepared *Prepared // nil for a statement that was not described
	Columns  *Columns  // where they are known before it runs; else nil
	Class    sqltext.Class

	Values        [][]byte
	ParamOIDs     []uint32
	ParamFormats  []int16
	ResultFormats []int16
}

// Statement returns the statement without its arguments.
func (p *Prepared) Statement(f Form) Statement {
	return Statement{
		Form: f, SQL: p.Desc.SQL, Prepared: p, Class: p.Class, ParamOIDs: p.Desc.ParamOIDs,
		ResultFormats: p.resultFormats, Columns: p.Columns,
	}
}

// ParamOID returns the type of a parameter, counted from 0, or 0 if it is not known.
func (s *Statement) ParamOID(n int) uint32 {
	if n < len(s.ParamOIDs) {
		return s.ParamOIDs[n]
	}
	return 0
}

// ChooseFormats sets the result formats that the application asked for, by column or by type.
func (s *Statement) ChooseFormats(formats pgx.QueryResultFormats, byOID pgx.QueryResultFormatsByOID) {
	fields := s.Prepared.Desc.Fields
	if byOID == nil {
		s.ResultFormats = slices.Clone(formats) // the record is by value
	} else {
		s.ResultFormats = formatsFor(fields, byOID)
	}
	s.Columns = newColumns(fields, s.ResultFormats)
}

// Text returns the statement without its arguments, for tracers.
func (s *Statement) Text() string { return cmp.Or(s.Template, s.SQL) }

// named reports whether the server is to run what it has prepared. What it doesn't have goes as text.
func (s *Statement) named() bool {
	return s.Form == Named && s.Prepared.onServer && !s.Prepared.gone && !s.Prepared.asText
}

// hasColumns reports whether the answer to a prepared statement is to describe itself. Through a pooler another client
// may have prepared the text under the same name after a column had changed its type: what was learnt here is no
// evidence.
func (s *Statement) hasColumns() bool { return len(s.Prepared.Desc.Fields) > 0 }

// isFirst reports whether the server is to prepare the statement and to run it.
func (s *Statement) isFirst() bool {
	return s.Form == Named && !s.Prepared.onServer && !s.Prepared.gone && !s.Prepared.asText
}

// AsText makes the next run of a prepared statement independent of what the server has prepared, and of the columns
// that were described: it goes as text, and asks for text, whatever the columns are now.
func (s *Statement) AsText() { s.Form, s.ResultFormats = Unnamed, nil }

// Size returns what it takes to keep the statement, in bytes: what it may come to, where that depends on the answer.
func (s *Statement) Size() int {
	n := len(s.SQL) + len(s.Template) + len(s.Values)*ValueSize
	for _, v := range s.Values {
		n += len(v)
	}
	if s.Columns != nil && len(s.Columns.Fields) > 0 {
		n += digest.MarksSize
	}
	return n
}

// ValueSize is what keeping a value takes, besides its bytes.
const ValueSize = int(unsafe.Sizeof([]byte(nil)))

// AddParameter adds a parameter with its type, which may be 0, its format and its value.
func (s *Statement) AddParameter(oid uint32, format int16, value []byte) {
	s.ParamOIDs, s.ParamFormats = append(s.ParamOIDs, oid), append(s.ParamFormats, format)
	s.Values = append(s.Values, value)
}

// ParamFormat returns the format of a parameter, counted from 0.
func (s *Statement) ParamFormat(n int) int16 { return formatOf(s.ParamFormats, n) }
