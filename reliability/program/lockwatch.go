package program

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// A lockWatch looks at the locks that the driver adds: no application sees them.
type lockWatch struct {
	mu      sync.Mutex
	begun   map[uint64]string // by connection: how its transaction began; "" for none
	sent    map[string]int    // texts with an added lock, how often they were run
	changes map[string][]cockroachdb.LockChange
	wrong   []string
}

func newLockWatch() *lockWatch {
	return &lockWatch{
		begun: make(map[uint64]string), sent: make(map[string]int), changes: make(map[string][]cockroachdb.LockChange),
	}
}

// lockTexts are those that the driver may make.
var lockTexts = func() map[string]bool {
	locks := make(map[string]bool)
	for _, s := range shapes {
		if s.lock != "" {
			locks[s.lock] = true
		}
	}
	return locks
}()

// learnable are the texts of which those are made, as events have them.
var learnable = func() map[string]bool {
	texts := make(map[string]bool)
	without := strings.NewReplacer("$1", "?", "'f'", "?", "b = 0", "b = ?", "LIMIT 1", "LIMIT ?", " -- that is all", "")
	for _, s := range shapes {
		if s.lock != "" {
			texts[without.Replace(s.read)] = true
		}
	}
	return texts
}()

// note takes note of a statement that the server is about to parse, to bind or to run.
func (w *lockWatch) note(p crdbsim.Point) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := strings.ToUpper(p.SQL)
	runs := p.Stage == crdbsim.AtExecute
	switch {
	case !runs:
	case strings.HasPrefix(text, "BEGIN"):
		w.begun[p.Conn] = text
	case text == "COMMIT", text == "ROLLBACK":
		delete(w.begun, p.Conn)
	}
	if !strings.Contains(text, "FOR UPDATE") {
		return
	}
	if runs {
		w.sent[p.SQL]++
	}
	switch {
	case !lockTexts[p.SQL]:
		w.add("it must not be added to this text, or not so: %s", p.SQL)
	case !runs:
	case w.begun[p.Conn] == "":
		w.add("there is no transaction: %s", p.SQL)
	case strings.Contains(w.begun[p.Conn], "READ ONLY"):
		w.add("the transaction only reads: %s", p.SQL)
	}
}

// add notes what is wrong, once.
func (w *lockWatch) add(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.wrong, text) {
		w.wrong = append(w.wrong, text)
	}
}

// changed is told what has become of a text. In a round, which is shorter than the time for which a text is left alone,
// it is learned at most once, and unlearned at most once. The one may be told after the other.
func (w *lockWatch) changed(_ context.Context, e cockroachdb.LockEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(w.changes[e.Text], e.Change)
	w.changes[e.Text] = all
	if e.Change == cockroachdb.LockLearned && !learnable[e.Text] {
		w.add("it must not be learned: %s", e.Text)
	}
	learned := 0
	for _, c := range all {
		if c == cockroachdb.LockLearned {
			learned++
		}
	}
	if learned > 1 || len(all)-learned > 1 {
		w.add("it was learned and unlearned in turns, %q: %s", all, e.Text)
	}
}

// lockErrors looks for errors that reads without a lock can't have met, shown by programs that were committed or not.
func (c *checker) lockErrors() {
	for id, res := range c.history.Results {
		for _, call := range res.Calls {
			for _, part := range call {
				for _, line := range part.Shown {
					if isOfLock(line) {
						c.add(WrongLock, c.programs[id], "the application has added none, and was shown its error: %s", line)
					}
				}
			}
		}
	}
}

func isOfLock(line string) bool {
	text, code, failed := strings.Cut(line, ": error ")
	return failed && strings.HasPrefix(text, Peek.String()+" ") && slices.Contains(lockRefusals, code)
}

// stop gives what was seen.
func (w *lockWatch) stop() Locks {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := Locks{Changes: make(map[cockroachdb.LockChange]int), Wrong: w.wrong}
	for _, n := range w.sent {
		l.Sent += n
	}
	for _, all := range w.changes {
		for _, c := range all {
			l.Changes[c]++
		}
	}
	return l
}

// Locks are what was seen of the locks that the driver has learned in a round.
type Locks struct {
	Sent    int // statements that had one
	Changes map[cockroachdb.LockChange]int
	Wrong   []string
}
