package program

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// Faults are what may go wrong in a round: how likely each kind is to strike a message, and what happens to the node.
type Faults struct {
	Seed  uint64
	Rates map[string]float64 // by the name of the kind
	Nodes []NodeFault
}

// A NodeFault strikes all connections of a round at once.
type NodeFault struct {
	After int  // this many programs have ended
	Drain bool // the node shuts down in good order; else it dies
}

func (f Faults) String() string {
	if len(f.Rates)+len(f.Nodes) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f.Rates)) {
		parts = append(parts, fmt.Sprintf("%s %.1f %%", name, 100*f.Rates[name]))
	}
	for _, n := range f.Nodes {
		parts = append(parts, fmt.Sprintf("the node %s after %d programs", map[bool]string{true: "drains", false: "dies"}[n.Drain], n.After))
	}
	return strings.Join(parts, ", ")
}

// A faultKind is a fault with the places where it can strike without making the server a liar: one that has committed never says
// that it has not.
type faultKind struct {
	name   string
	share  float64 // how much likelier than others it is
	at     crdbsim.Stage
	where  func(*place) bool
	action func(*rand.Rand) crdbsim.Action
}

// A place is what is known of a point.
type place struct {
	commit   bool // RELEASE of the restart savepoint, or COMMIT
	rollback bool // ROLLBACK, which never fails
	restart  bool // ROLLBACK TO the restart savepoint
	data     bool // a statement of the application's that reads or writes
	inside   bool // the transaction is in order
}

func placeOf(p crdbsim.Point) *place {
	text := strings.ToLower(p.SQL)
	word, _, _ := strings.Cut(text, " ")
	return &place{
		commit:   strings.HasPrefix(text, "commit") || strings.HasPrefix(text, "release savepoint cockroach_restart"),
		rollback: text == "rollback",
		restart:  strings.HasPrefix(text, "rollback to savepoint cockroach_restart"),
		data:     slices.Contains([]string{"select", "insert", "update", "delete"}, word),
		inside:   p.Status == 'T',
	}
}

func anywhere(at *place) bool   { return !at.rollback }
func cuttable(*place) bool      { return true }
func ofData(at *place) bool     { return at.data }
func dataInside(at *place) bool { return at.data && at.inside }
func ofCommit(at *place) bool   { return at.commit && at.inside }
func ofRestart(at *place) bool  { return at.restart }

// then is an action without a choice.
func then(a crdbsim.Action) func(*rand.Rand) crdbsim.Action {
	return func(*rand.Rand) crdbsim.Action { return a }
}

// fail has a statement answered with an error in place of being run.
func fail(code, message string) func(*rand.Rand) crdbsim.Action {
	return then(crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Error{Code: code, Message: message}})
}

var conflicts = []string{"RETRY_WRITE_TOO_OLD", "RETRY_SERIALIZABLE", "ABORT_REASON_ABORTED_RECORD_FOUND", "ReadWithinUncertaintyInterval"}

func conflict(how crdbsim.Then) func(*rand.Rand) crdbsim.Action {
	return func(rnd *rand.Rand) crdbsim.Action {
		return crdbsim.Action{Then: how, AfterRows: rnd.IntN(4), Error: crdbsim.Conflict(conflicts[rnd.IntN(len(conflicts))])}
	}
}

const maxDelay = 8 * time.Millisecond

func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }

const shutDown = "server is shutting down"

