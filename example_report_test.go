package cockroachdb_test

import (
	"database/sql"
	"fmt"
	"log"
	"net/http"

	"github.com/reprise-go/cockroachdb"
)

// The report says which statements keep the driver from absorbing conflicts and lost connections, before any comes.
func ExampleConnector_Report() {
	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	http.Handle("/protection", connector.ReportHandler()) // where only operators get to

	tx, err := db.Begin()
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	for _, text := range []string{"SELECT 1", "EXPLAIN ANALYZE SELECT 'a'"} {
		if _, err := tx.Exec(text); err != nil {
			log.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}

	report := connector.Report()
	fmt.Printf("%.0f %% of %d protected\n", 100*report.Transactions.Share(), report.Transactions.Total)
	for _, t := range report.Texts {
		fmt.Printf("%d × %s: %s\n", t.Count, t.Cause, t.Text)
	}
	// Output:
	// 0 % of 1 protected
	// 1 × may_commit: EXPLAIN ANALYZE SELECT …
}
