package statement_test

import (
	"context"
	"database/sql"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// wantLaneLeft retries something in the lane, which it must find free: nothing else would go by savepoint.
func wantLaneLeft(t *testing.T, st *kit.Rig) {
	t.Helper()
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE lane")
	require.NoError(t, tx.Commit())
	assert.Contains(t, st.Sent(), kit.RollbackTo)
}

// inLane adds to a script what wantLaneLeft needs.
func inLane(p kit.Script) kit.Script {
	p["UPDATE lane"] = []fakepg.Reply{kit.Conflict, kit.OK}
	return p
}

func TestOutside_Conflict_IsAbsorbed(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string][]fakepg.Reply{
		"before any row":      {kit.Conflict, kit.Texts("a", "b", "c")},
		"twice":               {kit.Conflict, kit.Conflict, kit.Texts("a", "b", "c")},
		"after the rows":      {kit.BreakOff(kit.Texts("a", "b", "c"), 3), kit.Texts("a", "b", "c")},
		"after a row":         {kit.BreakOff(kit.Texts("a", "b", "c"), 1), kit.Texts("a", "b", "c")},
		"what follows is new": {kit.BreakOff(kit.Texts("a", "b", "x"), 2), kit.Texts("a", "b", "c")},
		"and again": {
			kit.BreakOff(kit.Texts("a", "b", "x"), 2), kit.BreakOff(kit.Texts("a", "y", "z"), 1), kit.Texts("a", "b", "c"),
		},
		"again, further on": {
			kit.BreakOff(kit.Texts("a", "x", "x"), 1), kit.BreakOff(kit.Texts("a", "b", "x"), 2), kit.Texts("a", "b", "c"),
		},
		"when it was not seen": {kit.BreakOff(kit.Texts("x"), 0), kit.Texts("a", "b", "c")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range kit.QueryModes {
				st := kit.New(t, inLane(kit.Script{"SELECT v": kit.Always(replies...)}), "default_query_exec_mode="+mode)
				got, err := kit.ReadAll(t.Context(), st, "SELECT v")
				require.NoError(t, err, mode)
				assert.Equal(t, []string{"a", "b", "c"}, got, mode)
				assert.Equal(t, len(replies), st.Times("SELECT v"))
				wantLaneLeft(t, st)
			}
		})
	}
}

func TestOutside_RowsReadHaveChanged_Diverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second fakepg.Reply
		want   cockroachdb.DivergenceError
	}{
		"a row": {
			kit.Texts("a", "y", "c"),
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2},
		},
		"fewer": {
			kit.Texts("a"), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 2},
		},
		"an error": {
			kit.Fails("22012", "refused"),
			cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, inLane(kit.Script{
				"SELECT v": {kit.BreakOff(kit.Texts("a", "b", "c"), 2), tc.second, kit.Texts("a")},
			}))
			got, err := kit.ReadAll(t.Context(), st, "SELECT v")
			assert.Equal(t, []string{"a", "b"}, got)
			kit.WantDivergence(t, err, tc.want)
			kit.WantConflict(t, err)
			wantLaneLeft(t, st)
			assert.Equal(t, 1, st.Server.Connections(), "the connection is none the worse")
		})
	}
}

// At Sync the statement has been answered in full, and then could not be committed.
func TestOutside_ConflictAtSync_IsAbsorbed(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			late := fakepg.Reply{Err: fakepg.Conflict(), ErrAt: fakepg.AtSync}
			st := kit.New(t, kit.Script{"UPDATE kv": {late, late, kit.Tag("UPDATE 3")}}, "default_query_exec_mode="+mode)
			rows, err := st.QueryContext(t.Context(), "UPDATE kv")
			require.NoError(t, err)
			require.False(t, rows.Next())
			require.NoError(t, rows.Err())
			assert.Equal(t, 3, st.Times("UPDATE kv"))

			st = kit.New(t, kit.Script{"UPDATE kv": {late, late, kit.Tag("UPDATE 3")}}, "default_query_exec_mode="+mode)
			assert.Equal(t, 3, kit.Affected(t, st, "UPDATE kv"), "the count is the last attempt's")
		})
	}
}

