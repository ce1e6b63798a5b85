package statement_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// copyTwo copies two rows into the table copied, by the pgx connection behind Raw.
func copyTwo(ctx context.Context, conn *sql.Conn) (err error) {
	rawErr := conn.Raw(func(c any) error {
		rows := pgx.CopyFromRows([][]any{{1}, {2}})
		_, err = c.(cockroachdb.Conn).Conn().CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"k"}, rows)
		return nil // else database/sql might close the connection
	})
	if rawErr != nil {
		return rawErr
	}
	return err
}

// A copying is a transaction on a connection of its own, which is to copy rows; and a server into which faults can be
// injected.
type copying struct {
	kit.KV
	*crdbsim.Sim
	conn *sql.Conn
	tx   *sql.Tx
}

func newCopying(t *testing.T, params string) copying {
	t.Helper()
	kv, sim := kit.NewKVSim(t)
	kit.Exec(t, kv.Rival, "CREATE TABLE copied (k INT)")
	conn, err := kit.Open(t, kv.DSN, params).Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return copying{kv, sim, conn, tx}
}

func (c *copying) copied(t *testing.T) int {
	t.Helper()
	return kit.Scan[int](t, c.Rival, "SELECT count(*) FROM copied")
}

// The opening has not been sent yet when Raw comes first, and COPY is part of the transaction all the same.
func TestRaw_Copy_IsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	for name, commit := range map[string]bool{"committed": true, "rolled back": false} {
		for _, first := range []bool{true, false} {
			c := newCopying(t, kit.NoWaits)
			if !first {
				kit.Exec(t, c.tx, "UPDATE kv SET v = v + 1 WHERE k = 1")
			}
			require.NoError(t, copyTwo(t.Context(), c.conn))
			if !commit {
				require.NoError(t, c.tx.Rollback())
				assert.Zero(t, c.copied(t), name)
				continue
			}
			assert.Zero(t, c.copied(t), name)
			require.NoError(t, c.tx.Commit())
			assert.Equal(t, 2, c.copied(t), name)
		}
	}
}

// Nothing of what was done by Raw is on record, so nothing is run again without it.
func TestRaw_ThenAConflict_IsNotReplayable(t *testing.T) {
	t.Parallel()
	for _, loses := range []string{"WHERE k = 2", "^RELEASE"} {
		c := newCopying(t, kit.NoWaits)
		kit.Exec(t, c.tx, "UPDATE kv SET v = v + 1 WHERE k = 1")
		require.NoError(t, copyTwo(t.Context(), c.conn))
		c.Inject(kit.ConflictAt(loses))
		err := kit.ExecAll(c.tx, "UPDATE kv SET v = v + 1 WHERE k = 2")
		if err == nil {
			err = c.tx.Commit()
		} else {
			require.Error(t, c.tx.Commit())
		}
		assert.Equal(t, cockroachdb.CauseRaw, kit.As[*cockroachdb.NotReplayableError](t, err).Cause)
		kit.WantConflict(t, err)
		assert.Zero(t, c.copied(t))
		assert.Equal(t, 10, c.Value(t, 1))
	}
}

// A transaction that has given up its locks to wait for its turn has no transaction on the server any more. What is
// copied then would be committed at once.
func TestRaw_CopyAfterAWaitThatEnded_CommitsNothing(t *testing.T) {
	t.Parallel()
	c := newCopying(t, "retry_initial_backoff=1h&retry_max_backoff=1h&retry_max_elapsed=100h")
	kit.Exec(t, c.tx, "UPDATE kv SET v = v + 1 WHERE k = 1")
	loses := kit.ConflictAt("WHERE k = 2")
	loses.Times = -1
	c.Inject(loses)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.tx.ExecContext(ctx, "UPDATE kv SET v = v + 100 WHERE k = 2")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	copyErr := copyTwo(t.Context(), c.conn)
	commitErr := c.tx.Commit()
	require.Error(t, copyErr)
	require.Error(t, commitErr)
	assert.Zero(t, c.copied(t), "COPY said %v, and Commit %v", copyErr, commitErr)
	assert.Equal(t, 10, c.Value(t, 1))
}

// The same to an application that looks at every error but that of Rows.Close: the COPY comes before the statement by
// which it would be told.
func TestRaw_CopyAfterAnUnheardConflict_CommitsNothing(t *testing.T) {
	t.Parallel()
	const many = "SELECT g FROM generate_series(1, 5000) g"
	c := newCopying(t, "retry_initial_backoff=1h&retry_max_backoff=1h&retry_max_elapsed=1m")
	late := crdbsim.On("generate_series", crdbsim.Action{
		Then: crdbsim.ExecuteFail, AfterRows: 4000, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
	})
	again := kit.ConflictAt("generate_series")
	again.Times = -1
	c.Inject(late)
	c.Inject(again)
	rows := kit.Query(t, c.tx, many)
	rows.Read(1)
	_ = rows.Close() // it has seen what it wanted

	copyErr := copyTwo(t.Context(), c.conn)
	commitErr := c.tx.Commit()
	require.Error(t, copyErr)
	require.Error(t, commitErr)
	assert.Zero(t, c.copied(t), "COPY said %v, and Commit %v", copyErr, commitErr)
}
