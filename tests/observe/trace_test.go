package observe_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A recorder writes down what it is told, and checks that each End has the context of its Start.
type recorder struct {
	t      testing.TB
	events []string
	open   map[int]string // what has started and not ended, by number
	starts int
}

type recorderKey struct{}

func (r *recorder) start(ctx context.Context, what string) context.Context {
	if r.open == nil {
		r.open = map[int]string{}
	}
	kind, _, _ := strings.Cut(what, " ")
	r.starts++
	r.open[r.starts] = kind
	if outer, ok := ctx.Value(recorderKey{}).(int); ok {
		assert.Contains(r.t, r.open, outer, "%s starts in the context of something that has ended", what)
	}
	r.events = append(r.events, "start "+what)
	return context.WithValue(ctx, recorderKey{}, r.starts)
}

func (r *recorder) end(ctx context.Context, kind, what string) {
	n, ok := ctx.Value(recorderKey{}).(int)
	assert.True(r.t, ok, "%s ends in a context that no Start gave", what)
	assert.Equal(r.t, kind, r.open[n], "%s ends what has not started, or twice", what)
	delete(r.open, n)
	r.events = append(r.events, "end "+kind+" "+what)
}

// take gives what has been written down; everything must have ended.
func (r *recorder) take() []string {
	assert.Empty(r.t, r.open, "has not ended")
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	assert.NotNil(r.t, conn)
	args := data.Args
	if len(args) > 0 {
		if _, ok := args[0].(pgx.QueryResultFormatsByOID); ok {
			args = args[1:] // pgx's stdlib shows its own formats as if the application had given them; we don't
		}
	}
	return r.start(ctx, fmt.Sprintf("query %q %v", data.SQL, args))
}

// unencoded is what pgx and this driver say of an argument that can't be encoded: pgx quotes it.
var unencoded = regexp.MustCompile(`^\*(?:fmt\.wrapError: .*unable to encode|cockroachdb\.quietError: .*can't be encoded) .*`)

func (r *recorder) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	r.end(ctx, "query",
		fmt.Sprintf("%q %s", data.CommandTag, unencoded.ReplaceAllString(kit.Describe(data.Err), "can't encode")))
}

func (r *recorder) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	return r.start(ctx, fmt.Sprintf("prepare named %t: %q", data.Name != "", data.SQL)) // the names differ
}

func (r *recorder) TracePrepareEnd(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareEndData) {
	says := kit.Describe(data.Err)
	says = says[strings.LastIndex(says, "ERROR")+1:] // a failed Prepare is the bare *pgconn.PgError with us
	r.end(ctx, "prepare", fmt.Sprintf("%t %s", data.AlreadyPrepared, says))
}

func (r *recorder) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return r.start(ctx, "connect")
}

func (r *recorder) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	r.end(ctx, "connect", fmt.Sprintf("%t %s", data.Conn != nil, kit.Describe(data.Err)))
}

func (r *recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return r.start(ctx, "batch")
}

func (r *recorder) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {
	assert.Fail(r.t, "there are no batches")
}

func (r *recorder) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	r.end(ctx, "batch", "")
}

