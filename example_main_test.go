package cockroachdb_test

import (
	"context"
	"database/sql"
	"log"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// exampleDSN leads to an empty database, as "postgresql://app@db1:26257,db2:26257,db3:26257/bank?sslmode=verify-full"
// would.
func exampleDSN() string {
	dsn := enginetest.DSN()
	if !strings.Contains(dsn, "?") { // for examples that add a key
		dsn += "?application_name=example"
	}
	return dsn
}

// openBank opens a database with two accounts, number 1 (Ada's) and 2 (Bob's), of 100 each, and an empty table of
// payments.
func openBank() *sql.DB {
	db, err := sql.Open("cockroachdb", exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	fillBank(db)
	return db
}

// fillBank makes openBank's tables.
func fillBank(db *sql.DB) {
	for _, statement := range []string{
		"CREATE TABLE accounts (id INT PRIMARY KEY, owner TEXT NOT NULL, balance INT NOT NULL)",
		"INSERT INTO accounts VALUES (1, 'Ada', 100), (2, 'Bob', 100)",
		"CREATE TABLE payments (id TEXT PRIMARY KEY, amount INT NOT NULL)",
	} {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			log.Fatal(err)
		}
	}
}
