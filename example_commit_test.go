package cockroachdb_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/reprise-go/cockroachdb"
)

// If the connection is lost while the commit is under way, nobody knows whether it took effect. A row with an
// identifier that the application has chosen answers the question.
func ExampleAmbiguousCommitError() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	const payment = "2c9e5f9a" // made once, before the first try, and unique

	pay := func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES ($1, 10)", payment); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - 10 WHERE id = 1"); err != nil {
			return err
		}
		return tx.Commit()
	}

	committed := true
	err := pay()
	if _, ambiguous := errors.AsType[*cockroachdb.AmbiguousCommitError](err); ambiguous {
		err = db.QueryRowContext(ctx, "SELECT count(*) > 0 FROM payments WHERE id = $1", payment).Scan(&committed)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("committed:", committed)
	// Output: committed: true
}
