package wire

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Answer is the server's answer to one statement, being read. Nothing else can be sent before it is closed.
type Answer struct {
	s      *Session
	ctx    context.Context
	result result
	multi  *pgconn.MultiResultReader // the statement went by the simple protocol
	last   sender                    // the statement went with others, of which it is the last
	rest   *rest                     // it went with others that come after it
	row    [][]byte                  // what Next has come to; nil before the first one
	whole  bool                      // it has been answered to its end, without an error
	tag    pgconn.CommandTag
	err    error

	Several // what came before the end of a text of the simple protocol
}

// A result is the answer to one statement: an exchange, or a [pgconn.ResultReader], which says what the methods do.
type result interface {
	NextRow() bool
	Values() [][]byte
	FieldDescriptions() []pgconn.FieldDescription
	Close() (pgconn.CommandTag, error)
}

// Several is what is known of the statements of a text of the simple protocol that were answered without an error.
type Several struct {
	Commits    bool // one of them has committed a transaction
	Begins     bool // one of them has begun one
	Statements int  // how many there were
	Loose      int  // how many of them were not between a BEGIN and a COMMIT or ROLLBACK of the text's own
	inBlock    bool
}

// add adds a statement with this tag.
func (s *Several) add(tag string) {
	s.Statements++
	switch tag {
	case "BEGIN", "START TRANSACTION":
		s.Begins, s.inBlock = true, true
	case "COMMIT":
		s.Commits, s.inBlock = true, false
	case "ROLLBACK":
		s.inBlock = false
	default:
		if !s.inBlock {
			s.Loose++
		}
	}
}

// Open reports whether there is a result whose rows are still to be read.
func (a *Answer) Open() bool { return a.result != nil }

// Next moves to the next row of the (first) result.
func (a *Answer) Next() bool {
	if a.row != nil { // else what is to come before the first row may still be unread
		if row, ok := a.s.rows.next(); ok {
			a.row = row
			return true
		}
	}
	if a.row = nil; a.result == nil || !a.result.NextRow() {
		return false
	}
	a.row = a.result.Values()
	return true
}

// Row returns the values of the row that Next came to. They are valid until the next call.
func (a *Answer) Row() [][]byte { return a.row }

// Fields returns the columns as the server has described them, and nil if there is no result. They are valid as long as
// Row.
func (a *Answer) Fields() []pgconn.FieldDescription {
	if a.result == nil {
		return nil
	}
	return a.result.FieldDescriptions()
}

// Close reads what is left, up to the server's ReadyForQuery. Its error is the statement's. What it means may show only
// at the end: a node that goes away cancels what runs, and says then why.
func (a *Answer) Close() (pgconn.CommandTag, error) {
	if a.result != nil {
		a.keep(a.result.Close())
	}
	if a.multi != nil {
		a.closeMulti()
	}
	if a.last != nil {
		a.keep(a.tag, a.last.finish())
	}
	if a.rest != nil {
		a.whole = a.err == nil
		a.keep(a.tag, a.rest.finish(a.whole))
	}
	a.result, a.multi, a.last, a.rest, a.row = nil, nil, nil, nil, nil
	a.err = a.s.reason(a.ctx, a.err)
	return a.tag, a.err
}

// Whole reports whether the statement itself was answered to its end without an error, although what came after it in
// the same round trip may have failed. It is false of a statement that nothing came after.
func (a *Answer) Whole() bool { return a.whole }

// Tag returns the statement's command tag, once the answer is closed.
func (a *Answer) Tag() pgconn.CommandTag { return a.tag }

func (a *Answer) closeMulti() {
	a.count()
	empty := a.tag.String() == ""
	for a.multi.NextResult() {
		if empty {
			a.keep(a.tag, ErrProtocol) // that there was no statement, and then an answer to one
		}
		a.keep(a.multi.ResultReader().Close())
		a.count()
	}
	a.keep(a.tag, a.multi.Close())
}

// count takes note of one of several statements.
func (a *Answer) count() {
	if a.err == nil {
		a.add(a.tag.String())
	}
}

func (a *Answer) keep(tag pgconn.CommandTag, err error) {
	a.tag = tag
	if a.err == nil {
		a.err = err
	}
}

// Conclude closes the answer to st. Without an error there must have been a command tag in it, unless there was no
// command, and only one, unless there may have been several.
func (s *Session) Conclude(st *Statement, a *Answer) (pgconn.CommandTag, error) {
	tag, err := a.Close()
	lacks := tag.String() == "" && st.Form != Parse && !st.Class.Blank
	if err == nil && (lacks || a.Statements > 1 && !st.Class.Several) {
		s.Die()
		err = ErrProtocol
	}
	return tag, err
}

// Discard reads an answer to its end, for nobody.
func (a *Answer) Discard() { _, _ = a.Close() }
