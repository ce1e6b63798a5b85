package history

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync/atomic"
)

// Bank is the workload of transfers between accounts.
type Bank struct {
	db        *sql.DB
	ids       atomic.Int64
	opening   Snapshot
	transfers notes[Transfer]
	snapshots notes[Snapshot]
}

const (
	accounts       = 5
	openingBalance = 100
)

// NewBank opens the accounts, and a ledger. Nothing in the database keeps an entry from being made twice.
func NewBank(ctx context.Context, db *sql.DB) (*Bank, error) {
	b := &Bank{db: db, opening: Snapshot{}}
	for id := range accounts {
		b.opening[id] = openingBalance
	}
	return b, execAll(ctx, db,
		"CREATE TABLE accounts (id INT PRIMARY KEY, balance INT NOT NULL)",
		"CREATE TABLE ledger (transfer INT NOT NULL, source INT NOT NULL, target INT NOT NULL, amount INT NOT NULL)",
		fmt.Sprintf("INSERT INTO accounts SELECT g, %d FROM generate_series(0, %d) AS g", openingBalance, accounts-1))
}

// Transfer moves money. A careful one reads the balance and writes what it has computed; others leave the sum to the
// server.
func (b *Bank) Transfer(ctx context.Context, way Way, from, to, amount int, careful bool) error {
	t := Transfer{ID: int(b.ids.Add(1)), From: from, To: to, Amount: amount}
	err := transact(ctx, b.db, way, func(tx *sql.Tx) error {
		if err := withdraw(ctx, tx, t, careful); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $2 WHERE id = $1", to, amount); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO ledger VALUES ($1, $2, $3, $4)", t.ID, from, to, amount)
		return err
	})
	t.Outcome = outcomeOf(err)
	b.transfers.add(t)
	return err
}

func withdraw(ctx context.Context, tx *sql.Tx, t Transfer, careful bool) error {
	if !careful {
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", t.From, t.Amount)
		return err
	}
	var balance int
	if err := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = $1", t.From).Scan(&balance); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = $2 WHERE id = $1", t.From, balance-t.Amount)
	return err
}

// Look reads the accounts in two statements.
func (b *Bank) Look(ctx context.Context, way Way) error {
	var s Snapshot
	err := transact(ctx, b.db, way, func(tx *sql.Tx) error {
		first, err := balances(tx.QueryContext(ctx, "SELECT id, balance FROM accounts WHERE id < $1", accounts/2))
		if err != nil {
			return err
		}
		s, err = balances(tx.QueryContext(ctx, "SELECT id, balance FROM accounts WHERE id >= $1", accounts/2))
		maps.Copy(s, first)
		return err
	})
	if err == nil {
		b.snapshots.add(s)
	}
	return err
}

func balances(rows *sql.Rows, err error) (Snapshot, error) {
	s := Snapshot{}
	_, err = collect(rows, err, func(rows *sql.Rows) (id int, err error) {
		var balance int
		err = rows.Scan(&id, &balance)
		s[id] = balance
		return id, err
	})
	return s, err
}

// Step runs a random transaction.
func (b *Bank) Step(ctx context.Context, _ int, rnd *rand.Rand) error {
	way := Way(rnd.IntN(2) == 0)
	if rnd.IntN(5) == 0 {
		return b.Look(ctx, way)
	}
	from := rnd.IntN(accounts)
	to := (from + 1 + rnd.IntN(accounts-1)) % accounts
	return b.Transfer(ctx, way, from, to, 1+rnd.IntN(9), rnd.IntN(2) == 0)
}

// Check says what is wrong with the history.
func (b *Bank) Check(ctx context.Context) ([]Anomaly, error) {
	h := BankHistory{Opening: b.opening, Transfers: b.transfers.all(), Snapshots: b.snapshots.all()}
	var err error
	if h.Closing, err = balances(b.db.QueryContext(ctx, "SELECT id, balance FROM accounts")); err != nil {
		return nil, err
	}
	rows, err := b.db.QueryContext(ctx, "SELECT transfer, source, target, amount FROM ledger")
	h.Ledger, err = collect(rows, err, func(rows *sql.Rows) (e Transfer, err error) {
		err = rows.Scan(&e.ID, &e.From, &e.To, &e.Amount)
		return e, err
	})
	return h.Check(), err
}
