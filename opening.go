package cockroachdb

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

const (
	sqlSavepoint  = "SAVEPOINT cockroach_restart"
	sqlRollbackTo = "ROLLBACK TO SAVEPOINT cockroach_restart"
	sqlRelease    = "RELEASE SAVEPOINT cockroach_restart"
	sqlCommit     = "COMMIT"
	sqlRollback   = "ROLLBACK"
)

// opening is how an attempt begins on the server. Nothing is sent for it alone: the opening travels with the next
// statement, or with the replay.
//
//	savepoint  ROLLBACK TO SAVEPOINT cockroach_restart: keeps the locks and the place in line, on CockroachDB
//	begin      ROLLBACK, BEGIN: on PostgreSQL and with [RestartBegin]; or where the driver had to wait, which it never
//	           does with locks held
type opening struct {
	begin     string   // BEGIN with its modes
	mayHave   bool     // a restart savepoint is wanted, where nothing else speaks against it
	savepoint bool     // the transaction has the restart savepoint
	forced    bool     // in this transaction every savepoint is a restart savepoint
	pending   []string // what goes out with the next statement; nil if nothing does
	begun     bool     // the server has a transaction block of this transaction's, or had one
	sent      bool     // something was sent, and so the transaction counts
	readOnly  bool     // the application has asked for a transaction that only reads
	snapshot  bool     // a lock changes nothing of what is read, by the isolation level that it began with

	high        bool // the latest BEGIN says PRIORITY HIGH
	noHigh      bool // the server has refused that
	atSavepoint bool // the latest opening was ROLLBACK TO
}

func beginStatement(opts driver.TxOptions) (string, error) {
	var begin string
	switch sql.IsolationLevel(opts.Isolation) {
	case sql.LevelDefault:
		begin = "BEGIN"
	case sql.LevelReadUncommitted:
		begin = "BEGIN ISOLATION LEVEL READ UNCOMMITTED"
	case sql.LevelReadCommitted:
		begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
	case sql.LevelSerializable:
		begin = "BEGIN ISOLATION LEVEL SERIALIZABLE"
	default:
		return "", fmt.Errorf("unsupported isolation: %v", opts.Isolation)
	}
	if opts.ReadOnly {
		begin += " READ ONLY"
	}
	return begin, nil
}

// A beginning is the choice of statements that begin a server transaction.
type beginning struct{ rollback, high, savepoint bool }

// ordinary are the openings of a transaction without modes, made once to spare it their allocations.
var ordinary = func() map[beginning][]string {
	all := make(map[beginning][]string)
	for _, rollback := range []bool{false, true} {
		for _, high := range []bool{false, true} {
			for _, savepoint := range []bool{false, true} {
				b := beginning{rollback, high, savepoint}
				all[b] = b.statements("BEGIN")
			}
		}
	}
	return all
}()

func (b beginning) statements(begin string) (statements []string) {
	if b.rollback {
		statements = append(statements, sqlRollback)
	}
	if b.high {
		begin += " PRIORITY HIGH"
	}
	statements = append(statements, begin)
	if b.savepoint {
		statements = append(statements, sqlSavepoint)
	}
	return statements
}

// fromBegin sets the opening that begins a server transaction. status is the server's; high asks for PRIORITY HIGH.
func (o *opening) fromBegin(status byte, high bool) {
	o.high, o.atSavepoint = high && !o.noHigh, false
	b := beginning{rollback: o.begun && status != wire.Idle, high: o.high, savepoint: o.savepoint}
	if o.begin == "BEGIN" {
		o.pending = ordinary[b]
		return
	}
	o.pending = b.statements(o.begin)
}

var fromSavepoint = []string{sqlRollbackTo}

// fromSavepoint sets the opening that goes back to the restart savepoint.
func (o *opening) fromSavepoint() { o.pending, o.atSavepoint, o.high = fromSavepoint, true, false }

// note takes note of what became of the opening, if one went out: how far the message got, and the server's status
// then.
func (o *opening) note(reach wire.Reach, status byte) {
	if reach == wire.Unsent || o.pending == nil {
		return
	}
	o.pending, o.sent = nil, true
	o.begun = reach == wire.InStatement || status != wire.Idle
}

// openFresh has the next message begin a server transaction, with PRIORITY HIGH where that is wanted and possible. It
// spares a transaction that was aborted CockroachDB's detection of deadlocks, and being overtaken for ever; but it
// rules out DDL.
func (t *tx) openFresh(high bool) {
	if t.explicit {
		high = high && t.c.crdb && t.pool.restart != RestartBegin && !t.history.hasDDL()
		t.opening.fromBegin(t.session().Status(), high)
	}
	if t.loop.savepoint != "" {
		t.opening.pending = append(slices.Clone(t.opening.pending), t.loop.savepoint)
	}
}

// mayHaveSavepoint reports whether a server transaction that begins now is to have the restart savepoint.
func (t *tx) mayHaveSavepoint() bool {
	return t.opening.mayHave && !t.history.passive && !t.c.forceSavepoint
}

// openAtOnce has the next message begin an attempt for which there is nothing to wait: it keeps the locks, and the
// place in line, if it can.
func (t *tx) openAtOnce() {
	if t.opening.savepoint && t.session().Status() != wire.Idle && !t.pool.savepoints.avoided() {
		t.opening.fromSavepoint()
		return
	}
	t.openFresh(false)
}

// savepointRefused reports whether the server can't take this transaction back to its savepoint, as after some errors
// (0A000). Then the transaction begins anew.
func (t *tx) savepointRefused(f fault) bool {
	if !t.opening.atSavepoint || f.reach != wire.InOpening || t.session().Closed() ||
		pgerr.Answer(f.err) == nil || pgerr.Conflict(f.err) != nil {
		return false
	}
	t.openFresh(false)
	return true
}

// savepointFailed reports whether f comes from a restart by savepoint after which the server could not go on, as some
// versions can't. Then the transaction begins anew, and the connector avoids the savepoint for a while.
func (t *tx) savepointFailed(f fault) bool {
	// Where RunTx calls its function again, there is no replay; nor is anything run where all that there was to replay was
	// prepared. The statement after the savepoint is the first that is run then.
	isNext := t.state == stateRestarting || t.runBefore(f) == 0 && f.class.Commit == sqltext.NoCommit
	if !t.opening.atSavepoint || f.reach != wire.InStatement || t.session().Closed() ||
		!isNext || !pgerr.IsOfSavepoint(f.err) {
		return false
	}
	t.pool.savepoints.avoid()
	t.pool.metrics().savepointRefused()
	t.openFresh(false)
	return true
}

// highRefused reports whether a statement was refused for the driver's own PRIORITY HIGH: DDL is. Then the transaction
// begins anew without it.
func (t *tx) highRefused(f fault) bool {
	if !t.opening.high || f.reach != wire.InStatement || pgerr.Code(f.err) != pgerr.FeatureNotSupported ||
		!t.restartable() || t.phase() == phaseEnded {
		return false
	}
	t.opening.noHigh = true
	t.openFresh(false)
	return true
}
