package compat

import (
	"database/sql"
	"testing"

	"github.com/georgysavva/scany/v2/sqlscan"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

type scanyAccount struct {
	ID      int64
	Owner   string
	Balance int64
}

func openScany(t *testing.T, dsn string) *sql.DB {
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	return db
}

func TestScany(t *testing.T) {
	t.Parallel()
	db := openScany(t, newBank(t).dsn)

	var accounts []scanyAccount
	require.NoError(t, sqlscan.Select(t.Context(), db, &accounts, "SELECT * FROM accounts ORDER BY id"))
	assert.Equal(t, []scanyAccount{{101, "ann", 100}, {102, "bob", 100}}, accounts)

	var row map[string]any
	require.NoError(t, sqlscan.Get(t.Context(), db, &row, "SELECT * FROM accounts WHERE owner = $1", "bob"))
	assert.Equal(t, map[string]any{"id": int64(102), "owner": "bob", "balance": int64(100)}, row)

	err := sqlscan.Get(t.Context(), db, &row, "SELECT * FROM accounts WHERE owner = $1", "nobody")
	assert.True(t, sqlscan.NotFound(err), "%v", err)
}

func TestScanyConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openScany(t, b.dsn)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	var owners []string
	require.NoError(t, sqlscan.Select(t.Context(), tx, &owners,
		"SELECT owner FROM accounts WHERE balance > 0 ORDER BY id"))
	assert.Equal(t, []string{"ann", "bob"}, owners)
	b.rivalDraws(t)
	var bob string
	require.NoError(t, sqlscan.Get(t.Context(), tx, &bob,
		"UPDATE accounts SET balance = balance - 1 WHERE owner = $1 RETURNING owner", "bob"))
	require.NoError(t, tx.Commit())
	b.mustHaveAbsorbed(t)
}

func TestScanyConstraint(t *testing.T) {
	t.Parallel()
	db := openScany(t, newBank(t).dsn)
	var id int64
	err := sqlscan.Get(t.Context(), db, &id,
		"INSERT INTO accounts (id, owner, balance) VALUES (103, 'bob', 5) RETURNING id")
	requireDuplicate(t, err)
}

func TestScanyRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openScany(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
		var bob scanyAccount
		if err := sqlscan.Get(t.Context(), tx, &bob, "SELECT * FROM accounts WHERE owner = $1", "bob"); err != nil {
			return err
		}
		once()
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = $1 WHERE id = $2", bob.Balance-1, bob.ID)
		return err
	}))
	b.mustHaveAbsorbed(t)
}
