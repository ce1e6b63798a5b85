package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// loseConflict runs a transaction that reads a value of account 1, and then changes the account, which somebody else
// has changed in between.
func loseConflict(ctx context.Context, db *sql.DB, value string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var seen any
	if err := tx.QueryRowContext(ctx, "SELECT "+value+" FROM accounts WHERE id = 1").Scan(&seen); err != nil {
		return err
	}
	// Somebody else's transaction.
	if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + 50 WHERE id = 1"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = 1"); err != nil {
		return err
	}
	return tx.Commit()
}

// The transaction has read a balance that was another one when the driver ran it again. Nothing was committed. Run it
// again, or have it be called again by RunTx.
func ExampleDivergenceError() {
	db := openBank()
	defer db.Close()

	err := loseConflict(context.Background(), db, "balance")
	if diverged, ok := errors.AsType[*cockroachdb.DivergenceError](err); ok {
		fmt.Println("statement", diverged.Statement, "kind", diverged.Kind, "row", diverged.Row)
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		fmt.Println("the server said", server.Code)
	}
	// Output:
	// statement 1 kind row row 1
	// the server said 40001
}

// The conflicts went on until a bound of the policy was reached. Nothing was committed. Here the time that the policy
// leaves is so short that it is over after one attempt.
func ExampleRetriesExhaustedError() {
	db := openBank()
	defer db.Close()

	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxElapsed = time.Nanosecond
	err := loseConflict(cockroachdb.WithRetryPolicy(context.Background(), policy), db, "owner")
	if exhausted, ok := errors.AsType[*cockroachdb.RetriesExhaustedError](err); ok {
		fmt.Println("503 come back later, after", exhausted.Attempts, "attempt; bound:", exhausted.Bound)
	}
	// Output: 503 come back later, after 1 attempt; bound: elapsed
}

// The transaction has used the pgx connection, of which nothing is on record. Nothing was committed; run it again.
func ExampleNotReplayableError() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	err = conn.Raw(func(driverConn any) error {
		var balance int
		pgxConn := driverConn.(cockroachdb.Conn).Conn()
		return pgxConn.QueryRow(ctx, "SELECT balance FROM accounts WHERE id = 1").Scan(&balance)
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = 5 WHERE id = 1"); err != nil { // somebody else
		log.Fatal(err)
	}

	_, err = tx.ExecContext(ctx, "UPDATE accounts SET balance = 0 WHERE id = 1")
	if refused, ok := errors.AsType[*cockroachdb.NotReplayableError](err); ok {
		fmt.Println("not replayable:", refused.Cause)
	}
	// Output: not replayable: raw
}

// The connection was lost before the commit was sent. Nothing was committed, and so the transaction can simply be run
// again.
func ExampleConnectionLostError() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	pay := func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - 10 WHERE id = 1"); err != nil {
			return err
		}
		return tx.Commit()
	}

	err := pay()
	for range 3 {
		if _, lost := errors.AsType[*cockroachdb.ConnectionLostError](err); !lost {
			break
		}
		err = pay()
	}
	fmt.Println(err)
	// Output: <nil>
}