// tracedDB is a pool of one connection with a recorder.
func tracedDB(t *testing.T, driver, mode string, p kit.Script) (*sql.DB, *recorder) {
	t.Helper()
	srv := fakepg.Start(t, fakepg.Answer(p.Reply))
	cfg, err := cockroachdb.ParseConfig(srv.DSN() + "&" + kit.NoWaits + "&default_query_exec_mode=" + mode)
	require.NoError(t, err)
	r := &recorder{t: t}
	cfg.ConnConfig.Tracer = r
	var db *sql.DB
	if driver == "pgx" {
		db = stdlib.OpenDB(*cfg.ConnConfig)
	} else {
		connector, err := cockroachdb.NewConnector(cfg)
		require.NoError(t, err)
		db = sql.OpenDB(connector)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	return db, r
}

// Outside of a transaction a tracer sees the same as through pgx.
func TestTracers_Outside_SeeTheSameAsThroughPgx(t *testing.T) {
	t.Parallel()
	book := func() kit.Script {
		return kit.Script{
			"SELECT v":            {kit.Texts("a", "b")},
			"SELECT v WHERE k=$1": {kit.Texts("a", "b")},
			"SELECT bad":          kit.Always(kit.Fails("22012", "refused")),
			"SELECT late": kit.Always(
				fakepg.Reply{
					Columns: kit.Texts().Columns, Values: kit.Texts("a", "b").Values,
					Err: fakepg.Error("22012", "late"), ErrAfterRows: 2,
				},
			),
			"SELECT unparsable $1": kit.Always(fakepg.Reply{Err: fakepg.Error("42601", "syntax"), ErrAt: fakepg.AtParse}),
		}
	}
	do := func(t *testing.T, db *sql.DB, r *recorder) (seen []string) {
		ctx := t.Context()
		note := func(what string) { seen = append(append(seen, "— "+what), r.take()...) }
		_, _ = db.ExecContext(ctx, "UPDATE a")
		note("exec")
		_, _ = db.ExecContext(ctx, "UPDATE a SET v = $1", "7")
		note("exec with an argument, cold")
		_, _ = db.ExecContext(ctx, "UPDATE a SET v = $1", "8")
		note("warm")
		_, _ = kit.ReadAll(ctx, db, "SELECT v WHERE k=$1", "x")
		note("query, cold")
		_, _ = kit.ReadAll(ctx, db, "SELECT v WHERE k=$1", "y")
		note("warm")
		_, _ = kit.ReadAll(ctx, db, "SELECT v WHERE k=@k", pgx.NamedArgs{"k": "y"})
		note("named arguments")
		_, _ = kit.ReadAll(ctx, db, "SELECT bad")
		note("an error")
		_, _ = kit.ReadAll(ctx, db, "SELECT late")
		note("an error after rows")
		_, _ = kit.ReadAll(ctx, db, "SELECT v", pgx.StrictNamedArgs{"unused": 1})
		note("a bad rewriter")
		_, _ = db.ExecContext(ctx, "UPDATE a", pgx.StrictNamedArgs{"unused": 1})
		note("a bad rewriter in exec")
		_, _ = db.ExecContext(ctx, "UPDATE a SET v = $1", struct{ c chan int }{})
		note("an argument that can't be encoded")
		rows, err := db.QueryContext(ctx, "SELECT v")
		require.NoError(t, err)
		require.True(t, rows.Next())
		require.NoError(t, rows.Close())
		note("early close")
		for range 2 {
			stmt, err := db.PrepareContext(ctx, "UPDATE b SET v = $1")
			require.NoError(t, err)
			note("prepare")
			_, err = stmt.ExecContext(ctx, "7")
			require.NoError(t, err)
			defer stmt.Close()
			note("stmt")
		}
		return seen
	}
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			theirDB, theirRecorder := tracedDB(t, "pgx", mode, book())
			ourDB, ourRecorder := tracedDB(t, "cockroachdb", mode, book())
			theirs, ours := do(t, theirDB, theirRecorder), do(t, ourDB, ourRecorder)
			assert.Equal(t, theirs, ours)
			assert.Greater(t, len(ours), 40)
		})
	}
}

func TestTracers_Replay_IsSeen(t *testing.T) {
	t.Parallel()
	db, r := tracedDB(t, "cockroachdb", "exec", kit.Script{
		"UPDATE b": {kit.Conflict, kit.OK}, kit.Release: {kit.Conflict, kit.OK},
	})
	require.NoError(t, db.PingContext(t.Context()))
	r.take()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	started := []string{}
	for _, event := range r.take() {
		if what, ok := strings.CutPrefix(event, "start query "); ok {
			started = append(started, what)
		}
	}
	assert.Equal(t, []string{
		`"UPDATE a" []`, `"BEGIN" []`, `"` + kit.Savepoint + `" []`,
		`"UPDATE b" []`, `"` + kit.RollbackTo + `" []`, `"UPDATE a" []`, // UPDATE b goes on
		`"` + kit.Release + `" []`,
		`"` + kit.RollbackTo + `" []`, `"UPDATE a" []`, `"UPDATE b" []`,
		`"` + kit.Release + `" []`, `"COMMIT" []`,
	}, started)
}

