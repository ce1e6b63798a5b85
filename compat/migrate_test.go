package compat

import (
	"database/sql"
	"embed"
	"testing"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratecrdb "github.com/golang-migrate/migrate/v4/database/cockroachdb"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

//go:embed testdata/migrate/*.sql
var migrateFiles embed.FS

func openMigrate(t *testing.T, b bank) *migrate.Migrate {
	// The library would make this table itself, with an INT, which is too small for its numbers where the engine is
	// PostgreSQL.
	b.mustExec(t, "CREATE TABLE schema_lock (lock_id BIGINT NOT NULL PRIMARY KEY)")
	db, err := sql.Open("cockroachdb", b.dsn)
	require.NoError(t, err)
	target, err := migratecrdb.WithInstance(db, &migratecrdb.Config{})
	require.NoError(t, err)
	files, err := iofs.New(migrateFiles, "testdata/migrate")
	require.NoError(t, err)
	m, err := migrate.NewWithInstance("iofs", files, "cockroachdb", target)
	require.NoError(t, err)
	t.Cleanup(func() {
		sourceErr, targetErr := m.Close()
		assert.NoError(t, sourceErr)
		assert.NoError(t, targetErr)
	})
	return m
}

func requireVersion(t *testing.T, m *migrate.Migrate, want uint, wantDirty bool) {
	t.Helper()
	version, dirty, err := m.Version()
	require.NoError(t, err)
	assert.Equal(t, want, version)
	assert.Equal(t, wantDirty, dirty)
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	b := newEmptyBank(t)
	m := openMigrate(t, b)

	require.NoError(t, m.Up())
	requireVersion(t, m, 2, false)
	assert.EqualValues(t, 99, b.balance(t, "bob"))
	assert.ErrorIs(t, m.Up(), migrate.ErrNoChange)
	require.NoError(t, m.Steps(-1))
	requireVersion(t, m, 1, false)
	require.NoError(t, m.Down())
	assert.Error(t, b.rival.QueryRowContext(t.Context(), "SELECT 1 FROM accounts").Err(), "the table is gone")
}

// requireMigrationError looks into the library's error, which does not unwrap.
func requireMigrationError(t *testing.T, err error, what, code string) {
	t.Helper()
	requireCode(t, migrationError(t, err, what), code)
}

func migrationError(t *testing.T, err error, what string) error {
	t.Helper()
	var failed database.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, what, failed.Err)
	return failed.OrigErr
}

var lose = crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_WRITE_TOO_OLD")}

// TestMigrateConflict has a migration of one statement lose, and the transaction that notes its version, which is
// cockroach-go's.
func TestMigrateConflict(t *testing.T) {
	t.Parallel()
	b, sim := newSimBank(t)
	m := openMigrate(t, b)
	require.NoError(t, m.Steps(1))

	migration, release := crdbsim.On("^UPDATE accounts", lose), crdbsim.On("^RELEASE", lose)
	sim.Inject(migration, release)
	require.NoError(t, m.Steps(1))
	assert.Equal(t, 1, migration.Hits())
	assert.Equal(t, 1, release.Hits())
	assert.EqualValues(t, 1, b.counted(t, "cockroachdb_transaction_retries_total"), "cockroach-go retries the other")
	requireVersion(t, m, 2, false)
	assert.EqualValues(t, 99, b.balance(t, "bob"))
}

// TestMigrateConflictInSeveralStatements is what is not absorbed: some of a text's statements may have been committed
// when it fails.
func TestMigrateConflictInSeveralStatements(t *testing.T) {
	t.Parallel()
	b, sim := newSimBank(t)
	m := openMigrate(t, b)

	sim.Inject(crdbsim.On("INSERT INTO accounts", lose))
	var ambiguous *cockroachdb.AmbiguousCommitError
	assert.ErrorAs(t, migrationError(t, m.Steps(1), "migration failed"), &ambiguous)
	requireVersion(t, m, 1, true)
}

func TestMigrateConstraint(t *testing.T) {
	t.Parallel()
	b := newEmptyBank(t)
	m := openMigrate(t, b)
	require.NoError(t, m.Steps(1))

	b.mustExec(t, "UPDATE accounts SET balance = 0")
	requireMigrationError(t, m.Steps(1), "migration failed", "23514")
	requireVersion(t, m, 2, true)
	require.NoError(t, m.Force(1))
	b.mustExec(t, "UPDATE accounts SET balance = 1")
	require.NoError(t, m.Steps(1))
	requireVersion(t, m, 2, false)
}

// TestMigrateDropComplains is what does not work: everything is dropped, the table of the lock too, and that this is
// all right the library knows by lib/pq's type of errors alone.
func TestMigrateDropComplains(t *testing.T) {
	t.Parallel()
	b := newEmptyBank(t)
	m := openMigrate(t, b)
	require.NoError(t, m.Up())

	requireMigrationError(t, m.Drop(), "failed to release migration lock", "42P01")
	var tables int
	require.NoError(t, b.rival.QueryRowContext(t.Context(),
		"SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").Scan(&tables))
	assert.Zero(t, tables)
}
