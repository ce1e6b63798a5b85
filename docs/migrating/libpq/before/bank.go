// Package before is a small bank on lib/pq.
package before

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"
)

// ErrTaken says that there is an account of that number.
var ErrTaken = errors.New("there is an account of that number")

// Bank keeps accounts.
type Bank struct {
	DB      *sql.DB
	Approve func(owner string) error // asked before money leaves an account
}

// Open opens a pool.
func Open(dsn string) (*sql.DB, error) {
	return sql.Open("postgres", dsn)
}

// Transfer moves money from one account to another.
func (b *Bank) Transfer(ctx context.Context, from, to, amount int64) error {
	tx, err := b.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
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
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $1 WHERE id = $2", amount, to); err != nil {
		return err
	}
	return tx.Commit()
}

// Add opens an account.
func (b *Bank) Add(ctx context.Context, id int64, owner string) error {
	_, err := b.DB.ExecContext(ctx, "INSERT INTO accounts VALUES ($1, $2, 0)", id, owner)
	pqErr, ok := errors.AsType[*pq.Error](err)
	if ok && pqErr.Code.Name() == "unique_violation" && pqErr.Table == "accounts" {
		return ErrTaken
	}
	return err
}

// Owners gives the owners of some accounts.
func (b *Bank) Owners(ctx context.Context, ids []int64) ([]string, error) {
	var owners []string
	const query = "SELECT array_agg(owner ORDER BY id) FROM accounts WHERE id = ANY($1)"
	err := b.DB.QueryRowContext(ctx, query, pq.Array(ids)).Scan(pq.Array(&owners))
	return owners, err
}

// Import opens many accounts.
func (b *Bank) Import(ctx context.Context, owners map[int64]string) error {
	tx, err := b.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, pq.CopyIn("accounts", "id", "owner", "balance"))
	if err != nil {
		return err
	}
	for id, owner := range owners {
		if _, err := stmt.ExecContext(ctx, id, owner, 0); err != nil {
			return err
		}
	}
	if _, err := stmt.ExecContext(ctx); err != nil {
		return err
	}
	if err := stmt.Close(); err != nil {
		return err
	}
	return tx.Commit()
}
