package compat

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

//go:embed testdata/goose/*.sql
var gooseFiles embed.FS

// openGoose has the migrations of the files, and one in Go.
func openGoose(t *testing.T, dsn string, third func(context.Context, *sql.Tx) error) *goose.Provider {
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	files, err := fs.Sub(gooseFiles, "testdata/goose")
	require.NoError(t, err)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithGoMigrations(goose.NewGoMigration(3, &goose.GoFunc{RunTx: third}, nil)))
	require.NoError(t, err)
	return provider
}

func TestGoose(t *testing.T) {
	t.Parallel()
	b := newEmptyBank(t)
	provider := openGoose(t, b.dsn, nil)

	done, err := provider.Up(t.Context())
	require.NoError(t, err)
	assert.Len(t, done, 3)
	assert.EqualValues(t, 100, b.balance(t, "bob"))
	done, err = provider.Up(t.Context())
	require.NoError(t, err)
	assert.Empty(t, done, "there is nothing more to do")

	_, err = provider.DownTo(t.Context(), 0)
	require.NoError(t, err)
	version, err := provider.GetDBVersion(t.Context())
	require.NoError(t, err)
	assert.Zero(t, version)
	assert.Error(t, b.rival.QueryRowContext(t.Context(), "SELECT 1 FROM accounts").Err(), "the table is gone")
}

func TestGooseConflict(t *testing.T) {
	t.Parallel()
	b := newEmptyBank(t)
	provider := openGoose(t, b.dsn, func(ctx context.Context, tx *sql.Tx) error { return draw(ctx, t, b, tx) })

	_, err := provider.Up(t.Context())
	require.NoError(t, err)
	b.mustHaveAbsorbed(t)
	version, err := provider.GetDBVersion(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 3, version)
}

func TestGooseConstraint(t *testing.T) {
	t.Parallel()
	provider := openGoose(t, newEmptyBank(t).dsn, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO accounts (id, owner, balance) VALUES (103, 'bob', 0)")
		return err
	})
	_, err := provider.Up(t.Context())
	var partial *goose.PartialError
	require.ErrorAs(t, err, &partial)
	assert.Len(t, partial.Applied, 2)
	requireDuplicate(t, partial.Err)
}
