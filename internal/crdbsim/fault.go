package crdbsim

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A Stage is when in the life of a statement a fault strikes.
type Stage int

const (
	// AtExecute is when a statement is about to be executed, in either protocol. Several statements of the simple
	// protocol that run as one (outside a transaction) are one.
	AtExecute Stage = iota
	// AtParse is when Parse arrives. Only [Pass], [Fail] and [Cut] make sense.
	AtParse
	// AtBind is when Bind arrives. Only [Pass], [Fail] and [Cut] make sense.
	AtBind
	// AtAutocommit is when autocommit_before_ddl is about to commit a transaction, before a statement that changes the
	// schema; SQL is that statement. It is after [AtParse] and [AtBind], and before [AtExecute]. [ExecuteHalf] is
	// [ExecuteCut], and there are no rows.
	AtAutocommit
	// AtConnect is when a client asks for a connection. Only [Pass], [Fail] and [Cut] make sense; there is no SQL.
	AtConnect
)

// A Point is an occasion for a fault.
type Point struct {
	Conn   uint64 // number of the connection, from 1
	Stage  Stage
	SQL    string
	Status byte // of the transaction: 'I', 'T' or 'E'
	Match  int  // how often the fault has matched before
}

// Then says what becomes of a statement.
type Then int

const (
	// Pass lets it be executed as if nothing were.
	Pass Then = iota
	// Fail has it answered with [Action.Error] and not executed.
	Fail
	// ExecuteFail has it executed and answered, after [Action.AfterRows] of its rows, with [Action.Error].
	ExecuteFail
	// Cut ends the connection before the statement is executed. PostgreSQL has rolled back when the client notices.
	Cut
	// ExecuteCut has the statement executed, and ends the connection in place of an answer.
	ExecuteCut
	// ExecuteHalf has it executed, and ends the connection in the middle of the last message of its answer.
	ExecuteHalf
)

// An Error is what a server says in an ErrorResponse. Severity is ERROR unless set; after FATAL the connection is
// closed.
type Error struct {
	Severity string
	Code     string
	Message  string
	Hint     string
}

func (e Error) response() *pgproto3.ErrorResponse {
	r := failure(e.Code, e.Message)
	if e.Severity != "" {
		r.Severity, r.SeverityUnlocalized = e.Severity, e.Severity
	}
	r.Hint = e.Hint
	return r
}

// An Action is what a fault does. Its zero value does nothing.
type Action struct {
	Delay      time.Duration // before the statement is handled
	Call       func()        // called after Delay; the connection waits until it returns
	Then       Then
	Error      Error
	Ends       bool // after Error, or after ReadyForQuery with Pass, the node says that it shuts down, and hangs up
	AfterRows  int
	DelayReply time.Duration // before the answer is given
	CallReply  func()        // called after DelayReply, when the statement has been executed and not been answered
}

// A Fault is a place and what happens there. Of several that match the first injected strikes. The fields must not be
// changed once it is injected; injecting it again starts its counts anew.
type Fault struct {
	At      Stage
	SQL     func(sql string) bool // nil matches all
	Pattern *regexp.Regexp        // nil matches all
	Conn    uint64                // 0 stands for all
	Skip    int                   // how many matches to let pass first
	Times   int                   // how often to strike: 0 stands for once, -1 for always

	// Chance is the probability with which a match counts, drawn from Rand, without which it is the same in every run;
	// 0 stands for certainty.
	Chance float64
	Rand   *rand.Rand

	Action Action
	Do     func(Point) Action // if set it chooses the action

	seen int
	hits atomic.Int64
}

// On is a fault at the execution of the next statement that the pattern matches, in upper or lower case.
func On(pattern string, a Action) *Fault {
	return &Fault{Pattern: regexp.MustCompile("(?i)" + pattern), Action: a}
}

// Hits returns how often the fault has struck.
func (f *Fault) Hits() int { return int(f.hits.Load()) }

func (f *Fault) matches(p Point) bool {
	return f.At == p.Stage && (f.Conn == 0 || f.Conn == p.Conn) &&
		(f.SQL == nil || f.SQL(p.SQL)) && (f.Pattern == nil || f.Pattern.MatchString(p.SQL)) &&
		(f.Chance == 0 || f.Rand.Float64() < f.Chance)
}

// faults are those in force.
type faults struct {
	some atomic.Bool // so that nobody needs the lock when there are none
	mu   sync.Mutex
	list []*Fault
}

func (fs *faults) add(list ...*Fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range list {
		f.seen = 0
		f.hits.Store(0)
		if f.Rand == nil {
			f.Rand = rand.New(rand.NewPCG(1, 1))
		}
	}
	fs.list = append(fs.list, list...)
	fs.some.Store(len(fs.list) > 0)
}

func (fs *faults) clear() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = nil
	fs.some.Store(false)
}

// pick returns the fault that strikes at p, if there is one.
func (fs *faults) pick(p *Point) *Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.list {
		if !f.matches(*p) {
			continue
		}
		p.Match = f.seen
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		hits := f.hits.Add(1)
		if f.Times >= 0 && hits >= int64(max(f.Times, 1)) { // spent
			fs.list = slices.DeleteFunc(slices.Clone(fs.list), func(g *Fault) bool { return g == f })
			fs.some.Store(len(fs.list) > 0)
		}
		return f
	}
	return nil
}
