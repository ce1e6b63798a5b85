package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// The driver's name is "cockroachdb". The DSN is one for pgx; the driver's own keys begin with retry_.
func Example() {
	// As in "postgresql://app@db1:26257,db2:26257,db3:26257/bank?sslmode=verify-full&retry_max_attempts=10".
	dsn := exampleDSN() + "&retry_max_attempts=10"

	db, err := sql.Open("cockroachdb", dsn)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var answer int
	if err := db.QueryRow("SELECT 6 * 7").Scan(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
	// Output: 42
}

// A transaction loses a conflict, and the application does not notice: the owner that it has read is still the same
// when the driver runs the transaction again.
func Example_transaction() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	tx, err := db.BeginTx(ctx, nil) // sends nothing
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()

	var owner string // BEGIN and the savepoint travel with this statement
	if err := tx.QueryRowContext(ctx, "SELECT owner FROM accounts WHERE id = 2").Scan(&owner); err != nil {
		log.Fatal(err)
	}

	// Somebody else changes Bob's balance before this transaction does.
	if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + 50 WHERE id = 2"); err != nil {
		log.Fatal(err)
	}

	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = 2"); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}

	var balance int
	if err := db.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = 2").Scan(&balance); err != nil {
		log.Fatal(err)
	}
	fmt.Println(owner, balance)
	// Output: Bob 160
}

// What the errors of this package mean, and what to do about each. Here the transaction has read the balance that
// somebody else then changes, so that it can't be replayed unseen.
func Example_errors() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	withdraw := func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var balance int
		if err := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = 1").Scan(&balance); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = 5 WHERE id = 1"); err != nil { // somebody else
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = $1 WHERE id = 1", balance-10); err != nil {
			return err
		}
		return tx.Commit()
	}

	err := withdraw()
	var (
		ambiguous *cockroachdb.AmbiguousCommitError
		lost      *cockroachdb.ConnectionLostError
		diverged  *cockroachdb.DivergenceError
		refused   *cockroachdb.NotReplayableError
		exhausted *cockroachdb.RetriesExhaustedError
		server    *pgconn.PgError
	)
	switch {
	case err == nil:
		fmt.Println("committed")
	case errors.As(err, &ambiguous):
		fmt.Println("committed or not: look before you do it again")
	case errors.As(err, &diverged):
		fmt.Printf("not committed: statement %d, %s %d has changed; use RunTx\n",
			diverged.Statement, diverged.Kind, diverged.Row)
	case errors.As(err, &refused):
		fmt.Println("not committed: not replayable because of", refused.Cause)
	case errors.As(err, &exhausted):
		fmt.Println("not committed, after", exhausted.Attempts, "attempts")
	case errors.As(err, &lost):
		fmt.Println("not committed: the connection is gone")
	case errors.As(err, &server):
		fmt.Println("not committed: the server says", server.Code)
	}

	// The server's own error is still in it.
	fmt.Println(errors.As(err, &server), server.Code)
	// Output:
	// not committed: statement 1, row 1 has changed; use RunTx
	// true 40001
}
