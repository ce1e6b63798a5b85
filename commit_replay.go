package cockroachdb

import (
	"context"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A commit that lost a conflict has the record run again before it is sent again: two round trips. Where the
// application has seen nothing of any answer but that it was a success, one is enough: the server itself then verifies
// the replay, for it skips the commit if a statement before it under the same Sync fails.
//
// The price: a connection that is lost before the answer leaves the outcome open from the first statement on, and not
// from the commit on. So it is done only where the transaction has kept its locks, and waits for nobody on the way.

// isUnseen reports whether the application has seen nothing of the answer to r but that it was a success.
func (r *record) isUnseen() bool {
	o := &r.observation
	return !o.shown && o.rows == 0 && !o.more && !o.end && !o.asked && o.live == nil && o.code == ""
}

// mayCommitUnread reports whether the record may be run again under one Sync with the commit: the locks are held,
// nothing was seen that could be different, no statement has to go alone or may have to go without a lock, and no
// marker is needed, for which it must be known first what the statements have written.
func (t *tx) mayCommitUnread() bool {
	records := t.history.records
	keptLocks := t.opening.pending != nil && t.opening.atSavepoint && t.attempt.reason != ReasonAborted
	if len(records) == 0 || !keptLocks || !t.restartable() || t.marks() || segmentLength(records) < len(records) {
		return false
	}
	for _, r := range records {
		if r.alone() || r.locked != nil || !r.isUnseen() {
			return false
		}
	}
	return true
}

// replayAndSend runs the record again and commits, in one round trip. Once that is sent, only the server's answer to a
// statement before the commit, or to the commit itself, means that nothing was committed.
func (c *commitStep) replayAndSend(ctx context.Context) fault {
	t := c.t
	records, statements := t.history.records, c.statements()
	if err := t.session().Check(ctx); err != nil {
		return faultIn(records[0], nil, err, wire.Unsent)
	}
	t.shield.atRisk = !t.wroteNothing()
	rt := t.session().NewLongRoundTrip(ctx, t.opening.pending)
	for _, r := range records {
		rt.Add(&r.Statement)
	}
	rt.Control(statements)
	if f := c.verify(ctx, &rt); f.err != nil || c.told != nil {
		return f
	}
	return c.answered(&rt, statements)
}

// verify sends rt and compares the answers to the record with what the application has seen: that they were successes.
func (c *commitStep) verify(ctx context.Context, rt *wire.RoundTrip) fault {
	t, ran := c.t, 0
	records := t.history.records
	defer t.noteReplay(&ran)()
	reach, err := rt.Send()
	t.opening.note(reach, t.session().Status())
	if err != nil {
		return c.lostBefore(records[0], reach, err)
	}
	same, err := t.compareEach(ctx, rt, 0, records)
	ran = min(same+1, len(records))
	if err != nil {
		return c.differs(records[same], rt, err)
	}
	return fault{}
}

// lostBefore is for err in place of the answer to what precedes the commit in its message. r is what met it. What
// is not the server's answer leaves open whether it has come to the commit.
func (c *commitStep) lostBefore(r *record, reach wire.Reach, err error) fault {
	answer := pgerr.Answer(err)
	switch {
	case reach == wire.Unsent, answer != nil && !pgerr.IsFatal(answer):
		return faultIn(r, nil, err, reach)
	case answer != nil && pgerr.IsConflict(err):
		c.told = c.t.connectionLost(fault{err: err})
		return fault{}
	}
	return c.unknown(err)
}

// differs is for a replay that did not succeed as the statements had, as compare says. Only where the server has
// answered r with an error is it certain that it has skipped the commit.
func (c *commitStep) differs(r *record, rt *wire.RoundTrip, err error) fault {
	differs, ok := err.(*DivergenceError) //nolint:errorlint // made by compare
	switch {
	case ok:
		differs.committed = differs.Kind != DivergedSQLState || differs.is == ""
	case err != errStaleInReplay && err != errEndedInReplay: //nolint:errorlint // likewise
		return c.lostBefore(r, wire.InStatement, rt.Fail(err))
	}
	_ = rt.Fail(err) // what came of the rest does not matter
	return faultIn(r, nil, err, wire.InStatement)
}
