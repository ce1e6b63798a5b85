package program

import (
	"fmt"
	"strings"
)

// A store is what programs are played on: the server, through the driver; or the model.
type store interface {
	run(*Statement, value) (answer, error)
	savepoint(verb, name string) error
}

// An answer is what a statement shows.
type answer struct {
	rows     [][]any
	end      bool // that there are no more rows
	affected int64
}

const (
	savepoint  = "SAVEPOINT"
	rollbackTo = "ROLLBACK TO SAVEPOINT"
	release    = "RELEASE SAVEPOINT"
)

// A player plays the steps of a program once, and keeps what they show.
type player struct {
	on      store
	program *Program
	at      func(step int) // called before each
	shown   []string
	number  any // the one shown last
}

func (p *player) play() error {
	for i := range p.program.Steps {
		if err := p.reach(i); err != nil {
			return err
		}
		if err := p.step(&p.program.Steps[i]); err != nil {
			return err
		}
	}
	return p.reach(len(p.program.Steps))
}

func (p *player) reach(i int) error {
	for _, s := range p.program.before(i) {
		if _, err := p.on.run(&s, value{}); err != nil {
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
	v := s.value(p.number)
	a, err := p.on.run(s, v)
	text := s.String()
	if s.writes() {
		text += " = " + show(v.shown)
	}
	if err != nil {
		if code := codeOf(err); code != "" {
			p.shown = append(p.shown, text+": error "+code)
		}
		return err
	}
	p.shown = append(p.shown, text+p.see(s, a))
	return nil
}

// see notes what a statement shows.
func (p *player) see(s *Statement, a answer) string {
	var b strings.Builder
	if s.Kind.rows() {
		b.WriteByte(':')
		for _, row := range a.rows {
			b.WriteByte(' ')
			b.WriteString(showRow(row))
			p.number = row[1]
		}
		if a.end {
			b.WriteString(" end")
		}
	}
	if s.Ask {
		fmt.Fprintf(&b, ": %d rows affected", a.affected)
	}
	return b.String()
}

func (p *player) block(b *Block) error {
	if err := p.on.savepoint(savepoint, b.Name); err != nil {
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
		if err := p.on.savepoint(rollbackTo, b.Name); err != nil {
			return err
		}
	}
	if end == RollBack {
		return nil
	}
	return p.on.savepoint(release, b.Name)
}

const (
	codeDuplicate = "23505"
	codeDivision  = "22012"
)

// expected says whether an error is one that the application goes on after, if there is a savepoint. It must come bare: what wraps
// it means something else.
func expected(err error) bool {
	code := codeOf(err)
	return code == codeDuplicate || code == codeDivision
}

// codeOf is the SQLSTATE of an error of the server's, if it is bare: no errors.As here.
func codeOf(err error) string {
	if server, ok := err.(interface{ SQLState() string }); ok {
		return server.SQLState()
	}
	return ""
}
