package program

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// TestLockWatch shows it locks, most of which must not be.
func TestLockWatch(t *testing.T) {
	t.Parallel()
	lock, event := shapes[0].lock, func(c cockroachdb.LockChange) cockroachdb.LockEvent {
		return cockroachdb.LockEvent{Change: c, Text: "SELECT k, i FROM kv WHERE k = ?"}
	}
	for name, c := range map[string]struct {
		sent   []string
		events []cockroachdb.LockChange
		wrong  string // "" for nothing
	}{
		"a lock":              {sent: []string{"BEGIN", lock, "COMMIT"}},
		"a lock for shares":   {sent: []string{"BEGIN", shapes[0].read + " FOR SHARE", "COMMIT"}},
		"another lock":        {sent: []string{"BEGIN", lock + " NOWAIT"}, wrong: "it must not be added to this text, or not so"},
		"of another text":     {sent: []string{"BEGIN", "SELECT DISTINCT k, i FROM kv FOR UPDATE"}, wrong: "or not so: SELECT DIS"},
		"after the end":       {sent: []string{"BEGIN", lock, "ROLLBACK", lock}, wrong: "there is no transaction"},
		"of one that reads":   {sent: []string{"BEGIN READ ONLY", lock}, wrong: "the transaction only reads"},
		"learned":             {events: []cockroachdb.LockChange{cockroachdb.LockLearned, cockroachdb.LockFailed}},
		"told late":           {events: []cockroachdb.LockChange{cockroachdb.LockFailed, cockroachdb.LockLearned}},
		"unlearned and again": {events: []cockroachdb.LockChange{"learned", "error", "learned"}, wrong: "in turns"},
		"unlearned twice":     {events: []cockroachdb.LockChange{"learned", "error", "error"}, wrong: "in turns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLockWatch()
			for _, text := range c.sent {
				w.note(crdbsim.Point{SQL: text, Stage: crdbsim.AtExecute})
			}
			for _, change := range c.events {
				w.changed(t.Context(), event(change))
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
