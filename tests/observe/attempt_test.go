package observe_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/tracelog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A marker writes down what a tracer sees begin, with what AttemptFrom says of it.
type marker struct{ seen []string }

func (m *marker) see(ctx context.Context, what string) context.Context {
	m.seen = append(m.seen, attemptOf(ctx)+what)
	return ctx
}

func attemptOf(ctx context.Context) string {
	attempt, replay := cockroachdb.AttemptFrom(ctx)
	if replay {
		return fmt.Sprintf("%d again ", attempt)
	}
	return fmt.Sprintf("%d ", attempt)
}

func (m *marker) take() []string {
	seen := m.seen
	m.seen = nil
	return seen
}

func (m *marker) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return m.see(ctx, kit.Short(data.SQL))
}

func (m *marker) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (m *marker) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	return m.see(ctx, "prepare "+data.SQL)
}

func (m *marker) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

func TestAttemptFrom_NoTransaction_IsZero(t *testing.T) {
	t.Parallel()
	attempt, replay := cockroachdb.AttemptFrom(t.Context())
	assert.Equal(t, 1, attempt)
	assert.False(t, replay)
}

func TestAttemptFrom_EachStatement_HasItsAttempt(t *testing.T) {
	t.Parallel()
	texts := func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a", "UPDATE b", "UPDATE c") }
	inTx := func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, texts(tx))
		require.NoError(t, tx.Commit())
	}
	for name, tc := range map[string]struct {
		script kit.Script
		option any
		do     func(t *testing.T, r *kit.Rig)
		want   []string
	}{
		"no conflict": {
			nil, nil, inTx,
			[]string{"1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "1 UPDATE b", "1 UPDATE c", "1 RELEASE", "1 COMMIT"},
		},
		"a statement": {kit.Script{"UPDATE b": {kit.Conflict}}, nil, inTx, []string{
			"1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "1 UPDATE b", // which goes on
			"2 again ROLLBACK TO", "2 again UPDATE a", "2 UPDATE c", "2 RELEASE", "2 COMMIT",
		}},
		"the commit, twice": {kit.Script{kit.Release: {kit.Conflict, kit.Conflict, kit.OK}}, kit.Attempts(5), inTx, []string{
			"1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "1 UPDATE b", "1 UPDATE c", "1 RELEASE",
			"2 again ROLLBACK TO", "2 again UPDATE a", "2 again UPDATE b", "2 again UPDATE c", "2 RELEASE",
			"2 ROLLBACK", "3 again BEGIN", "3 again SAVEPOINT", "3 again UPDATE a", "3 again UPDATE b", "3 again UPDATE c",
			"3 RELEASE", "3 COMMIT",
		}},
		"PostgreSQL": {kit.Script{"COMMIT": {kit.Conflict, kit.OK}}, fakepg.PlainPostgreSQL(), inTx, []string{
			"1 UPDATE a", "1 BEGIN", "1 UPDATE b", "1 UPDATE c", "1 COMMIT",
			"2 again BEGIN", "2 again UPDATE a", "2 again UPDATE b", "2 again UPDATE c", "2 COMMIT",
		}},
		"a replay that loses": {
			kit.Script{"UPDATE a": {kit.OK, kit.Conflict, kit.OK}, "UPDATE b": {kit.Conflict, kit.OK}},
			kit.Attempts(5), inTx,
			[]string{
				"1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "1 UPDATE b",
				"2 again ROLLBACK TO", "2 again UPDATE a",
				"2 ROLLBACK", "3 again BEGIN", "3 again SAVEPOINT", "3 again UPDATE a",
				"3 UPDATE c", "3 RELEASE", "3 COMMIT",
			},
		},
		"the first statement": {kit.Script{"UPDATE a": {kit.Conflict}}, nil, inTx, []string{
			"1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "2 again ROLLBACK TO", "2 UPDATE b", "2 UPDATE c", "2 RELEASE", "2 COMMIT",
		}},
		"what is prepared": {kit.Script{"UPDATE a": {kit.Conflict}}, nil, func(t *testing.T, r *kit.Rig) {
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			_, err := tx.Exec("UPDATE b SET v = $1", "7")
			require.NoError(t, err)
			stmt, err := tx.Prepare("UPDATE b SET v = $1")
			require.NoError(t, err)
			require.NoError(t, stmt.Close())
			require.NoError(t, tx.Rollback())
		}, []string{
			"1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "2 again ROLLBACK TO",
			"2 UPDATE b SET v = $1", "2 prepare UPDATE b SET v = $1", "2 prepare UPDATE b SET v = $1", "2 ROLLBACK",
		}},
		"a stale plan": {
			kit.Script{"SELECT v": {kit.Ints(1), {Err: kit.Stale.Err}, kit.Ints(1)}}, nil, func(t *testing.T, r *kit.Rig) {
				r.DB.SetMaxOpenConns(1)
				require.NoError(t, r.DB.QueryRow("SELECT v").Scan(new(int)))
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				reads(t, tx)
				require.NoError(t, tx.Commit())
			}, []string{
				"1 SELECT v", "1 prepare SELECT v", "1 UPDATE a", "1 BEGIN", "1 SAVEPOINT", "1 SELECT v",
				"2 again ROLLBACK TO", "2 again UPDATE a", "2 RELEASE", "2 COMMIT",
			},
		},
		"outside": {kit.Script{"UPDATE a": {kit.Conflict}}, nil, func(t *testing.T, r *kit.Rig) {
			for range 2 {
				_, err := r.DB.Exec("UPDATE a")
				require.NoError(t, err)
			}
		}, []string{"1 UPDATE a", "1 UPDATE a"}},
		"RunTx calls again": {
			kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2)}, "UPDATE a": {kit.Aborted, kit.OK}},
			nil,
			func(t *testing.T, r *kit.Rig) {
				require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
					if err := tx.QueryRow("SELECT v").Scan(new(int)); err != nil {
						return err
					}
					return kit.ExecAll(tx, "UPDATE a")
				}))
			},
			[]string{
				"1 SELECT v", "1 prepare SELECT v", "1 BEGIN", "1 SAVEPOINT", "1 UPDATE a",
				"2 again ROLLBACK", "2 again BEGIN PRIORITY HIGH", "2 again SAVEPOINT", "2 again SELECT v",
				"3 SELECT v", "3 ROLLBACK TO", "3 UPDATE a", "3 RELEASE", "3 COMMIT",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &marker{}
			kit.InBubble(t, tc.script, func(t *testing.T, r *kit.Rig) {
				tc.do(t, r)
				assert.Equal(t, tc.want, m.take())
			}, tc.option, func(c *cockroachdb.Config) { c.ConnConfig.Tracer = m })
		})
	}
}

