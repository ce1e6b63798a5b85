package prepare_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// parsed and closed are the names of the statements that were prepared and deallocated, in order.
func parsed(srv *fakepg.Server) []string { return names(srv, "Parse name=") }

func closed(srv *fakepg.Server) []string { return names(srv, "Close S ") }

func names(srv *fakepg.Server, prefix string) (names []string) {
	for _, m := range slices.Concat(srv.Exchanges()...) {
		if rest, ok := strings.CutPrefix(m, prefix); ok && !strings.HasPrefix(rest, " ") { // not the unnamed statement
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	return names
}

// trips is the number of round trips that f takes.
func trips(srv *fakepg.Server, f func()) int {
	before := srv.RoundTrips()
	f()
	return srv.RoundTrips() - before
}

// numberedQuery is a text of its own for each k.
func numberedQuery(k int) string { return fmt.Sprintf("SELECT v FROM kv WHERE k = %d", k) }

func numberedRig(t *testing.T, params ...any) *kit.Rig {
	t.Helper()
	return kit.Answering(t, func(fakepg.Statement) fakepg.Reply { return kit.Texts("x") }, params...)
}

func ask(t *testing.T, db kit.Querier, query string, args ...any) {
	t.Helper()
	var v string
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&v))
	require.Equal(t, "x", v)
}

func TestStatementCacheIsBounded(t *testing.T) {
	t.Parallel()
	st := numberedRig(t, "statement_cache_capacity=2")
	for k := range 5 {
		assert.Equal(t, 2, trips(st.Server, func() { ask(t, st, numberedQuery(k)) }),
			"a cold statement is prepared, then run; eviction costs nothing")
	}
	names := parsed(st.Server)
	require.Len(t, names, 5)
	assert.Equal(t, names[:3], closed(st.Server), "all but the latest two")
	for _, exchange := range st.Server.Exchanges() {
		if strings.HasPrefix(exchange[0], "Close") {
			assert.Greater(t, len(exchange), 2, "a Close travels with something else: %q", exchange)
		}
	}
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, numberedQuery(3)) }), "still there")
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, numberedQuery(0)) }), "evicted, and prepared again as it runs")
	names = parsed(st.Server)
	assert.Equal(t, names[0], names[5], "a name means one thing")
	assert.Equal(t, names[4:5], closed(st.Server)[3:], "3 was used after 4: 4 goes")
}

func TestDescriptionCacheIsBounded(t *testing.T) {
	t.Parallel()
	st := numberedRig(t, "default_query_exec_mode=cache_describe", "description_cache_capacity=2")
	for k := range 3 {
		assert.Equal(t, 2, trips(st.Server, func() { ask(t, st, numberedQuery(k)) }))
	}
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, numberedQuery(1)) }))
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, numberedQuery(0)) }), "evicted, and described as it runs")
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, numberedQuery(1)) }), "used after 2, which went")
	assert.Empty(t, parsed(st.Server), "nothing has a name")
	assert.Empty(t, closed(st.Server))
}

func TestPrepare_NoCapacity_WorksWithoutACache(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(kit.Script{}.Reply))
	for _, params := range []string{
		"default_query_exec_mode=cache_statement&statement_cache_capacity=0",
		"default_query_exec_mode=cache_describe&description_cache_capacity=0",
	} {
		says := map[string][]string{}
		for _, name := range []string{"pgx", "cockroachdb"} {
			db := kit.OpenBy(t, name, srv.DSN()+"&"+params)
			_, err := db.QueryContext(t.Context(), "SELECT 1") // there are no rows
			require.Error(t, err)
			_, execErr := db.ExecContext(t.Context(), "UPDATE kv SET v = $1", 1)
			require.Error(t, execErr)
			says[name] = []string{kit.Describe(err), kit.Describe(execErr)}
		}
		assert.Equal(t, says["pgx"], says["cockroachdb"])
	}
}

