package cockroachdb

import (
	"slices"
	"sync/atomic"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// On PostgreSQL a transaction loses that reads a row in order to write it, if another one writes the row in between. To
// take its turn it must wait before it reads. A text does not say what a read is for; that is learned from
// transactions that end while rows are contested.

// readsToWrite counts for texts that read a row, by their hash, how surely the same transaction writes that row next.
// It may be used by any number of goroutines; a count that two of them change at once may be lost, which does no harm.
type readsToWrite struct{ byHash[atomic.Int32] }

// A read whose row is then written adds one to its text's count, and another takes three from it: it grows where more
// than three in four are followed by a write.
const mostSure, sureEnough, readAlone = 32, 16, 3

func (c *readsToWrite) isSure(text string) bool { return c.of(text).Load() >= sureEnough }

func (c *readsToWrite) note(text string, written bool) {
	count := c.of(text)
	if written {
		count.Store(min(count.Load()+1, mostSure))
	} else {
		count.Store(max(count.Load()-readAlone, 0))
	}
}

// readsToWrite reports whether r reads a row, without a lock, that its transaction is as good as sure to write.
func (t *tx) readsToWrite(r *record) bool {
	return !t.opening.readOnly && t.pool.contested.reads.isSure(r.SQL) && sqltext.ParseKeyRead(r.SQL) != nil
}

// learnReads notes for each row that the transaction has read whether it has written it after that.
func (t *tx) learnReads() {
	if t.c.crdb || t.opening.readOnly || !t.pool.contested.latest.within(contestedLasts) {
		return
	}
	var written []string
	for _, r := range slices.Backward(t.firstRecords()) {
		switch row := r.row(); {
		case row == "":
		case sqltext.AwaitsRows(r.SQL):
			written = append(written, row)
		case r.Class.Reads:
			t.pool.contested.reads.note(r.SQL, slices.Contains(written, row))
		}
	}
}
