package cockroachdb_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
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

// A replay that takes several round trips is left in the middle: the server has half of the record, and the connection is good. Nothing
// of that may be committed.
func TestReplayThatIsCancelledBetweenItsRoundTrips(t *testing.T) {
	t.Parallel()
	for _, commit := range []bool{false, true} {
		srv := fakepg.Start(t, fakepg.Answer(playbook{"UPDATE c": {lost, won}}.answer))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		runs := 0
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) {
			cfg.ConnConfig.Tracer = endTracer(func(sql string) {
				if sql == "UPDATE a" {
					if runs++; runs == 2 {
						cancel()
					}
				}
			})
		})
		tx := begun(t, db)
		mustExec(t, tx, "UPDATE a")
		mustExec(t, tx, "UPDATE b; UPDATE b")
		_, err := tx.ExecContext(ctx, "UPDATE c")
		require.ErrorIs(t, err, context.Canceled)
		if !commit {
			_, err = tx.ExecContext(t.Context(), "UPDATE d")
			requireCode(t, err, "25P02")
		}
		require.Error(t, tx.Commit(), "the half of it is lost")
		assert.NotContains(t, ran(srv), releaseSQL)
		usable(t, db)
	}
}

// begins answers the opening and a first statement.
func begins(c *fakepg.Conn) {
	play(c, raw{tag: "BEGIN"}, raw{tag: "SAVEPOINT"}, raw{tag: "UPDATE 1", status: 'T'})
}

func serveAll(c *fakepg.Conn) { c.Serve(func(fakepg.Statement) fakepg.Reply { return won }) }

// With autocommit_before_ddl, DDL commits what is open. What it does in a replay it does for good, too.
func TestNoReplayAfterOneThatHasCommitted(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	for name, end := range map[string]func(*fakepg.Conn){
		"and lost": func(c *fakepg.Conn) {
			play(c, raw{err: "40001", status: 'E'})
			play(c, raw{tag: "ROLLBACK"}, raw{tag: "UPDATE 1", status: 'T'})
			play(c, raw{err: "40001", status: 'I'})
		},
		"and lost, with the connection": func(c *fakepg.Conn) {
			c.ReceiveUntilSync()
			c.Send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, fakepg.Conflict())
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, func(c *fakepg.Conn) {
				begins(c)
				end(c)
				serveAll(c)
			})
			db := openFake(t, srv)
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			err = execAll(tx, "UPDATE a", ddl)
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.NotEqual(t, "40001", stateOf(err), "who looks for conflicts would run it again")
			assert.LessOrEqual(t, times(srv, "UPDATE a"), 2)
			require.Error(t, tx.Rollback(), "it may be committed")
		})
	}
}

// The driver's PRIORITY HIGH is one reason for 0A000; that the DDL is not supported is another, and before it was refused it has
// committed.
func TestPriorityIsNotLoweredAfterACommit(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, func(c *fakepg.Conn) {
		play(c, raw{tag: "BEGIN"}, raw{tag: "SAVEPOINT"}, raw{err: "40001", status: 'E'})
		play(c, raw{tag: "ROLLBACK"}, raw{err: "40001", status: 'E'})
		play(c, raw{tag: "ROLLBACK", status: 'I'})
		begins(c)
		play(c, raw{err: "0A000", status: 'I'})
		serveAll(c)
	})
	db := open(t, srv.DSN()+"&"+noWaits) // a Ping would be played to
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, execAll(tx, "UPDATE a"))
	requireCode(t, execAll(tx, "CREATE TABLE x ()"), "0A000")
	require.Error(t, tx.Rollback(), "it may be committed")
	assert.Equal(t, 3, times(srv, "UPDATE a"))
}

// A text with a COMMIT in it failed before it came to that, and a savepoint forgave it. In the replay it gets there.
func TestReplayThatCommitsWhereItHadFailed(t *testing.T) {
	t.Parallel()
	const text = "UPDATE b; COMMIT; BEGIN; UPDATE d"
	for name, d := range map[string][]fakepg.Reply{"and succeeds": {won}, "and loses": {lost, won}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"UPDATE b": {failing("23505"), won}, "UPDATE c": {lost, won}, "UPDATE d": d})
			tx := st.begin(t)
			require.NoError(t, execAll(tx, "UPDATE a", "SAVEPOINT s"))
			require.Error(t, execAll(tx, text))
			require.NoError(t, execAll(tx, "ROLLBACK TO SAVEPOINT s"))
			err := execAll(tx, "UPDATE c")
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.NotEqual(t, "40001", stateOf(err))
			require.Error(t, tx.Rollback(), "it may be committed")
			assert.Equal(t, 2, times(st.srv, "UPDATE a"))
			st.mustBeUsable(t)
		})
	}
}

// What the application has committed itself stays so when the connection is lost.
func TestConnectionLostBehindTheApplicationsCommit(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE b": {{Cut: fakepg.CutBefore}}})
	tx := st.begin(t)
	require.NoError(t, execAll(tx, "UPDATE a", "COMMIT"))
	require.Error(t, execAll(tx, "UPDATE b"))
	var lost *cockroachdb.ConnectionLostError
	err := execAll(tx, "UPDATE c")
	require.Error(t, err)
	require.NotErrorAs(t, err, &lost, "it says that nothing was committed")
}

// There was a transaction before BeginTx: PostgreSQL only warns. A replay would not have what ran in it.
func TestNoReplayInATransactionBegunAsText(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(playbook{"UPDATE b": {lost, won}}.answer), fakepg.PlainPostgreSQL())
	db := openFake(t, srv)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	mustExec(t, conn, "BEGIN")
	mustExec(t, conn, "UPDATE a")
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	requireConflict(t, execAll(tx, "UPDATE b"))
	require.NoError(t, tx.Rollback())
	assert.Equal(t, 1, times(srv, "UPDATE b"))
}
