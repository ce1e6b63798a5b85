package main

import (
	"sync"

	"github.com/reprise-go/cockroachdb/reliability/program"
)

// A tally counts what the programs have come to.
type tally struct {
	mu        sync.Mutex
	rounds    int
	programs  int
	committed int
	unknown   int            // the application was told that it may be committed,
	were      int            // and it was
	refused   map[string]int // the programs that were not committed, by the name of the error
	faults    map[string]int // by kind
}

func newTally() *tally { return &tally{refused: make(map[string]int), faults: make(map[string]int)} }

func (t *tally) add(r *program.Round, h *program.History) {
	entered := make(map[int64]bool)
	for _, c := range h.Commits {
		entered[c.Program] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds++
	for kind, n := range h.Faults {
		t.faults[kind] += n
	}
	for _, list := range r.Workers {
		for _, p := range list {
			res, ran := h.Results[p.ID]
			if !ran {
				continue
			}
			t.programs++
			switch p.Outcome(res.Err) {
			case program.Committed:
				t.committed++
			case program.Unknown:
				t.unknown++
				if entered[p.ID] {
					t.were++
				}
			default:
				t.refused[program.Named(res.Err)]++
			}
		}
	}
}

// now is how far it is: programs, commits and faults.
func (t *tally) now() (programs, committed, faults int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.faults {
		faults += n
	}
	return t.programs, t.committed, faults
}
