package cockroachdb_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// TestRunTxDoneOfAnotherTransaction: sql.ErrTxDone in an error of fn need not be about fn's own transaction. Taken for that, the
// transaction would stay open, and its connection be lost to the pool.
func TestRunTxDoneOfAnotherTransaction(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(playbook{}.answer))
	db := openFake(t, srv)
	for name, db := range map[string]*sql.DB{"this driver": db, "another driver": openAs(t, "pgx", srv.DSN())} {
		t.Run(name, func(t *testing.T) {
			own := fmt.Errorf("another transaction: %w", sql.ErrTxDone)
			err := cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
				mustExec(t, tx, update(1))
				return own
			})
			assert.Equal(t, own, err)
			require.Zero(t, db.Stats().InUse)
			mustExec(t, db, update(2))
		})
	}
}

func openAs(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
