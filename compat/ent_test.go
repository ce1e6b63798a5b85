package compat

import (
	"context"
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/compat/ent"
	"github.com/reprise-go/cockroachdb/compat/ent/account"
)

// openEnt has ent make its table.
func openEnt(t *testing.T) (bank, *ent.Client, *sql.DB) {
	b := newEmptyBank(t)
	pool, err := sql.Open("cockroachdb", b.dsn)
	require.NoError(t, err)
	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, pool)))
	closing(t, client)
	for range 2 {
		require.NoError(t, client.Schema.Create(t.Context()))
	}
	b.openAccounts(t)
	return b, client, pool
}

func TestEnt(t *testing.T) {
	t.Parallel()
	_, client, _ := openEnt(t)

	cid, err := client.Account.Create().SetID(103).SetOwner("cid").SetBalance(5).Save(t.Context())
	require.NoError(t, err)
	cid, err = cid.Update().AddBalance(1).Save(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 6, cid.Balance)

	found, err := client.Account.Query().Where(account.OwnerIn("ann", "cid")).Order(account.ByID()).All(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 2)
	assert.Equal(t, "ann", found[0].Owner)
	assert.EqualValues(t, 6, found[1].Balance)

	_, err = client.Account.Get(t.Context(), 999)
	assert.True(t, ent.IsNotFound(err), "%v", err)
}

func TestEntConflict(t *testing.T) {
	t.Parallel()
	b, client, _ := openEnt(t)

	tx, err := client.Tx(t.Context())
	require.NoError(t, err)
	defer tx.Rollback()
	owners, err := tx.Account.Query().Where(account.BalanceGT(0)).Order(account.ByID()).
		Select(account.FieldOwner).Strings(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"ann", "bob"}, owners)
	b.rivalDraws(t)
	require.NoError(t, tx.Account.Update().Where(account.Owner("bob")).AddBalance(-1).Exec(t.Context()))
	require.NoError(t, tx.Commit())
	b.mustHaveAbsorbed(t)
}

func TestEntGeneratedKey(t *testing.T) {
	t.Parallel()
	b, client, _ := openEnt(t)

	tx, err := client.Tx(t.Context())
	require.NoError(t, err)
	defer tx.Rollback()
	rich := tx.Account.Query().Where(account.BalanceGT(0)).Order(account.ByID())
	_, err = rich.Select(account.FieldOwner).Strings(t.Context())
	require.NoError(t, err)
	cid, err := tx.Account.Create().SetOwner("cid").SetBalance(5).Save(t.Context())
	require.NoError(t, err)
	b.rivalDraws(t)
	require.NoError(t, tx.Account.Update().Where(account.Owner("bob")).AddBalance(-1).Exec(t.Context()))
	require.NoError(t, tx.Commit())
	b.mustHaveKept(t, "cid", cid.ID)
}

func TestEntConstraint(t *testing.T) {
	t.Parallel()
	_, client, _ := openEnt(t)
	err := client.Account.Create().SetID(103).SetOwner("bob").SetBalance(5).Exec(t.Context())
	assert.True(t, ent.IsConstraintError(err), "%v", err)
	requireDuplicate(t, err)
}

// entTx is ent's driver on a transaction that RunTx has begun. Ent wants a transaction for some of its updates, and
// gets the one it is in.
type entTx struct{ *entsql.Driver }

func (d entTx) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(d), nil }

func TestEntRunTx(t *testing.T) {
	t.Parallel()
	b, _, pool := openEnt(t)
	once := b.rivalDrawsOnce(t)

	require.NoError(t, cockroachdb.RunTx(t.Context(), pool, nil, func(tx *sql.Tx) error {
		client := ent.NewClient(ent.Driver(entTx{entsql.NewDriver(dialect.Postgres, entsql.Conn{ExecQuerier: tx})}))
		bob, err := client.Account.Query().Where(account.Owner("bob")).Only(t.Context())
		if err != nil {
			return err
		}
		once()
		return client.Account.UpdateOne(bob).SetBalance(bob.Balance - 1).Exec(t.Context())
	}))
	b.mustHaveAbsorbed(t)
}
