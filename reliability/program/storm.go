package program

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/reliability/outage"
)

// A storm is faults at work.
type storm struct {
	front  *front
	faults Faults
	watch  *lockWatch // nil where no locks are learned

	mu    sync.Mutex
	rnd   *rand.Rand
	ended int            // programs
	hits  map[string]int // by kind
	conns map[uint64]*connState
	bade  map[uint64]Farewell
	roll  *outage.Roll // of the nodes of a cluster
	down  error        // why the pooler did not come back
}

// A connState is what the storm knows of a connection.
type connState struct {
	restarted, lost bool           // as in a place, of the latest statement
	clock           int            // counts what is parsed
	parsed          map[string]int // when a text was parsed last
	forgot          int            // when the server lost what was parsed before
}

// stages are all that there are.
var stages = []crdbsim.Stage{
	crdbsim.AtExecute, crdbsim.AtParse, crdbsim.AtBind, crdbsim.AtAutocommit, crdbsim.AtConnect,
}

func (f Faults) start(on *front, watch *lockWatch) *storm {
	s := &storm{front: on, faults: f, watch: watch, rnd: rand.New(rand.NewPCG(f.Seed, 0)), hits: make(map[string]int)}
	s.conns, s.bade = make(map[uint64]*connState), make(map[uint64]Farewell)
	for _, at := range stages {
		if len(f.Rates) > 0 || watch != nil {
			on.inject(at, s.strike)
		}
	}
	s.roll = outage.Start(on.cluster, f.Outages)
	return s
}

func (s *storm) strike(p crdbsim.Point) crdbsim.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Stage == crdbsim.AtConnect {
		return s.choose(p, placeOf(p))
	}
	if s.watch != nil {
		s.watch.note(p)
	}
	c := s.conn(p.Conn)
	at := placeOf(p)
	at.restarted, at.lost = c.restarted, c.lost
	switch p.Stage {
	case crdbsim.AtParse:
		c.clock++
		c.parsed[p.SQL] = c.clock
	case crdbsim.AtBind:
		s.loseStatements(c, at)
		at.forgotten = c.parsed[p.SQL] < c.forgot
	}
	a := s.choose(p, at)
	if p.Stage == crdbsim.AtExecute {
		c.restarted = at.restart && a.Then == crdbsim.Pass
		c.lost = a.Error.Code == lost[0]
	}
	if a.Error.Severity == "FATAL" && at.data && at.inside {
		s.bade[p.Conn] = Farewell{a.Error.Code, time.Now()}
	}
	return a
}

func (s *storm) conn(id uint64) *connState {
	c := s.conns[id]
	if c == nil {
		c = &connState{parsed: make(map[string]int)}
		s.conns[id] = c
	}
	return c
}

// loseStatements has the server lose all that it has prepared on a connection, as a pooler in between does; each of
// them is lost until it is prepared again.
func (s *storm) loseStatements(c *connState, at *place) {
	if rate := s.faults.Rates[statementsLost]; at.data && rate > 0 && s.rnd.Float64() < rate {
		c.clock++
		c.forgot = c.clock
	}
}

// choose chooses the fault that strikes, if one does.
func (s *storm) choose(p crdbsim.Point, at *place) crdbsim.Action {
	for _, k := range faultKinds {
		rate := s.faults.Rates[k.name]
		if rate == 0 || k.at != p.Stage || !k.where(at) {
			continue
		}
		if k.name == statementsLost || s.rnd.Float64() < rate { // what is lost stays lost
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
	s.roll.Ended()
	for _, n := range s.faults.Nodes {
		switch {
		case n.After != s.ended:
		case n.Pooler:
			s.hits["pooler is killed"]++
			s.down = errors.Join(s.down, s.front.pooler.StartAgain(context.Background()))
		case n.Drain:
			s.hits["node drains"]++
			s.front.nodes[0].Drain(crdbsim.Error{Code: "57P01", Message: shutDown})
		default:
			s.hits["node dies"]++
			s.front.nodes[0].CloseConns()
		}
	}
}

// stop gives what has struck, by kind, and the farewells. All nodes and the pooler are back then, unless there is an
// error.
func (s *storm) stop() (hits map[string]int, bade map[uint64]Farewell, err error) {
	gone, err := s.roll.Stop()
	s.front.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	hits = maps.Clone(s.hits)
	for way, n := range gone {
		hits["a node of the cluster: "+string(way)] = n
	}
	return hits, maps.Clone(s.bade), errors.Join(err, s.down)
}
