package cockroachdb_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// A policy of its own for one transaction: it is the context given to BeginTx, or to RunTx, that counts.
func ExampleWithRetryPolicy() {
	db := openBank()
	defer db.Close()

	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts = 5 // the first one included
	policy.MaxElapsed = 2 * time.Second
	ctx := cockroachdb.WithRetryPolicy(context.Background(), policy)

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 1 WHERE id = 1"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tx.Commit())
	// Output: <nil>
}

// With retries switched off, the conflict comes to the application as the server sent it.
func ExampleWithoutRetries() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	tx, err := db.BeginTx(cockroachdb.WithoutRetries(ctx), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	var balance int
	if err := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = 1").Scan(&balance); err != nil {
		log.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = 500 WHERE id = 1"); err != nil { // somebody else
		log.Fatal(err)
	}

	_, err = tx.ExecContext(ctx, "UPDATE accounts SET balance = $1 WHERE id = 1", balance+10)
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		fmt.Println("SQLSTATE", server.Code)
	}
	// Output: SQLSTATE 40001
}
