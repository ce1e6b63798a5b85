package cockroachdb

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// contested is what a pool on PostgreSQL remembers of rows that transactions have lost, or waited for. It may be used
// by any number of goroutines.
type contested struct {
	latest moment      // when any row was contested
	rows   [256]moment // when a row was, by a hash of its name; of two that share one, one takes turns in vain
}

// contestedLasts is for how long after a row was contested transactions take turns over it from their start.
const contestedLasts = time.Second

var contestedSeed = maphash.MakeSeed()

func (c *contested) row(name string) *moment {
	return &c.rows[maphash.String(contestedSeed, name)%uint64(len(c.rows))]
}

func (c *contested) note(row string, now time.Time) {
	c.row(row).note(now)
	c.latest.note(now)
}

// awaitTurn waits, before the first statement of a transaction, for those of the pool that take turns over the row that
// it writes or locks. On PostgreSQL it would wait for them in any case: on the server, with a snapshot from before they
// have written, and so lose. Nothing has been sent, and nothing is locked. An error is a context's.
func (t *tx) awaitTurn(ctx context.Context, r *record) error {
	row := t.contestedRow(r)
	if row == "" {
		return nil
	}
	if t.attempt.pass = t.pool.lane.TryEnter(row); t.attempt.pass != nil {
		return nil
	}
	t.pool.contested.note(row, time.Now())
	return t.enterLane(ctx, row, nil)
}

// contestedRow returns the row that r, a transaction's first statement, writes or locks, if it was contested lately.
func (t *tx) contestedRow(r *record) string {
	if !t.explicit || t.opening.sent || t.attempt.number > 1 || t.history.passive ||
		!t.pool.contested.latest.within(contestedLasts) || !sqltext.AwaitsRows(r.SQL) {
		return ""
	}
	row := r.row()
	if row == "" || !t.pool.contested.row(row).within(contestedLasts) {
		return ""
	}
	return row
}
