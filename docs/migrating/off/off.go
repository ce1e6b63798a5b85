// Package off switches retries off.
package off

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// ErrBusy says that somebody else was faster.
var ErrBusy = errors.New("somebody else was faster")

// Bank keeps accounts.
type Bank struct {
	DB      *sql.DB
	Approve func(owner string) error // asked before money leaves an account
}

// TryWithdraw takes money from an account, or gives up at the first conflict.
func (b *Bank) TryWithdraw(ctx context.Context, id, amount int64) error {
	tx, err := b.DB.BeginTx(cockroachdb.WithoutRetries(ctx), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := b.withdraw(ctx, tx, id, amount); err != nil {
		return busy(err)
	}
	return busy(tx.Commit())
}

func busy(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "40001" {
		return ErrBusy
	}
	return err
}

func (b *Bank) withdraw(ctx context.Context, tx *sql.Tx, id, amount int64) error {
	var owner string
	if err := tx.QueryRowContext(ctx, "SELECT owner FROM accounts WHERE id = $1", id).Scan(&owner); err != nil {
		return err
	}
	if err := b.Approve(owner); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, id)
	return err
}

// OpenPlain opens a pool without retries. It leaves the DSN alone, so that another driver can have the same.
func OpenPlain(dsn string) (*sql.DB, error) {
	cfg, err := cockroachdb.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RetryPolicy.MaxAttempts = 1
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
