// Package ontop is the bank of package before, with cockroach-go on top of this driver.
package ontop

import (
	"context"
	"database/sql"
	"errors"

	"github.com/cockroachdb/cockroach-go/v2/crdb"

	_ "github.com/reprise-go/cockroachdb"
)

// Bank keeps accounts.
type Bank struct {
	DB      *sql.DB
	Approve func(owner string) error // asked before money leaves an account
}

// Open opens a pool.
func Open(dsn string) (*sql.DB, error) {
	return sql.Open("cockroachdb", dsn)
}

// Transfer moves money from one account to another. It depends on nothing that others change often: the owner of an
// account stays the same.
func (b *Bank) Transfer(ctx context.Context, from, to, amount int64) error {
	return crdb.ExecuteTx(ctx, b.DB, nil, func(tx *sql.Tx) error {
		var owner string
		if err := tx.QueryRowContext(ctx, "SELECT owner FROM accounts WHERE id = $1", from).Scan(&owner); err != nil {
			return err
		}
		if err := b.Approve(owner); err != nil {
			return err
		}
		const withdraw = "UPDATE accounts SET balance = balance - $1 WHERE id = $2"
		if _, err := tx.ExecContext(ctx, withdraw, amount, from); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $1 WHERE id = $2", amount, to)
		return err
	})
}

// AddInterest adds a tenth. It reads what others write, and then acts on it.
func (b *Bank) AddInterest(ctx context.Context, id int64) error {
	ctx = crdb.WithMaxRetries(ctx, 9)
	err := crdb.ExecuteTx(ctx, b.DB, nil, func(tx *sql.Tx) error {
		var owner string
		var balance int64
		row := tx.QueryRowContext(ctx, "SELECT owner, balance FROM accounts WHERE id = $1", id)
		if err := row.Scan(&owner, &balance); err != nil {
			return err
		}
		if err := b.Approve(owner); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = $1 WHERE id = $2", balance+balance/10, id)
		return err
	})
	if _, tired := errors.AsType[*crdb.MaxRetriesExceededError](err); tired {
		return errors.Join(errors.New("come back later"), err)
	}
	return err
}
