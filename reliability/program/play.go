package program

import (
	"context"
	"fmt"
	"slices"
)

// A store is what programs are played on: the server, through the driver; or the model.
type store interface {
	query(*Statement, value) (result, error)
	exec(*Statement, value) (affected int64, err error)
	prepare(*Statement) error
	savepoint(verb, name string) error
	end(*Tail) error
	begun(*Tail) error
	half(h *Halves, part int) error
}

const (
	savepoint  = "SAVEPOINT"
	rollbackTo = "ROLLBACK TO SAVEPOINT"
	release    = "RELEASE SAVEPOINT"
)

// A player plays the steps of a program once, and keeps what they show.
type player struct {
	on       store
	program  *Program
	at       func(step int) // called before each
	shown    []string       // by the part that is played
	number   any            // the one shown last
	open     map[int]opened // by slot
	believes []string       // the model: what the application was shown; what nobody can foresee is taken from it
	met      []bornKey      // keys that were shown last
	keys     Keys           // shown by the part that is played
	fresh    []bornKey      // read by the statement that is under way
	settled  bool           // the server changes the transaction's snapshot no more without telling: a statement was run
}

// play plays a part of a program.
func (p *player) play(part int) error {
	switch {
	case p.program.Halves != nil:
		return p.half(part)
	case part > 1:
		return p.after(part)
	}
	for i := range p.program.Steps {
		if err := p.survives(p.reach(i)); err != nil {
			return err
		}
		if err := p.survives(p.step(&p.program.Steps[i])); err != nil {
			return err
		}
	}
	if err := p.survives(p.reach(len(p.program.Steps))); err != nil || p.program.Tail == nil {
		return err
	}
	return p.quietly(p.program.Tail.By.String(), func() error { return p.on.end(p.program.Tail) })
}

// survives takes an error from an application that goes on in spite of it, and looks at what Commit says.
func (p *player) survives(err error) error {
	if p.program.Careless {
		return nil
	}
	return err
}

func (p *player) reach(i int) error {
	for _, s := range p.program.before(i) {
		err := p.quietly(s.String(), func() error {
			_, err := p.on.exec(&s, value{})
			return err
		})
		if err != nil {
			return err
		}
	}
	p.at(i)
	return nil
}

func (p *player) step(s *Step) error {
	switch {
	case !s.If.holds(p.number):
		return nil
	case s.Block != nil:
		return p.block(s.Block)
	}
	return p.statement(&s.Statement)
}

func (p *player) statement(s *Statement) error {
	switch {
	case s.Kind == Look:
		return p.look(s)
	case s.Only:
		return p.tell("prepare "+s.String(), func() (string, error) { return preparedText, p.on.prepare(s) })
	case s.Slot != 0 && p.open[s.Slot].result != nil:
		return nil // it is taken
	}
	v, text := p.valueOf(s), s.String()
	if s.writes() {
		text += " = " + show(v.shown)
	}
	return p.tell(text, func() (string, error) { return p.run(s, v) })
}

// run runs a statement, and gives what it shows.
func (p *player) run(s *Statement, v value) (string, error) {
	p.settled = true
	switch {
	case !s.Kind.rows():
		n, err := p.on.exec(s, v)
		if !s.Ask {
			return "", err
		}
		return fmt.Sprintf(": %d rows affected", n), err
	case s.Slot != 0:
		return p.leaveOpen(s, v)
	}
	r, err := p.on.query(s, v)
	if err != nil {
		return "", err
	}
	text, _, err := p.read(r, s.Names, s.Stop)
	text, err = p.closed(r, s.Deaf, text, err)
	if cancelled(err) {
		text = ranText
	}
	return text, err
}

