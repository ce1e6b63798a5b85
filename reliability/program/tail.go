package program

import (
	"fmt"
	"strings"
)

// A Tail is something by which a program commits before its end, and what it does after that. What stands before is the
// program's first part; each statement after it that is a transaction of its own is another, and so is the transaction
// that a text has begun.
type Tail struct {
	By       By
	Pair     [2]Statement // of HalfwayText: what stands before the COMMIT in it, and after
	Prepared bool         // it is prepared before it is run, by which a SchemaChange commits already
	Steps    []Statement
	Back     bool // at the end the application rolls back, or believes so
}

// By says what commits.
type By int

// What can commit before the end.
const (
	CommitText    By = iota // COMMIT as text; what follows stands alone
	HalfwayText             // a text that commits in its middle, and begins another transaction
	ShowTimestamp           // SHOW COMMIT TIMESTAMP; only Commit is left
	SchemaChange            // DDL that commits what is open; what follows stands alone
)

func (b By) String() string {
	return []string{
		"COMMIT as text", "a text that commits in its middle", "SHOW COMMIT TIMESTAMP", "CREATE TABLE of its own",
	}[b]
}

// parts is how many parts a program can have.
func (p *Program) parts() int {
	switch {
	case p.Halves != nil:
		return p.Halves.parts()
	case p.Tail == nil:
		return 1
	case p.Tail.By == HalfwayText:
		return 2
	}
	return 1 + len(p.Tail.Steps)
}

// standsAlone reports whether a part is one statement that is a transaction of its own.
func (p *Program) standsAlone(part int) bool {
	return part > 1 && p.Tail != nil && p.Tail.By != HalfwayText
}

// ends reports whether a part is committed by a statement, of whose answer the application knows.
func (p *Program) ends(part int) bool { return p.Tail != nil && (part == 1 || p.standsAlone(part)) }

// onlySchema reports whether a program does nothing but change the schema: it has no place in the order.
func (p *Program) onlySchema() bool {
	return p.Tail != nil && p.Tail.By == SchemaChange && len(p.Steps) == 0
}

func (t *Tail) write(b *strings.Builder, steps int) {
	fmt.Fprintf(b, "    %v%s\n", t.By, map[bool]string{true: ", prepared"}[t.Prepared])
	if t.By == HalfwayText {
		fmt.Fprintf(b, "      %v; COMMIT; BEGIN; tick; enter; %v\n", &t.Pair[0], &t.Pair[1])
	}
	for i := range t.Steps {
		fmt.Fprintf(b, "  %d %v%s\n", steps+1+i, &t.Steps[i], t.Steps[i].manner())
	}
	if t.Back {
		b.WriteString("    roll back\n")
	}
}

// after plays a part after the first.
func (p *player) after(part int) error {
	t := p.program.Tail
	if p.program.standsAlone(part) {
		return p.statement(&t.Steps[part-2])
	}
	if err := p.on.begun(t); err != nil {
		return err
	}
	for i := range t.Steps {
		if err := p.statement(&t.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// end is what commits the first part.
func (m *model) end(t *Tail) error {
	if err := m.within(); err != nil {
		return err
	}
	if t.By == HalfwayText {
		m.add(t.Pair[0].Lo, t.Pair[0].Delta)
	}
	return nil
}

// begun is the beginning of the second part.
func (m *model) begun(t *Tail) error {
	m.add(t.Pair[1].Lo, t.Pair[1].Delta)
	return nil
}

func (s *server) end(t *Tail) error {
	switch t.By {
	case ShowTimestamp:
		return s.showTimestamp()
	case CommitText:
		return s.control(t, "COMMIT")
	case SchemaChange:
		return s.control(t, "CREATE TABLE public."+madeTable(s.entry)+" (k INT8)")
	}
	first, second := t.Pair[0], t.Pair[1]
	return s.control(t, adds(first.Lo, first.Delta)+"; COMMIT; BEGIN; "+tickAndEnter(s.entry.program, s.entry.call, 2)+
		adds(second.Lo, second.Delta)+"; ")
}

func (*server) begun(*Tail) error { return nil } // by the text

// control runs what commits.
func (s *server) control(t *Tail, text string) error {
	if t.Prepared {
		return s.prepareAndRun(text)
	}
	_, err := s.on.ExecContext(s.step, text)
	return err
}

// prepareAndRun prepares a statement, runs it once, and closes it.
func (s *server) prepareAndRun(text string, args ...any) error {
	stmt, err := s.on.PrepareContext(s.step, text)
	if err != nil {
		return err
	}
	defer stmt.Close()
	_, err = stmt.ExecContext(s.step, args...)
	return err
}

// timestampUnread says that SHOW COMMIT TIMESTAMP has begun to answer, and was cancelled.
const timestampUnread = "the commit's timestamp was not read"

func (s *server) showTimestamp() error {
	r, err := s.rows(s.on.QueryContext(s.step, "SHOW COMMIT TIMESTAMP"))
	if err != nil {
		return err
	}
	_, _, err = (&player{}).read(r, false, -1) // it is never the same, so that it is not shown
	_, err = (&player{}).closed(r, false, "", err)
	if cancelled(err) { // by database/sql, which closes the rows
		return besides{timestampUnread, err}
	}
	return err
}

// madeTable is the table that a call of a program has made.
func madeTable(e entry) string { return fmt.Sprintf("made_%d_%d", e.program, e.call) }
