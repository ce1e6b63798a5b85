// Package transact runs a transaction once, as a program without retries does.
package transact

import (
	"context"
	"database/sql"
)

// Once runs body in a transaction and commits it. An error of body rolls back, and is returned.
func Once(ctx context.Context, db *sql.DB, body func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := body(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}
