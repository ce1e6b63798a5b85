package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// Reach is how far a message has got when there is an error.
//
// pgconn.SafeToRetry won't do for that: it says that nothing was sent, too, of a connection that died after a statement
// had been sent.
type Reach uint8

// How far a message can get.
const (
	Unsent      Reach = iota // no byte of it has reached the server
	InOpening                // one of the driver's own statements in front failed, and so nothing after it ran
	InStatement              // it may have been carried out
)

// A RoundTrip is several statements with one Sync at their end: what the server does not get to, because something
// before it failed, it skips.
type RoundTrip struct {
	sender
	s       *Session
	ctx     context.Context
	opening []string
	unable  error
}

// NewRoundTrip begins a round trip for few statements with those of the driver's own in opening.
func (s *Session) NewRoundTrip(ctx context.Context, opening []string) RoundTrip {
	rt, err := s.roundTrip(ctx, opening)
	switch {
	case err != nil:
		return rt
	case len(s.Statements.doomed) > 0:
		rt.sender = s.newPipeline(ctx)
	default:
		rt.sender = s.newBatch(ctx)
	}
	rt.control(opening)
	return rt
}

// NewLongRoundTrip begins a round trip for any number of statements.
func (s *Session) NewLongRoundTrip(ctx context.Context, opening []string) RoundTrip {
	rt, err := s.roundTrip(ctx, opening)
	if err == nil {
		rt.sender = s.newPipeline(ctx)
		rt.control(opening)
	}
	return rt
}

func (s *Session) roundTrip(ctx context.Context, opening []string) (RoundTrip, error) {
	err := s.unable(ctx)
	s.begin()
	return RoundTrip{s: s, ctx: ctx, opening: opening, unable: err}, err
}

// Add adds a statement of the application's.
func (rt *RoundTrip) Add(st *Statement) {
	if rt.unable == nil {
		rt.add(st)
	}
}

// Control adds statements of the driver's own after those that were added.
func (rt *RoundTrip) Control(statements []string) {
	if rt.unable == nil {
		rt.control(statements)
	}
}

// Send sends everything and reads the answers to the opening. After an error the round trip is over.
func (rt *RoundTrip) Send() (Reach, error) {
	if rt.unable != nil {
		return Unsent, rt.unable
	}
	if err := rt.sync(); err != nil {
		err = rt.fail(err)
		if len(rt.opening) == 0 {
			return InStatement, err
		}
		return rt.s.failedIn(err), err
	}
	for _, sql := range rt.opening {
		if _, err := rt.NextControl(sql); err != nil {
			err = rt.fail(err)
			return rt.s.failedIn(err), err
		}
	}
	return InStatement, nil
}

// failedIn returns how far a message has got whose opening was answered with err. If the connection is lost with it,
// the server may have carried everything out, and its answers are on their way no more.
func (s *Session) failedIn(err error) Reach {
	if pgerr.Answer(err) == nil || s.Closed() {
		return InStatement
	}
	return InOpening
}

// NextControl reads the answer to a statement of the driver's own.
func (rt *RoundTrip) NextControl(sql string) (pgconn.CommandTag, error) {
	ctx, tracer := rt.ctx, rt.s.Tracer
	if tracer != nil {
		ctx = tracer.Start(ctx, sql)
	}
	a, err := rt.Next()
	if err == nil {
		_, err = a.Close()
	}
	if err == nil && !answersControl(a.tag.String(), sql) {
		err = ErrProtocol
	}
	if tracer != nil {
		tracer.End(ctx, a.tag, err)
	}
	return a.tag, err
}

// answersControl reports whether a tag can be that of this statement of the driver's own. A tag of an unknown kind can,
// unless it counts rows.
func answersControl(tag, sql string) bool {
	begins := strings.HasPrefix(sql, "BEGIN")
	switch tag {
	case "BEGIN", "SAVEPOINT", "RELEASE":
		return strings.HasPrefix(sql, tag)
	case "COMMIT":
		return !begins && !strings.HasPrefix(sql, "SAVEPOINT") && !strings.HasPrefix(sql, "ROLLBACK TO")
	case "ROLLBACK":
		return !begins && !strings.HasPrefix(sql, "SAVEPOINT") && !strings.HasPrefix(sql, "RELEASE")
	}
	return strings.HasPrefix(sql, "SELECT") || !strings.ContainsAny(tag, "0123456789")
}

// Next reads as far as the first row, or the end, of the next statement's answer.
func (rt *RoundTrip) Next() (Answer, error) {
	result, err := rt.result()
	return Answer{s: rt.s, ctx: rt.ctx, result: result}, rt.s.reason(rt.ctx, err)
}

// Last is Next for the last statement: closing its answer ends the round trip.
func (rt *RoundTrip) Last() (Answer, error) {
	if err := rt.confirm(); err != nil {
		return Answer{}, err
	}
	a, err := rt.Next()
	if err != nil {
		return Answer{}, rt.fail(err)
	}
	a.last = rt.sender
	return a, nil
}