// tell runs something and notes what it shows. If rows are in its way they are read or closed, and it is run again.
func (p *player) tell(text string, run func() (string, error)) error {
	shown, err := p.try(text, run)
	if stillOpen(err) {
		if open := text + ": there are rows still open"; !p.mayHaveClosed(open) {
			p.shown = append(p.shown, open)
		}
		if err := p.giveWay(); err != nil {
			return err
		}
		shown, err = p.try(text, run)
	}
	switch code := codeOf(err); {
	case err == nil:
		p.keepKeys()
		p.shown = append(p.shown, text+shown)
	case code != "":
		p.shown = append(p.shown, text+": error "+code)
	case cancelled(err) && shown == ranText:
		p.shown = append(p.shown, text+ranText+cancelledText)
	case cancelled(err):
		p.shown = append(p.shown, text+cancelledText)
	}
	return err
}

const (
	cancelledText = ": cancelled"
	ranText       = ": run, its rows" // were cancelled: what it has written is there, if the transaction goes on
	preparedText  = ": done"
)

// mayHaveClosed reports whether the end of a context may have closed the rows that are in the way: the application was
// not told that they are open.
func (p *player) mayHaveClosed(open string) bool {
	n := len(p.shown)
	told := n < len(p.believes) && p.believes[n] == open
	return p.believes != nil && p.program.Cancel != nil && !told
}

// quietly is tell for what shows nothing but errors.
func (p *player) quietly(text string, run func() error) error {
	n := len(p.shown)
	err := p.tell(text, func() (string, error) { return "", run() })
	if err == nil && len(p.shown) == n+1 {
		p.shown = p.shown[:n]
	}
	return err
}

// try runs something, unless the application was told what the model does not know: then that is the answer. That is an
// error of a timeout, or that a Prepare has succeeded before anything was run: CockroachDB retries the first statement
// automatically, as of a later time, and does not prepare again what was prepared before it.
func (p *player) try(text string, run func() (string, error)) (string, error) {
	p.fresh = nil
	if len(p.shown) >= len(p.believes) {
		return run()
	}
	told := p.believes[len(p.shown)]
	switch {
	case told == text+cancelledText:
		return "", context.Canceled
	case told == text+ranText+cancelledText:
		if shown, err := run(); err != nil {
			return shown, err
		}
		return ranText, context.Canceled
	case !p.settled && told == text+preparedText:
		return preparedText, nil
	}
	for _, c := range outOfTime {
		if told == text+": error "+c {
			return "", code(c)
		}
	}
	return run()
}

func (p *player) block(b *Block) error {
	if err := p.savepoint(savepoint, b.Name); err != nil {
		return err
	}
	end := b.End
	for i := range b.Steps {
		err := p.step(&b.Steps[i])
		if expected(err) {
			end = RollBack
			break
		}
		if err != nil {
			return err
		}
	}
	if end != Release {
		if err := p.savepoint(rollbackTo, b.Name); err != nil {
			return err
		}
	}
	if end == RollBack {
		return nil
	}
	return p.savepoint(release, b.Name)
}

func (p *player) savepoint(verb, name string) error {
	return p.quietly(verb+" "+name, func() error { return p.on.savepoint(verb, name) })
}

const (
	codeDuplicate = "23505"
	codeDivision  = "22012"
	codeNoLock    = "55P03"
	codeCancelled = "57014"

	codeNoSavepoint = "3B001"
)

// outOfTime are the errors of timeouts, which the model can't foresee.
var outOfTime = []string{codeNoLock, codeCancelled}

// survivable are the errors after which an application goes on, if there is a savepoint.
var survivable = append([]string{codeDuplicate, codeDivision, codeNoTable, codeNoCursor, codeCursorThere}, outOfTime...)

// expected reports whether an error is one that the application goes on after. It must come bare: what wraps it means
// something else.
func expected(err error) bool { return slices.Contains(survivable, codeOf(err)) }

// codeOf is the SQLSTATE of an error of the server's, if it is bare: no errors.As here.
func codeOf(err error) string {
	if server, ok := err.(interface{ SQLState() string }); ok {
		return server.SQLState()
	}
	return ""
}
