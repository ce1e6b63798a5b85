package compat

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/reprise-go/cockroachdb"
)

// gormAccount has an identifier that the server makes.
type gormAccount struct {
	ID      int64
	Owner   string `gorm:"uniqueIndex"`
	Balance int64  `gorm:"check:balance >= 0"`
}

func (gormAccount) TableName() string { return "accounts" }

// gormEntry has one that the application makes.
type gormEntry struct {
	ID     uuid.UUID
	Amount int64
}

func (gormEntry) TableName() string { return "entries" }

func (e *gormEntry) BeforeCreate(*gorm.DB) error {
	e.ID = uuid.New()
	return nil
}

func openGORM(t *testing.T, dsn string, prepareStmt bool) *gorm.DB {
	db, err := gorm.Open(postgres.New(postgres.Config{DriverName: "cockroachdb", DSN: dsn}),
		&gorm.Config{PrepareStmt: prepareStmt, TranslateError: true, Logger: logger.Discard})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	closing(t, pool)
	return db.WithContext(t.Context())
}

// TestGORMOnAPool hands GORM a pool, and so has it ask for pgx's simple protocol now and then.
func TestGORMOnAPool(t *testing.T) {
	t.Parallel()
	b := newEmptyBank(t)
	pool, err := sql.Open("cockroachdb", b.dsn)
	require.NoError(t, err)
	closing(t, pool)
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, db.AutoMigrate(&gormAccount{}))
	}
	b.openAccounts(t)
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		ownersWithMoney(t, tx)
		b.rivalDraws(t)
		return withdrawFromBob(tx)
	}))
	b.mustHaveAbsorbed(t)
}

// eachGORM runs a test with GORM's PrepareStmt off and on.
func eachGORM(t *testing.T, test func(*testing.T, bank, *gorm.DB)) {
	t.Parallel()
	for name, prepareStmt := range map[string]bool{"plain": false, "PrepareStmt": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEmptyBank(t)
			db := openGORM(t, b.dsn, prepareStmt)
			require.NoError(t, db.AutoMigrate(&gormAccount{}, &gormEntry{}))
			b.openAccounts(t)
			test(t, b, db)
		})
	}
}

func ownersWithMoney(t *testing.T, tx *gorm.DB) {
	var owners []string
	require.NoError(t, tx.Model(&gormAccount{}).Where("balance > 0").Order("id").Pluck("owner", &owners).Error)
	assert.Equal(t, []string{"ann", "bob"}, owners)
}

func withdrawFromBob(tx *gorm.DB) error {
	return tx.Model(&gormAccount{}).Where("owner = ?", "bob").Update("balance", gorm.Expr("balance - ?", 1)).Error
}

func TestGORM(t *testing.T) {
	eachGORM(t, func(t *testing.T, _ bank, db *gorm.DB) {
		created := []gormAccount{{Owner: "cid", Balance: 5}, {Owner: "dot", Balance: 6}}
		require.NoError(t, db.Create(&created).Error)
		assert.NotZero(t, created[0].ID)
		assert.NotEqual(t, created[0].ID, created[1].ID)

		var found gormAccount
		require.NoError(t, db.First(&found, created[1].ID).Error)
		assert.Equal(t, created[1], found)
		require.NoError(t, db.Delete(&found).Error)
		assert.ErrorIs(t, db.First(&found, created[1].ID).Error, gorm.ErrRecordNotFound)

		row := map[string]any{}
		require.NoError(t, db.Model(&gormAccount{}).Where("owner = ?", "cid").Take(&row).Error)
		assert.Equal(t, map[string]any{"id": created[0].ID, "owner": "cid", "balance": int64(5)}, row)
		var rows []map[string]any
		require.NoError(t, db.Table("accounts").Order("owner").Select("owner").Find(&rows).Error)
		assert.Equal(t, []map[string]any{{"owner": "ann"}, {"owner": "bob"}, {"owner": "cid"}}, rows)
	})
}

// TestGORMAutoMigrateTwice also widens a table of which GORM has prepared a query.
func TestGORMAutoMigrateTwice(t *testing.T) {
	eachGORM(t, func(t *testing.T, _ bank, db *gorm.DB) {
		type wider struct {
			gormAccount `gorm:"embedded"`
			Note        string
		}
		for range 2 {
			require.NoError(t, db.AutoMigrate(&gormAccount{}, &gormEntry{}))
			var all []gormAccount
			require.NoError(t, db.Raw("SELECT * FROM accounts").Scan(&all).Error)
			assert.Len(t, all, 2)
		}
		for range 2 {
			require.NoError(t, db.Table("accounts").AutoMigrate(&wider{}))
			var all []wider
			require.NoError(t, db.Raw("SELECT * FROM accounts").Scan(&all).Error)
			assert.Len(t, all, 2)
		}
		assert.True(t, db.Migrator().HasColumn("accounts", "note"))
	})
}

