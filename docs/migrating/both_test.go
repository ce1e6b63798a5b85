package migrating

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/docs/migrating/both"
	"github.com/reprise-go/cockroachdb/docs/migrating/off"
)

func TestBothByTheEnvironment(t *testing.T) {
	dsn := newBank(t)
	for name, want := range map[string]bool{"": false, "pgx": false, "cockroachdb": true} {
		t.Setenv("BANK_DRIVER", name)
		db, err := both.Open(dsn)
		conn, err := pool(t, db, err).Conn(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Raw(func(driverConn any) error {
			assert.Implements(t, (*cockroachdb.Conn)(nil), driverConn)
			_, older := driverConn.(*stdlib.Conn) // which implements it, too
			assert.Equal(t, want, !older, name)
			return nil
		}))
		require.NoError(t, conn.Close())
	}
}

func TestBothByShare(t *testing.T) {
	dsn := newBank(t)
	pools, err := both.OpenBoth(dsn, 0.5, 5)
	require.NoError(t, err)
	pool(t, pools.Old, nil)
	pool(t, pools.New, nil)
	assert.Equal(t, 2, pools.Old.Stats().MaxOpenConnections)
	assert.Equal(t, 3, pools.New.Stats().MaxOpenConnections)

	// They collide; those of the new pool go on.
	isConflict(t, lose(t, pools.Old, dsn))
	require.NoError(t, lose(t, pools.New, dsn))

	for range 1000 {
		picked := map[any]bool{pools.Pick(): true, pools.Pick(): true}
		if len(picked) == 2 {
			break
		}
	}
	pools.Share = 0
	assert.Same(t, pools.Old, pools.Pick())
	pools.Share = 1
	assert.Same(t, pools.New, pools.Pick())
}

func TestBothErrors(t *testing.T) {
	dsn := newBank(t)
	for _, name := range []string{"postgres", "pgx", "cockroachdb"} {
		_, err := open(t, name, dsn).ExecContext(t.Context(), "INSERT INTO accounts VALUES (1, 'Ada', 0)")
		assert.Equal(t, "23505", both.SQLState(fmt.Errorf("add: %w", err)), name)
	}
	_, err := diverge(t)
	assert.Equal(t, "40001", both.SQLState(err))
	assert.Empty(t, both.SQLState(nil))
}

// TestOff: the conflict comes to the application.
func TestOff(t *testing.T) {
	dsn := newBank(t)
	db, r := open(t, "cockroachdb", dsn), newRival(t, dsn)
	b := off.Bank{DB: db, Approve: r.approve}
	assert.ErrorIs(t, b.TryWithdraw(t.Context(), 1, 10), off.ErrBusy)
	require.NoError(t, b.TryWithdraw(t.Context(), 1, 10))
	assert.EqualValues(t, 1090, balance(t, db, 1))

	plain, err := off.OpenPlain(dsn)
	isConflict(t, lose(t, pool(t, plain, err), dsn))
	isConflict(t, lose(t, open(t, "cockroachdb", dsn+"&retry_max_attempts=1"), dsn))
	require.NoError(t, lose(t, db, dsn))
}
