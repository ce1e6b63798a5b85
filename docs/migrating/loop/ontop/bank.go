// Package ontop is the bank of package before, with its loop on top of this driver.
package ontop

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
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

// Retry runs fn in a transaction, again and again if it loses a conflict.
func Retry(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := once(ctx, db, fn)
		pgErr, ok := errors.AsType[*pgconn.PgError](err)
		_, exhausted := errors.AsType[*cockroachdb.RetriesExhaustedError](err)
		if !ok || pgErr.Code != "40001" || exhausted || attempt == 10 {
			return err
		}
		time.Sleep(rand.N(20 * time.Millisecond << attempt))
	}
}

func once(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Transfer moves money from one account to another. It depends on nothing that others change often: the owner of an
// account stays the same.
func (b *Bank) Transfer(ctx context.Context, from, to, amount int64) error {
	return Retry(ctx, b.DB, func(tx *sql.Tx) error {
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
	return Retry(ctx, b.DB, func(tx *sql.Tx) error {
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
}