func TestOutside_ConflictInClose_IsAbsorbedOrTold(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second fakepg.Reply
		fails  bool
	}{
		"unchanged": {kit.Texts("a", "b"), false},
		"changed":   {kit.Texts("x", "b"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, inLane(kit.Script{"SELECT r": kit.Always(kit.BreakOff(kit.Texts("a", "b"), 2), tc.second)}))
			rows, err := st.QueryContext(t.Context(), "SELECT r")
			require.NoError(t, err)
			require.True(t, rows.Next())
			var v string
			require.NoError(t, rows.Scan(&v))
			require.Equal(t, "a", v)
			err = rows.Close()
			if tc.fails {
				_ = kit.As[*cockroachdb.DivergenceError](t, err)
				_ = kit.As[*cockroachdb.DivergenceError](t, rows.Err())
			} else {
				require.NoError(t, err)
				require.NoError(t, rows.Err())
			}
			wantLaneLeft(t, st)
		})
	}
}

// Of what follows the server may have committed a part, or the application does the retrying: it is run once.
func TestOutside_MayHaveCommittedAPart_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query  string
		ctx    func(context.Context) context.Context
		partly bool // nobody may run it again
	}{
		"several statements": {query: "UPDATE a; UPDATE b"},
		"DDL, and more":      {query: "CREATE TABLE t (); UPDATE b", partly: true},
		"a procedure":        {query: "CALL p()", partly: true},
		"a block":            {query: "DO $$BEGIN COMMIT; END$$", partly: true},
		"without retries":    {query: "UPDATE b", ctx: cockroachdb.WithoutRetries},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range kit.QueryModes {
				st := kit.New(t, inLane(kit.Script{"UPDATE b": kit.Always(kit.Conflict), tc.query: kit.Always(kit.Conflict)}),
					"default_query_exec_mode="+mode)
				ctx := t.Context()
				if tc.ctx != nil {
					ctx = tc.ctx(ctx)
				}
				_, err := st.ExecContext(ctx, tc.query)
				if tc.partly {
					assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
					assert.NotEqual(t, "40001", kit.StateOf(err), "who looks for conflicts would run it again")
				} else {
					kit.WantConflict(t, err)
					assert.IsType(t, &pgconn.PgError{}, err, "the server's own")
				}
				assert.Equal(t, 1, st.Times(tc.query))
				wantLaneLeft(t, st)
			}
		})
	}
}

// A transaction that the application has begun as text is its own to retry.
func TestOutside_TransactionAsText_IsNotRetried(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": {kit.Conflict, kit.OK}})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	kit.Exec(t, conn, "BEGIN")
	_, err = conn.ExecContext(t.Context(), "UPDATE a")
	kit.WantConflict(t, err)
	assert.Equal(t, 1, st.Times("UPDATE a"))
	kit.Exec(t, conn, "ROLLBACK")
	require.NoError(t, conn.Close())
	st.WantKept(t)
	assert.Equal(t, 1, st.Server.Connections())
}

// What is left open is not handed to the next user.
func TestOutside_TransactionAsTextLeftOpen_ClosesTheConnection(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	kit.Exec(t, conn, "BEGIN")
	require.NoError(t, conn.Close())
	kit.Exec(t, st, kit.Update(1))
	assert.Equal(t, 2, st.Server.Connections())
}

// A connection cut in the middle of an answer is the application's to know of, since the statement may have been run:
// it must not be run again on another. (pgx's stdlib does so in the simple protocol.)
func TestOutside_ConnectionCutInAnAnswer_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]fakepg.Cut{
		"before": fakepg.CutBefore, "half": fakepg.CutHalf, "after": fakepg.CutAfter, "unsent": fakepg.CutUnsent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range kit.QueryModes {
				for _, args := range [][]any{nil, {"1"}} {
					var runs atomic.Int32
					st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
						if s.Describing || !strings.HasPrefix(s.SQL, "UPDATE a") {
							return fakepg.Reply{}
						}
						if runs.Add(1) == 1 {
							return fakepg.Reply{Cut: cut}
						}
						return fakepg.Reply{}
					}, "default_query_exec_mode="+mode)
					query := "UPDATE a SET b = 1"
					if args != nil {
						query = "UPDATE a SET b = $1"
					}
					_, err := st.ExecContext(t.Context(), query, args...)
					require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%s %v", mode, args)
					assert.EqualValues(t, 1, runs.Load(), "%s %v", mode, args)
					kit.Exec(t, st, kit.Update(1))
					assert.Equal(t, 2, st.Server.Connections())
				}
			}
		})
	}
}

