package cockroachdb_test

import (
	"database/sql"
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reprise-go/cockroachdb"
)

// Nothing is registered until you do it. With sql.Open and nothing but a DSN, what to register is
// [cockroachdb.DefaultMetrics]; with a Config it can be Metrics of its own.
func ExampleMetrics() {
	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.DBName = "bank"
	cfg.Metrics = cockroachdb.NewMetrics()
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(cfg.Metrics)

	tx, err := db.Begin()
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SELECT 1"); err != nil {
		log.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		log.Fatal(err)
	}

	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			if family.GetName() == "cockroachdb_transactions_total" && metric.Counter.GetValue() > 0 {
				for _, label := range metric.Label {
					fmt.Println(label.GetName(), label.GetValue())
				}
				fmt.Println(metric.Counter.GetValue())
			}
		}
	}
	// Output:
	// db_name bank
	// outcome rolled_back
	// 1
}
