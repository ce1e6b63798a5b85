package program

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// The driver has a replay insert what the database had made and the application was shown. If it does so wrongly, its
// comparison finds that, and the transaction ends with a divergence: nothing is lost, and what pinning is for is gone.
// So a program that was shown nothing else must not diverge, where nothing but conflicts can keep the driver from that.
// A conflict amid the rows of an INSERT can: what is being read is not pinned.

// divergence looks for one of a program of which others can't change what it was shown, and for one without the error
// for which the program was replayed: a loop around it would not know a conflict. Elsewhere than on PostgreSQL that may
// be an error of the driver's own.
func (c *checker) divergence(p *Program, err error) {
	_, diverged := errors.AsType[*cockroachdb.DivergenceError](err)
	if !diverged || !c.round.Faults.onlyConflicts() {
		return
	}
	if p.isShownOnlyItsOwn() {
		c.add(Needless, p, "nobody can have changed what it was shown: %v", err)
	}
	_, stale := errors.AsType[*wire.ChangedError](err) // what the driver knew of a statement, and says so
	if codeWithin(err) == "" && !stale && c.round.Server == PostgreSQL {
		c.add(Reasonless, p, "no errors.As finds why it was replayed: %v", err)
	}
}

// isShownOnlyItsOwn reports whether a program is shown nothing but rows of its own, all of which can be pinned: there
// is room for their values, and no statement goes by the simple protocol, may fail, or tells how many rows there were.
func (p *Program) isShownOnlyItsOwn() bool {
	own := p.Policy != Tight && p.Tail == nil && p.Settings == NoSettings && p.Mask == Unmasked
	eachOf(p.Steps, func(s *Statement) { own = own && s.showsOnlyItsOwn() })
	return own
}

func (s *Statement) showsOnlyItsOwn() bool {
	switch {
	case s.Only || s.Ask:
		return false
	case s.Kind == Bear:
		return !broods[s.Word].unique && s.Mode != pgx.QueryExecModeSimpleProtocol
	}
	return slices.Contains([]Kind{Meet, Rear, Leave, Set, Add, Look}, s.Kind)
}
