package history

import (
	"fmt"
	"strings"
)

// An Outcome is what a client knows of the end of its transaction.
type Outcome string

// How a transaction ends.
const (
	Committed Outcome = "committed"
	Failed    Outcome = "failed"  // for certain: nothing of it may ever be seen
	Unknown   Outcome = "unknown" // it has happened as a whole, or not at all
)

// A Txn is a transaction on lists, as its client saw it.
type Txn struct {
	ID      int
	Ops     []Op
	Outcome Outcome
}

// An Op is one thing that a transaction did: an append of a value to a list, or a read of a whole list.
type Op struct {
	Key    int
	Append int   // the value; 0 for a read
	Read   []int // what the list held
}

func (o Op) isRead() bool { return o.Append == 0 }

func (o Op) String() string {
	if o.isRead() {
		return fmt.Sprintf("read k%d %v", o.Key, o.Read)
	}
	return fmt.Sprintf("append k%d %d", o.Key, o.Append)
}

func (t *Txn) name() string { return fmt.Sprintf("T%d", t.ID) }

func (t *Txn) String() string {
	ops := make([]string, len(t.Ops))
	for i, o := range t.Ops {
		ops[i] = o.String()
	}
	return fmt.Sprintf("T%d %s {%s}", t.ID, t.Outcome, strings.Join(ops, ", "))
}
