package kit

import (
	"context"
	"database/sql"
	"errors"
)

// ExecuteTx does what cockroach-go's crdb.ExecuteTx does with a transaction, under any name of the savepoint.
func ExecuteTx(ctx context.Context, db *sql.DB, name string, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "SAVEPOINT "+name); err != nil {
		return err
	}
	for range 10 {
		released := false
		if err = fn(tx); err == nil {
			released = true
			if _, err = tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err == nil {
				return tx.Commit()
			}
		}
		if StateOf(err) != "40001" {
			if released {
				return errors.Join(errors.New("ambiguous"), err)
			}
			return err
		}
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+name); err != nil {
			return err
		}
	}
	return err
}