// A statement whose answer is lost may have been executed: nobody may run it again, not even database/sql.
func TestOutside_AnswerLost_IsNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, cutAt := range map[string]fakepg.Cut{
		"before": fakepg.CutBefore, "half": fakepg.CutHalf, "after": fakepg.CutAfter, "unsent": fakepg.CutUnsent,
		"shut down": fakepg.CutShutDown,
	} {
		for _, losesFirst := range []bool{false, true} {
			replies := []fakepg.Reply{{Cut: cutAt}}
			if losesFirst {
				replies = []fakepg.Reply{kit.Conflict, {Cut: cutAt}}
			}
			const text, withArgument, several = "UPDATE a", "UPDATE a SET v = $1", "UPDATE a; UPDATE b"
			for what, exec := range map[string]func(db *sql.DB) error{
				"text":     func(db *sql.DB) error { _, err := db.Exec(text); return err },
				"argument": func(db *sql.DB) error { _, err := db.Exec(withArgument, "x"); return err },
				"query":    func(db *sql.DB) error { return db.QueryRow(text).Scan(new(int)) },
				"several":  func(db *sql.DB) error { _, err := db.Exec(several); return err },
			} {
				t.Run(name+" "+what, func(t *testing.T) {
					kit.InBubble(t, kit.Script{text: replies, withArgument: replies}, func(t *testing.T, r *kit.Rig) {
						assert.Error(t, exec(r.DB))
						runs := r.Ran(text) + r.Ran(withArgument)
						if losesFirst && what == "several" {
							assert.Equal(t, 1, runs, "a part of it may be committed")
						} else {
							assert.Equal(t, len(replies), runs)
						}
						r.WantUsable(t)
					})
				})
			}
		}
	}
}

// Outside of a transaction a statement commits as it ends. Run again to be compared with what the application has
// seen, it is committed before it can be found to differ: so what may write is not run again once it has shown
// something. What fits into 8 KiB is shown when it is committed.
func TestOutside_WriteWithRows_IsRunAgainUntilTheyAreShown(t *testing.T) {
	t.Parallel()
	few, many := kit.Texts("5", "6"), kit.Texts(strings.Repeat("5", 5_000), strings.Repeat("6", 5_000))
	for _, insert := range []string{
		"INSERT INTO kv VALUES (1) RETURNING id",
		"SELECT id FROM [INSERT INTO kv VALUES (1) RETURNING id]",
		"WITH i AS (INSERT INTO kv VALUES (1) RETURNING id) SELECT id FROM i",
	} {
		for name, first := range map[string]fakepg.Reply{
			"before rows": kit.BreakOff(few, 0), "amid rows": kit.BreakOff(few, 1), "after rows": kit.BreakOff(few, 2),
			"of many, before they are shown": kit.BreakOff(many, 1),
		} {
			t.Run(insert+" "+name, func(t *testing.T) {
				t.Parallel()
				for _, mode := range kit.QueryModes {
					st := kit.New(t, kit.Script{insert: {first, kit.Texts("7", "8", "9")}}, "default_query_exec_mode="+mode)
					got, err := kit.ReadAll(t.Context(), st, insert)
					require.NoError(t, err, mode)
					assert.Equal(t, []string{"7", "8", "9"}, got, mode)
				}
			})
		}
		t.Run(insert+" of many, once they are shown", func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{insert: {kit.BreakOff(many, 2), kit.Texts("7")}})
			var id string
			err := st.QueryRowContext(t.Context(), insert).Scan(&id)
			kit.WantCode(t, err, "40001")
			var diverged *cockroachdb.DivergenceError
			require.NotErrorAs(t, err, &diverged, "it says that nothing was committed")
			assert.Equal(t, 1, st.Times(insert), "the second one was committed")
		})
	}
}

// PostgreSQL sends the rows before it looks whether the transaction can be committed.
func TestOutside_WriteWithRows_LosesAsItCommits_Unseen(t *testing.T) {
	t.Parallel()
	db := kit.Open(t, enginetest.NewDirectDB(t))
	for _, text := range []string{
		"CREATE TABLE kv (k INT)", "CREATE SEQUENCE tries",
		"CREATE FUNCTION lose_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " +
			"IF nextval('tries') = 1 THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF; " +
			"RETURN NULL; END $$",
		"CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON kv DEFERRABLE INITIALLY DEFERRED " +
			"FOR EACH ROW EXECUTE FUNCTION lose_once()",
	} {
		kit.Exec(t, db, text)
	}
	assert.Equal(t, 7, kit.Scan[int](t, db, "INSERT INTO kv VALUES (7) RETURNING k"))
	assert.Equal(t, 2, kit.Scan[int](t, db, "SELECT last_value FROM tries"), "it was not run again")
	assert.Equal(t, 1, kit.Scan[int](t, db, "SELECT count(*) FROM kv"))
}
