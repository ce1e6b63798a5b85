package cockroachdb

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// loop is that of an application which retries by a savepoint of its own, as cockroach-go's ExecuteTx does: the first
// statement of the transaction is SAVEPOINT cockroach_restart, and after a 40001 the application goes back there and
// runs all of it again. So it is told a 40001 when the connection is lost before anything can be committed, and its
// ROLLBACK TO has the transaction begin on another connection. Nothing is on record.
type loop struct {
	own       bool   // the application has a restart savepoint of its own
	savepoint string // the application's text, once the server has carried it out; "" if there is no loop
	lost      *fault // with this the connection was lost, and the application has not gone back yet
}

// What a loop goes back at: the loss of its connection, and a RELEASE that could not be marked.
var (
	errGoBack   = restartError("its connection was lost, and another one takes its place")
	errMarkAnew = restartError("the marker of its commit can be placed now")
)

func restartError(why string) *pgconn.PgError {
	return likeServer(pgerr.SerializationFailure, "restart transaction: "+why)
}

// beginsLoop reports whether a statement of this class is the savepoint of a loop.
func (t *tx) beginsLoop(c *sqltext.Class) bool {
	return c.Savepoint == sqltext.RestartSavepoint && !c.Several && t.attempt.statements == 1 &&
		t.loop.own && t.c.crdb && t.runner == nil
}

// cause is why a transaction that is not recorded can't move.
func (l *loop) cause() Cause {
	if l.own {
		return CauseApplicationSavepoint
	}
	return "" // the application does not want retries
}

// noteLoop takes note of a statement that has succeeded.
func (t *tx) noteLoop(s *wire.Statement) {
	if t.beginsLoop(&s.Class) {
		t.loop.savepoint = s.Text()
	}
}

// seesAll reports whether the driver sees all that the transaction runs, on record or not.
func (t *tx) seesAll() bool { return !t.history.passive || t.loop.savepoint != "" }

// standsAtLoop reports whether a statement of this class leaves nothing of the transaction but the beginning of a loop.
func (t *tx) standsAtLoop(c *sqltext.Class) bool {
	return t.beginsLoop(c) || c.GoesBack && t.loop.savepoint != ""
}

// goingBack is the class of what the application does in order to go back.
var goingBack = sqltext.Class{GoesBack: true}

// leavesToLoop reports whether the application is to go back after f, with which the connection was lost. It can do no
// such thing once it has called Commit.
func (t *tx) leavesToLoop(f fault, at site) bool {
	return t.loop.savepoint != "" && !f.class.GoesBack && at.at != PlaceCommit && !t.mayHaveCommitted(f)
}

// goesBackAtRelease reports whether the application goes back since the marker of its RELEASE has met f.
func (t *tx) goesBackAtRelease(f fault) bool {
	return t.loop.savepoint != "" && f.class.Releases && f.reach == wire.InOpening &&
		(f.unmarked || pgerr.IsConflict(f.err))
}

// tellAtRelease returns what the application goes back at then.
func tellAtRelease(f fault) error {
	if f.unmarked {
		return errors.Join(errMarkAnew, f.err)
	}
	return f.err
}

// settleRelease takes note that the application's RELEASE was carried out although its answer was lost. Nothing more
// can run in the transaction.
func (t *tx) settleRelease() {
	t.session().Die()
	t.detach(endedByRelease, true)
}

// tellLoop tells the application to go back.
func (t *tx) tellLoop(f fault) error {
	t.loop.lost = &f
	return t.fail(&ConnectionLostError{err: errors.Join(errGoBack, f.err), goBack: true})
}

// goBack has the transaction begin on another connection, if the application goes back after it was told to.
func (t *tx) goBack(ctx context.Context, sql string) error {
	f := t.loop.lost
	if f == nil || t.state != stateFailed || t.rows != nil || !t.session().Classify(sql).GoesBack {
		return nil
	}
	t.loop.lost = nil
	t.reopen()
	t.restarts()
	if err := t.move(ctx, *f, t.attempt.site); err != nil {
		return err
	}
	t.restarted()
	return nil
}
