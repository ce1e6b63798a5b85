package history

import (
	"fmt"
	"slices"
)

// A Class names what is wrong. The letters and digits are Adya's ("Weak Consistency", 1999).
type Class string

// What a checker can find.
const (
	Duplicate         Class = "duplicate"          // something happened twice
	PhantomCommit     Class = "phantom commit"     // nothing of a transaction is there that was reported committed
	LostWrite         Class = "lost write"         // a part of a committed transaction is missing
	DirtyRead         Class = "G1a dirty read"     // something was seen of a transaction that failed
	IntermediateRead  Class = "G1b dirty read"     // something was seen that its transaction went on to change
	GarbageRead       Class = "garbage read"       // something was seen that nobody wrote
	IncompatibleOrder Class = "incompatible order" // two transactions saw the same writes in different orders
	Internal          Class = "internal"           // a transaction did not see its own writes, or saw the others' change

	WriteCycle      Class = "G0 write cycle"             // transactions overwrote each other, each the other
	CircularFlow    Class = "G1c circular flow"          // transactions have seen each other's writes
	LostUpdate      Class = "G-single lost update"       // two have read the same version and both written the next
	ReadSkew        Class = "G-single read skew"         // a transaction saw another both happened and not
	WriteSkew       Class = "G2 write skew"              // two have each read what the other one wrote, and not seen it
	AntiDependency  Class = "G2 anti-dependency cycle"   // the same among more than two
	NotLinearizable Class = "not linearizable"           // no order that agrees with the clock explains what was read
	MoneyMadeOrLost Class = "money made or lost"         // accounts don't add up
	NobodyOnCall    Class = "write skew: nobody on call" // all have gone, each because another stayed
	Undecided       Class = "not decided"                // the checker gave up
)

// An Anomaly is something that no serial order of the transactions explains.
type Anomaly struct {
	Class  Class
	Detail string // which transactions, and what they did
}

// String begins with "anomaly: " and the class, so that it can be found in a log.
func (a Anomaly) String() string { return fmt.Sprintf("anomaly: %s: %s", a.Class, a.Detail) }

type anomalies []Anomaly

func (as *anomalies) add(class Class, format string, args ...any) {
	*as = append(*as, Anomaly{Class: class, Detail: fmt.Sprintf(format, args...)})
}

// fewOfEach is how many anomalies of one class are told: one bug makes hundreds.
const fewOfEach = 3

// few drops what is told often enough.
func (as anomalies) few() []Anomaly {
	told := map[Class]int{}
	return slices.DeleteFunc(as, func(a Anomaly) bool {
		told[a.Class]++
		return told[a.Class] > fewOfEach
	})
}