func TestPrepare_StmtsOfOneText_ShareAndSurviveEviction(t *testing.T) {
	t.Parallel()
	st := numberedRig(t, "statement_cache_capacity=1")
	ctx := t.Context()
	one, err := st.PrepareContext(ctx, numberedQuery(0))
	require.NoError(t, err)
	two, err := st.PrepareContext(ctx, numberedQuery(0))
	require.NoError(t, err)
	run := func(stmt *sql.Stmt) {
		var v string
		require.NoError(t, stmt.QueryRowContext(ctx).Scan(&v))
	}
	run(one)
	run(two)
	require.Len(t, parsed(st.Server), 1, "prepared once for both, with the first run")

	for k := 1; k < 4; k++ {
		ask(t, st, numberedQuery(k))
	}
	names := parsed(st.Server)
	assert.Equal(t, names[1:3], closed(st.Server), "a Stmt takes no place in the cache, and is not evicted from it")
	ask(t, st, numberedQuery(3))
	assert.Equal(t, names, parsed(st.Server), "the cache is of use though a Stmt is pinned")

	assert.Equal(t, 1, trips(st.Server, func() { run(one) }))
	require.NoError(t, one.Close())
	assert.Equal(t, 1, trips(st.Server, func() { run(two) }), "one has gone, two has not")
	assert.Zero(t, trips(st.Server, func() { require.NoError(t, two.Close()) }), "Close sends nothing")
	assert.NotContains(t, closed(st.Server), names[0])
	ask(t, st, numberedQuery(9))
	ask(t, st, numberedQuery(9))
	assert.Contains(t, closed(st.Server), names[0], "after the last Close it is like any other in the cache")
}

func TestPrepare_StmtClosed_IsDeallocated(t *testing.T) {
	t.Parallel()
	st := numberedRig(t, "default_query_exec_mode=exec", "statement_cache_capacity=0")
	for range 3 {
		stmt, err := st.PrepareContext(t.Context(), numberedQuery(0))
		require.NoError(t, err)
		var v string
		require.NoError(t, stmt.QueryRowContext(t.Context()).Scan(&v))
		require.NoError(t, stmt.Close())
		require.NoError(t, stmt.Close(), "twice does no harm")
	}
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, numberedQuery(1)) }), "in the same round trip")
	assert.Len(t, parsed(st.Server), 3)
	assert.Equal(t, parsed(st.Server), closed(st.Server))
}

// A Prepare that failed leaves nothing on the server, wherever it failed.
func TestPrepare_Fails_LeavesNothing(t *testing.T) {
	t.Parallel()
	t.Run("at Parse", func(t *testing.T) {
		t.Parallel()
		st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
			if s.SQL == "SELECT bad" {
				return fakepg.Reply{Err: fakepg.Error("42703", "no bad"), ErrAt: fakepg.AtParse}
			}
			return kit.Texts("x")
		})
		_, err := st.PrepareContext(t.Context(), "SELECT bad")
		kit.WantCode(t, err, "42703")
		assert.IsType(t, &pgconn.PgError{}, err)
		ask(t, st, "SELECT good")
	})
	t.Run("at Describe", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, func(c *fakepg.Conn) {
			c.ReceiveUntilSync()
			c.Send(&pgproto3.ParseComplete{}, fakepg.Error("42P18", "could not determine data type"))
			c.Ready('I')
			c.Serve(func(fakepg.Statement) fakepg.Reply { return kit.Texts("x") })
		})
		db := kit.Open(t, srv.DSN())
		db.SetMaxOpenConns(1)
		_, err := db.PrepareContext(t.Context(), "SELECT bad")
		kit.WantCode(t, err, "42P18")
		ask(t, db, "SELECT good")
		assert.Len(t, parsed(srv), 1)
		assert.Empty(t, closed(srv))
		assert.Equal(t, 3, srv.RoundTrips())
	})
	t.Run("a conflict in the message that prepares and runs it", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, func(c *fakepg.Conn) {
			c.ReceiveUntilSync() // what describes it
			c.Send(&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{ParameterOIDs: []uint32{25}}, &pgproto3.NoData{})
			c.Ready('I')
			c.ReceiveUntilSync()
			c.Send(&pgproto3.ParseComplete{}, fakepg.Conflict()) // the server may know the name now
			c.Ready('I')
			c.Serve(func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} })
		})
		db := kit.Open(t, srv.DSN())
		db.SetMaxOpenConns(1)
		kit.Exec(t, db, "UPDATE good SET v = $1", "x")
		kit.Exec(t, db, "UPDATE good SET v = $1", "x")
		names := parsed(srv)
		require.Len(t, names, 2)
		assert.Equal(t, names[0], names[1], "a name means one thing")
		assert.Equal(t, names[:1], closed(srv), "and is free before it is used again")
	})
}

