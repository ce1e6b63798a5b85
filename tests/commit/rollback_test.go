package commit_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// On some versions of CockroachDB a statement runs between ROLLBACK TO and ROLLBACK, at no round trip.
func TestRollback_AfterRollbackTo_StepsOnVersionsThatNeedIt(t *testing.T) {
	t.Parallel()
	crdb := func(v string) fakepg.Option { return fakepg.Version("CockroachDB CCL " + v + " (fakepg)") }
	const plain, step = "ROLLBACK", "SELECT 1; ROLLBACK"
	nested := []string{"SAVEPOINT x", "UPDATE a", "ROLLBACK TO x"}
	for name, c := range map[string]struct {
		on    fakepg.Option
		texts []string
		want  string
	}{
		"v24.1":                  {crdb("v24.1.9"), nested, plain},
		"v24.2":                  {crdb("v24.2.0"), nested, step},
		"v25.4":                  {crdb("v25.4.3"), nested, step},
		"v26.1":                  {crdb("v26.1.0"), nested, plain},
		"PostgreSQL":             {fakepg.PlainPostgreSQL(), nested, plain},
		"a statement between":    {crdb("v25.1.0"), append(nested[:3:3], "UPDATE b"), plain},
		"no savepoint":           {crdb("v25.1.0"), nested[1:2], plain},
		"in the second of two":   {crdb("v25.1.0"), append(nested[:3:3], "UPDATE b", "ROLLBACK TO x"), step},
		"released, and not left": {crdb("v25.1.0"), []string{"SAVEPOINT x", "RELEASE SAVEPOINT x"}, plain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, nil, c.on)
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, c.texts...))
			require.NoError(t, tx.Rollback())
			trips := st.Trips(1)
			assert.Equal(t, c.want, trips[len(trips)-1])
			st.WantKept(t)
		})
	}
}

// Whatever becomes of that statement, the transaction is rolled back.
func TestRollback_TheStepFails_IsRolledBack(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT 1": {kit.Aborted}}, fakepg.Version("CockroachDB CCL v25.1.0 (fakepg)"))
	tx := st.Begin(t)
	require.NoError(t, kit.ExecAll(tx, "SAVEPOINT x", "UPDATE a", "ROLLBACK TO x"))
	require.NoError(t, tx.Rollback())
	trips := st.Trips(1)
	assert.Equal(t, []string{"SELECT 1; ROLLBACK", "ROLLBACK"}, trips[len(trips)-2:])
	st.WantKept(t)
}

const (
	duplicate = "INSERT a"
	failAgain = "BEGIN; RELEASE"
)

var (
	refusal = kit.Always(kit.Fails("23505", "refused"))
	refused = kit.Script{duplicate: refusal}
)

// A server keeps the locks of a transaction with a savepoint until it is rolled back. Here only the driver has one.
func TestRollback_OfATransactionThatFailed_IsSentBeforeTheApplicationAsks(t *testing.T) {
	t.Parallel()
	r := kit.New(t, refused)
	tx := r.Begin(t)
	kit.WantCode(t, kit.ExecAll(tx, duplicate), "23505")
	require.Eventually(t, func() bool { return slices.Contains(r.Sent(), "ROLLBACK") }, 20*time.Second, time.Millisecond)
	require.NoError(t, tx.Rollback())
}

// The same holds for what the driver has given up.
func TestRollback_OfATransactionThatDiverged_IsSentBeforeTheApplicationAsks(t *testing.T) {
	t.Parallel()
	kv := kit.NewKV(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tx := kv.Begin(t)
	kit.Scan[int](t, tx, "SELECT v FROM kv WHERE k = 1")
	kit.Exec(t, tx, kit.Update(2))
	kit.As[*cockroachdb.DivergenceError](t, kv.Provoke(t, tx, kit.Update(1)))
	_, err := kv.Rival.ExecContext(ctx, kit.Update(2))
	require.NoError(t, err, "the lock is kept")
	require.NoError(t, tx.Rollback())
}

func TestRollback_OfATransactionThatFailed_TakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*sql.Tx) error{
		"Rollback": (*sql.Tx).Rollback,
		"Commit": func(tx *sql.Tx) error {
			err := tx.Commit()
			if errors.Is(err, pgx.ErrTxCommitRollback) {
				return nil
			}
			return fmt.Errorf("not what pgx says: %w", err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, refused)
			tx := r.Begin(t)
			kit.WantCode(t, kit.ExecAll(tx, "UPDATE a", duplicate), "23505")
			require.NoError(t, end(tx))
			assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", duplicate, "ROLLBACK"}, r.Trips(1))
			r.WantKept(t)
		})
	}
}

