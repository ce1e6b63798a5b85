package cockroachdb

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

var errKept = errors.New("cockroachdb: the transaction can't be rolled back: the application's own statement, or a schema change, has committed it or a part of it")

// Rollback rolls back. It returns nil only where nothing of the transaction is committed for certain, even if that is
// because the connection is gone. Once the transaction has ended the connection may be in another one, which it leaves
// alone.
func (t *tx) Rollback() error {
	if t.c.tx != t {
		return nil
	}
	defer t.end()
	if t.ctx.Err() != nil {
		t.notCommitted(OutcomeCancelled)
	}
	t.notCommitted(OutcomeRolledBack)
	t.rollback()
	switch {
	case t.kept, t.state == stateCommitted:
		return errKept
	case t.outcome == OutcomeAmbiguous:
		return t.failure
	}
	return nil
}

const rollbackTimeout = 5 * time.Second

// rollback brings the server to idle, or ends the connection. It does not use the transaction's context, which may be
// what ended it.
func (t *tx) rollback() {
	s := t.session()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), rollbackTimeout)
	defer cancel()
	if s.Settle(ctx) != nil || s.Closed() || s.Status() == wire.Idle {
		return
	}
	if t.mustStep() {
		if _, err := s.Control(ctx, sqlStep, sqlRollback); err == nil && s.Status() == wire.Idle {
			return
		}
	}
	if _, err := s.Control(ctx, sqlRollback); err != nil || s.Status() != wire.Idle {
		s.Die()
	}
}

// mustStep reports whether a statement is to run before ROLLBACK. CockroachDB v24.2 to v25.4.3 leaves the locks for
// seconds if a ROLLBACK comes directly after a ROLLBACK TO (cockroachdb/cockroach#160346).
func (t *tx) mustStep() bool {
	if !t.rolledBackTo || t.session().Status() != wire.Open {
		return false
	}
	return t.c.version.since(24, 2) && !t.c.version.since(26, 1)
}

const sqlStep = "SELECT 1"

// early is what the driver has done about a failed transaction before the application rolls it back.
type early uint8

const (
	earlyNot    early = iota
	earlyDone         // the server has been sent ROLLBACK
	earlyUndone       // the application goes on, and the server is in a transaction that has failed once more
)

// rollbackEarly has the server roll back a transaction that has failed, where the application can do nothing else with
// it, and does not wait for the answer. CockroachDB keeps the locks of one with a savepoint until then, and here the
// savepoint is the driver's. Nobody has to wait for the transaction any more.
func (t *tx) rollbackEarly() {
	if t.state != stateOpen || t.phase() != phaseFailed || t.early != earlyNot || t.nested {
		return
	}
	if t.opening.savepoint && t.restartable() {
		t.leave()
		t.early = earlyDone
	}
	t.leaveLane()
}

// leave has the server roll back. Rollback waits for that.
func (t *tx) leave() { t.session().Leave(context.WithoutCancel(t.ctx)) }

// failAgain brings the server back into a transaction that has failed, for an application that goes on all the same: it
// is told what the server answers then.
func (t *tx) failAgain(ctx context.Context) error {
	if t.early != earlyDone {
		return nil
	}
	s := t.session()
	_, _ = s.Control(ctx, "BEGIN", sqlRelease) // there is nothing to release
	switch {
	case !s.Closed() && s.Status() == wire.Idle:
		return cmp.Or[error](ctx.Err(), errTxAborted) // what became of BEGIN is not the application's affair
	case !s.Closed() && s.Status() != wire.Failed:
		s.Die() // what comes next would be committed
	}
	t.early = earlyUndone
	return nil
}
