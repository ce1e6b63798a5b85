package program

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb"
)

// A Form is how the application runs a program.
type Form int

// How an application can run a program.
const (
	Plain    Form = iota // BeginTx, statements, Commit
	Closure              // RunTx
	ReadOnly             // BeginTx, and nothing is written; reading the clock gives the program its place
	Single               // one statement, outside of a transaction
	Halved               // likewise, and it may commit in its middle
	Looped               // BeginTx, and a loop of the application's own around its savepoint cockroach_restart
)

// A Program is a short transaction. Each runs once, in the hope of being committed; what becomes of it is its [Result].
type Program struct {
	ID       int64
	Form     Form
	Steps    []Step
	Tail     *Tail   // nil for a program that commits at its end
	Halves   *Halves // nil unless it is Halved
	Clock    int     // the clock is counted up before this step, or at the end
	Enter    int     // the commit is noted before this step, or at the end; not before the clock
	Forgo    bool    // the application rolls back at the end
	Own      bool    // it has a *sql.Conn of its own; not by RunTx
	Level    sql.IsolationLevel
	Settings Settings
	Mask     Mask
	Careless bool // it goes on after errors, and looks at what Commit says; only Plain
	Patient  bool // it reads the rows that are in its way to their end; else it closes them
	Policy   Policy
	Cancel   *Cancel
}

// outside reports whether a program is one statement outside of a transaction.
func (p *Program) outside() bool { return p.Form == Single || p.Form == Halved }

// A Mask is a read in the form of which a program counts the clock up and notes its commit. Unless it also writes
// otherwise, nothing but the servers' knowledge of a function says that it has written.
type Mask int

// What can mask a write.
const (
	Unmasked Mask = iota
	BySelect      // of a function
	ByFetch       // of a cursor's row
	ByMove        // past it
)

func (m Mask) String() string {
	return []string{"", ", masked by SELECT", ", masked by FETCH", ", masked by MOVE"}[m]
}

// Settings say whether a program depends on settings of the session, and so sets them first.
type Settings int

// Where settings are set first.
const (
	NoSettings Settings = iota
	Outside             // on the connection, before the transaction; only with a connection of its own
	Inside              // in the transaction
)

// A Policy is one of the few that programs are run under.
type Policy int

// The policies.
const (
	Default Policy = iota
	Tight          // soon steps aside
	Never          // does not retry
	Slow           // waits for so long that contexts end meanwhile
	Stay           // does not go on, on another connection, when one is lost
)

func (p Policy) policy() cockroachdb.RetryPolicy {
	policy := cockroachdb.DefaultRetryPolicy()
	// Injected conflicts don't get fewer by waiting.
	policy.InitialBackoff, policy.MaxBackoff = time.Millisecond, 20*time.Millisecond
	switch p {
	case Tight:
		policy.MaxAttempts, policy.MaxBytes, policy.LaneWait = 3, 1600, 20*time.Millisecond
	case Never:
		policy.MaxAttempts = 1
	case Stay:
		policy.MaxFailovers = 0
	case Slow:
		policy.InitialBackoff, policy.MaxBackoff = 4*maxCancel, 8*maxCancel
	}
	return policy
}

// A Cancel ends a context while a step is under way, or the commit.
type Cancel struct {
	Step  int // the number of the step; after the last one comes the commit
	After time.Duration
	Whole bool // the transaction's context, not only that of the step
}

// A Step is a statement or a block.
type Step struct {
	Statement
	Block *Block // in place of the statement
	If    If
}

// An If says when a step is done.
type If int

// When a step can be done.
const (
	Always If = iota
	Even      // the number shown last is even, or NULL
	Odd
)

func (i If) holds(number any) bool {
	n, _ := number.(int64)
	return i == Always || (n%2 == 0) == (i == Even)
}

// A Block is what follows a savepoint. An error that an application may expect ends it, and it is rolled back.
type Block struct {
	Name  string
	Steps []Step
	End   End
}

// An End is what becomes of a block in which nothing failed.
type End int

// What can become of a block.
const (
	Release End = iota
	RollBack
	RollBackAndRelease
)

func (p *Program) String() string {
	var b strings.Builder
	form := []string{"BeginTx", "RunTx", "read-only", "a statement alone", "halves", "a loop of its own"}[p.Form]
	fmt.Fprintf(&b, "program %d, %s", p.ID, form)
	b.WriteString([]string{"", ", a tight policy", ", no retries", ", long waits", ", no other connection"}[p.Policy])
	b.WriteString([]string{"", ", settings first", ", settings inside"}[p.Settings])
	b.WriteString(p.Mask.String())
	if p.Level != sql.LevelDefault {
		b.WriteString(", " + strings.ToLower(p.Level.String()))
	}
	for _, m := range []struct {
		is   bool
		text string
	}{{p.Own, "a connection of its own"}, {p.Careless, "careless"}, {p.Patient, "patient"}} {
		if m.is {
			b.WriteString(", " + m.text)
		}
	}
	if c := p.Cancel; c != nil {
		fmt.Fprintf(&b, ", cancelled %v into step %d", c.After, c.Step+1)
		if c.Whole {
			b.WriteString(" with its transaction")
		}
	}
	b.WriteByte('\n')
	for i, s := range p.Steps {
		p.hidden(&b, i)
		s.write(&b, fmt.Sprintf("  %d ", i+1))
	}
	p.hidden(&b, len(p.Steps))
	if p.Tail != nil {
		p.Tail.write(&b, len(p.Steps))
	}
	if p.Halves != nil {
		b.WriteString(p.Halves.String())
	}
	if p.Forgo {
		b.WriteString("    roll back\n")
	}
	return b.String()
}

// hidden writes what is done before a step and not shown.
func (p *Program) hidden(b *strings.Builder, i int) {
	for _, s := range p.before(i) {
		fmt.Fprintf(b, "    %v\n", &s)
	}
}

// before are the statements that are run before a step without showing anything.
func (p *Program) before(i int) (hidden []Statement) {
	if p.Form == ReadOnly || p.outside() {
		return nil
	}
	if i == 0 && p.Settings == Inside {
		hidden = append(hidden, Statement{Kind: Assign, Word: words[0]})
		hidden = append(hidden, Statement{Kind: Assign, Path: true, Word: paths[0]})
	}
	if p.onlySchema() {
		return hidden
	}
	if i == min(p.Clock, len(p.Steps)) {
		hidden = append(hidden, Statement{Kind: tick})
	}
	if i == min(p.Enter, len(p.Steps)) {
		hidden = append(hidden, Statement{Kind: enter})
	}
	return hidden
}

func (s *Step) write(b *strings.Builder, lead string) {
	b.WriteString(lead)
	b.WriteString([]string{"", "if even: ", "if odd: "}[s.If])
	if s.Block == nil {
		b.WriteString(s.Statement.String() + s.manner() + "\n")
		return
	}
	fmt.Fprintf(b, "savepoint %s\n", s.Block.Name)
	indent := strings.Repeat(" ", len(lead)+2)
	for _, inner := range s.Block.Steps {
		inner.write(b, indent)
	}
	fmt.Fprintf(b, "%s%s\n", indent[2:], []string{"release", "rollback to", "rollback to, release"}[s.Block.End])
}
