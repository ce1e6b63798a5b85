package program

import (
	"cmp"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// TestLockWatch shows it locks, most of which must not be.
func TestLockWatch(t *testing.T) {
	t.Parallel()
	lock := shapes[0].lock
	for name, c := range map[string]struct {
		sent   []string
		events []cockroachdb.LockChange
		text   string // of the events; "" for one that may lock
		wrong  string // "" for nothing
	}{
		"a lock":              {sent: []string{"BEGIN", lock, "COMMIT"}},
		"a lock for shares":   {sent: []string{"BEGIN", shapes[0].read + " FOR SHARE", "COMMIT"}},
		"another lock":        {sent: []string{"BEGIN", lock + " NOWAIT"}, wrong: "it must not be added"},
		"of another text":     {sent: []string{"BEGIN", "SELECT k, i FROM kv FOR UPDATE"}, wrong: "it must not be added"},
		"after the end":       {sent: []string{"BEGIN", lock, "ROLLBACK", lock}, wrong: "there is no transaction"},
		"of one that reads":   {sent: []string{"BEGIN READ ONLY", lock}, wrong: "the transaction only reads"},
		"learned":             {events: []cockroachdb.LockChange{cockroachdb.LockLearned, cockroachdb.LockFailed}},
		"told late":           {events: []cockroachdb.LockChange{cockroachdb.LockFailed, cockroachdb.LockLearned}},
		"unlearned and again": {events: []cockroachdb.LockChange{"learned", "error", "learned"}, wrong: "in turns"},
		"learned wrongly":     {events: []cockroachdb.LockChange{"learned"}, text: "another", wrong: "must not be learned"},
		"unlearned twice":     {events: []cockroachdb.LockChange{"learned", "error", "error"}, wrong: "in turns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLockWatch()
			for _, text := range c.sent {
				w.note(crdbsim.Point{SQL: text, Stage: crdbsim.AtExecute})
			}
			for _, change := range c.events {
				text := cmp.Or(c.text, "SELECT k, i FROM kv WHERE k = ?")
				w.changed(t.Context(), cockroachdb.LockEvent{Change: change, Text: text})
			}
			if c.wrong == "" {
				assert.Empty(t, w.stop().Wrong)
				return
			}
			r := aRound()
			h := honest(r)
			h.Locks = w.stop()
			found := Check(r, h)
			if assert.Len(t, found, 1) {
				assert.Equal(t, WrongLock, found[0].Kind)
				assert.Contains(t, found[0].Text, c.wrong)
			}
		})
	}
}

// TestLockErrors_ShownByAProgramThatIsNotCommitted_AreFound: the model looks only at those that are.
func TestLockErrors_ShownByAProgramThatIsNotCommitted_AreFound(t *testing.T) {
	t.Parallel()
	for line, wrong := range map[string]bool{
		"peek 0 by key: error " + lockRefusals[0]: true,
		"peek 0 by key: error " + codeNoLock:      false,
		"get 0.i: error " + lockRefusals[0]:       false,
		"peek 0 by key: end":                      false,
	} {
		c := &checker{history: &History{Results: map[int64]Result{1: {Calls: []Call{{{Shown: []string{line}}}}}}}}
		c.lockErrors()
		assert.Equal(t, wrong, len(c.found) == 1 && c.found[0].Kind == WrongLock, line)
	}
}
