package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

const initialBalance = 1_000_000

// createBank makes the accounts, and the journal. Nothing keeps a transfer from having two rows there.
func createBank(ctx context.Context, db *sql.DB, accounts int) error {
	return execAll(ctx, db,
		"CREATE TABLE accounts (id BIGINT PRIMARY KEY, owner TEXT NOT NULL, balance BIGINT NOT NULL)",
		`CREATE TABLE journal (entry UUID PRIMARY KEY DEFAULT gen_random_uuid(), transfer BIGINT NOT NULL,
			debit BIGINT NOT NULL, credit BIGINT NOT NULL, amount BIGINT NOT NULL)`,
		fmt.Sprintf("INSERT INTO accounts SELECT id, 'owner ' || id, %d FROM generate_series(0, %d) AS id",
			initialBalance, accounts-1),
		"ANALYZE accounts")
}

// A teller transfers money from one account to another. Each of its transfers has a number of its own.
type teller struct {
	db       *sql.DB
	number   int // of the teller
	accounts int
	singles  bool
	transact transactor
	told     []history.Outcome // of each transfer
}

// transfersEach is how many numbers each teller has.
const transfersEach = 1 << 32

func (t *teller) id(transfer int) int64 { return int64(t.number)*transfersEach + int64(transfer) }

func (t *teller) step(ctx context.Context, rnd *rand.Rand) (outcome history.Outcome, err error) {
	if t.singles && rnd.IntN(2) == 0 {
		outcome, err = t.note(ctx, rnd.IntN(t.accounts))
	} else {
		outcome, err = t.transfer(ctx, rnd)
	}
	t.told = append(t.told, outcome)
	return outcome, err
}

// note is a transfer of nothing: a row in the journal, by a statement outside a transaction that has no arguments.
func (t *teller) note(ctx context.Context, account int) (history.Outcome, error) {
	const text = "INSERT INTO journal (transfer, debit, credit, amount) VALUES (%d, %d, %d, 0)"
	_, err := t.db.ExecContext(ctx, fmt.Sprintf(text, t.id(len(t.told)), account, account))
	return outcomeOfCommit(err), err
}

func (t *teller) transfer(ctx context.Context, rnd *rand.Rand) (history.Outcome, error) {
	debit, credit, amount := rnd.IntN(t.accounts), rnd.IntN(t.accounts-1), 1+rnd.IntN(10)
	if credit >= debit {
		credit++
	}
	return t.transact(ctx, t.db, func(tx *sql.Tx) error {
		return transfer(ctx, tx, t.id(len(t.told)), debit, credit, amount)
	})
}

func transfer(ctx context.Context, tx *sql.Tx, id int64, debit, credit, amount int) error {
	var owner string
	if err := tx.QueryRowContext(ctx, "SELECT owner FROM accounts WHERE id = $1", debit).Scan(&owner); err != nil {
		return err
	}
	if want := fmt.Sprint("owner ", debit); owner != want {
		return fmt.Errorf("account %d belongs to %q, not to %q", debit, owner, want)
	}
	changes := map[int]int{debit: -amount, credit: amount}
	for _, account := range []int{min(debit, credit), max(debit, credit)} { // in order, so that nobody waits in a circle
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $2 WHERE id = $1", account, changes[account])
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO journal (transfer, debit, credit, amount) VALUES ($1, $2, $3, $4)",
		id, debit, credit, amount)
	return err
}