// The mark of one transaction does not stick to another that runs with a context of its, as in a hook.
func TestAttemptFrom_ContextOfAnotherTransaction_IsItsOwn(t *testing.T) {
	t.Parallel()
	m := &marker{}
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Conflict}, "UPDATE c": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
		m.take()
		require.NoError(t, kit.ExecAll(tx, "UPDATE c"))
		assert.Equal(t, []string{
			"2 UPDATE c", "2 ROLLBACK", "1 INSERT INTO log", // in the context of UPDATE c
			"3 again BEGIN", "3 again SAVEPOINT", "3 again UPDATE a", "3 again UPDATE b",
		}, m.take())
		require.NoError(t, tx.Commit())
	}, kit.Attempts(5), func(c *cockroachdb.Config) {
		c.ConnConfig.Tracer = m
		c.OnRetry = func(ctx context.Context, e cockroachdb.RetryEvent) {
			if e.Attempt == 3 {
				connector, err := cockroachdb.NewConnector(c)
				assert.NoError(t, err)
				db := sql.OpenDB(connector)
				defer db.Close()
				_, err = db.ExecContext(ctx, "INSERT INTO log")
				assert.NoError(t, err)
			}
		}
	})
}

// pgx's tracelog logs each statement that the application runs, once, and each that is replayed; its logger can tell
// them apart.
func TestTracelog_Replay_IsToldApart(t *testing.T) {
	t.Parallel()
	var lines []string
	logger := tracelog.LoggerFunc(func(ctx context.Context, level tracelog.LogLevel, msg string, data map[string]any) {
		if text, ok := data["sql"].(string); ok {
			lines = append(lines, fmt.Sprintf("%v %s: %s%s %v", level, msg, attemptOf(ctx), kit.Short(text), data["args"]))
		}
	})
	tracing := func(c *cockroachdb.Config) {
		c.ConnConfig.Tracer = &tracelog.TraceLog{
			Logger: logger, LogLevel: tracelog.LogLevelInfo, Config: tracelog.DefaultTraceLogConfig(),
		}
	}
	script := kit.Script{"UPDATE b": {kit.Conflict}, "SELECT v": {kit.Ints(1)}, kit.Release: {kit.Conflict, kit.OK}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		_, err := tx.Exec("UPDATE a SET v = $1", pgx.QueryExecModeExec, 7)
		require.NoError(t, err)
		reads(t, tx)
		require.NoError(t, kit.ExecAll(tx, "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"info Query: 1 BEGIN []", "info Query: 1 SAVEPOINT []",
			"info Query: 1 UPDATE a SET v = $1 [exec 7]",
			"info Prepare: 1 SELECT v <nil>", "info Query: 1 SELECT v []",
			"info Query: 2 again ROLLBACK TO []",
			"info Query: 2 again UPDATE a SET v = $1 []", "info Query: 2 again SELECT v []",
			"info Query: 1 UPDATE b []", // it ends when it is answered
			"error Query: 2 RELEASE []",
			"info Query: 3 again ROLLBACK TO []",
			"info Query: 3 again UPDATE a SET v = $1 []", "info Query: 3 again SELECT v []", "info Query: 3 again UPDATE b []",
			"info Query: 3 RELEASE []", "info Query: 3 COMMIT []",
		}, lines)
	}, tracing, kit.Attempts(5))
}

// A tracer that keeps the context of a statement sees no other attempt in it afterwards.
func TestAttemptFrom_ContextKept_DoesNotChange(t *testing.T) {
	t.Parallel()
	k := &keeper{}
	tracing := func(cfg *cockroachdb.Config) { cfg.ConnConfig.Tracer = k }
	tx := kit.New(t, kit.Script{"UPDATE b": {kit.Conflict, kit.OK}}, tracing).Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	assert.Equal(t, "1 ", attemptOf(k.contexts["UPDATE b"]))
	assert.Equal(t, "2 again ", attemptOf(k.contexts["UPDATE a"]), "the latest")
	assert.Equal(t, "2 ", attemptOf(k.contexts["COMMIT"]))
}

type keeper struct{ contexts map[string]context.Context }

func (k *keeper) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if k.contexts == nil {
		k.contexts = map[string]context.Context{}
	}
	k.contexts[data.SQL] = ctx
	return ctx
}

func (k *keeper) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
