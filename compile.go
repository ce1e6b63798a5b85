package cockroachdb

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// request is what the application asked for, before it is encoded.
type request struct {
	sql   string
	args  []any
	mode  pgx.QueryExecMode
	query bool  // it wants rows
	stmt  *stmt // it comes from a prepared statement
	asks  bool  // what other connections know of the text won't do

	prepares bool  // it is only to be prepared
	unfit    error // what was wrong with the arguments when they were encoded anew

	text   *lockText   // what is known of the text, if it has diverged lately
	locks  bool        // it is to lock
	locked *lockedRead // it does

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

// compile makes the statement of a request: it chooses how the statement goes over the wire, prepares it if need be,
// and encodes the arguments, once.
func (c *conn) compile(ctx context.Context, t *tx, r *request) (wire.Statement, error) {
	switch {
	case r.stmt != nil:
		return c.describedStatement(t, r, wire.Named, func() (*wire.Prepared, bool, error) {
			return r.stmt.current(ctx, t, r)
		})
	case len(r.args) == 0 && (r.sql == "" || !r.query):
		return c.withoutArguments(t, r)
	case r.sql == "" && r.query, r.mode == pgx.QueryExecModeSimpleProtocol:
		return c.interpolated(r)
	}
	switch r.mode {
	case pgx.QueryExecModeCacheStatement:
		if c.session.Statements.Capacity <= 0 {
			return wire.Statement{}, errNoStatementCache
		}
		return c.describedStatement(t, r, wire.Named, func() (*wire.Prepared, bool, error) {
			return c.prepared(ctx, t, true, r)
		})
	case pgx.QueryExecModeCacheDescribe:
		if c.session.Descriptions.Capacity <= 0 {
			return wire.Statement{}, errNoDescriptionCache
		}
		return c.describedStatement(t, r, wire.Unnamed, func() (*wire.Prepared, bool, error) {
			return c.prepared(ctx, t, false, r)
		})
	case pgx.QueryExecModeDescribeExec:
		return c.describedStatement(t, r, wire.Unnamed, func() (*wire.Prepared, bool, error) {
			p, err := c.parse(ctx, t, false, r.sql)
			return p, true, err
		})
	case pgx.QueryExecModeExec:
		s := wire.Statement{Form: wire.Unnamed, SQL: r.sql, Class: c.session.Classify(r.sql)}
		if s.Class.Copies {
			return wire.Statement{}, errCopy
		}
		return s, c.encode(t, r, &s)
	}
	return wire.Statement{}, fmt.Errorf("unknown QueryExecMode: %v", r.mode)
}

// describedStatement makes a statement of what describe returns, and of whether that is news. What was learnt before is
// believed until the arguments don't fit it: then it is learnt anew, by the next use, or at once for a driver.Stmt and
// where it was learnt on another connection.
func (c *conn) describedStatement(
	t *tx, r *request, form wire.Form, describe func() (*wire.Prepared, bool, error),
) (wire.Statement, error) {
	for {
		p, isNew, err := describe()
		if err != nil {
			return wire.Statement{}, err
		}
		s := p.Statement(form)
		if err := r.checkCount(len(s.ParamOIDs)); err != nil {
			return s, err
		}
		err = c.bind(t, r, &s)
		switch known := p.Confirmed(); {
		case !known && (err != nil || !t.hasRoomFor(&s, 0)):
			r.asks = true
			continue
		case err != nil && !isNew:
			c.unlearn(p)
			if r.stmt != nil {
				continue
			}
		}
		return s, err
	}
}

// bind encodes the arguments into s, and sets the result formats.
func (c *conn) bind(t *tx, r *request, s *wire.Statement) error {
	err := c.encode(t, r, s)
	if err == nil && r.ownFormats {
		s.ChooseFormats(r.formats, r.formatsByOID)
	}
	return err
}

func (r *request) checkCount(parameters int) error {
	switch { // the texts are pgx's
	case parameters == len(r.args):
		return nil
	case r.query:
		return fmt.Errorf("expected %d arguments, got %d", parameters, len(r.args))
	}
	return errors.New("mismatched param and argument count")
}

// withoutArguments is an Exec without arguments. It may hold several statements, which only the simple protocol takes.
// A single one goes by the extended protocol inside a transaction, where it can share a round trip with others.
func (c *conn) withoutArguments(t *tx, r *request) (wire.Statement, error) {
	s := wire.Statement{Form: wire.Simple, SQL: r.sql, Class: c.session.Classify(r.sql)}
	if s.Class.Copies {
		return wire.Statement{}, errCopy
	}
	if t.explicit && r.mode != pgx.QueryExecModeSimpleProtocol && !s.Class.Several {
		s.Form = wire.Unnamed
	}
	return s, nil
}

// encode encodes the arguments into s. They are copied where they may be needed again after the next statement.
func (c *conn) encode(t *tx, r *request, s *wire.Statement) error {
	if len(r.args) > math.MaxUint16 { // sent in spite of that, it would cost the connection
		return fmt.Errorf("extended protocol limited to %v parameters", math.MaxUint16)
	}
	if len(r.args) == 0 {
		return nil
	}
	if n, err := c.session.Encode(s, r.args); err != nil {
		return c.argumentError(n, r.args[n], s.ParamOID(n), err)
	}
	if t.explicit {
		s.Values, s.ParamFormats = t.history.arena.copyOf(s.Values), s.Prepared.CopyOf(s.ParamFormats)
	}
	return nil
}

// argumentError is the error of an argument, counted from 0, that can't be encoded. The words of pgtype's Map quote the
// value; what they wrap, such as the error of the argument's own Value method, is kept.
func (c *conn) argumentError(i int, arg any, oid uint32, err error) error {
	typeName := "text" // what a parameter without a known type goes as
	if t, ok := c.session.Pgx.TypeMap().TypeForOID(oid); ok {
		typeName = t.Name
	} else if oid != 0 {
		typeName = fmt.Sprintf("the type with OID %d", oid)
	}
	return &quietError{err: errors.Unwrap(err), text: fmt.Sprintf(
		"cockroachdb: argument $%d, a %T, can't be encoded as %s: pass a type that fits; the wrapped error has the reason, and may quote the value", i+1, arg, typeName)}
}

// interpolated is a statement of the simple protocol, with the arguments written into its text.
func (c *conn) interpolated(r *request) (wire.Statement, error) {
	pg := c.session.PG
	if pg.ParameterStatus("standard_conforming_strings") != "on" {
		return wire.Statement{}, errors.New("simple protocol queries must be run with standard_conforming_strings=on")
	}
	if pg.ParameterStatus("client_encoding") != "UTF8" {
		return wire.Statement{}, errors.New("simple protocol queries must be run with client_encoding=UTF8")
	}
	args := make([][]byte, len(r.args))
	for i, arg := range r.args {
		var err error
		if args[i], err = c.session.Pgx.TypeMap().Encode(0, pgx.TextFormatCode, arg, []byte{}); err != nil {
			return wire.Statement{}, c.argumentError(i, arg, 0, err)
		}
	}
	sql, err := sqltext.Interpolate(r.sql, args)
	if err != nil {
		return wire.Statement{}, err
	}
	s := wire.Statement{Form: wire.Simple, SQL: sql, Class: c.session.Classify(sql)}
	if len(args) > 0 {
		s.Template = r.sql
	}
	if s.Class.Copies {
		return wire.Statement{}, errCopy
	}
	return s, nil
}
