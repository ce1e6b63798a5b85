package main

import (
	"context"
	"database/sql"

	"github.com/reprise-go/cockroachdb/bench/internal/transact"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
)

const (
	update    = "UPDATE kv SET v = $1 WHERE k = $2"
	loses     = "UPDATE hot SET v = $1 WHERE k = $2"
	selectOne = "SELECT 1"
	read      = "SELECT v FROM kv WHERE k = $1"
	insert    = "INSERT INTO kv (v) VALUES ($1) RETURNING v"
)

var replies = map[string]cannedpg.Reply{
	update:    {Params: []uint32{20, 20}},
	loses:     {Params: []uint32{20, 20}, Loses: true},
	selectOne: {Columns: 1, Rows: 1},
	read:      {Params: []uint32{20}, Columns: 1, Rows: 1},
	insert:    {Params: []uint32{20}, Columns: 1, Rows: 1, Tag: "INSERT 0 1"},
}

// load is what goroutines do at once with a pool.
type load struct {
	title             string
	goroutines, conns int
	peers             []string
	run               func(*sql.DB) error
	params            string // of this driver's DSN
}

func loads(conns int) []load {
	both := []string{"pgx", "cockroachdb"}
	return []load{
		{"statements", 256, 256, both, statement, ""},
		{"transactions", 256, 256, both, twoUpdates(update), ""},
		{"transactions", 256, 16, both, twoUpdates(update), ""},
		{"transactions", conns, conns, both, twoUpdates(update), ""},
		{"read and INSERT … RETURNING, `retry_learn_locks=on`", 256, 256, both, readAndInsert, "&retry_learn_locks=on"},
		{"transactions, each loses once", 256, 256, []string{"cockroachdb"}, twoUpdates(loses), ""},
	}
}

func statement(db *sql.DB) error {
	_, err := db.Exec(update, 5, 6)
	return err
}

// twoUpdates is a transaction of two statements, of which the second may lose.
func twoUpdates(second string) func(*sql.DB) error {
	return transaction(func(tx *sql.Tx) error {
		_, err := tx.Exec(update, 5, 6)
		if err == nil {
			_, err = tx.Exec(second, 5, 6)
		}
		return err
	})
}

var readAndInsert = transaction(func(tx *sql.Tx) error {
	var v int64
	if err := tx.QueryRow(read, 5).Scan(&v); err != nil {
		return err
	}
	return tx.QueryRow(insert, v).Scan(&v)
})

func transaction(run func(*sql.Tx) error) func(*sql.DB) error {
	return func(db *sql.DB) error { return transact.Once(context.Background(), db, run) }
}
