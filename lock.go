package cockroachdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"unsafe"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A read by key that loses often, of a row that its transaction then writes, is sent with FOR UPDATE from then on.
// What that changes besides the lock is taken back: at an error that the lock may have caused, and where it returns no
// row, the statement runs again as the application has it. A row may be missing for the lock's sake: with row-level
// security FOR UPDATE returns only rows that may be updated. Since it reads by a unique key there is at most one.

// errUnlocked begins another attempt, in which a statement does not lock any more.
var errUnlocked = errors.New("cockroachdb: a statement can't be run with the lock that was added to it")

// lockedRead is what a statement was made a locking one of.
type lockedRead struct {
	text  *lockText
	plain wire.Statement
}

// lockedSize is what a lockedRead takes besides what it has in common with the statement on record.
const lockedSize = int(unsafe.Sizeof(lockedRead{}))

// findLock looks whether the text of a request locks.
func (t *tx) findLock(r *request) {
	texts := t.lockTexts()
	if texts == nil || !t.explicit || !r.query || texts.isEmpty() || rewrites(r.args) {
		return
	}
	key, ok := t.c.sharedKey(t, r.sql)
	if !ok {
		return
	}
	if r.text, r.locks = texts.find(key); r.text != nil {
		r.locks = r.locks && t.mayLock() && t.c.isConfirmed(r)
	}
}

// lockTexts returns the texts that lock in transactions such as this one, or nil. In RunTx they are learned on
// CockroachDB, and elsewhere only if the application wants locks everywhere.
func (t *tx) lockTexts() *lockTexts {
	learned := &t.pool.locks
	if t.runner != nil && (t.c.crdb || learned.elsewhere != nil) {
		return learned.inRunTx
	}
	return learned.elsewhere
}

// rewrites reports whether one of pgx's options among the arguments may change the text.
func rewrites(args []any) bool {
	return slices.ContainsFunc(args, func(arg any) bool { _, ok := arg.(pgx.QueryRewriter); return ok })
}

// mayLock reports whether a lock changes nothing of what reads of the transaction return, and it can be taken back.
func (t *tx) mayLock() bool { return t.restartable() && t.mightLock() }

// mightLock is mayLock without the latter.
func (t *tx) mightLock() bool {
	return t.opening.snapshot && !t.opening.readOnly && !t.locking.modes && !t.onStandby()
}

// readsSnapshots reports whether a transaction of this isolation level reads what was committed at one point in time.
// On PostgreSQL, under READ COMMITTED, a locking read may return a row that is newer than those beside it, or leave it
// out. On CockroachDB a locking read is as another one, whatever the level.
func (c *conn) readsSnapshots(level driver.IsolationLevel) bool {
	switch sql.IsolationLevel(level) {
	case sql.LevelRepeatableRead, sql.LevelSnapshot, sql.LevelSerializable:
		return true
	case sql.LevelDefault:
	default:
		return false
	}
	return c.snapshots && !slices.ContainsFunc(c.journal.sets, sqltext.SetsModes)
}

// snapshotsByDefault is readsSnapshots for the level that a session with these run-time parameters begins with.
func snapshotsByDefault(crdb bool, params map[string]string) bool {
	levels := sessionVariable(params, "default_transaction_isolation")
	return (crdb || len(levels) > 0) && !slices.ContainsFunc(levels, isCommitted)
}

// isConfirmed reports whether what is known of a request's text comes from this connection's server.
func (c *conn) isConfirmed(r *request) bool {
	var p *wire.Prepared
	switch {
	case r.stmt != nil:
		p = r.stmt.p
	case r.mode == pgx.QueryExecModeCacheStatement:
		p = c.session.Statements.Get(r.sql)
	case r.mode == pgx.QueryExecModeCacheDescribe:
		p = c.session.Descriptions.Get(r.sql)
	default:
		return r.mode != pgx.QueryExecModeSimpleProtocol
	}
	return p != nil && p.Confirmed()
}

// tracedText is the text that a request is to be sent with.
func (r *request) tracedText() string {
	if r.locks {
		return r.text.read.Locking()
	}
	return r.sql
}

// lock makes s a locking statement, if that is what is wanted, and there is room for it on record.
func (t *tx) lock(r *request, s *wire.Statement) {
	if r.text == nil {
		return
	}
	r.locks = r.locks && s.Form != wire.Simple && t.hasRoomFor(s, lockedSize) &&
		(s.Prepared == nil || s.Prepared.Confirmed())
	t.noteUse(r.text, r.locks)
	if !r.locks {
		return
	}
	r.locked = &lockedRead{text: r.text, plain: *s}
	s.Form, s.SQL, s.Template, s.Prepared = wire.Unnamed, r.text.read.Locking(), "", nil
	t.pool.metrics().readLocked()
}

// keepLock keeps with a record what its statement was made a locking one of.
func (t *tx) keepLock(r *record, of *lockedRead) {
	if of == nil {
		return
	}
	r.locked = of
	t.keepLockSize(lockedSize)
}

// unlock has a record run from now on as the application has it.
func (t *tx) unlock(r *record) {
	plain := r.locked.plain
	t.rerecord(r, &plain)
	r.locked = nil
	t.keepLockSize(-lockedSize)
}

func (t *tx) keepLockSize(size int) {
	t.history.bytes += size
	t.pool.metrics().historyBytes(size)
}

// unlocks reports whether the lock may be why a statement has failed, of whose answer nothing was shown. It does not
// lock any more then, nor does its text for a while.
func (t *tx) unlocks(ctx context.Context, r *record, f fault) bool {
	if r.locked == nil || f.earlier || f.reach != wire.InStatement || r.shown || !t.isOfLock(f.err) {
		return false
	}
	t.unlockAfter(ctx, r, f.err)
	return true
}

// isOfLock reports whether err may come from a lock, and the transaction can go back to before it.
func (t *tx) isOfLock(err error) bool {
	if !t.restartable() || !t.isStatementError(err) || !pgerr.MayBeOfLock(err) {
		return false
	}
	ofSavepoint := t.opening.atSavepoint && t.state == stateRestarting && pgerr.IsOfSavepoint(err)
	return !ofSavepoint
}

// unlockAfter is unlock after err.
func (t *tx) unlockAfter(ctx context.Context, r *record, err error) {
	text := r.locked.text
	t.unlock(r)
	if t.attempt.why == nil {
		t.attempt.why = err
	}
	if text.of.failed(text) {
		t.lockChanged(ctx, text, LockFailed, err)
	}
}

// isDoubtful reports whether a statement that locks has returned no row: it might return one without the lock.
func (cu *cursor) isDoubtful(rows int64) bool {
	return cu.rec.locked != nil && rows == 0 && !cu.rec.shown && cu.t.restartable()
}

// runUnlocked runs a statement that has returned no row once more, without the lock.
func (cu *cursor) runUnlocked() {
	cu.t.unlock(cu.rec)
	if f := cu.send(cu.ctx); f.err != nil {
		cu.carryOn(f)
	}
}

// unlocksAgain reports whether the lock may be why a statement has answered otherwise in a replay: with err, or with
// less rows. It does not lock any more then.
func (t *tx) unlocksAgain(ctx context.Context, r *record, differs *DivergenceError, err error) bool {
	switch {
	case r.locked == nil:
		return false
	case err != nil && t.isOfLock(err) && pgerr.Code(err) != r.code:
		t.unlockAfter(ctx, r, err)
		return true
	case differs != nil && differs.Kind == DivergedEndOfRows && t.restartable():
		t.unlock(r)
		return true
	}
	return false
}
