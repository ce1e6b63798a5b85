package wire

import (
	"cmp"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// A statement is unconfirmed if its description comes from another connection. It is sent by that description, and in
// front of it, in the same round trip, its bare text, for the server to describe. So what the server would say to a
// connection that knows nothing is read before the statement's answer, and decides what becomes of that.

// Unconfirmed makes a Prepared of what the server has described on another connection.
func Unconfirmed(named bool, sql string, class sqltext.Class, desc *pgconn.StatementDescription) *Prepared {
	own := *desc
	p := NewPrepared(named, sql, class, &own)
	p.unconfirmed = true
	return p
}

// Confirmed reports whether this connection's server has described the statement.
func (p *Prepared) Confirmed() bool { return !p.unconfirmed }

// ChangedError is the answer to an unconfirmed statement that the server describes otherwise now. The statement may
// have run, with parameters of the types that were believed. Nothing of its own answer is returned.
type ChangedError struct {
	Desc *pgconn.StatementDescription // what the server says now
}

func (*ChangedError) Error() string {
	return "cockroachdb: the statement's parameters or columns have changed since another connection learnt of them: run it again"
}

// IsChanged reports whether err is a ChangedError.
func IsChanged(err error) bool {
	_, ok := err.(*ChangedError) //nolint:errorlint // made by this package, and not wrapped
	return ok
}

func (s *Statement) unconfirmed() bool {
	return s.Prepared != nil && s.Prepared.unconfirmed && !s.Prepared.gone
}

// ask has the server describe the text of an unconfirmed statement.
func (p *pipelineSender) ask(st *Statement) {
	if st.unconfirmed() {
		p.asked = st.Prepared
		p.parse(st.SQL)
	}
}

// confirm reads what the server says of the text of an unconfirmed statement, if one was sent. An error ends the round
// trip.
func (rt *RoundTrip) confirm() error {
	p, ok := rt.sender.(*pipelineSender)
	if !ok || p.asked == nil {
		return nil
	}
	believed := p.asked
	p.asked = nil
	desc, err := p.description()
	if err != nil {
		return rt.fail(err)
	}
	believed.unconfirmed = false
	if believed.describes(desc) {
		return nil
	}
	rt.s.unlearn(believed, p.first == believed)
	err = rt.finish()
	if rt.s.Closed() {
		return rt.s.reason(rt.ctx, cmp.Or(err, ErrClosed))
	}
	return &ChangedError{Desc: desc}
}

// unlearn forgets a statement that was described otherwise, and the name under which it may have been prepared.
func (s *Session) unlearn(p *Prepared, prepared bool) {
	if p.Name == "" {
		s.Descriptions.Forget(p)
		return
	}
	s.Statements.Forget(p)
	if prepared {
		s.Statements.Doom(p.Name)
	}
}
