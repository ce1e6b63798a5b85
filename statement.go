package cockroachdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// form says how a statement goes over the wire.
type form uint8

const (
	formPrepared form = iota // Bind and Execute of a named statement
	formUnnamed              // Parse, Bind and Execute in one go
	formSimple               // a Query message, which can hold several statements and can't be put into a pipeline
	formParse                // Parse and Describe only: a statement that failed while it was being prepared
)

// statement is a statement by value: its text and its encoded arguments, the same bytes however often it is sent.
type statement struct {
	form          form
	sql           string
	template      string    // the text as the application gave it, where arguments have been written into sql; else ""
	prepared      *prepared // nil for a statement that was not described
	shape         *shape    // its columns, where they are known before it runs
	values        [][]byte
	paramOIDs     []uint32
	paramFormats  []int16
	resultFormats []int16
}

// text is the statement without its arguments, for tracers.
func (s *statement) text() string { return cmp.Or(s.template, s.sql) }

func (s *statement) traits() traits {
	if s.prepared != nil {
		return s.prepared.traits
	}
	return traitsOf(s.sql)
}

// size is what recording the statement costs, in bytes: what it may come to, where that depends on the answer.
func (s *statement) size() int {
	n := len(s.sql) + len(s.template) + len(s.values)*valueSize
	for _, v := range s.values {
		n += len(v)
	}
	if s.shape != nil && len(s.shape.fields) > 0 {
		n += marksSize
	}
	return n
}

const (
	valueSize = int(unsafe.Sizeof([]byte(nil))) // of each argument, besides its bytes
	marksSize = marked * int(unsafe.Sizeof(uint32(0)))
)

// databaseSQLFormats are the result formats that database/sql wants, as in pgx's stdlib: binary for what becomes a
// driver.Value by itself, text for everything else, since that must scan into a string.
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

// request is what the application asked for, before it is encoded.
type request struct {
	sql   string
	args  []any
	mode  pgx.QueryExecMode
	query bool  // it wants rows
	stmt  *stmt // it comes from a prepared statement

	formats      pgx.QueryResultFormats
	formatsByOID pgx.QueryResultFormatsByOID
	ownFormats   bool // the application chose the result formats
}

// readOptions takes the leading arguments that pgx gives a meaning to: a query mode, result formats, a rewriter.
func (r *request) readOptions(ctx context.Context, pc *pgx.Conn) error {
	var rewriter pgx.QueryRewriter
options:
	for len(r.args) > 0 {
		switch arg := r.args[0].(type) {
		case pgx.QueryExecMode:
			r.mode = arg
		case pgx.QueryResultFormats:
			if !r.query {
				break options
			}
			r.formats, r.ownFormats = arg, true
		case pgx.QueryResultFormatsByOID:
			if !r.query {
				break options
			}
			r.formatsByOID, r.ownFormats = arg, true
		case pgx.QueryRewriter:
			rewriter = arg
		default:
			break options
		}
		r.args = r.args[1:]
	}
	if rewriter == nil {
		return nil
	}
	sql, args, err := rewriter.RewriteQuery(ctx, pc, r.sql, r.args)
	if err != nil {
		return fmt.Errorf("rewrite query failed: %w", err)
	}
	r.sql, r.args = sql, args
	return nil
}

// These and the other errors below that do not begin with "cockroachdb: " are pgx's, to the letter.
var (
	errNoStatementCache   = errors.New("cannot use QueryExecModeCacheStatement with disabled statement cache")
	errNoDescriptionCache = errors.New("cannot use QueryExecModeCacheDescribe with disabled description cache")
)

// compile makes the statement of a request: chooses how it goes over the wire, prepares it if need be, and encodes the
// arguments, once.
func (c *Conn) compile(ctx context.Context, t *tx, r *request) (statement, error) {
	switch {
	case r.stmt != nil:
		p, err := r.stmt.current(ctx, t)
		if err != nil {
			return statement{}, err
		}
		return c.encode(t, r, p, formPrepared)
	case len(r.args) == 0 && (r.sql == "" || !r.query):
		return c.withoutArguments(t, r), nil
	case r.sql == "" && r.query:
		return c.interpolated(r)
	}

	switch r.mode {
	case pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec:
		p, form, err := c.describe(ctx, t, r.mode, r.sql)
		if err != nil {
			return statement{}, err
		}
		return c.encode(t, r, p, form)
	case pgx.QueryExecModeExec:
		return c.encode(t, r, nil, formUnnamed)
	case pgx.QueryExecModeSimpleProtocol:
		return c.interpolated(r)
	default:
		return statement{}, fmt.Errorf("unknown QueryExecMode: %v", r.mode)
	}
}