// A tracer that shows texts and no arguments must not be shown arguments in a text: those of the simple protocol are
// written into it.
func TestTracers_ReplayBySimpleProtocol_SeeNoArguments(t *testing.T) {
	t.Parallel()
	db, r := tracedDB(t, "cockroachdb", "simple_protocol", kit.Script{kit.Release: {kit.Conflict, kit.OK}})
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	kit.Exec(t, tx, "UPDATE a SET v = $1", "7")
	require.NoError(t, tx.Commit())
	times := map[string]int{}
	for _, event := range r.take() {
		times[event]++
	}
	assert.Equal(t, 1, times[`start query "UPDATE a SET v = $1" [7]`])
	assert.Equal(t, 1, times[`start query "UPDATE a SET v = $1" []`], "the replay")
}

// Whatever goes wrong, what has started ends.
func TestTracers_AnyFailure_SeeTheEnd(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		book kit.Script
		do   func(t *testing.T, db *sql.DB)
	}{
		"a divergence": {
			kit.Script{"SELECT v": {kit.Texts("a"), kit.Texts("b")}, "UPDATE b": kit.Always(kit.Conflict)},
			func(t *testing.T, db *sql.DB) {
				tx, err := db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v").Scan(new(string)))
				_, err = tx.ExecContext(t.Context(), "UPDATE b")
				_ = kit.As[*cockroachdb.DivergenceError](t, err)
				require.NoError(t, tx.Rollback())
			},
		},
		"a cut connection": {
			kit.Script{"UPDATE b": kit.Always(fakepg.Reply{Cut: fakepg.CutHalf})},
			func(t *testing.T, db *sql.DB) {
				tx, err := db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				_, err = tx.ExecContext(t.Context(), "UPDATE b")
				_ = kit.As[*cockroachdb.ConnectionLostError](t, err)
				require.NoError(t, tx.Rollback())
			},
		},
		"a failed BEGIN": {kit.Script{"BEGIN": kit.Always(kit.Fails("53300", "refused"))}, func(t *testing.T, db *sql.DB) {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), "UPDATE b SET v = $1", "7")
			kit.WantCode(t, err, "53300")
			require.NoError(t, tx.Rollback())
		}},
		"a cancelled context": {kit.Script{}, func(t *testing.T, db *sql.DB) {
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer conn.Close()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = conn.ExecContext(ctx, "UPDATE b SET v = $1", "7")
			require.ErrorIs(t, err, context.Canceled)
		}},
		"a stale plan": {kit.Script{"SELECT v": {kit.Texts("a"), kit.Stale, kit.Texts("b")}}, func(t *testing.T, db *sql.DB) {
			for range 2 {
				require.NoError(t, db.QueryRowContext(t.Context(), "SELECT v").Scan(new(string)))
			}
		}},
		"rows left open by a rollback": {kit.Script{"SELECT v": {kit.Texts("a", "b", "c")}}, func(t *testing.T, db *sql.DB) {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			rows, err := tx.QueryContext(t.Context(), "SELECT v")
			require.NoError(t, err)
			require.True(t, rows.Next())
			require.NoError(t, tx.Rollback())
			require.False(t, rows.Next())
			require.Error(t, rows.Err())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, r := tracedDB(t, "cockroachdb", "cache_statement", tc.book)
			tc.do(t, db)
			require.NoError(t, db.Close())
			assert.NotEmpty(t, r.take())
		})
	}
}