var faultKinds = []faultKind{
	{"conflict in place of the answer", 4, crdbsim.AtExecute, anywhere, conflict(crdbsim.Fail)},
	{"conflict behind the answer", 4, crdbsim.AtExecute, dataInside, conflict(crdbsim.ExecuteFail)},
	{"conflict at Parse", 2, crdbsim.AtParse, anywhere, conflict(crdbsim.Fail)},
	{"conflict at Bind", 1, crdbsim.AtBind, anywhere, conflict(crdbsim.Fail)},
	{"cut before", 0.5, crdbsim.AtExecute, cuttable, then(crdbsim.Action{Then: crdbsim.Cut})},
	{"cut at Parse", 0.5, crdbsim.AtParse, cuttable, then(crdbsim.Action{Then: crdbsim.Cut})},
	{"cut at Bind", 0.3, crdbsim.AtBind, cuttable, then(crdbsim.Action{Then: crdbsim.Cut})},
	{"answer swallowed", 0.5, crdbsim.AtExecute, cuttable, then(crdbsim.Action{Then: crdbsim.ExecuteCut})},
	{"half a message", 0.5, crdbsim.AtExecute, cuttable, then(crdbsim.Action{Then: crdbsim.ExecuteHalf})},
	{"57P01 as ERROR", 0.5, crdbsim.AtExecute, anywhere, fail("57P01", shutDown)},
	{"57P01 as FATAL", 0.5, crdbsim.AtExecute, anywhere, then(crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Error{Severity: "FATAL", Code: "57P01", Message: shutDown},
	})},
	{"another error", 0.3, crdbsim.AtExecute, anywhere, fail("XX000", "internal error")},
	{
		"commit done and called unknown", 4, crdbsim.AtExecute, ofCommit,
		then(crdbsim.Action{Then: crdbsim.ExecuteFail, Error: crdbsim.Error{Code: "40003", Message: "statement completion unknown"}}),
	},
	{
		"commit not done and called unknown", 2, crdbsim.AtExecute, ofCommit,
		fail("40003", "statement completion unknown"),
	},
	{
		"ROLLBACK TO refused", 5, crdbsim.AtExecute, ofRestart,
		fail("0A000", "cannot rollback to savepoint after error"),
	},
	{"prepared statement lost", 1, crdbsim.AtBind, ofData, fail("26000", "prepared statement does not exist")},
	{"connection refused", 4, crdbsim.AtConnect, cuttable, fail("57P03", "node is not ready")},
	{"connection cut", 4, crdbsim.AtConnect, cuttable, then(crdbsim.Action{Then: crdbsim.Cut})},
	{"delay before", 6, crdbsim.AtExecute, cuttable, func(rnd *rand.Rand) crdbsim.Action { return crdbsim.Action{Delay: upTo(rnd, maxDelay)} }},
	{"delay behind", 6, crdbsim.AtExecute, cuttable, func(rnd *rand.Rand) crdbsim.Action { return crdbsim.Action{DelayReply: upTo(rnd, maxDelay)} }},
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

// A storm is faults at work.
type storm struct {
	sim    *crdbsim.Sim
	faults Faults

	mu    sync.Mutex
	rnd   *rand.Rand
	ended int            // programs
	hits  map[string]int // by kind
}

func (f Faults) start(sim *crdbsim.Sim) *storm {
	s := &storm{sim: sim, faults: f, rnd: rand.New(rand.NewPCG(f.Seed, 0)), hits: make(map[string]int)}
	for _, at := range []crdbsim.Stage{crdbsim.AtExecute, crdbsim.AtParse, crdbsim.AtBind, crdbsim.AtConnect} {
		if len(f.Rates) > 0 {
			sim.Inject(&crdbsim.Fault{At: at, Times: -1, Do: s.strike})
		}
	}
	return s
}

func (s *storm) strike(p crdbsim.Point) crdbsim.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := placeOf(p)
	for _, k := range faultKinds {
		rate := s.faults.Rates[k.name]
		if rate > 0 && k.at == p.Stage && k.where(at) && s.rnd.Float64() < rate {
			s.hits[k.name]++
			return k.action(s.rnd)
		}
	}
	return crdbsim.Action{}
}

// programEnded lets the node come to harm, if it is time.
func (s *storm) programEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	for _, n := range s.faults.Nodes {
		switch {
		case n.After != s.ended:
		case n.Drain:
			s.hits["node drains"]++
			s.sim.Drain(crdbsim.Error{Code: "57P01", Message: shutDown})
		default:
			s.hits["node dies"]++
			s.sim.CloseConns()
		}
	}
}

// stop gives what has struck, by kind.
func (s *storm) stop() map[string]int {
	s.sim.ClearFaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.hits)
}
