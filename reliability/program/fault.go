package program

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/reliability/outage"
)

// Faults are what may go wrong in a round: how likely each kind is to strike a message, and what happens to the node,
// or the nodes.
type Faults struct {
	Seed    uint64
	Rates   map[string]float64 // by the name of the kind
	Nodes   []NodeFault        // where there is one node
	Outages []outage.Outage    // in a cluster; over and over as long as programs run
}

// A NodeFault strikes all connections of a round at once.
type NodeFault struct {
	After  int  // this many programs have ended
	Drain  bool // the node shuts down in good order; else it dies
	Pooler bool // the pooler in front of it is killed instead, and started again
}

func (n NodeFault) String() string {
	what := "the node dies"
	switch {
	case n.Pooler:
		what = "the pooler is killed"
	case n.Drain:
		what = "the node drains"
	}
	return fmt.Sprintf("%s after %d programs", what, n.After)
}

func (f Faults) String() string {
	if len(f.Rates)+len(f.Nodes)+len(f.Outages) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.Rates)) {
		parts = append(parts, fmt.Sprintf("%s %.1f %%", name, 100*f.Rates[name]))
	}
	for _, n := range f.Nodes {
		parts = append(parts, n.String())
	}
	for _, o := range f.Outages {
		parts = append(parts, o.String())
	}
	return strings.Join(parts, ", ")
}

// A faultKind is a fault with the places where it can strike without making the server a liar: one that has committed
// never says that it has not.
type faultKind struct {
	name   string
	share  float64 // how much likelier than others it is
	at     crdbsim.Stage
	where  func(*place) bool
	action func(*rand.Rand) crdbsim.Action
}

// A place is what is known of a point.
type place struct {
	commit   bool // RELEASE of the restart savepoint, COMMIT, or what else commits
	schema   bool // a change of the schema that a program ends with
	rollback bool // ROLLBACK, which never fails
	restart  bool // ROLLBACK TO the restart savepoint
	data     bool // a statement of the application's that reads or writes
	many     bool // a read with many rows in its answer, in a transaction that is in order, or outside of any
	inside   bool // the transaction is in order

	restarted bool // the statement before was that ROLLBACK TO
	locked    bool // a read to which the driver has added a lock
	lost      bool // the statement before was answered with a conflict
	forgotten bool // the server has lost all prepared statements since this one was prepared
}

func placeOf(p crdbsim.Point) *place {
	text := strings.ToLower(p.SQL)
	word, _, _ := strings.Cut(text, " ")
	begins := func(with string) bool { return strings.HasPrefix(text, with) }
	schema := begins("create table public.made")
	commit := schema || begins("release savepoint cockroach_restart") || begins("show commit") || begins("commit") ||
		begins("call ") || strings.Contains(text, "; commit;")
	return &place{
		commit:   commit,
		schema:   schema,
		rollback: text == "rollback",
		restart:  begins("rollback to savepoint cockroach_restart"),
		data:     !commit && slices.Contains([]string{"select", "insert", "update", "delete", "with"}, word),
		many:     word == "select" && strings.Contains(text, " order by ") && p.Status != 'E',
		inside:   p.Status == 'T',
		locked:   lockTexts[p.SQL],
	}
}

func anywhere(at *place) bool   { return !at.rollback }
func cuttable(*place) bool      { return true }
func ofMany(at *place) bool     { return at.many }
func ofData(at *place) bool     { return at.data }
func dataInside(at *place) bool { return at.data && at.inside }
func ofLock(at *place) bool     { return at.locked && at.inside }
func ofCommit(at *place) bool   { return at.commit && at.inside }
func ofSchema(at *place) bool   { return at.schema }
func ofRestart(at *place) bool  { return at.restart }
func restarted(at *place) bool  { return at.data && at.inside && at.restarted }
func forgotten(at *place) bool  { return at.forgotten }
func ofLost(at *place) bool     { return at.rollback && at.lost }

// then is an action without a choice.
func then(a crdbsim.Action) func(*rand.Rand) crdbsim.Action {
	return func(*rand.Rand) crdbsim.Action { return a }
}

// does is an action of which there is no more to say.
func does(what crdbsim.Then) func(*rand.Rand) crdbsim.Action { return then(crdbsim.Action{Then: what}) }

// fail has a statement answered with an error in place of being run, and failAfter after it was run.
func fail(code, message string) func(*rand.Rand) crdbsim.Action {
	return then(crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Error{Code: code, Message: message}})
}

func failAfter(code, message string) func(*rand.Rand) crdbsim.Action {
	return then(crdbsim.Action{Then: crdbsim.ExecuteFail, Error: crdbsim.Error{Code: code, Message: message}})
}

