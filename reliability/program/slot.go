package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Results that are left open while other statements run, and looked at later or never. The driver reads an empty one to
// its end at once, so that others may run meanwhile; one with rows is in their way. A program that is told so knows
// that there are rows.

var slotSpecs = map[Kind]spec{
	Look: {name: "look at", about: func(s *Statement) string { return fmt.Sprint(s.Slot) }, reads: true},
}

// A result is the rows of a query. Of next, io.EOF means that there are no more.
type result interface {
	columns() ([]string, error)
	next() ([]any, error)
	close() error
}

// An opened result, and the statement that it answers.
type opened struct {
	result
	of *Statement
}

// errStillOpen is what the model says; the driver has words of its own for it.
var errStillOpen = errors.New("rows are still open")

func stillOpen(err error) bool { return err != nil && strings.Contains(err.Error(), "still open") }

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// leaveOpen runs a query whose rows are not read yet.
func (p *player) leaveOpen(s *Statement, v value) (string, error) {
	r, err := p.on.query(s, v)
	if err != nil {
		return "", err
	}
	if p.open == nil {
		p.open = make(map[int]opened)
	}
	p.open[s.Slot] = opened{r, s}
	return ": left open", nil
}

// look reads of a result that was left open, if there is one.
func (p *player) look(s *Statement) error {
	o, there := p.open[s.Slot]
	if !there {
		return nil
	}
	return p.tell(s.String(), func() (string, error) {
		stop, keep := s.Stop, s.Keep && s.Stop >= 0 && !o.of.Row
		if o.of.Row {
			stop = 1
		}
		text, end, err := p.read(o.result, o.of.Names && !o.of.Row, stop)
		if keep && !end && err == nil {
			return text, nil
		}
		delete(p.open, s.Slot)
		return p.closed(o.result, s.Deaf, text, err)
	})
}

// read reads that many rows, or all of them.
func (p *player) read(r result, names bool, stop int) (text string, end bool, err error) {
	var b strings.Builder
	b.WriteByte(':')
	if names {
		columns, err := r.columns()
		if err != nil {
			return "", false, err
		}
		fmt.Fprintf(&b, " %v", columns)
	}
	for n := 0; stop < 0 || n < stop; n++ {
		row, err := r.next()
		if errors.Is(err, io.EOF) {
			return b.String() + " end", true, nil
		}
		if err != nil {
			return "", false, err
		}
		b.WriteString(" " + showRow(row))
		if len(row) > 1 {
			p.number = row[1]
		}
		if key, ok := row[0].(bornKey); ok {
			p.fresh = append(p.fresh, key)
		}
	}
	return b.String(), false, nil
}

// closed closes a result after what was read of it. The error stays bare, since that is what an application looks at.
func (*player) closed(r result, deaf bool, text string, err error) (string, error) {
	closeErr := r.close()
	if err == nil && !deaf {
		err = closeErr
	}
	return text, err
}

// giveWay reads or closes what is open, in order to run a statement that was refused because of it.
func (p *player) giveWay() error {
	for _, slot := range slices.Sorted(maps.Keys(p.open)) {
		s := Statement{Kind: Look, Slot: slot, Stop: 0}
		if p.program.Patient {
			s.Stop = -1
		}
		if err := p.look(&s); err != nil {
			return err
		}
	}
	return nil
}

// closeAll closes what nobody will look at.
func (p *player) closeAll() {
	for _, o := range p.open {
		_ = o.close()
	}
	p.open = nil
}
