package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// A RegisterOp is a transaction on one register, as its client saw it. Values are written as text; NULL is a value
// like any other.
type RegisterOp struct {
	Client int
	Key    int
	Kind   RegisterKind
	Old    string // compared with, by a CompareAndSet
	New    string // written, by a Write or a CompareAndSet
	Saw    string // by a Read
	Set    bool   // whether a CompareAndSet found Old

	Outcome      Outcome
	Call, Return time.Duration // since the history began
}

// RegisterKind says what an operation does.
type RegisterKind string

// What can be done with a register.
const (
	Read          RegisterKind = "read"
	Write         RegisterKind = "write"
	CompareAndSet RegisterKind = "compare and set"
)

func (o RegisterOp) String() string {
	text := fmt.Sprintf("%v to %v, client %d, %s: %s k%d", o.Call, o.Return, o.Client, o.Outcome, o.Kind, o.Key)
	switch o.Kind {
	case Read:
		return text + " = " + o.Saw
	case Write:
		return text + " " + o.New
	}
	return text + fmt.Sprintf(" %s to %s, found it: %v", o.Old, o.New, o.Set)
}

// decideIn is for how long a checker looks for an order. It is a safety net: it takes milliseconds.
const decideIn = time.Minute

// CheckRegisters says which registers were not linearizable. All begin with the value initial.
func CheckRegisters(ops []RegisterOp, initial string) []Anomaly {
	var found anomalies
	byKey := map[int][]RegisterOp{}
	for _, o := range ops {
		// Of a failed one nothing must be seen, and a read that may not have happened tells nothing.
		if o.Outcome == Committed || o.Outcome == Unknown && o.Kind != Read {
			byKey[o.Key] = append(byKey[o.Key], o)
		}
	}
	for key, ops := range byKey {
		slices.SortFunc(ops, func(a, b RegisterOp) int { return cmp.Compare(a.Return, b.Return) })
		switch linearizable(ops, initial) {
		case porcupine.Illegal:
			found.add(NotLinearizable, "k%d, which was %s at first; the last of these has no place: %s",
				key, initial, tell(cut(ops, initial)))
		case porcupine.Unknown:
			found.add(Undecided, "k%d: %d operations", key, len(ops))
		case porcupine.Ok:
		}
	}
	return found.few()
}

func linearizable(ops []RegisterOp, initial string) porcupine.CheckResult {
	model := porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, output any) (bool, any) { return output.(RegisterOp).step(state.(string)) },
	}
	operations := make([]porcupine.Operation, len(ops))
	for i, o := range ops {
		operations[i] = porcupine.Operation{
			ClientId: i, Input: o.Kind, Output: o, Call: int64(o.Call), Return: int64(o.Return),
		}
		if o.Outcome == Unknown {
			operations[i].Return = math.MaxInt64 // it may happen whenever it likes
		}
	}
	return porcupine.CheckOperationsTimeout(model, operations, decideIn)
}

// step says whether o can happen to a register that holds state, and what it holds then.
func (o RegisterOp) step(state string) (bool, any) {
	switch {
	case o.Kind == Read:
		return o.Saw == state, state
	case o.Kind == Write:
		return true, o.New
	case o.Outcome == Unknown && o.Old == state:
		return true, o.New
	case o.Outcome == Unknown:
		return true, state
	case o.Set:
		return o.Old == state, o.New
	}
	return o.Old != state, state
}

// cut cuts a history that is not linearizable short, at the first operation with which it is not.
func cut(ops []RegisterOp, initial string) []RegisterOp {
	first := sort.Search(len(ops)-1, func(i int) bool {
		return linearizable(until(ops, ops[i].Return), initial) != porcupine.Ok
	})
	return until(ops, ops[first].Return)
}

// until is the history as it was at a time: what had not returned may yet happen or not.
func until(ops []RegisterOp, now time.Duration) []RegisterOp {
	var past []RegisterOp
	for _, o := range ops {
		switch {
		case o.Return <= now:
			past = append(past, o)
		case o.Call <= now && o.Kind != Read:
			o.Outcome = Unknown
			past = append(past, o)
		}
	}
	return past
}

// told is how many operations are told of a history.
const told = 12

func tell(ops []RegisterOp) string {
	var text strings.Builder
	for _, o := range ops[max(0, len(ops)-told):] {
		text.WriteString("\n  " + o.String())
	}
	return text.String()
}
