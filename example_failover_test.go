package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net"
	"sync"

	"github.com/reprise-go/cockroachdb"
)

// openBankOnNode opens a bank as openBank does, and returns a function that ends all its connections, as the loss of a
// node does.
func openBankOnNode() (db *sql.DB, loseNode func()) {
	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	var (
		mu      sync.Mutex // pgx dials on a goroutine of its own to have a lost connection's statement cancelled
		sockets []net.Conn
	)
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		socket, err := dial(ctx, network, addr)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			sockets = append(sockets, socket)
		}
		return socket, err
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db = sql.OpenDB(connector)
	fillBank(db)
	return db, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, socket := range sockets {
			_ = socket.Close()
		}
	}
}

// A node is lost in the middle of a transaction, and the application sees nothing of it: the driver connects again,
// runs the transaction's statements again and compares their answers with what the application was shown.
func Example_failover() {
	ctx := context.Background()
	db, loseNode := openBankOnNode()
	defer db.Close()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	var owner string
	if err := tx.QueryRowContext(ctx, "SELECT owner FROM accounts WHERE id = 2").Scan(&owner); err != nil {
		log.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - 10 WHERE id = 1"); err != nil {
		log.Fatal(err)
	}

	loseNode()

	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = 2"); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}

	var from, to int
	if err := db.QueryRowContext(ctx, "SELECT a.balance, b.balance FROM accounts a, accounts b WHERE a.id = 1 AND b.id = 2").Scan(&from, &to); err != nil {
		log.Fatal(err)
	}
	fmt.Println(owner, from, to)
	// Output: Bob 90 110
}

// The session had something that the driver can't make again on another connection. Nothing was committed. With a
// plain SET instead of set_config, or within the transaction alone (true instead of false), it would have gone on.
func ExampleConnectionLostError_cause() {
	ctx := context.Background()
	db, loseNode := openBankOnNode()
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SELECT set_config('application_name', 'report', false)"); err != nil {
		log.Fatal(err)
	}

	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - 10 WHERE id = 1"); err != nil {
		log.Fatal(err)
	}

	loseNode()

	err = tx.Commit()
	if lost, ok := errors.AsType[*cockroachdb.ConnectionLostError](err); ok {
		fmt.Println("nothing was committed; cause:", lost.Cause)
	}
	// Output: nothing was committed; cause: session
}