func TestStalePlan_Outside_IsPreparedAgain(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("x")}})
	ask(t, st, "SELECT a")
	assert.Equal(t, 2, trips(st.Server, func() { ask(t, st, "SELECT a") }), "tried, run as text")
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, "SELECT a") }), "prepared as it runs")
	assert.Equal(t, 1, trips(st.Server, func() { ask(t, st, "SELECT a") }))
	assert.Equal(t, parsed(st.Server)[:1], closed(st.Server))
}

// The first run of a statement may find that another client of a pooler has prepared it on this server. The next run
// may be on a server where nobody has: it must not count on what the first one found.
func TestFirstRun_PreparedByAnother_CountsOnNoServer(t *testing.T) {
	t.Parallel()
	described := 0
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.Describing {
			if described++; described == 3 { // after Parse and Describe without a name
				return fakepg.Reply{Err: fakepg.Error("42P05", "it exists already"), ErrAt: fakepg.AtParse}
			}
		}
		return kit.Texts("x")
	})
	ask(t, st, "SELECT a")
	assert.Len(t, parsed(st.Server), 1, "it is run as text")
	ask(t, st, "SELECT a")
	assert.Len(t, parsed(st.Server), 2)
	assert.Equal(t, parsed(st.Server)[:1], closed(st.Server), "what is there makes place")
}

func TestStalePlan_StaleAgain_IsReturned(t *testing.T) {
	t.Parallel()
	for _, inside := range []bool{false, true} {
		st := kit.New(t, kit.Script{"SELECT a": kit.Always(kit.Texts("x"), kit.Stale), "UPDATE b": {kit.OK}})
		ask(t, st, "SELECT a")
		var q kit.Querier = st.DB
		if inside {
			tx := st.Begin(t)
			defer st.WantEnded(t, tx)
			kit.Exec(t, tx, "UPDATE b")
			q = tx
		}
		var v string
		kit.WantCode(t, q.QueryRowContext(t.Context(), "SELECT a").Scan(&v), "0A000")
		assert.Equal(t, 1+2, st.Times("SELECT a"), "once more is enough")
	}
}

