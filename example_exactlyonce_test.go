package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/reprise-go/cockroachdb"
)

// With commit markers a commit whose answer was lost is asked for, and carried out once.
func ExampleCreateCommitTable() {
	ctx := context.Background()
	cfg, err := cockroachdb.ParseConfig(exampleDSN() + "&retry_commit_marker=on")
	if err != nil {
		log.Fatal(err)
	}
	cfg.OnCommitAsked = func(_ context.Context, e cockroachdb.CommitEvent) {
		log.Printf("the answer to a commit was lost: it is %s, found out in %v", e.Answer, e.Elapsed)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	if err := cockroachdb.CreateCommitTable(ctx, db); err != nil { // as a migration would
		log.Fatal(err)
	}
	fillBank(db)
	res, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = $1", 1)
	if err != nil {
		log.Fatal(err)
	}
	n, err := res.RowsAffected()
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// An Exec outside a transaction may be known to be committed although its answer was lost. Then only the number of rows
// is not known.
func ExampleResultLostError() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	res, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = $1", 1)
	if err != nil {
		log.Fatal(err)
	}
	n, err := res.RowsAffected()
	if _, lost := errors.AsType[*cockroachdb.ResultLostError](err); lost {
		fmt.Println("committed")
	} else {
		fmt.Println("committed,", n, "row")
	}
	// Output: committed, 1 row
}

// Where nobody could be asked in time, the application can ask later.
func ExampleCommitOutcome() {
	ctx := context.Background()
	db := openBank()
	defer db.Close()

	_, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = $1", 1)
	ambiguous, ok := errors.AsType[*cockroachdb.AmbiguousCommitError](err)
	if !ok {
		fmt.Println("the outcome is known")
		return
	}
	switch committed, err := cockroachdb.CommitOutcome(ctx, db, ambiguous); {
	case err != nil:
		log.Print(err) // ask again later
	case committed:
		fmt.Println("committed")
	default:
		fmt.Println("not committed, and never will be: run it again")
	}
	// Output: the outcome is known
}
