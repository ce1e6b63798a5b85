package migrating

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/docs/migrating/cockroachgo/after"
	"github.com/reprise-go/cockroachdb/docs/migrating/cockroachgo/before"
	"github.com/reprise-go/cockroachdb/docs/migrating/cockroachgo/ontop"
)

// bank is what the banks with retries have in common.
type bank interface {
	Transfer(ctx context.Context, from, to, amount int64) error
	AddInterest(ctx context.Context, id int64) error
}

// variant is a bank at one point of the way, and how often a transaction that loses one conflict asks for approval
// there.
type variant struct {
	name      string
	open      func(string) (*sql.DB, error)
	bank      func(*sql.DB, *rival) bank
	transfer  int
	interests int
}

// runVariants runs the same transactions in each variant: every transaction loses a conflict, and all of them commit.
func runVariants(t *testing.T, variants []variant) {
	for _, s := range variants {
		t.Run(s.name, func(t *testing.T) {
			dsn := newBank(t)
			db, err := s.open(dsn)
			db = pool(t, db, err)

			r := newRival(t, dsn)
			require.NoError(t, s.bank(db, r).Transfer(t.Context(), 1, 2, 30))
			assert.EqualValues(t, 1070, balance(t, db, 1))
			assert.EqualValues(t, 130, balance(t, db, 2))
			assert.Equal(t, s.transfer, r.asked, "approvals of a transfer")

			r = newRival(t, dsn)
			require.NoError(t, s.bank(db, r).AddInterest(t.Context(), 1))
			assert.EqualValues(t, 2070+207, balance(t, db, 1))
			assert.Equal(t, s.interests, r.asked, "approvals of interest")
		})
	}
}

func TestCockroachGo(t *testing.T) {
	runVariants(t, []variant{
		{"before", before.Open, func(db *sql.DB, r *rival) bank { return &before.Bank{DB: db, Approve: r.approve} }, 2, 2},
		{"on top", ontop.Open, func(db *sql.DB, r *rival) bank { return &ontop.Bank{DB: db, Approve: r.approve} }, 2, 2},
		{"after", after.Open, func(db *sql.DB, r *rival) bank { return &after.Bank{DB: db, Approve: r.approve} }, 1, 2},
	})
}

func TestCockroachGoRows(t *testing.T) {
	eachRow(t, "From cockroach-go", map[string]func(*testing.T){
		"the function, after a conflict":        cockroachGoCalls,
		"retries":                               cockroachGoRetries,
		"they are used up":                      cockroachGoUsedUp,
		"whether it has committed is not known": cockroachGoAmbiguous,
		"the function returns nil though a statement of its lost the conflict":      cockroachGoSwallowed,
		"the function hides the conflict in another error, by `%v` instead of `%w`": cockroachGoHidden,
		"the connection is lost before the commit":                                  cockroachGoLost,
	})
}

// tried is what came of a function, and how often it was called.
type tried struct {
	err   error
	calls int
}

// inBoth runs the same function as both would, each on a database of its own.
func inBoth(t *testing.T, fn func(tx *sql.Tx, r *rival) error) (older, newer tried) {
	t.Helper()
	try := func(name string, run func(context.Context, *sql.DB, *sql.TxOptions, func(*sql.Tx) error) error) (was tried) {
		dsn := newBank(t)
		r := newRival(t, dsn)
		was.err = run(t.Context(), open(t, name, dsn), nil, func(tx *sql.Tx) error {
			was.calls++
			return fn(tx, r)
		})
		return was
	}
	return try("pgx", crdb.ExecuteTx), try("cockroachdb", cockroachdb.RunTx)
}

// reads and writes an account of which the rival changes the balance in between.
func reads(ctx context.Context, tx *sql.Tx, r *rival, what string) error {
	var seen any
	if err := tx.QueryRowContext(ctx, "SELECT "+what+" FROM accounts WHERE id = 1").Scan(&seen); err != nil {
		return err
	}
	if err := r.approve(""); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + 10 WHERE id = 1")
	return err
}

func cockroachGoCalls(t *testing.T) {
	for what, want := range map[string]int{"owner": 2, "balance": 2} {
		older, newer := inBoth(t, func(tx *sql.Tx, r *rival) error { return reads(t.Context(), tx, r, what) })
		assert.Equal(t, tried{nil, 2}, older)
		assert.Equal(t, tried{nil, want}, newer, what)
	}
}