// withoutArguments is an Exec without arguments. It may hold several statements, which only the simple protocol takes. A
// single one goes by the extended protocol inside a transaction, where it can share a round trip with others.
func (c *Conn) withoutArguments(t *tx, r *request) statement {
	if t.explicit && r.mode != pgx.QueryExecModeSimpleProtocol && isSingleStatement(r.sql) {
		return statement{form: formUnnamed, sql: r.sql}
	}
	return statement{form: formSimple, sql: r.sql}
}

func (c *Conn) encode(t *tx, r *request, p *prepared, f form) (statement, error) {
	s := statement{form: f, sql: r.sql, prepared: p}
	var desc *pgconn.StatementDescription
	if p != nil {
		desc = p.desc
		s.sql, s.paramOIDs = desc.SQL, desc.ParamOIDs
		switch { // the texts are pgx's
		case len(desc.ParamOIDs) == len(r.args):
		case r.query:
			return statement{}, fmt.Errorf("expected %d arguments, got %d", len(desc.ParamOIDs), len(r.args))
		default:
			return statement{}, errors.New("mismatched param and argument count")
		}
	}
	if len(r.args) > math.MaxUint16 { // sent in spite of that, it would cost the connection
		return statement{}, fmt.Errorf("extended protocol limited to %v parameters", math.MaxUint16)
	}
	if len(r.args) > 0 {
		if err := c.builder.Build(c.pc.TypeMap(), desc, r.args); err != nil {
			n := len(c.builder.ParamValues) // it stops at the first that fails
			var oid uint32
			if n < len(s.paramOIDs) {
				oid = s.paramOIDs[n]
			}
			return statement{}, c.argumentError(n, r.args[n], oid, errors.Unwrap(err))
		}
		s.values, s.paramFormats = c.builder.ParamValues, c.builder.ParamFormats
		if t.explicit {
			s.values, s.paramFormats = t.history.room.copyOf(s.values), p.copyOf(s.paramFormats)
		}
	}
	if p == nil {
		return s, nil
	}
	s.resultFormats, s.shape = p.resultFormats, p.shape
	if r.ownFormats {
		s.resultFormats = r.chosenFormats(desc)
		s.shape = shapeOf(desc.Fields, s.resultFormats)
	}
	return s, nil
}

// argumentError is the error of an argument, counted from 0, that can't be encoded. The words of pgtype's Map quote the value; what
// they wrap, such as the error of the argument's own Value method, is kept.
func (c *Conn) argumentError(i int, arg any, oid uint32, err error) error {
	typeName := "text" // what a parameter without a known type goes as
	if t, ok := c.pc.TypeMap().TypeForOID(oid); ok {
		typeName = t.Name
	} else if oid != 0 {
		typeName = fmt.Sprintf("the type with OID %d", oid)
	}
	return &quietError{err: errors.Unwrap(err), text: fmt.Sprintf(
		"cockroachdb: argument $%d, a %T, can't be encoded as %s: pass a type that fits; the wrapped error has the reason, and may quote the value", i+1, arg, typeName)}
}

// chosenFormats are the result formats that the application asked for itself.
func (r *request) chosenFormats(desc *pgconn.StatementDescription) []int16 {
	if r.formatsByOID == nil {
		return slices.Clone(r.formats) // the record is by value
	}
	formats := make([]int16, len(desc.Fields))
	for i := range formats {
		formats[i] = r.formatsByOID[desc.Fields[i].DataTypeOID]
	}
	return formats
}

// interpolated is a statement of the simple protocol, with the arguments written into its text.
func (c *Conn) interpolated(r *request) (statement, error) {
	if c.pg.ParameterStatus("standard_conforming_strings") != "on" {
		return statement{}, errors.New("simple protocol queries must be run with standard_conforming_strings=on")
	}
	if c.pg.ParameterStatus("client_encoding") != "UTF8" {
		return statement{}, errors.New("simple protocol queries must be run with client_encoding=UTF8")
	}
	args := make([][]byte, len(r.args))
	for i, arg := range r.args {
		var err error
		if args[i], err = c.pc.TypeMap().Encode(0, pgx.TextFormatCode, arg, []byte{}); err != nil {
			return statement{}, c.argumentError(i, arg, 0, err)
		}
	}
	sql, err := interpolate(r.sql, args)
	if err != nil {
		return statement{}, err
	}
	s := statement{form: formSimple, sql: sql}
	if len(args) > 0 {
		s.template = r.sql
	}
	return s, nil
}
