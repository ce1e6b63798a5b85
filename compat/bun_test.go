package compat

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/reprise-go/cockroachdb"
)

type bunAccount struct {
	bun.BaseModel `bun:"table:accounts"`

	ID      int64 `bun:",pk"`
	Owner   string
	Balance int64
}

func openBun(t *testing.T, dsn string) *bun.DB {
	pool, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, pool)
	return bun.NewDB(pool, pgdialect.New())
}

func bunOwnersWithMoney(ctx context.Context, t *testing.T, db bun.IDB) {
	var owners []string
	all := db.NewSelect().Model((*bunAccount)(nil)).Column("owner").Where("balance > ?", 0).Order("id")
	require.NoError(t, all.Scan(ctx, &owners))
	assert.Equal(t, []string{"ann", "bob"}, owners)
}

func TestBun(t *testing.T) {
	t.Parallel()
	db := openBun(t, newBank(t).dsn)

	cid := bunAccount{ID: 103, Owner: "cid's ?", Balance: 5} // bun writes its arguments into the text
	_, err := db.NewInsert().Model(&cid).Returning("*").Exec(t.Context())
	require.NoError(t, err)

	var found []bunAccount
	some := bun.List([]string{"ann", "cid's ?"})
	require.NoError(t, db.NewSelect().Model(&found).Where("owner IN (?)", some).Order("id").Scan(t.Context()))
	assert.Equal(t, []bunAccount{{ID: 101, Owner: "ann", Balance: 100}, cid}, found)

	var row map[string]any
	require.NoError(t, db.NewSelect().Table("accounts").Where("id = ?", 103).Scan(t.Context(), &row))
	assert.Equal(t, map[string]any{"id": int64(103), "owner": "cid's ?", "balance": int64(5)}, row)

	var numbers []int64
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT array_agg(id ORDER BY id) FROM accounts WHERE id = ANY(?)",
		pgdialect.Array([]int64{102, 101})).Scan(pgdialect.Array(&numbers)))
	assert.Equal(t, []int64{101, 102}, numbers)
}

func TestBunConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openBun(t, b.dsn)

	require.NoError(t, db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		bunOwnersWithMoney(ctx, t, tx)
		// A transaction inside is a savepoint.
		err := tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewInsert().Model(&bunAccount{ID: 103, Owner: "bob"}).Exec(ctx)
			return err
		})
		requireDuplicate(t, err)
		b.rivalDraws(t)
		_, err = tx.NewUpdate().Model((*bunAccount)(nil)).Set("balance = balance - ?", 1).Where("owner = ?", "bob").Exec(ctx)
		return err
	}))
	b.mustHaveAbsorbed(t)
}

// bunNewAccount has a key that the server makes.
type bunNewAccount struct {
	bun.BaseModel `bun:"table:accounts"`

	ID      int64 `bun:",pk,autoincrement"`
	Owner   string
	Balance int64
}

func TestBunGeneratedKey(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openBun(t, b.dsn)

	cid := bunNewAccount{Owner: "cid's ?", Balance: 5}
	require.NoError(t, db.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		bunOwnersWithMoney(ctx, t, tx)
		if _, err := tx.NewInsert().Model(&cid).Exec(ctx); err != nil {
			return err
		}
		b.rivalDraws(t)
		_, err := tx.NewUpdate().Model((*bunAccount)(nil)).Set("balance = balance - ?", 1).Where("owner = ?", "bob").Exec(ctx)
		return err
	}))
	b.mustHaveKept(t, "cid's ?", cid.ID)
}

func TestBunConstraint(t *testing.T) {
	t.Parallel()
	db := openBun(t, newBank(t).dsn)
	_, err := db.NewInsert().Model(&bunAccount{ID: 103, Owner: "bob"}).Exec(t.Context())
	requireDuplicate(t, err)
}

func TestBunRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openBun(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	require.NoError(t, cockroachdb.RunTx(t.Context(), db.DB, nil, func(tx *sql.Tx) error {
		var bob bunAccount
		if err := db.NewSelect().Conn(tx).Model(&bob).Where("owner = ?", "bob").Scan(t.Context()); err != nil {
			return err
		}
		once()
		bob.Balance--
		_, err := db.NewUpdate().Conn(tx).Model(&bob).WherePK().Exec(t.Context())
		return err
	}))
	b.mustHaveAbsorbed(t)
}