// lockRefusals are errors that a lock may meet, and a read without it can't. (That it waits for too long is none: the
// replay of another statement may.)
var lockRefusals = []string{"42501", "42809"}

func refusesLock(rnd *rand.Rand) crdbsim.Action {
	return fail(lockRefusals[rnd.IntN(len(lockRefusals))], "the row can't be locked")(rnd)
}

var conflicts = []string{
	"RETRY_WRITE_TOO_OLD", "RETRY_SERIALIZABLE", "ABORT_REASON_ABORTED_RECORD_FOUND", "ReadWithinUncertaintyInterval",
}

func conflict(how crdbsim.Then) func(*rand.Rand) crdbsim.Action {
	return func(rnd *rand.Rand) crdbsim.Action {
		rows := rnd.IntN(4)
		if rnd.IntN(3) == 0 {
			rows = rnd.IntN(wideRows)
		}
		return crdbsim.Action{Then: how, AfterRows: rows, Error: crdbsim.Conflict(conflicts[rnd.IntN(len(conflicts))])}
	}
}

const maxDelay = 8 * time.Millisecond

func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }

const (
	shutDown    = "server is shutting down"
	timeoutText = "canceling statement due to a timeout"
	unknownText = "statement completion unknown"
)

// Kinds of fault that are looked for by their names.
const (
	refusedAfterRestart = "first statement after ROLLBACK TO refused"
	conflictInstead     = "conflict in place of the answer"
	conflictAtCommit    = "conflict at the commit"
	statementsLost      = "all prepared statements lost"
)

// refusedCodes are those with which a server has been seen to refuse it.
var refusedCodes = []string{"XX000", "0A000", "3B001"}

// farewells are what the server says when it ends a connection inside of a transaction.
var farewells = []crdbsim.Error{
	{Severity: "FATAL", Code: "40001", Message: "terminating connection due to conflict with recovery"},
	{Severity: "FATAL", Code: "25P03", Message: "terminating connection due to idle-in-transaction timeout"},
}