// An application that goes on is told what the server says in a transaction that has failed.
func TestRollback_ApplicationGoesOnAfterTheFailure_ServerAnswers(t *testing.T) {
	t.Parallel()
	r := kit.New(t, refused)
	tx := r.Begin(t)
	kit.WantCode(t, kit.ExecAll(tx, duplicate), "23505")
	kit.WantCode(t, kit.ExecAll(tx, "UPDATE a"), "25P02")
	kit.WantCode(t, kit.ExecAll(tx, "UPDATE a"), "25P02")
	require.NoError(t, kit.ExecAll(tx, "ROLLBACK"))
	require.NoError(t, tx.Rollback())
	assert.Equal(t, []string{
		"BEGIN; SAVEPOINT; " + duplicate, "ROLLBACK", failAgain, "UPDATE a", "UPDATE a", "ROLLBACK",
	}, r.Trips(1))
	r.WantKept(t)
}

// What the driver does for that has errors of its own, of which the application hears nothing.
func TestRollback_ApplicationGoesOnAndBeginLoses_IsInAFailedTransaction(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{
		duplicate: refusal,
		"BEGIN":   {kit.OK, kit.Conflict},
	})
	tx := r.Begin(t)
	kit.WantCode(t, kit.ExecAll(tx, duplicate), "23505")
	kit.WantCode(t, kit.ExecAll(tx, "UPDATE a"), "25P02")
	kit.WantCode(t, kit.ExecAll(tx, "UPDATE a"), "25P02")
	require.NoError(t, tx.Rollback())
	r.WantKept(t)
}

// Where the application may have a savepoint to go back to, or the driver has none, nothing is sent for it.
func TestRollback_OfATransactionThatFailed_IsLeftToTheApplication(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before  []string
		options []any
		do      func(*testing.T, *sql.Conn)
	}{
		"a savepoint":                 {before: []string{"SAVEPOINT x"}},
		"a savepoint that is gone":    {before: []string{"SAVEPOINT x", "RELEASE SAVEPOINT x"}},
		"a savepoint among others":    {before: []string{"UPDATE b; SAVEPOINT x; UPDATE c"}},
		"a transaction of BEGIN":      {options: []any{"retry_restart=begin"}},
		"a transaction without tries": {options: []any{kit.Attempts(1)}},
		"the pgx connection was used": {do: func(t *testing.T, c *sql.Conn) {
			t.Helper()
			require.NoError(t, c.Raw(func(dc any) error {
				_, err := dc.(cockroachdb.Conn).Conn().Exec(t.Context(), "SAVEPOINT x", pgx.QueryExecModeExec)
				return err
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, refused, c.options...)
			conn := kit.Conn(t, r.DB)
			tx, err := conn.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, kit.ExecAll(tx, c.before...))
			if c.do != nil {
				c.do(t, conn)
			}
			kit.WantCode(t, kit.ExecAll(tx, duplicate), "23505")
			kit.WantCode(t, kit.ExecAll(tx, "UPDATE a"), "25P02")
			assert.NotContains(t, r.Trips(1), failAgain)
			require.NoError(t, tx.Rollback())
			require.NoError(t, conn.Close())
			r.WantKept(t)
		})
	}
}

// The connection may be lost with the answer to ROLLBACK, and nothing is committed all the same.
func TestRollback_ConnectionIsLostWithTheAnswer_IsRolledBack(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{
		duplicate:  refusal,
		"ROLLBACK": {{Cut: fakepg.CutBefore}},
	})
	tx := r.Begin(t)
	kit.WantCode(t, kit.ExecAll(tx, duplicate), "23505")
	require.NoError(t, tx.Rollback())
	kit.Exec(t, r, "UPDATE b") // by another connection
}