func cockroachGoRetries(t *testing.T) {
	sim, dsn := newSimBank(t)
	conflictAlwaysAt(sim, "^update")
	db := open(t, "pgx", dsn)
	calls := func(ctx context.Context) (n int) {
		_ = crdb.ExecuteTx(ctx, db, nil, func(tx *sql.Tx) error {
			n++
			_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = 0")
			return err
		})
		return n
	}
	assert.Equal(t, 10, calls(crdb.WithMaxRetries(t.Context(), 9)))
	assert.Equal(t, 51, calls(t.Context()))
	ctx, cancel := context.WithCancel(crdb.WithMaxRetries(t.Context(), 0))
	n := 0
	_ = crdb.ExecuteTx(ctx, db, nil, func(tx *sql.Tx) error {
		if n++; n == 200 {
			cancel()
		}
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = 0")
		return err
	})
	cancel()
	assert.Equal(t, 200, n)

	policy := cockroachdb.DefaultRetryPolicy()
	assert.Equal(t, 100, policy.MaxAttempts)
	assert.Equal(t, "1m0s", policy.MaxElapsed.String())
	policy.MaxAttempts, policy.InitialBackoff = 10, 0
	ctx = cockroachdb.WithRetryPolicy(t.Context(), policy)
	err := cockroachdb.RunTx(ctx, open(t, "cockroachdb", dsn), nil, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 0")
		return err
	})
	assert.Equal(t, 10, isA[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
}

// cockroachGoUsedUp goes by the banks, whose errors say it.
func cockroachGoUsedUp(t *testing.T) {
	sim, dsn := newSimBank(t)
	conflictAlwaysAt(sim, "^update")
	approve := func(string) error { return nil }

	older := &before.Bank{DB: open(t, "pgx", dsn), Approve: approve}
	err := older.AddInterest(t.Context(), 1)
	isA[*crdb.MaxRetriesExceededError](t, err)
	assert.ErrorContains(t, err, "come back later")

	newer := &after.Bank{DB: open(t, "cockroachdb", dsn), Approve: approve}
	err = newer.AddInterest(t.Context(), 1)
	assert.Equal(t, 10, isA[*cockroachdb.RetriesExhaustedError](t, err).Attempts)
	assert.ErrorContains(t, err, "come back later")
}

func cockroachGoAmbiguous(t *testing.T) {
	sim, dsn := newSimBank(t)
	fn := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 0")
		return err
	}
	cutAt(sim, "^release")
	isA[*crdb.AmbiguousCommitError](t, crdb.ExecuteTx(t.Context(), open(t, "pgx", dsn), nil, fn))
	cutAt(sim, "^release")
	isA[*cockroachdb.AmbiguousCommitError](t, cockroachdb.RunTx(t.Context(), open(t, "cockroachdb", dsn), nil, fn))
}

func cockroachGoSwallowed(t *testing.T) {
	older, newer := inBoth(t, func(tx *sql.Tx, r *rival) error {
		_ = reads(t.Context(), tx, r, "balance")
		return nil
	})
	isA[*crdb.AmbiguousCommitError](t, older.err)
	assert.Equal(t, 1, older.calls)
	assert.Equal(t, tried{nil, 2}, newer)
}

func cockroachGoHidden(t *testing.T) {
	hidden := func(what string) (older, newer tried) {
		return inBoth(t, func(tx *sql.Tx, r *rival) error {
			if err := reads(t.Context(), tx, r, what); err != nil {
				return fmt.Errorf("interest: %v", err) //nolint:errorlint // it is about this mistake
			}
			return nil
		})
	}
	older, newer := hidden("owner")
	assert.ErrorContains(t, older.err, "interest: ")
	assert.Equal(t, 1, older.calls)
	assert.Equal(t, tried{nil, 2}, newer)

	_, newer = hidden("balance")
	assert.Equal(t, tried{nil, 2}, newer)
}

func cockroachGoLost(t *testing.T) {
	sim, dsn := newSimBank(t)
	fn := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 0")
		return err
	}
	cutAt(sim, "^update")
	isOfTheNetwork(t, crdb.ExecuteTx(t.Context(), open(t, "pgx", dsn), nil, fn))
	cutAt(sim, "^update")
	require.NoError(t, cockroachdb.RunTx(t.Context(), open(t, "cockroachdb", dsn), nil, fn))
	cutAt(sim, "^update")
	require.NoError(t, crdb.ExecuteTx(t.Context(), open(t, "cockroachdb", dsn), nil, fn), "on top")
	cutAt(sim, "^update")
	err := cockroachdb.RunTx(t.Context(), open(t, "cockroachdb", dsn+withoutFailovers), nil, fn)
	isA[*cockroachdb.ConnectionLostError](t, err)
}

// TestCockroachGoSingleStatement: crdb.Execute around a statement outside a transaction is not needed.
func TestCockroachGoSingleStatement(t *testing.T) {
	sim, dsn := newSimBank(t)
	conflict := func() { conflictAt(sim, "^update") }
	const update = "UPDATE accounts SET balance = balance + 1 WHERE id = 1"

	older := open(t, "pgx", dsn)
	conflict()
	_, err := older.ExecContext(t.Context(), update)
	isConflict(t, err)
	conflict()
	require.NoError(t, crdb.Execute(func() error {
		_, err := older.ExecContext(t.Context(), update)
		return err
	}))

	db := open(t, "cockroachdb", dsn)
	conflict()
	exec(t, db, update)
	assert.EqualValues(t, 102, balance(t, db, 1))
}
