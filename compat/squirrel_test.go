package compat

import (
	"database/sql"
	"testing"

	"github.com/Masterminds/squirrel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

var build = squirrel.StatementBuilder.PlaceholderFormat(squirrel.Dollar)

func openSquirrel(t *testing.T, dsn string) *sql.DB {
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	return db
}

func TestSquirrel(t *testing.T) {
	t.Parallel()
	db := openSquirrel(t, newBank(t).dsn)
	cache := squirrel.NewStmtCache(db) // prepares each text once
	t.Cleanup(func() { assert.NoError(t, cache.Clear()) })

	for _, runner := range []squirrel.BaseRunner{db, cache} {
		_, err := build.Insert("accounts").Columns("id", "owner", "balance").Values(103, "cid", 5).
			RunWith(runner).ExecContext(t.Context())
		require.NoError(t, err)
		var owner string
		query := build.Select("owner").From("accounts").Where(squirrel.Eq{"id": []int{103, 104}}).RunWith(runner)
		require.NoError(t, query.QueryRowContext(t.Context()).Scan(&owner))
		assert.Equal(t, "cid", owner)
		_, err = build.Delete("accounts").Where(squirrel.Eq{"id": 103}).RunWith(runner).ExecContext(t.Context())
		require.NoError(t, err)
	}
}

func TestSquirrelConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openSquirrel(t, b.dsn)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	rows, err := build.Select("owner").From("accounts").Where(squirrel.Gt{"balance": 0}).OrderBy("id").
		RunWith(tx).QueryContext(t.Context())
	require.NoError(t, err)
	require.NoError(t, read(rows))
	b.rivalDraws(t)
	_, err = build.Update("accounts").Set("balance", squirrel.Expr("balance - ?", 1)).Where(squirrel.Eq{"owner": "bob"}).
		RunWith(tx).ExecContext(t.Context())
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	b.mustHaveAbsorbed(t)
}

func TestSquirrelConstraint(t *testing.T) {
	t.Parallel()
	db := openSquirrel(t, newBank(t).dsn)
	_, err := build.Insert("accounts").Columns("id", "owner", "balance").Values(103, "bob", 5).
		RunWith(db).ExecContext(t.Context())
	requireDuplicate(t, err)
}

func TestSquirrelRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openSquirrel(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
		var balance int64
		query := build.Select("balance").From("accounts").Where(squirrel.Eq{"owner": "bob"}).RunWith(tx)
		if err := query.QueryRowContext(t.Context()).Scan(&balance); err != nil {
			return err
		}
		once()
		_, err := build.Update("accounts").Set("balance", balance-1).Where(squirrel.Eq{"owner": "bob"}).
			RunWith(tx).ExecContext(t.Context())
		return err
	}))
	b.mustHaveAbsorbed(t)
}