func TestStalePlan_InATransaction_IsReplayed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		book       kit.Script
		statements []string // in the transaction, all of them warm
		ran        []string // what was sent, the statements that the server refused or skipped included
	}{
		"first": {
			kit.Script{"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("y")}},
			[]string{"SELECT a"},
			[]string{"BEGIN", kit.Savepoint, "SELECT a", kit.RollbackTo, "SELECT a", kit.Release, "COMMIT"},
		},
		"later": {
			kit.Script{"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("y")}, "SELECT b": {kit.Texts("x"), kit.Texts("z")}},
			[]string{"SELECT b", "SELECT a"},
			[]string{
				"BEGIN", kit.Savepoint, "SELECT b", "SELECT a", kit.RollbackTo, "SELECT b", "SELECT a", kit.Release, "COMMIT",
			},
		},
		"in a replay": {
			kit.Script{
				"SELECT a": {kit.Texts("x"), kit.Texts("y"), kit.Stale, kit.Texts("y")},
				"SELECT b": {kit.Texts("x"), kit.Conflict, kit.Texts("z")},
			},
			[]string{"SELECT a", "SELECT b"},
			[]string{
				"BEGIN", kit.Savepoint, "SELECT a", "SELECT b", kit.RollbackTo, "SELECT a",
				"SELECT b", kit.RollbackTo, "SELECT a", "SELECT b", kit.Release, "COMMIT",
			},
		},
		"a conflict while what ran before it is replayed": {
			kit.Script{
				"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("y")},
				"SELECT b": {kit.Texts("x"), kit.Texts("z"), kit.Conflict, kit.Texts("z")},
			},
			[]string{"SELECT b", "SELECT a"},
			[]string{
				"BEGIN", kit.Savepoint, "SELECT b", "SELECT a", kit.RollbackTo, "SELECT b",
				"SELECT a", kit.RollbackTo, "SELECT b", "SELECT a", kit.Release, "COMMIT",
			},
		},
		"another while what ran before it is replayed": {
			kit.Script{
				"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("y")},
				"SELECT b": {kit.Texts("x"), kit.Texts("z"), kit.Stale, kit.Texts("z")},
			},
			[]string{"SELECT b", "SELECT a"},
			[]string{
				"BEGIN", kit.Savepoint, "SELECT b", "SELECT a", kit.RollbackTo, "SELECT b",
				"SELECT a", kit.RollbackTo, "SELECT b", "SELECT a", kit.Release, "COMMIT",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, tc.book)
			for _, query := range tc.statements {
				ask(t, st, query)
			}
			st.Server.Forget()
			tx := st.Begin(t)
			for _, query := range tc.statements {
				var v string
				require.NoError(t, tx.QueryRowContext(t.Context(), query).Scan(&v))
				require.NotEqual(t, "x", v)
			}
			require.NoError(t, tx.Commit())
			assert.Equal(t, tc.ran, st.Sent())
		})
	}
}

func TestStalePlan_RowsHaveChanged_Diverges(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("y")}, "SELECT b": {kit.Texts("1"), kit.Texts("2")},
	})
	ask(t, st, "SELECT a")
	tx := st.Begin(t)
	var v string
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT b").Scan(&v))
	err := tx.QueryRowContext(t.Context(), "SELECT a").Scan(&v)
	d := kit.As[*cockroachdb.DivergenceError](t, err)
	assert.Equal(t, 1, d.Statement)
	kit.WantCodeWithin(t, err, "0A000")
	require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
	st.WantKept(t)
}

func TestStalePlan_NotReplayable_IsReturned(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT a": {kit.Texts("x"), kit.Stale, kit.Texts("x")}})
	ask(t, st, "SELECT a")
	tx, err := st.BeginTx(cockroachdb.WithoutRetries(t.Context()), nil)
	require.NoError(t, err)
	var v string
	kit.WantCode(t, tx.QueryRowContext(t.Context(), "SELECT a").Scan(&v), "0A000")
	require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
	ask(t, st, "SELECT a")
}

// DEALLOCATE ALL takes every prepared statement away, those that a replay needs too.
func TestPrepare_DeallocateAllInATransaction_ReplayPreparesAgain(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT a": {kit.Texts("x")}, "SELECT b": {kit.Texts("x")}})
	ask(t, st, "SELECT a")
	ask(t, st, "SELECT b")
	tx := st.Begin(t)
	for _, query := range []string{"SELECT a", "SELECT b", "", "SELECT a", "SELECT b"} {
		if query == "" {
			kit.Exec(t, tx, "DEALLOCATE ALL")
			continue
		}
		var v string
		require.NoError(t, tx.QueryRowContext(t.Context(), query).Scan(&v))
	}
	require.NoError(t, tx.Commit())
	ask(t, st, "SELECT a")
}

