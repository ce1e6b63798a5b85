package cockroachdb

import (
	"database/sql/driver"
	"errors"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A transaction is protected while the driver could absorb a conflict, and the loss of the connection. What ends that
// is noted here, as it happens, and counted at the end.

// expose notes that the protection of t has ended.
func (t *tx) expose(b blame) {
	if t.shield.lost.cause == "" && (t.runner == nil || !b.cause.isOfReplay()) {
		t.shield.lost = b
	}
}

// inspect notes whether s, which is about to be sent, ends the protection of its transaction.
func (t *tx) inspect(s *wire.Statement) {
	switch {
	case t.history.cause != "":
		t.expose(blame{cause: t.history.cause, text: s.Text()})
	case t.history.passive:
		t.expose(blame{cause: CauseApplicationSavepoint, text: s.Text()})
	case s.Class.Commit != sqltext.NoCommit:
		t.expose(blame{cause: CauseMayCommit, text: s.Text()})
	}
}

// exposeFromStart notes that a transaction is not protected at all. The driver leaves it to the application.
func (t *tx) exposeFromStart() {
	if t.policy.enabled() {
		t.expose(blame{cause: CauseBegunAsText})
		return
	}
	t.expose(blame{cause: CauseRetriesOff})
}

// exposeDiverged notes that a conflict was not absorbed, and which statement kept it from that.
func (t *tx) exposeDiverged(d *DivergenceError) {
	b := blame{cause: CauseDiverged, remedy: d.advice.instead}
	if n := d.Statement - 1; n >= 0 && n < len(t.history.records) {
		b.text = t.history.records[n].Text()
	}
	t.expose(b)
}

// account counts a transaction that has ended.
func (t *tx) account() {
	switch {
	case t.history.cause != "":
		t.expose(blame{cause: t.history.cause})
	case t.c.journal.pinned:
		t.expose(t.c.journal.by)
	case t.policy.MaxFailovers == 0:
		t.expose(blame{cause: CauseFailoversOff})
	}
	t.pool.ledger.count(ofTransaction, &t.shield, t.pool.metrics())
}

// mayRunElsewhere reports whether the loss of the connection can be made up for on another one.
func (t *tx) mayRunElsewhere() bool { return !t.c.journal.pinned && t.policy.MaxFailovers > 0 }

// accountAlone counts a statement outside a transaction that has ended.
func (cu *cursor) accountAlone() {
	t, r := cu.t, cu.rec
	if errors.Is(cu.err, driver.ErrBadConn) { // database/sql runs it again
		return
	}
	switch class := &r.Class; {
	case !t.policy.enabled(), t.inText, t.session().Status() != wire.Idle && !t.session().Closed():
		t.exposeFromStart()
	case t.within != nil, class.Once:
		t.expose(blame{cause: CauseMayCommit, text: r.Text()})
	case r.shown && !class.Reads:
		t.expose(blame{cause: CauseRowsOfWrite, text: r.Text()})
	case !class.EndsWithSession(): // the loss of its connection is that of the answer to its commit
	case t.c.journal.pinned:
		t.expose(t.c.journal.by)
	case t.policy.MaxFailovers == 0:
		t.expose(blame{cause: CauseFailoversOff})
	}
	t.shield.atRisk = !r.Class.EndsWithSession() && (!cu.marked || !t.mayRunElsewhere())
	t.pool.ledger.count(ofStatement, &t.shield, t.pool.metrics())
}
