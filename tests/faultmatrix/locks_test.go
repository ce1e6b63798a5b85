package faultmatrix_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/reprise-go/cockroachdb"
)

// The dialects whose pools learn locks, and have learned one before each case.
const (
	ofLockingCockroachDB dialect = "CockroachDB, learned locks"
	ofLockingPostgreSQL  dialect = "PostgreSQL, learned locks"
)

func (m dialect) learnsLocks() bool { return m == ofLockingCockroachDB || m == ofLockingPostgreSQL }

const (
	readCounter = "SELECT v FROM counters WHERE k = $1"
	countUp     = "UPDATE counters SET v = v + 1 WHERE k = $1"
)

// readsCounter reads a counter. In the default mode a new connection does not lock on the first run.
func readsCounter(k int) step {
	return func(p *runner) error {
		var v int
		err := p.tx.QueryRowContext(p.ctx, readCounter, k).Scan(&v)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		p.show("counter %d at %d, %t", k, v, err == nil)
		return nil
	}
}

var (
	reads   = readsCounter(1)
	counts  = execStep(countUp, func(p *runner) { p.table["counter"] = "1" }, 1)
	counted = execStep(
		"INSERT INTO notes SELECT 1, 'counted ' || v FROM counters WHERE k = 1",
		func(p *runner) { p.table["1"] = "counted " + p.table["counter"] },
	)
)

// lockedTransactions have reads that are sent with a lock.
var lockedTransactions = []transaction{
	{name: "locked read, then write", run: txOf(reads, reads, counts, counted)},
	{name: "write, then locked read", run: txOf(insert(2), reads, reads, counts)},
	{name: "locked read of no row", run: txOf(reads, readsCounter(9), counts)},
	{name: "locked read, in RunTx", run: closure(reads, insert(2), counts, reads), careful: true},
}

// lockedVariants come after all others, so that those keep their numbers.
func lockedVariants(number int) (all []*variant) {
	for _, m := range []dialect{ofLockingCockroachDB, ofLockingPostgreSQL} {
		for _, p := range lockedTransactions {
			all = append(all, &variant{p, m, false, number + len(all)})
			if !p.careful {
				all = append(all, &variant{p, m, true, number + len(all)})
			}
		}
	}
	return all
}

// locked reports whether a read was sent with a lock.
func (r *result) locked() bool {
	for _, o := range r.points {
		if strings.HasPrefix(o.sql, readCounter) && strings.HasSuffix(o.sql, "FOR UPDATE") {
			return true
		}
	}
	return false
}

// The driver learns a text that has diverged so often, in so many transactions; in RunTx it takes more of them.
const (
	teachDivergences, teachRuns           = 4, 16
	teachDivergencesInRunTx, teachInRunTx = 8, 128
	bothLearned                           = 2
)

// teachLock has a new pool learn to lock, unless the one there is has learned it and still does.
func (h *bed) teachLock(ctx context.Context, s *variant) error {
	m := s.dialect
	if h.locks[m].Load() == bothLearned {
		return nil
	}
	if err := h.open(m); err != nil {
		return err
	}
	if err := h.prepare(ctx, s, h.dbs[m]); err != nil {
		return err
	}
	for n := range teachRuns {
		diverges := n < teachDivergences
		err := h.countOnce(ctx, h.dbs[m], diverges)
		_, diverged := errors.AsType[*cockroachdb.DivergenceError](err)
		if diverged != diverges || err != nil && !diverged {
			return fmt.Errorf("teach the lock, the %dth time: %w", n+1, err)
		}
	}
	for n := range teachInRunTx {
		diverges := n < teachDivergencesInRunTx
		err := cockroachdb.RunTx(ctx, h.dbs[m], nil, func(tx *sql.Tx) error {
			disturbed := diverges
			diverges = false
			return h.count(ctx, tx, disturbed)
		})
		if err != nil {
			return fmt.Errorf("teach the lock in RunTx, the %dth time: %w", n+1, err)
		}
	}
	if h.locks[m].Load() != bothLearned {
		return errors.New("the pool has not learned to lock")
	}
	return nil
}

// countOnce counts in a transaction.
func (h *bed) countOnce(ctx context.Context, db *sql.DB, disturbed bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := h.count(ctx, tx, disturbed); err != nil {
		return err
	}
	return tx.Commit()
}

// count reads the counter and counts it up, and has somebody else do so in between if it is to be disturbed.
func (h *bed) count(ctx context.Context, tx *sql.Tx, disturbed bool) error {
	if err := tx.QueryRowContext(ctx, readCounter, 1).Scan(new(int)); err != nil {
		return err
	}
	if disturbed {
		if _, err := h.admin.Exec(ctx, countUp, 1); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, countUp, 1)
	return err
}