// TestPrepare_SchemaChangeBetweenUses_CostsOneErrorAtMost is on a real server.
func TestPrepare_SchemaChangeBetweenUses_CostsOneErrorAtMost(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDB(t)
	for _, mode := range kit.QueryModes {
		for _, inside := range []bool{false, true} {
			for _, change := range []string{"ALTER TABLE %s ADD COLUMN c INT DEFAULT 3", "DISCARD ALL", "DEALLOCATE ALL"} {
				t.Run(fmt.Sprintf("%s, %t, %.10s", mode, inside, change), func(t *testing.T) {
					t.Parallel()
					_, ofCase, _ := strings.Cut(t.Name(), "/") // a name has 63 letters at most
					table := "uses_" + strings.NewReplacer("/", "_", ",", "", "#", "_").Replace(strings.ToLower(ofCase))
					db := kit.Open(t, dsn, "default_query_exec_mode="+mode)
					db.SetMaxOpenConns(1)
					ctx := t.Context()
					kit.Exec(t, db, "CREATE TABLE "+table+" (a INT, b INT)")
					kit.Exec(t, db, "INSERT INTO "+table+" VALUES (1, 2)")
					query := "SELECT * FROM " + table + " WHERE a = $1"
					stmt, err := db.PrepareContext(ctx, query)
					require.NoError(t, err)
					defer stmt.Close()
					require.Equal(t, 2, countColumns(t, stmt.QueryContext, 1))
					byText := func(ctx context.Context, args ...any) (*sql.Rows, error) { return db.QueryContext(ctx, query, args...) }
					require.Equal(t, 2, countColumns(t, byText, 1))

					want := 2
					if strings.HasPrefix(change, "ALTER") {
						change, want = fmt.Sprintf(change, table), 3
					}
					kit.Exec(t, db, change)
					if mode == "cache_describe" && want == 3 {
						// As with pgx: the cached description is noticed to be wrong only by an error, which is the application's.
						_, err := byText(ctx, 1) // there are no rows
						kit.WantCode(t, err, "08P01")
					}
					if inside {
						tx, err := db.BeginTx(ctx, nil)
						require.NoError(t, err)
						kit.Exec(t, tx, "UPDATE "+table+" SET b = b + 1")
						txStmt := tx.StmtContext(ctx, stmt)
						require.Equal(t, want, countColumns(t, txStmt.QueryContext, 1))
						require.NoError(t, tx.Commit())
					}
					for range 2 {
						require.Equal(t, want, countColumns(t, stmt.QueryContext, 1))
						require.Equal(t, want, countColumns(t, byText, 1))
					}
				})
			}
		}
	}
}

func countColumns(t *testing.T, query func(context.Context, ...any) (*sql.Rows, error), args ...any) int {
	t.Helper()
	rows, err := query(t.Context(), args...)
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	require.True(t, rows.Next())
	dest := make([]any, len(columns))
	for i := range dest {
		dest[i] = new(int)
	}
	require.NoError(t, rows.Scan(dest...))
	require.False(t, rows.Next())
	require.NoError(t, rows.Err())
	return len(columns)
}

// A cached description whose column has another type by now must not be used to decode what comes.
func TestPrepare_ColumnOfAnotherType_IsDecodedAnew(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		db := kit.Open(t, enginetest.NewDirectDB(t), "default_query_exec_mode="+mode)
		db.SetMaxOpenConns(1)
		kit.Exec(t, db, "CREATE TABLE other (a INT)")
		kit.Exec(t, db, "INSERT INTO other VALUES (1234)")
		get := func() (v any) {
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT a FROM other").Scan(&v))
			return v
		}
		assert.Equal(t, int64(1234), get())
		kit.Exec(t, db, "ALTER TABLE other ALTER COLUMN a TYPE TEXT")
		assert.Equal(t, "1234", get(), mode)
	}
}
