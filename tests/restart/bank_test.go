package restart_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// TestRestart_RandomTransfers_LoseNoMoney runs transfers on few accounts. What can be replayed unseen must never fail;
// what reads first and then writes what it has read may diverge, and is told so. Either way no money is made or lost.
func TestRestart_RandomTransfers_LoseNoMoney(t *testing.T) {
	t.Parallel()
	t.Run("CockroachDB", func(t *testing.T) { testBank(t, kit.Open(t, enginetest.NewDB(t))) })
	t.Run("PostgreSQL", func(t *testing.T) { testBank(t, kit.Open(t, enginetest.NewDirectDB(t))) })
}

const accounts = 5

// newBank makes a table of accounts with 1000 each.
func newBank(t testing.TB, db *sql.DB) {
	t.Helper()
	kit.Exec(t, db, "CREATE TABLE accounts (id INT PRIMARY KEY, balance INT NOT NULL)")
	for i := range accounts {
		kit.Exec(t, db, "INSERT INTO accounts VALUES ($1, 1000)", i)
	}
}

func testBank(t *testing.T, db *sql.DB) {
	newBank(t, db)
	const workers, transfers = 8, 40
	var diverged, committed atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range transfers {
				from, to := rnd.IntN(accounts), rnd.IntN(accounts)
				var err error
				switch i % 3 {
				case 0:
					err = blindTransfer(t.Context(), db, from, to)
				case 1:
					err = readTransfer(t.Context(), db, from, to)
				case 2:
					err = cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
						return readWrite(t.Context(), tx, from, to)
					})
				}
				var d *cockroachdb.DivergenceError
				if i%3 == 1 && errors.As(err, &d) {
					diverged.Add(1)
					continue
				}
				if assert.NoError(t, err, "kind %d", i%3) {
					committed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 1000*accounts, kit.Scan[int](t, db, "SELECT sum(balance) FROM accounts"))
	assert.EqualValues(t, workers*transfers, committed.Load()+diverged.Load())
	t.Logf("%d committed, %d diverged", committed.Load(), diverged.Load())
}

func blindTransfer(ctx context.Context, db *sql.DB, from, to int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - 1 WHERE id = $1", from); err != nil {
		return fmt.Errorf("first: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 1 WHERE id = $1", to); err != nil {
		return fmt.Errorf("second: %w", err)
	}
	return tx.Commit()
}

func readTransfer(ctx context.Context, db *sql.DB, from, to int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := readWrite(ctx, tx, from, to); err != nil {
		return err
	}
	return tx.Commit()
}

func readWrite(ctx context.Context, tx *sql.Tx, from, to int) error {
	var a int
	if err := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = $1", from).Scan(&a); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = $2 WHERE id = $1", from, a-1); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 1 WHERE id = $1", to)
	return err
}
