package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/reprise-go/cockroachdb/bench/internal/transact"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
)

const (
	update    = "UPDATE kv SET v = $1 WHERE k = $2"
	selectOne = "SELECT v FROM kv WHERE k = $1"
)

func selectRows(rows, columns int) string {
	return fmt.Sprintf("SELECT %d columns LIMIT %d", columns, rows)
}

var replies = func() map[string]cannedpg.Reply {
	all := map[string]cannedpg.Reply{
		update:    {Params: []uint32{20, 20}},
		selectOne: {Params: []uint32{20}, Columns: 1, Rows: 1},
	}
	for _, rows := range []int{100, 10_000} {
		for _, columns := range []int{1, 4} {
			all[selectRows(rows, columns)] = cannedpg.Reply{Columns: columns, Rows: rows}
		}
	}
	return all
}()

// op is an operation of the application. start prepares it for a pool.
type op struct {
	name  string
	start func(db *sql.DB) (run func() error, err error)
}

// queryer is a *sql.DB or a *sql.Tx.
type queryer interface {
	Exec(string, ...any) (sql.Result, error)
	Query(string, ...any) (*sql.Rows, error)
	QueryRow(string, ...any) *sql.Row
}

var ops = []op{
	{"exec", outside(execute)},
	{"queryrow", outside(queryRow)},
	{"prepared", prepared},
	{"rows=100,cols=1", outside(read(100, 1))},
	{"rows=100,cols=4", outside(read(100, 4))},
	{"rows=10000,cols=1", outside(read(10_000, 1))},
	{"rows=10000,cols=4", outside(read(10_000, 4))},
	{"tx=1", inTx(alternate(1))},
	{"tx=10", inTx(alternate(10))},
	{"tx=100", inTx(alternate(100))},
	{"tx=10,prepared", preparedInTx(10)},
	{"tx,rows=100,cols=1", inTx(read(100, 1))},
	{"tx,rows=100,cols=4", inTx(read(100, 4))},
	{"tx,rows=10000,cols=1", inTx(read(10_000, 1))},
	{"tx,rows=10000,cols=4", inTx(read(10_000, 4))},
}

func outside(run func(queryer) error) func(*sql.DB) (func() error, error) {
	return func(db *sql.DB) (func() error, error) {
		return func() error { return run(db) }, nil
	}
}

func inTx(run func(queryer) error) func(*sql.DB) (func() error, error) {
	return func(db *sql.DB) (func() error, error) {
		return func() error {
			return transact.Once(context.Background(), db, func(tx *sql.Tx) error { return run(tx) })
		}, nil
	}
}

// prepared runs a statement that database/sql has prepared.
func prepared(db *sql.DB) (func() error, error) {
	stmt, err := db.Prepare(update) //nolint:sqlclosecheck // it lives as long as the pool
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := stmt.Exec(5, 6)
		return err
	}, nil
}

func preparedInTx(n int) func(*sql.DB) (func() error, error) {
	return func(db *sql.DB) (func() error, error) {
		stmt, err := db.Prepare(update) //nolint:sqlclosecheck // it lives as long as the pool
		if err != nil {
			return nil, err
		}
		return func() error {
			return transact.Once(context.Background(), db, func(tx *sql.Tx) error {
				mine := tx.Stmt(stmt) //nolint:sqlclosecheck // the transaction closes it
				for range n {
					if _, err := mine.Exec(5, 6); err != nil {
						return err
					}
				}
				return nil
			})
		}, nil
	}
}

func execute(q queryer) error {
	_, err := q.Exec(update, 5, 6)
	return err
}

func queryRow(q queryer) error {
	var v int64
	return q.QueryRow(selectOne, 5).Scan(&v)
}

// alternate runs n statements, every other one a query.
func alternate(n int) func(queryer) error {
	return func(q queryer) error {
		for i := range n {
			run := execute
			if i%2 == 1 {
				run = queryRow
			}
			if err := run(q); err != nil {
				return err
			}
		}
		return nil
	}
}

func read(rows, columns int) func(queryer) error {
	text := selectRows(rows, columns)
	return func(q queryer) error {
		rows, err := q.Query(text)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var v [4]int64
		dest := []any{&v[0], &v[1], &v[2], &v[3]}[:columns]
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}
