package cockroachdb_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb"
)

// COPY goes by the pgx connection behind database/sql's. Of what is done with it nothing is on record: the transaction
// is not replayed any more, and a conflict comes to the application as a [cockroachdb.NotReplayableError].
func ExampleConn_Conn() {
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

	rows := [][]any{{3, "Cy", 0}, {4, "Di", 0}}
	err = conn.Raw(func(driverConn any) error {
		pgxConn := driverConn.(cockroachdb.Conn).Conn()
		_, err := pgxConn.CopyFrom(ctx, pgx.Identifier{"accounts"}, []string{"id", "owner", "balance"},
			pgx.CopyFromRows(rows))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}

	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM accounts").Scan(&n); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "accounts")
	// Output: 4 accounts
}
