package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
)

const initialBalance = 1_000_000

// schema is understood by all servers. A BIGSERIAL is of unique_rowid() on CockroachDB, of a sequence on PostgreSQL.
var schema = []string{
	"CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
	"CREATE TABLE transfers (id BIGSERIAL PRIMARY KEY, from_account BIGINT NOT NULL, to_account BIGINT NOT NULL, " +
		"amount BIGINT NOT NULL)",
}

// createBank makes the accounts, each with initialBalance, and an empty journal of transfers.
func createBank(ctx context.Context, db *sql.DB, accounts int) error {
	for _, table := range schema {
		if _, err := db.ExecContext(ctx, table); err != nil {
			return fmt.Errorf("create the bank: %w", err)
		}
	}
	_, err := db.ExecContext(ctx, "INSERT INTO accounts SELECT id, $1 FROM generate_series(1, $2) AS id",
		initialBalance, accounts)
	if err != nil {
		return fmt.Errorf("open %d accounts: %w", accounts, err)
	}
	return nil
}

// totalBalance is what no transfer may change.
func totalBalance(ctx context.Context, db *sql.DB) (total int64, err error) {
	if err = db.QueryRowContext(ctx, "SELECT sum(balance) FROM accounts").Scan(&total); err != nil {
		return 0, fmt.Errorf("add up the balances: %w", err)
	}
	return total, nil
}

// A transfer moves an amount from one account to another.
type transfer struct{ from, to, amount int64 }

// randomTransfer is between two different accounts.
func randomTransfer(rnd *rand.Rand, accounts int) transfer {
	from, to := rnd.IntN(accounts), rnd.IntN(accounts-1)
	if to >= from {
		to++
	}
	return transfer{from: int64(from + 1), to: int64(to + 1), amount: 1 + rnd.Int64N(10)}
}

// A kind is a way in which applications write a transfer: the statements between BEGIN and COMMIT.
type kind struct {
	name    string // for -kinds
	title   string
	do      func(context.Context, *sql.Tx, transfer) error
	closure bool // the application would give it to RunTx
}

var allKinds = []kind{
	{name: "blind", title: "blind updates", do: blind},
	{name: "insert", title: "INSERT RETURNING, updates", do: insertThenUpdate},
	{name: "forupdate", title: "reads FOR UPDATE, writes", do: forUpdate},
	{name: "readwrite", title: "read, then blind write", do: readThenWrite},
	{name: "ordered", title: "reads in order, writes", do: ordered},
	{name: "modify", title: "read-modify-write", do: readModifyWrite, closure: true},
}

var errInsufficientFunds = errors.New("insufficient funds")

const (
	sqlRead = "SELECT balance FROM accounts WHERE id = $1"
	sqlLock = "SELECT balance FROM accounts WHERE id = $1 FOR UPDATE"
	sqlAdd  = "UPDATE accounts SET balance = balance + $2 WHERE id = $1"
	sqlSet  = "UPDATE accounts SET balance = $2 WHERE id = $1"

	sqlReadInOrder = "-- in order\n" + sqlRead // another text, since locks are learned by text

	sqlInsert = "INSERT INTO transfers (from_account, to_account, amount) VALUES ($1, $2, $3) RETURNING id"
)

// blind has read nothing: it can always be run again unseen.
func blind(ctx context.Context, tx *sql.Tx, t transfer) error {
	if _, err := tx.ExecContext(ctx, sqlAdd, t.from, -t.amount); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, sqlAdd, t.to, t.amount)
	return err
}

// insertThenUpdate makes the row of the journal first, as applications do: what belongs to a transfer refers to its
// key, so that an ORM reads the key back before anything else is written.
func insertThenUpdate(ctx context.Context, tx *sql.Tx, t transfer) error {
	if _, err := insert(ctx, tx, t); err != nil {
		return err
	}
	return blind(ctx, tx, t)
}

// insert returns the key of the transfer in the journal.
func insert(ctx context.Context, tx *sql.Tx, t transfer) (id int64, err error) {
	err = tx.QueryRowContext(ctx, sqlInsert, t.from, t.to, t.amount).Scan(&id)
	return id, err
}

// forUpdate locks what it reads, and writes what it has computed from it.
func forUpdate(ctx context.Context, tx *sql.Tx, t transfer) error {
	return compute(ctx, tx, sqlLock, t)
}

// readThenWrite looks whether there is enough, and leaves the sums to the server.
func readThenWrite(ctx context.Context, tx *sql.Tx, t transfer) error {
	balance, err := read(ctx, tx, sqlRead, t.from)
	if err != nil {
		return err
	}
	if balance < t.amount {
		return errInsufficientFunds
	}
	return blind(ctx, tx, t)
}

// ordered reads and writes the account of the lower number first, as is advised against deadlocks. Locks that the
// driver learns spare nearly all failures then. Those of readThenWrite deadlock.
func ordered(ctx context.Context, tx *sql.Tx, t transfer) error {
	if t.from > t.to {
		t = transfer{from: t.to, to: t.from, amount: -t.amount}
	}
	return compute(ctx, tx, sqlReadInOrder, t)
}

// readModifyWrite writes what it has computed from what it read, and nothing but serializability protects it.
func readModifyWrite(ctx context.Context, tx *sql.Tx, t transfer) error {
	return compute(ctx, tx, sqlRead, t)
}

func compute(ctx context.Context, tx *sql.Tx, query string, t transfer) error {
	from, err := read(ctx, tx, query, t.from)
	if err != nil {
		return err
	}
	to, err := read(ctx, tx, query, t.to)
	if err != nil {
		return err
	}
	if from < t.amount || to < -t.amount {
		return errInsufficientFunds
	}
	if _, err := tx.ExecContext(ctx, sqlSet, t.from, from-t.amount); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, sqlSet, t.to, to+t.amount)
	return err
}

func read(ctx context.Context, tx *sql.Tx, query string, id int64) (balance int64, err error) {
	err = tx.QueryRowContext(ctx, query, id).Scan(&balance)
	return balance, err
}
