package compat

import (
	"database/sql"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

func init() { sqlx.BindDriver("cockroachdb", sqlx.DOLLAR) }

type sqlxAccount struct {
	ID      int64
	Owner   string
	Balance int64
}

func openSqlx(t *testing.T, dsn string) *sqlx.DB {
	db, err := sqlx.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	return db
}

func TestSqlx(t *testing.T) {
	t.Parallel()
	db := openSqlx(t, newBank(t).dsn)

	cid := sqlxAccount{103, "cid", 5}
	_, err := db.NamedExecContext(t.Context(),
		"INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance)", cid)
	require.NoError(t, err)

	query, args, err := sqlx.In("SELECT * FROM accounts WHERE owner IN (?) ORDER BY id", []string{"ann", "cid"})
	require.NoError(t, err)
	var accounts []sqlxAccount
	require.NoError(t, db.SelectContext(t.Context(), &accounts, db.Rebind(query), args...))
	assert.Equal(t, []sqlxAccount{{101, "ann", 100}, cid}, accounts)

	row := map[string]any{}
	require.NoError(t, db.QueryRowxContext(t.Context(), "SELECT * FROM accounts WHERE owner = $1", "cid").MapScan(row))
	assert.Equal(t, map[string]any{"id": int64(103), "owner": "cid", "balance": int64(5)}, row)

	stmt, err := db.PrepareNamedContext(t.Context(), "SELECT * FROM accounts WHERE owner = :owner")
	require.NoError(t, err)
	closing(t, stmt)
	var found sqlxAccount
	require.NoError(t, stmt.GetContext(t.Context(), &found, map[string]any{"owner": "cid"}))
	assert.Equal(t, cid, found)
}

func TestSqlxConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openSqlx(t, b.dsn)

	tx, err := db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	var owners []string
	require.NoError(t, tx.SelectContext(t.Context(), &owners, "SELECT owner FROM accounts WHERE balance > 0 ORDER BY id"))
	assert.Equal(t, []string{"ann", "bob"}, owners)
	b.rivalDraws(t)
	_, err = tx.NamedExecContext(t.Context(), "UPDATE accounts SET balance = balance - :amount WHERE owner = :owner",
		map[string]any{"amount": 1, "owner": "bob"})
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	b.mustHaveAbsorbed(t)
}

func TestSqlxConstraint(t *testing.T) {
	t.Parallel()
	db := openSqlx(t, newBank(t).dsn)
	_, err := db.NamedExecContext(t.Context(),
		"INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance)", sqlxAccount{103, "bob", 5})
	requireDuplicate(t, err)
}

// TestSqlxRunTx reads what changes under it, and writes what it has computed from it.
func TestSqlxRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openSqlx(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	require.NoError(t, cockroachdb.RunTx(t.Context(), db.DB, nil, func(stx *sql.Tx) error {
		tx := &sqlx.Tx{Tx: stx, Mapper: db.Mapper}
		var bob sqlxAccount
		if err := tx.GetContext(t.Context(), &bob, "SELECT * FROM accounts WHERE owner = $1", "bob"); err != nil {
			return err
		}
		once()
		query := sqlx.Rebind(sqlx.DOLLAR, "UPDATE accounts SET balance = ? WHERE owner = ?")
		_, err := tx.ExecContext(t.Context(), query, bob.Balance-1, bob.Owner)
		return err
	}))
	b.mustHaveAbsorbed(t)
}
