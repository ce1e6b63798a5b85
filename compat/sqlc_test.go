package compat

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/compat/sqlcbank"
)

func openSqlc(t *testing.T, dsn string) (*sql.DB, *sqlcbank.Queries) {
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	return db, sqlcbank.New(db)
}

func TestSqlc(t *testing.T) {
	t.Parallel()
	_, queries := openSqlc(t, newBank(t).dsn)

	require.NoError(t, queries.OpenAccount(t.Context(), sqlcbank.OpenAccountParams{
		ID: 103, Owner: `"cid", {NULL}`, Balance: 5,
	}))
	found, err := queries.AccountsOf(t.Context(), []string{"ann", `"cid", {NULL}`})
	require.NoError(t, err)
	assert.Equal(t, []sqlcbank.Account{
		{ID: 101, Owner: "ann", Balance: 100}, {ID: 103, Owner: `"cid", {NULL}`, Balance: 5},
	}, found)
	owners, err := queries.AllOwners(t.Context())
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"ann", "bob", `"cid", {NULL}`}, owners)
}

func TestSqlcConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, queries := openSqlc(t, b.dsn)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	inTx := queries.WithTx(tx)
	owners, err := inTx.OwnersWithMoney(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"ann", "bob"}, owners)
	b.rivalDraws(t)
	n, err := inTx.Withdraw(t.Context(), sqlcbank.WithdrawParams{Amount: 1, Owner: "bob"})
	require.NoError(t, err)
	assert.EqualValues(t, 1, n)
	require.NoError(t, tx.Commit())
	b.mustHaveAbsorbed(t)
}

func TestSqlcGeneratedKey(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, queries := openSqlc(t, b.dsn)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	inTx := queries.WithTx(tx)
	_, err = inTx.OwnersWithMoney(t.Context())
	require.NoError(t, err)
	id, err := inTx.NewAccount(t.Context(), sqlcbank.NewAccountParams{Owner: "cid", Balance: 5})
	require.NoError(t, err)
	b.rivalDraws(t)
	_, err = inTx.Withdraw(t.Context(), sqlcbank.WithdrawParams{Amount: 1, Owner: "bob"})
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	b.mustHaveKept(t, "cid", id)
}

func TestSqlcConstraint(t *testing.T) {
	t.Parallel()
	_, queries := openSqlc(t, newBank(t).dsn)
	err := queries.OpenAccount(t.Context(), sqlcbank.OpenAccountParams{ID: 103, Owner: "bob", Balance: 5})
	requireDuplicate(t, err)
}

func TestSqlcRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, queries := openSqlc(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
		queries := queries.WithTx(tx)
		accounts, err := queries.AccountsOf(t.Context(), []string{"bob"})
		if err != nil {
			return err
		}
		once()
		_, err = queries.Withdraw(t.Context(), sqlcbank.WithdrawParams{Amount: accounts[0].Balance - 89, Owner: "bob"})
		return err
	}))
	b.mustHaveAbsorbed(t)
}
