package main

import (
	"context"
	"database/sql"

	"github.com/reprise-go/cockroachdb/bench/internal/transact"
)

// An op is what the application does, the i-th time.
type op struct {
	name string
	do   func(ctx context.Context, db *sql.DB, i int) error
}

var ops = []op{
	{"a transaction of one write", inTx(1)},
	{"a transaction of three writes", inTx(3)},
	{"a write outside a transaction", func(ctx context.Context, db *sql.DB, i int) error { return write(ctx, db, i) }},
	{"a transaction of one read", readInTx},
}

const accounts = 1000

type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func write(ctx context.Context, on querier, i int) error {
	_, err := on.ExecContext(ctx, "UPDATE accounts SET balance = balance + $1 WHERE id = $2", 1, i%accounts)
	return err
}

// inTx is a transaction of so many writes.
func inTx(writes int) func(context.Context, *sql.DB, int) error {
	return func(ctx context.Context, db *sql.DB, i int) error {
		return transact.Once(ctx, db, func(tx *sql.Tx) error {
			for n := range writes {
				if err := write(ctx, tx, i*writes+n); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func readInTx(ctx context.Context, db *sql.DB, i int) error {
	return transact.Once(ctx, db, func(tx *sql.Tx) error {
		var balance int64
		return tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = $1", i%accounts).Scan(&balance)
	})
}
