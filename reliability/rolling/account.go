package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// An account is what has become of the transfers, held against what the tellers were told.
type account struct {
	lost      int // told committed, and not there
	doubled   int // there more than once
	risen     int // told failed, and there
	decided   int // of the ambiguous, those that are there
	unbooked  int // accounts whose balance is not what the journal makes it
	transfers int
}

// accountFor looks at the journal and the accounts.
func accountFor(ctx context.Context, db *sql.DB, tellers []*teller) (account, error) {
	entries, err := entriesOf(ctx, db)
	if err != nil {
		return account{}, fmt.Errorf("read the journal: %w", err)
	}
	var a account
	for _, t := range tellers {
		for i, told := range t.told {
			a.add(told, entries[t.id(i)])
		}
	}
	a.unbooked, err = unbooked(ctx, db)
	if err != nil {
		return a, fmt.Errorf("read the balances: %w", err)
	}
	return a, nil
}

// add takes down what has become of one transfer that has so many entries in the journal.
func (a *account) add(told history.Outcome, entries int) {
	a.transfers++
	switch {
	case entries > 1:
		a.doubled++
	case told == history.Committed && entries == 0:
		a.lost++
	case told == history.Failed && entries == 1:
		a.risen++
	case told == history.Unknown && entries == 1:
		a.decided++
	}
}

func entriesOf(ctx context.Context, db *sql.DB) (map[int64]int, error) {
	rows, err := db.QueryContext(ctx, "SELECT transfer, count(*) FROM journal GROUP BY transfer")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	entries := make(map[int64]int)
	for rows.Next() {
		var transfer int64
		var n int
		if err := rows.Scan(&transfer, &n); err != nil {
			return nil, err
		}
		entries[transfer] = n
	}
	return entries, rows.Err()
}

// unbooked counts the accounts of which the journal and the balance say different things.
func unbooked(ctx context.Context, db *sql.DB) (n int, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT count(*) FROM accounts AS a WHERE a.balance <> $1::BIGINT
			+ COALESCE((SELECT sum(amount) FROM journal AS j WHERE j.credit = a.id), 0)
			- COALESCE((SELECT sum(amount) FROM journal AS j WHERE j.debit = a.id), 0)`, initialBalance).Scan(&n)
	return n, err
}
