package wire

import (
	"context"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// An Extra is a statement of the driver's own that has arguments.
type Extra struct {
	Statement Statement
	Row       func(values [][]byte) // called with the first row of its answer, if it has one; may be nil
}

// Around is what goes with a statement, in the same round trip: Before it, and After it, COMMIT last. What comes after
// a statement that fails is not carried out.
type Around struct {
	Before []Extra
	After  []Extra
	Commit bool // a COMMIT comes last
	Later  bool // After and COMMIT go in a round trip of their own, once the statement's answer is complete
}

// SendAround is Send with other statements around st. The opening's statements come first. The answer to st is the
// statement's, but for errors of what comes after it; [Answer.Whole] tells them apart.
func (s *Session) SendAround(ctx context.Context, opening []string, st *Statement, with Around) (Answer, Reach, error) {
	rt, err := s.roundTrip(ctx, opening)
	if err != nil {
		return Answer{}, Unsent, err
	}
	first := st.isFirst()
	p := s.newPipeline(ctx)
	if first && s.Shared {
		p.deallocate(st.Prepared.Name)
	}
	rt.sender = p
	rt.control(opening)
	rt.AddExtras(with.Before)
	if first {
		p.addFirst(st)
	} else {
		rt.add(st)
	}
	if !with.Later {
		rt.addAfter(&with)
	}
	if reach, err := rt.Send(); err != nil {
		return Answer{}, reach, err
	}
	if err := rt.ReadExtras(with.Before); err != nil {
		err = rt.fail(err)
		return Answer{}, s.failedIn(err), err
	}
	if err := rt.confirm(); err != nil {
		return Answer{}, InStatement, err
	}
	if first {
		if err := p.readFirst(); err != nil {
			return Answer{}, InStatement, rt.fail(err)
		}
	}
	if len(with.After) == 0 && !with.Commit {
		a, err := rt.Last()
		return a, InStatement, err
	}
	a, err := rt.Next()
	if err != nil {
		return Answer{}, InStatement, rt.fail(err)
	}
	a.rest = &rest{rt, with}
	return a, InStatement, nil
}

// readFirst reads the answer to the Parse of a statement that runs for the first time.
func (p *pipelineSender) readFirst() error {
	err := p.prepared()
	if err != nil && pgerr.Code(err) != pgerr.DuplicatePrepared {
		p.s.Statements.Doom(p.first.Name) // it may be there although its description failed
	}
	return err
}

// AddExtras adds statements of the driver's own.
func (rt *RoundTrip) AddExtras(extras []Extra) {
	for i := range extras {
		rt.Add(&extras[i].Statement)
	}
}

// ReadExtras reads the answers to them.
func (rt *RoundTrip) ReadExtras(extras []Extra) error {
	for i := range extras {
		a, err := rt.Next()
		if err != nil {
			return err
		}
		if a.Next() && extras[i].Row != nil {
			extras[i].Row(a.Row())
		}
		if _, err := a.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (rt *RoundTrip) addAfter(with *Around) {
	rt.AddExtras(with.After)
	if with.Commit {
		rt.Control(commitAlone)
	}
}

var commitAlone = []string{"COMMIT"}

// rest is what comes after the answer to a statement.
type rest struct {
	rt   RoundTrip
	with Around
}

// finish reads the rest, and sends it before if it is to go later. whole says that the statement has succeeded.
func (r *rest) finish(whole bool) error {
	if r.with.Later {
		if err := r.rt.Finish(); err != nil || !whole {
			return err
		}
		r.rt = r.rt.s.NewLongRoundTrip(r.rt.ctx, nil)
		r.rt.addAfter(&r.with)
		if _, err := r.rt.Send(); err != nil {
			return err
		}
	}
	if whole {
		if err := r.read(); err != nil {
			return r.rt.fail(err)
		}
	}
	return r.rt.Finish()
}

func (r *rest) read() error {
	if err := r.rt.ReadExtras(r.with.After); err != nil || !r.with.Commit {
		return err
	}
	tag, err := r.rt.NextControl(commitAlone[0])
	if err == nil && tag.String() != commitAlone[0] {
		return ErrProtocol
	}
	return err
}
