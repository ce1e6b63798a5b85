package main

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"net/url"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/reprise-go/cockroachdb" // the driver "cockroachdb", and RunTx
)

// A contender is a driver, and what the application does around a transaction. All of them run the same transfers.
type contender struct {
	name    string
	driver  string     // for sql.Open
	params  url.Values // for its DSN
	plain   runFunc    // runs a transfer as most applications would
	closure runFunc    // runs one that is known to need being called again
}

// runFunc runs one transaction.
type runFunc func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error

func (c contender) run(k kind) runFunc {
	if k.closure {
		return c.closure
	}
	return c.plain
}

// title is the kind's, with what is different about it.
func (c contender) title(k kind) string {
	if k.closure && c.driver == "cockroachdb" {
		return k.title + ", RunTx"
	}
	return k.title
}

// learning is what the driver cockroachdb is set to; -params adds to it.
var learning = url.Values{"retry_learn_locks": {"on"}}

var allContenders = []contender{
	{name: "pgx", driver: "pgx", plain: once, closure: once},
	{name: "pgx+loop", driver: "pgx", plain: loop, closure: loop},
	{name: "cockroachdb", driver: "cockroachdb", params: learning, plain: once, closure: runTx},
	{name: "cockroachdb+RunTx", driver: "cockroachdb", params: learning, plain: runTx, closure: runTx},
}

// once is a transaction as everybody writes it.
func once(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// runTx is once for transactions that may have to be called again.
func runTx(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	return cockroachdb.RunTx(ctx, db, nil, work)
}

// loop is the loop that applications without this driver write by hand: once, until it commits, with exponential
// backoff and full jitter.
func loop(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	for ceiling := 20 * time.Millisecond; ; ceiling = min(2*ceiling, time.Second) {
		err := once(ctx, db, work)
		if !isConflict(err) {
			return err
		}
		select {
		case <-time.After(rand.N(ceiling)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isConflict reports whether the server says that the transaction has lost against another one. The errors of the
// driver cockroachdb unwrap to the server's.
func isConflict(err error) bool {
	server, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && (server.SQLState() == "40001" || server.SQLState() == "40P01") // the second is PostgreSQL's deadlock
}