// RestCommits reads the answers to the n statements that are left, for nobody, and reports whether one of them has
// committed.
func (rt *RoundTrip) RestCommits(n int) bool {
	commits := false
	for range n {
		a, err := rt.Next()
		if err != nil {
			break
		}
		tag, _ := a.Close()
		commits = commits || tag.String() == "COMMIT"
	}
	return commits
}

// Finish reads what is left.
func (rt *RoundTrip) Finish() error { return rt.s.reason(rt.ctx, rt.finish()) }

// Fail ends the round trip after err, which it returns.
func (rt *RoundTrip) Fail(err error) error { return rt.fail(err) }

func (rt *RoundTrip) fail(err error) error {
	closeErr := rt.finish()
	err = rt.s.reason(rt.ctx, err)
	if errors.Is(err, ErrProtocol) {
		rt.s.Die()
		if closeErr != nil {
			err = fmt.Errorf("%w: %w", err, closeErr)
		}
	}
	return err
}

// Control sends statements of the driver's own in one round trip.
func (s *Session) Control(ctx context.Context, statements ...string) (Reach, error) {
	rt := s.NewRoundTrip(ctx, statements)
	if reach, err := rt.Send(); err != nil {
		return reach, err
	}
	return InStatement, rt.Finish()
}

// Send sends the opening statements, if there are any, and st in one round trip, and reads as far as the first row of
// st, or its end. An error means that there is nothing left to read.
func (s *Session) Send(ctx context.Context, opening []string, st *Statement) (Answer, Reach, error) {
	if err := s.unable(ctx); err != nil {
		return Answer{}, Unsent, err
	}
	s.begin()
	switch {
	case st.Form == Simple:
		return s.sendSimple(ctx, opening, st)
	case st.isFirst(), st.unconfirmed():
		return s.SendAround(ctx, opening, st, Around{})
	case len(opening) == 0 && len(s.Statements.doomed) == 0:
		return s.sendAlone(ctx, st), InStatement, nil
	}
	rt := s.NewRoundTrip(ctx, opening)
	rt.Add(st)
	if reach, err := rt.Send(); err != nil {
		return Answer{}, reach, err
	}
	a, err := rt.Last()
	return a, InStatement, err
}

// sendSimple sends a Query message. It can't share a Sync with the opening, which costs a round trip of its own then.
func (s *Session) sendSimple(ctx context.Context, opening []string, st *Statement) (Answer, Reach, error) {
	if err := s.deallocate(ctx); err != nil {
		return Answer{}, Unsent, err
	}
	if len(opening) > 0 {
		if reach, err := s.Control(ctx, opening...); err != nil {
			return Answer{}, min(reach, InOpening), err
		}
	}
	multi := s.PG.Exec(ctx, st.SQL)
	a := Answer{s: s, ctx: ctx, multi: multi}
	if multi.NextResult() {
		a.result = multi.ResultReader()
		return a, InStatement, nil
	}
	_, err := a.Close()
	if err == nil {
		s.Die()
		err = ErrProtocol
	}
	return a, InStatement, err
}

// sendAlone spares a single statement the bookkeeping of a round trip.
func (s *Session) sendAlone(ctx context.Context, st *Statement) Answer {
	a := Answer{s: s, ctx: ctx}
	switch {
	case s.exchange.takes(st):
		s.exchange.start(ctx, st)
		a.result = &s.exchange
	case !st.named():
		a.result = s.PG.ExecParams(ctx, st.SQL, st.Values, st.ParamOIDs, st.ParamFormats, st.ResultFormats)
	case st.hasColumns():
		a.result = s.PG.ExecPrepared(ctx, st.Prepared.Name, st.Values, st.ParamFormats, st.ResultFormats)
	default:
		a.result = s.PG.ExecStatement(ctx, st.Prepared.Desc, st.Values, st.ParamFormats, st.ResultFormats)
	}
	return a
}

// Describe sends the opening statements and a Parse of sql without a name in one round trip, and returns what the
// server says of it.
func (s *Session) Describe(
	ctx context.Context, opening []string, sql string,
) (*pgconn.StatementDescription, Reach, error) {
	rt, err := s.roundTrip(ctx, opening)
	if err != nil {
		return nil, Unsent, err
	}
	p := s.newPipeline(ctx)
	rt.sender = p
	rt.control(opening)
	p.parse(sql)
	if reach, err := rt.Send(); err != nil {
		return nil, reach, err
	}
	desc, err := p.description()
	if err != nil {
		return nil, InStatement, rt.fail(err)
	}
	return desc, InStatement, rt.Finish()
}

// deallocate has the server deallocate what is to go, in a round trip of its own, if there is anything.
func (s *Session) deallocate(ctx context.Context) error {
	if len(s.Statements.doomed) == 0 {
		return nil
	}
	rt := RoundTrip{s: s, ctx: ctx, sender: s.newPipeline(ctx)}
	if _, err := rt.Send(); err != nil {
		return err
	}
	return rt.Finish()
}
