package compat

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/cockroachdb/cockroach-go/v2/crdb/crdbgorm"
	"github.com/cockroachdb/cockroach-go/v2/crdb/crdbsqlx"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// mustHaveStoodAside holds that cockroach-go has dealt with the conflict, as on any driver: the function was called
// twice, the driver retried nothing, and the result is the same.
func (b bank) mustHaveStoodAside(t *testing.T, calls int) {
	t.Helper()
	assert.Equal(t, 2, calls)
	assert.Zero(t, b.counted(t, "cockroachdb_transaction_retries_total"))
	assert.Positive(t, b.counted(t, "cockroachdb_not_replayable_total"))
	assert.EqualValues(t, 100-10-1, b.balance(t, "bob"))
}

func openPlain(t *testing.T, dsn string) *sql.DB {
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	return db
}

func TestExecuteTxConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openPlain(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	calls := 0
	require.NoError(t, crdb.ExecuteTx(t.Context(), db, nil, func(tx *sql.Tx) error {
		calls++
		var balance int64
		row := tx.QueryRowContext(t.Context(), "SELECT balance FROM accounts WHERE owner = 'bob'")
		if err := row.Scan(&balance); err != nil {
			return err
		}
		once()
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = $1 WHERE owner = 'bob'", balance-1)
		return err
	}))
	b.mustHaveStoodAside(t, calls)
}

func TestExecuteTxConstraint(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openPlain(t, b.dsn)

	err := crdb.ExecuteTx(t.Context(), db, nil, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "INSERT INTO accounts (id, owner, balance) VALUES (103, 'bob', 5)")
		return err
	})
	requireDuplicate(t, err)

	refused := errors.New("no")
	require.ErrorIs(t, crdb.ExecuteTx(t.Context(), db, nil, func(*sql.Tx) error { return refused }), refused)
}

func TestCrdbgorm(t *testing.T) {
	eachGORM(t, func(t *testing.T, b bank, db *gorm.DB) {
		once := b.rivalDrawsOnce(t)
		calls := 0
		require.NoError(t, crdbgorm.ExecuteTx(t.Context(), db, nil, func(tx *gorm.DB) error {
			calls++
			var bob gormAccount
			if err := tx.First(&bob, "owner = ?", "bob").Error; err != nil {
				return err
			}
			once()
			bob.Balance--
			return tx.Save(&bob).Error
		}))
		b.mustHaveStoodAside(t, calls)

		err := crdbgorm.ExecuteTx(t.Context(), db, nil, func(tx *gorm.DB) error {
			return tx.Create(&gormAccount{Owner: "bob"}).Error
		})
		require.ErrorIs(t, err, gorm.ErrDuplicatedKey)
	})
}

func TestCrdbsqlx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db := openSqlx(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	calls := 0
	require.NoError(t, crdbsqlx.ExecuteTx(t.Context(), db, nil, func(tx *sqlx.Tx) error {
		calls++
		var bob sqlxAccount
		if err := tx.GetContext(t.Context(), &bob, "SELECT * FROM accounts WHERE owner = $1", "bob"); err != nil {
			return err
		}
		once()
		bob.Balance--
		_, err := tx.NamedExecContext(t.Context(), "UPDATE accounts SET balance = :balance WHERE id = :id", bob)
		return err
	}))
	b.mustHaveStoodAside(t, calls)

	err := crdbsqlx.ExecuteTx(t.Context(), db, nil, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(t.Context(), "INSERT INTO accounts (id, owner, balance) VALUES (103, 'bob', 5)")
		return err
	})
	requireDuplicate(t, err)
}
