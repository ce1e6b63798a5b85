package cockroachdb

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// contested is what a pool on PostgreSQL remembers of rows that transactions have lost, or waited for. It may be used
// by any number of goroutines.
type contested struct {
	latest moment         // when any row was contested
	rows   byHash[moment] // when a row was; of two that share a hash, one takes turns in vain
	reads  readsToWrite
}

// contestedLasts is for how long after a row was contested transactions take turns over it from their start.
const contestedLasts = time.Second

// byHash has a value for each name, by a hash of it. Some names share one.
type byHash[T any] [256]T

var hashSeed = maphash.MakeSeed()

func (h *byHash[T]) of(name string) *T { return &h[maphash.String(hashSeed, name)%uint64(len(h))] }

// note takes note that rows were lost or waited for.
func (c *contested) note(rows []string) {
	now := time.Now()
	for _, row := range rows {
		c.rows.of(row).note(now)
		c.latest.note(now)
	}
}

// errAwaitsRow is met by a statement that would wait on the server for a row, while its transaction has locked others.
// It stands for the conflict that the statement would lose, where a replay diverges: loops around it know that.
var errAwaitsRow error = likeServer(pgerr.SerializationFailure,
	"another transaction has the row; the driver has rolled back before the server had to")

// awaitTurn waits for those of the pool that take turns over the row that r writes or locks, before r is sent. On
// PostgreSQL it would wait for them in any case: on the server, with a snapshot from before they have written, and so
// lose. So would the write that follows a read. An error is a context's; or errAwaitsRow, if the transaction has to
// give up its locks before it may wait.
func (t *tx) awaitTurn(ctx context.Context, r *record) error {
	row := t.contestedRow(r)
	if row == "" || t.attempt.pass.Holds() && t.attempt.pass.IsOver([]string{row}) {
		return nil
	}
	if t.opening.sent {
		if t.mayBeginAnew() && !t.pool.lane.IsFree(row) {
			return errAwaitsRow
		}
		return nil
	}
	if t.attempt.pass = t.pool.lane.TryEnter(row); t.attempt.pass != nil {
		return nil
	}
	return t.enterLane(ctx, nil, row)
}

// contestedRow returns the row that r writes or locks, or reads in order to write it, if it was contested lately.
func (t *tx) contestedRow(r *record) string {
	if !t.explicit || !t.restartable() || t.policy.LaneWait == 0 ||
		!t.pool.contested.latest.within(contestedLasts) || !sqltext.AwaitsRows(r.SQL) && !t.readsToWrite(r) {
		return ""
	}
	row := r.row()
	if row == "" || !t.pool.contested.rows.of(row).within(contestedLasts) {
		return ""
	}
	return row
}

// mayBeginAnew reports whether no row that the application was shown can be another one in a replay. RunTx could call
// its function again, but who has read much has done so in vain if the one that it waits for is rolled back.
func (t *tx) mayBeginAnew() bool { return t.phase() == phaseBlock && !t.mayDiverge() }

// beginInTurn has the transaction begin anew, when it is its turn over all the rows that it has come to. It has lost
// nothing, and so this is no attempt.
func (t *tx) beginInTurn(ctx context.Context) error {
	t.restarts()
	t.attempt.why = errAwaitsRow
	records := t.history.records
	over := t.rowsOf(records[len(records)-1].row())
	if err := t.giveUpLocks(ctx); err != nil {
		return err
	}
	t.leaveLane()
	err := t.enterLane(ctx, nil, over...)
	t.openFresh(false)
	return err
}
