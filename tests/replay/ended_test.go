package replay_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// endTracer is told of the end of each statement.
type endTracer func(sql string)

type tracedText struct{}

func (f endTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, tracedText{}, d.SQL)
}

func (f endTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	sql, _ := ctx.Value(tracedText{}).(string)
	f(sql)
}

// A replay that takes several round trips is left in the middle: the server has half of the record, and the connection
// is good. Nothing of that may be committed.
func TestReplay_CancelledBetweenItsRoundTrips_Ends(t *testing.T) {
	t.Parallel()
	for _, commit := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		runs := 0
		r := kit.New(t, kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}, func(cfg *cockroachdb.Config) {
			cfg.ConnConfig.Tracer = endTracer(func(sql string) {
				if sql == "UPDATE a" {
					if runs++; runs == 2 {
						cancel()
					}
				}
			})
		})
		tx := r.Begin(t)
		kit.Exec(t, tx, "UPDATE a")
		kit.Exec(t, tx, "UPDATE b; UPDATE b")
		_, err := tx.ExecContext(ctx, "UPDATE c")
		require.ErrorIs(t, err, context.Canceled)
		if !commit {
			_, err = tx.ExecContext(t.Context(), "UPDATE d")
			kit.WantCode(t, err, "25P02")
		}
		require.Error(t, tx.Commit(), "the half of it is lost")
		assert.NotContains(t, r.Sent(), kit.Release)
		kit.WantUsable(t, r.DB)
	}
}

// With autocommit_before_ddl, DDL commits what is open. What it does in a replay it does for good, too.
func TestReplay_HasCommitted_IsNotRepeated(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	for name, replies := range map[string][]fakepg.Reply{
		"and lost":                      {kit.Conflict, {Err: fakepg.Conflict(), EndsTx: true}},
		"and lost, with the connection": {{Err: fakepg.Conflict(), Cut: fakepg.CutAfter}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{ddl: replies})
			tx, err := r.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			err = kit.ExecAll(tx, "UPDATE a", ddl)
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.NotEqual(t, "40001", kit.StateOf(err), "who looks for conflicts would run it again")
			assert.LessOrEqual(t, r.Times("UPDATE a"), 2)
			require.Error(t, tx.Rollback(), "it may be committed")
		})
	}
}

// The driver's PRIORITY HIGH is one reason for 0A000; that the DDL is not supported is another, and before it was
// refused it has committed.
func TestReplay_DDLRefusedAfterItCommitted_KeepsThePriority(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	r := kit.New(t, kit.Script{
		"UPDATE a": kit.ConflictOn(1, 2), ddl: {{Err: fakepg.Error("0A000", "refused"), EndsTx: true}},
	})
	tx, err := r.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
	kit.WantCode(t, kit.ExecAll(tx, ddl), "0A000")
	require.Error(t, tx.Rollback(), "it may be committed")
	assert.Equal(t, 3, r.Times("UPDATE a"))
}

// A text with a COMMIT in it failed before it came to that, and a rollback to a savepoint undid the error. In the
// replay it gets there.
func TestReplay_CommitsWhereItHadFailed_IsAmbiguous(t *testing.T) {
	t.Parallel()
	const text = "UPDATE b; COMMIT; BEGIN; UPDATE d"
	for name, d := range map[string][]fakepg.Reply{"and succeeds": {kit.OK}, "and loses": {kit.Conflict, kit.OK}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"UPDATE b": {kit.Fails("23505", "refused"), kit.OK},
				"UPDATE c": {kit.Conflict, kit.OK}, "UPDATE d": kit.Always(d...),
			})
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "SAVEPOINT s"))
			require.Error(t, kit.ExecAll(tx, text))
			require.NoError(t, kit.ExecAll(tx, "ROLLBACK TO SAVEPOINT s"))
			err := kit.ExecAll(tx, "UPDATE c")
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.NotEqual(t, "40001", kit.StateOf(err))
			require.Error(t, tx.Rollback(), "it may be committed")
			assert.Equal(t, 2, st.Times("UPDATE a"))
			st.WantKept(t)
		})
	}
}

// What the application has committed itself stays so when the connection is lost.
func TestReplay_ConnectionLostAfterTheApplicationsCommit_IsNoConnectionLostError(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE b": kit.Always(fakepg.Reply{Cut: fakepg.CutBefore})})
	tx := st.Begin(t)
	require.NoError(t, kit.ExecAll(tx, "UPDATE a", "COMMIT"))
	require.Error(t, kit.ExecAll(tx, "UPDATE b"))
	var lost *cockroachdb.ConnectionLostError
	err := kit.ExecAll(tx, "UPDATE c")
	require.Error(t, err)
	require.NotErrorAs(t, err, &lost, "it says that nothing was committed")
}

// There was a transaction before BeginTx: PostgreSQL only warns. A replay would not have what ran in it.
func TestReplay_TransactionBegunAsText_IsNotReplayed(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{"UPDATE b": {kit.Conflict, kit.OK}}, fakepg.PlainPostgreSQL())
	conn, err := r.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	kit.Exec(t, conn, "BEGIN")
	kit.Exec(t, conn, "UPDATE a")
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	kit.WantConflict(t, kit.ExecAll(tx, "UPDATE b"))
	require.NoError(t, tx.Rollback())
	assert.Equal(t, 1, r.Times("UPDATE b"))
}
