package cockroachdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/reprise-go/cockroachdb"
)

// A transaction that reads what others write, and then acts on it, can't always be replayed unseen. RunTx calls the
// function again where it can't.
func ExampleRunTx() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	calls := 0
	err := cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error {
		calls++
		var balance int
		if err := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = 1").Scan(&balance); err != nil {
			return err
		}
		if calls == 1 { // somebody else is faster
			if _, err := db.ExecContext(ctx, "UPDATE accounts SET balance = 500 WHERE id = 1"); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = $1 WHERE id = 1", balance+balance/10)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	var balance int
	if err := db.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = 1").Scan(&balance); err != nil {
		log.Fatal(err)
	}
	fmt.Println(balance, "after", calls, "calls")
	// Output: 550 after 2 calls
}
