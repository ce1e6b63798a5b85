package cockroachdb_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func TestConn_RowsOpen_RefusesStatements(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT v": {kit.Texts("a", "b", "c")}})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	rows, err := conn.QueryContext(t.Context(), "SELECT v")
	require.NoError(t, err)
	require.True(t, rows.Next())
	_, err = conn.ExecContext(t.Context(), kit.Update(1))
	require.ErrorContains(t, err, "the rows of an earlier query are still open")
	require.ErrorContains(t, conn.PingContext(t.Context()), "the rows of an earlier query are still open")
	_, err = conn.PrepareContext(t.Context(), "SELECT 1")
	require.ErrorContains(t, err, "the rows of an earlier query are still open")
	require.True(t, rows.Next(), "no harm was done")
	require.NoError(t, rows.Close())
	kit.Exec(t, conn, kit.Update(1))
}

// With pgx's stdlib a statement whose context is done already costs a *sql.Conn its connection.
func TestConn_ContextDoneBefore_KeepsTheConnection(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, query := range []string{"UPDATE a", "UPDATE a; UPDATE b"} {
		_, err = conn.ExecContext(done, query)
		require.ErrorIs(t, err, context.Canceled)
	}
	_, err = conn.QueryContext(done, "SELECT v") // there are no rows
	require.ErrorIs(t, err, context.Canceled)
	_, err = conn.PrepareContext(done, "SELECT v")
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, st.Server.RoundTrips())
	kit.Exec(t, conn, "UPDATE a")
	assert.Equal(t, 1, st.Server.Connections())
}

func TestConn_Raw_GivesThePgxConnection(t *testing.T) {
	t.Parallel()
	db := kit.Open(t, enginetest.NewDB(t))
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Raw(func(dc any) error {
		c := dc.(cockroachdb.Conn)
		var n int
		if err := c.Conn().QueryRow(t.Context(), "SELECT 42").Scan(&n); err != nil {
			return err
		}
		assert.Equal(t, 42, n)
		_, err := c.Conn().CopyFrom(t.Context(), pgx.Identifier{"nowhere"}, []string{"a"}, pgx.CopyFromRows(nil))
		assert.Error(t, err)
		return nil
	}))
	kit.Exec(t, conn, "SELECT 1")
}

func TestConn_DeprecatedMethods_Work(t *testing.T) {
	t.Parallel()
	c := kit.New(t, kit.Script{}).DriverConn(t)
	stmt, err := c.Prepare("UPDATE a")
	require.NoError(t, err)
	_, err = stmt.Exec(nil) //nolint:staticcheck // it is there all the same
	require.Error(t, err)
	_, err = stmt.Query(nil) //nolint:staticcheck // it is there all the same
	require.Error(t, err)
	tx, err := c.Begin()
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
}

func TestConn_Ping_AsksTheServer(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{}, kit.NoFailover)
	c := r.DriverConn(t)
	require.NoError(t, c.Ping(t.Context()))
	assert.Equal(t, 1, r.RoundTrips())
	r.Disconnect()
	require.ErrorIs(t, c.Ping(t.Context()), driver.ErrBadConn)
	assert.False(t, c.IsValid())
	require.ErrorIs(t, c.Ping(t.Context()), driver.ErrBadConn)
	_, err := c.BeginTx(t.Context(), driver.TxOptions{})
	require.ErrorIs(t, err, driver.ErrBadConn)
	_, err = c.ExecContext(t.Context(), "UPDATE a", nil)
	require.ErrorIs(t, err, driver.ErrBadConn)
	_, err = c.QueryContext(t.Context(), "SELECT a", nil)
	require.ErrorIs(t, err, driver.ErrBadConn)
	_, err = c.PrepareContext(t.Context(), "SELECT a")
	require.ErrorIs(t, err, driver.ErrBadConn)
	require.ErrorIs(t, c.ResetSession(t.Context()), driver.ErrBadConn)
	require.NoError(t, c.Close())
}

func TestConn_ResetSessionHookFails_ReturnsItsError(t *testing.T) {
	t.Parallel()
	var hook error
	c := kit.New(t, kit.Script{}, func(cfg *cockroachdb.Config) {
		cfg.ResetSession = func(_ context.Context, pc *pgx.Conn) error {
			assert.NotNil(t, pc)
			return hook
		}
	}).DriverConn(t)
	require.NoError(t, c.ResetSession(t.Context()))
	hook = errors.New("no")
	require.Equal(t, hook, c.ResetSession(t.Context()), "as it is")
	assert.True(t, c.IsValid())

	_, err := c.ExecContext(t.Context(), "BEGIN", nil)
	require.NoError(t, err)
	require.ErrorIs(t, c.ResetSession(t.Context()), driver.ErrBadConn, "a transaction is open: the hook is not asked")
	assert.False(t, c.IsValid(), "an open transaction must not rest in the pool with its locks")
}