func TestGORMConflict(t *testing.T) {
	eachGORM(t, func(t *testing.T, b bank, db *gorm.DB) {
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			ownersWithMoney(t, tx)
			if err := tx.Create(&gormEntry{Amount: -1}).Error; err != nil {
				return err
			}
			b.rivalDraws(t)
			return withdrawFromBob(tx)
		}))
		b.mustHaveAbsorbed(t)
	})
}

// TestGORMNestedTransactions has one nested transaction fail, and one succeed, before the outer one loses.
func TestGORMNestedTransactions(t *testing.T) {
	eachGORM(t, func(t *testing.T, b bank, db *gorm.DB) {
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			ownersWithMoney(t, tx)
			err := tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&gormAccount{ID: 103, Owner: "bob"}).Error })
			assert.ErrorIs(t, err, gorm.ErrDuplicatedKey)
			err = tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&gormAccount{ID: 104, Owner: "dot"}).Error })
			assert.NoError(t, err)
			b.rivalDraws(t)
			return tx.Transaction(withdrawFromBob)
		}))
		b.mustHaveAbsorbed(t)
		assert.Zero(t, b.balance(t, "dot"))
	})
}

func TestGORMConstraint(t *testing.T) {
	eachGORM(t, func(t *testing.T, _ bank, db *gorm.DB) {
		err := db.Create(&gormAccount{Owner: "bob"}).Error
		require.ErrorIs(t, err, gorm.ErrDuplicatedKey)
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr)
		assert.Equal(t, "23505", pgErr.Code)

		err = db.Transaction(func(tx *gorm.DB) error { return tx.Create(&gormAccount{Owner: "cid", Balance: -1}).Error })
		require.ErrorIs(t, err, gorm.ErrCheckConstraintViolated)
	})
}

// TestGORMGeneratedKey: Create has told the application of a key, and a replay inserts that and not another one.
func TestGORMGeneratedKey(t *testing.T) {
	eachGORM(t, func(t *testing.T, b bank, db *gorm.DB) {
		several := []gormAccount{{Owner: "dot", Balance: 1}, {Owner: "eve", Balance: 2}}
		cid := gormAccount{Owner: "cid"}
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			ownersWithMoney(t, tx)
			if err := errors.Join(tx.Create(&cid).Error, tx.Create(&several).Error); err != nil {
				return err
			}
			b.rivalDraws(t)
			return withdrawFromBob(tx)
		}))
		b.mustHaveKept(t, "cid", cid.ID)
		b.mustHaveKept(t, "dot", several[0].ID)
		b.mustHaveKept(t, "eve", several[1].ID)
	})
}

// TestGORMUpsertDiverges is what can't be absorbed: whether the key is that of a row which was there before, nobody
// tells.
func TestGORMUpsertDiverges(t *testing.T) {
	eachGORM(t, func(t *testing.T, b bank, db *gorm.DB) {
		err := db.Transaction(func(tx *gorm.DB) error {
			ownersWithMoney(t, tx)
			upsert := clause.OnConflict{Columns: []clause.Column{{Name: "owner"}}, UpdateAll: true}
			if err := tx.Clauses(upsert).Create(&gormAccount{Owner: "cid"}).Error; err != nil {
				return err
			}
			b.rivalDraws(t)
			return withdrawFromBob(tx)
		})
		var diverged *cockroachdb.DivergenceError
		require.ErrorAs(t, err, &diverged)
		assert.Equal(t, cockroachdb.DivergedRow, diverged.Kind)
		requireCode(t, err, "40001")
		assert.EqualValues(t, 100-10, b.balance(t, "bob"))
	})
}

// TestGORMRunTx is the same again, and a balance that is read, changed in Go and saved, with the function called again
// where need be.
func TestGORMRunTx(t *testing.T) {
	eachGORM(t, func(t *testing.T, b bank, db *gorm.DB) {
		once := b.rivalDrawsOnce(t)
		pool, err := db.DB()
		require.NoError(t, err)
		require.NoError(t, cockroachdb.RunTx(t.Context(), pool, nil, func(stx *sql.Tx) error {
			tx := db.Session(&gorm.Session{NewDB: true, Context: t.Context()})
			tx.Statement.ConnPool = stx
			var bob gormAccount
			err := errors.Join(tx.Create(&gormAccount{Owner: "cid"}).Error, tx.First(&bob, "owner = ?", "bob").Error)
			if err != nil {
				return err
			}
			once()
			bob.Balance--
			return tx.Save(&bob).Error
		}))
		b.mustHaveAbsorbed(t)
		assert.Zero(t, b.balance(t, "cid"))
	})
}
