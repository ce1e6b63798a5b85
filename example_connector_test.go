package cockroachdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb"
)

// What a DSN has no words for goes into a Config.
func ExampleNewConnector() {
	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.RetryPolicy.MaxElapsed = 10 * time.Second
	cfg.DBName = "payments" // the label db_name of the metrics
	cfg.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		// The place for a password that changes: cc.Password = …
		return nil
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET application_name = 'payments'")
		return err
	}

	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	var name string
	if err := db.QueryRow("SHOW application_name").Scan(&name); err != nil {
		log.Fatal(err)
	}
	fmt.Println(name)
	// Output: payments
}