var faultKinds = []faultKind{
	{conflictInstead, 4, crdbsim.AtExecute, anywhere, conflict(crdbsim.Fail)},
	{"conflict after the statement has run", 4, crdbsim.AtExecute, dataInside, conflict(crdbsim.ExecuteFail)},
	{"conflict in the middle of rows", 20, crdbsim.AtExecute, ofMany, conflict(crdbsim.ExecuteFail)},
	{conflictAtCommit, 8, crdbsim.AtExecute, ofCommit, conflict(crdbsim.Fail)},
	{"conflict at the commit before DDL", 8, crdbsim.AtAutocommit, cuttable, conflict(crdbsim.Fail)},
	{"cut at the commit before DDL", 1, crdbsim.AtAutocommit, cuttable, does(crdbsim.Cut)},
	{"answer to the commit before DDL swallowed", 2, crdbsim.AtAutocommit, cuttable, does(crdbsim.ExecuteCut)},
	{"commit before DDL done and called unknown", 2, crdbsim.AtAutocommit, cuttable, failAfter("40003", unknownText)},
	{"conflict at Parse", 2, crdbsim.AtParse, anywhere, conflict(crdbsim.Fail)},
	{"conflict at Bind", 1, crdbsim.AtBind, anywhere, conflict(crdbsim.Fail)},
	{"conflict, and the connection ends", 2, crdbsim.AtExecute, anywhere, func(rnd *rand.Rand) crdbsim.Action {
		a := conflict(crdbsim.Fail)(rnd)
		a.Ends = true
		return a
	}},
	{"connection ends after the answer", 1, crdbsim.AtExecute, cuttable, then(crdbsim.Action{Ends: true})},
	{"connection ends after DDL was parsed", 8, crdbsim.AtParse, ofSchema, then(crdbsim.Action{Ends: true})},
	{"cut before", 0.5, crdbsim.AtExecute, cuttable, does(crdbsim.Cut)},
	{"cut at Parse", 0.5, crdbsim.AtParse, cuttable, does(crdbsim.Cut)},
	{"cut at Bind", 0.3, crdbsim.AtBind, cuttable, does(crdbsim.Cut)},
	{"answer swallowed", 0.5, crdbsim.AtExecute, cuttable, does(crdbsim.ExecuteCut)},
	{"half a message", 0.5, crdbsim.AtExecute, cuttable, does(crdbsim.ExecuteHalf)},
	{"57P01 as ERROR", 0.5, crdbsim.AtExecute, anywhere, fail("57P01", shutDown)},
	{"57P01 as FATAL", 0.5, crdbsim.AtExecute, anywhere, then(crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Error{Severity: "FATAL", Code: "57P01", Message: shutDown},
	})},
	{"another error", 0.3, crdbsim.AtExecute, anywhere, fail("XX001", "internal error")},
	{"lock not available", 1, crdbsim.AtExecute, dataInside, fail(codeNoLock, timeoutText)},
	{"timeout after the statement has run", 0.5, crdbsim.AtExecute, dataInside, failAfter(codeCancelled, timeoutText)},
	{"connection ended with a reason", 0.5, crdbsim.AtExecute, dataInside, func(rnd *rand.Rand) crdbsim.Action {
		return crdbsim.Action{Then: crdbsim.Fail, Error: farewells[rnd.IntN(len(farewells))]}
	}},
	{"connection closed after the ROLLBACK of one that lost", 8, crdbsim.AtExecute, ofLost, does(crdbsim.ExecuteCut)},
	{"ROLLBACK done and answered with an error", 4, crdbsim.AtExecute, ofLost, failAfter("XX000", "internal error")},
	{refusedAfterRestart, 6, crdbsim.AtExecute, restarted, func(rnd *rand.Rand) crdbsim.Action {
		a := fail(refusedCodes[rnd.IntN(len(refusedCodes))], "the transaction can't go on")(rnd)
		a.Ends = rnd.IntN(4) == 0
		return a
	}},
	{statementsLost, 0.5, crdbsim.AtBind, forgotten, fail("26000", "prepared statement does not exist")},
	{"added lock refused", 8, crdbsim.AtExecute, ofLock, refusesLock},
	{"added lock refused at Parse", 4, crdbsim.AtParse, ofLock, refusesLock},
	{"commit done and called unknown", 4, crdbsim.AtExecute, ofCommit, failAfter("40003", unknownText)},
	{"commit not done and called unknown", 2, crdbsim.AtExecute, ofCommit, fail("40003", unknownText)},
	{
		"ROLLBACK TO refused", 5, crdbsim.AtExecute, ofRestart,
		fail("0A000", "cannot rollback to savepoint after error"),
	},
	{"prepared statement lost", 1, crdbsim.AtBind, ofData, fail("26000", "prepared statement does not exist")},
	{"connection refused", 4, crdbsim.AtConnect, cuttable, fail("57P03", "node is not ready")},
	{"connection cut", 4, crdbsim.AtConnect, cuttable, does(crdbsim.Cut)},
	{"delay before", 6, crdbsim.AtExecute, cuttable, func(rnd *rand.Rand) crdbsim.Action {
		return crdbsim.Action{Delay: upTo(rnd, maxDelay)}
	}},
	{"delay after", 6, crdbsim.AtExecute, cuttable, func(rnd *rand.Rand) crdbsim.Action {
		return crdbsim.Action{DelayReply: upTo(rnd, maxDelay)}
	}},
}

// conflictsAlone are many conflicts that come before any row, and nothing else.
func conflictsAlone(rnd *rand.Rand) Faults {
	f := Faults{Seed: rnd.Uint64(), Rates: make(map[string]float64)}
	for _, k := range faultKinds {
		if isEarlyConflict(k.name) {
			f.Rates[k.name] = 0.02 * k.share * rnd.Float64()
		}
	}
	return f
}

func isEarlyConflict(fault string) bool {
	return slices.Contains([]string{conflictInstead, conflictAtCommit, "conflict at Parse", "conflict at Bind"}, fault)
}

// onlyConflicts reports whether nothing goes wrong but by conflicts that come before any row.
func (f Faults) onlyConflicts() bool {
	others := slices.DeleteFunc(slices.Collect(maps.Keys(f.Rates)), isEarlyConflict)
	return len(others)+len(f.Nodes)+len(f.Outages) == 0
}

// newFaults are none, few, many, or many of few kinds.
func newFaults(rnd *rand.Rand, size Size) Faults {
	f := Faults{Seed: rnd.Uint64(), Rates: make(map[string]float64)}
	level := []float64{0, 0.004, 0.01, 0.02}[rnd.IntN(4)]
	some := rnd.IntN(2) == 0
	for _, k := range faultKinds {
		if rate := level * k.share * 2 * rnd.Float64(); rate > 0 && (!some || rnd.IntN(3) == 0) {
			f.Rates[k.name] = rate
		}
	}
	for level > 0 && rnd.IntN(3) == 0 {
		f.Nodes = append(f.Nodes, NodeFault{After: rnd.IntN(size.Workers * size.Programs), Drain: rnd.IntN(2) == 0})
	}
	return f
}
