package faultmatrix_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

// A fault is something that can happen to a conversation. There are two kinds: what the server does at a stage of a
// statement, and what happens to a message on its way.
type fault struct {
	name string

	// The server's. early says that it can strike at Parse and Bind as well.
	act   crdbsim.Action
	early bool
	leave leave
	lie   func(point, dialect) bool // where no server would do it

	side wirecut.Side // of the message
	how  wirecut.How
	rest atRest
}

// leave is whether the application's context ends, and how.
type leave int

const (
	stays leave = iota
	ctxCancelled
	ctxExpired
)

// A dialect is whose the server has.
type dialect string

const (
	ofCockroachDB dialect = "CockroachDB"
	ofPostgreSQL  dialect = "PostgreSQL"
)

// matrixServers are the servers of these dialects.
var matrixServers = map[dialect]crdbsim.Config{
	ofCockroachDB:      {},
	ofPostgreSQL:       {PostgreSQL: true},
	ofNewerCockroachDB: {Version: "CockroachDB crdbsim v25.4.0 (PostgreSQL underneath)"},

	ofMarkedCockroachDB: {},
	ofMarkedPostgreSQL:  {PostgreSQL: true},
	byBegin:             {},

	ofLockingCockroachDB: {},
	ofLockingPostgreSQL:  {PostgreSQL: true},
}

func answers(code string) crdbsim.Action {
	return crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Error{Code: code, Message: "injected"}}
}

func afterwards(a crdbsim.Action) crdbsim.Action {
	a.Then = crdbsim.ExecuteFail
	return a
}

// ends is CockroachDB's alone: PostgreSQL gives no answer to what it is at when it ends.
func ends(a crdbsim.Action) crdbsim.Action {
	a.Ends = true
	return a
}

func onPostgreSQL(_ point, m dialect) bool { return m.isPostgreSQL() }

var (
	conflicts40001 = crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	cutBefore      = crdbsim.Action{Then: crdbsim.Cut}
	cutAfter       = crdbsim.Action{Then: crdbsim.ExecuteCut}
)

// conflictFault is the first where there are two.
var conflictFault = &fault{name: "40001", act: conflicts40001, early: true}

// matrixFaults are all of them. When a context ends "before", the statement is not executed; "after", it is, and its
// answer held back until the client has gone: an answer that is late by a deadline is one of these two.
//
// Left out are the lies, which no server tells: a 40001 in answer to what has committed, and on PostgreSQL, whose
// ERROR means that nothing was done, other codes too.
var matrixFaults = []*fault{
	conflictFault,
	{name: "40001 after", act: afterwards(conflicts40001), lie: point.commits},
	{name: "XX000", act: answers("XX000"), early: true},
	{name: "57P01", act: answers("57P01"), early: true},
	{name: "40003", act: answers("40003"), early: true},
	{name: "40003 after", act: afterwards(answers("40003"))},
	{
		name: "57014 after",
		act:  afterwards(answers("57014")),
		lie:  func(o point, m dialect) bool { return m.isPostgreSQL() && o.commits(m) },
	},
	{name: "node ends", act: ends(answers("57014")), early: true, lie: onPostgreSQL},
	{name: "node ends after", act: ends(afterwards(answers("57014"))), lie: onPostgreSQL},
	{name: "cancelled before", act: cutBefore, early: true, leave: ctxCancelled},
	{name: "cancelled after", act: cutAfter, leave: ctxCancelled},
	{name: "deadline before", act: cutBefore, early: true, leave: ctxExpired},
	{name: "deadline after", act: cutAfter, leave: ctxExpired},
	{name: "cut before sending", side: wirecut.Client, how: wirecut.Before},
	{name: "cut in sending", side: wirecut.Client, how: wirecut.Half},
	{name: "cut after handling", side: wirecut.Client, how: wirecut.After},
	{name: "cut in the answer", side: wirecut.Server, how: wirecut.Half},
	{name: "cut after the answer", side: wirecut.Server, how: wirecut.After},
	{name: "40001, node ends", act: ends(conflicts40001), early: true, lie: onPostgreSQL},
}

// A point is a stage of a statement.
type point struct {
	stage  crdbsim.Stage
	sql    string
	status byte
}

// commits says whether the statement, once it has been executed, has committed something.
func (o point) commits(dialect) bool {
	return strings.HasPrefix(o.sql, "RELEASE SAVEPOINT cockroach_restart") || strings.Contains(o.sql, "COMMIT") ||
		o.status == 'I' && !strings.HasPrefix(o.sql, "BEGIN")
}

// strikesAt says whether f can happen there.
func (f *fault) strikesAt(o point, m dialect) bool {
	if f.side != "" || o.stage != crdbsim.AtExecute && !f.early {
		return false
	}
	return f.lie == nil || !f.lie(o, m)
}

// A strike is a fault at its place: the number of the point, or of the message among those of its side.
type strike struct {
	*fault
	at int
}

func (b strike) String() string { return fmt.Sprintf("%s at %d", b.name, b.at) }

// An injector has the server strike, and notes what there was to strike at. Points are counted over all attempts and
// connections.
type injector struct {
	t      testing.TB
	wire   *wirecut.Wire
	runner *runner
	end    func(leave)

	mu      sync.Mutex
	over    bool
	strikes []strike
	points  []point
	struck  []string
	client  int // how many messages there were when the first strike fell: the client's with those that went along,
	server  int // the server's without
}

func (s *injector) do(p crdbsim.Point) crdbsim.Action {
	b, ok := s.next(p)
	switch {
	case !ok:
		return crdbsim.Action{}
	case b.leave == stays:
		return b.act
	case s.runner.deaf.Load():
		return crdbsim.Action{} // the context's end is nothing to the driver here
	}
	leaves := func() {
		left := s.wire.Left()
		s.end(b.leave)
		select {
		case <-left:
		case <-time.After(time.Minute):
			s.t.Errorf("%v: the client stays though its context has ended, at %q", b, p.SQL)
		}
	}
	act := b.act
	if act.Then == crdbsim.ExecuteCut {
		act.CallReply = leaves
	} else {
		act.Call = leaves
	}
	return act
}

// next counts the point, and gives the strike that falls there.
func (s *injector) next(p crdbsim.Point) (strike, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return strike{}, false
	}
	n := len(s.points)
	s.points = append(s.points, point{p.Stage, p.SQL, p.Status})
	for _, b := range s.strikes {
		if b.side != "" || b.at != n {
			continue
		}
		if len(s.struck) == 0 {
			s.client, s.server = s.wire.Asked()
		}
		s.struck = append(s.struck, fmt.Sprintf("%s at %d %q", b.name, n, p.SQL))
		return b, true
	}
	return strike{}, false
}

// stop ends the injection: what follows is no part of the case.
func (s *injector) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// An endingContext is a context that ends at a word.
type endingContext struct {
	context.Context
	done chan struct{}

	mu  sync.Mutex
	err error
}

func newEnding(parent context.Context) *endingContext {
	return &endingContext{Context: parent, done: make(chan struct{})}
}

func (e *endingContext) Done() <-chan struct{} { return e.done }

func (e *endingContext) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// end ends it as a context ends that is cancelled, or whose deadline has passed.
func (e *endingContext) end(how leave) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return
	}
	e.err = context.Canceled
	if how == ctxExpired {
		e.err = context.DeadlineExceeded
	}
	close(e.done)
}
