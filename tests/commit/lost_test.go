package commit_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// With autocommit_before_ddl, Parse of DDL commits what is open.
func TestCommit_ConnectionLostAtParseOfDDL_IsAmbiguous(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	for name, answer := range map[string][]pgproto3.BackendMessage{"no answer": nil, "a conflict": {fakepg.Conflict()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.Serving(t, func(c *fakepg.Conn) {
				c.Serve(func(s fakepg.Statement) fakepg.Reply {
					if s.SQL == ddl {
						c.Send(answer...)
						c.Close()
					}
					return kit.OK
				})
			})
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			_, err := tx.PrepareContext(t.Context(), ddl)
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.NotEqual(t, "40001", kit.StateOf(err), "who looks for conflicts would run it again")
			assert.ErrorIs(t, tx.Rollback(), err, "it may be committed")
			assert.Equal(t, 1, r.Times("UPDATE a"))
		})
	}
}

// It may lose after that.
func TestCommit_ParseOfDDLLoses_IsRunAgainIfThereWasNothingToCommit(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	lost := fakepg.Reply{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse, EndsTx: true}
	t.Run("there was", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{ddl: {lost}})
		tx := r.Begin(t)
		kit.Exec(t, tx, "UPDATE a")
		_, err := tx.PrepareContext(t.Context(), ddl)
		assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
		assert.NotEqual(t, "40001", kit.StateOf(err), "who looks for conflicts would run it again")
		assert.Equal(t, 1, r.Times("UPDATE a"))
	})
	t.Run("there was not", func(t *testing.T) {
		t.Parallel()
		var parses atomic.Int32
		r := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
			if s.SQL == ddl && s.Describing && parses.Add(1) == 1 {
				return lost
			}
			return kit.OK
		})
		tx := r.Begin(t)
		stmt, err := tx.PrepareContext(t.Context(), ddl)
		require.NoError(t, err)
		require.NoError(t, stmt.Close())
		require.NoError(t, tx.Commit())
	})
}

// Parse has committed, and the connection is lost after that.
func TestCommit_ConnectionLostAfterParseOfDDL_NothingIsRunTwice(t *testing.T) {
	t.Parallel()
	const ddl, read = "CREATE TABLE x ()", "SELECT v"
	left := func(use func(*sql.Tx, *sql.Stmt) error) func(*kit.Rig, *sql.Tx, *sql.Stmt) error {
		return func(r *kit.Rig, tx *sql.Tx, s *sql.Stmt) error {
			r.Disconnect()
			return use(tx, s)
		}
	}
	runs := left(func(_ *sql.Tx, s *sql.Stmt) error { return execAlone(s) })
	commits := left(func(tx *sql.Tx, _ *sql.Stmt) error { return tx.Commit() })
	for name, tc := range map[string]struct {
		before    []string
		use       func(*kit.Rig, *sql.Tx, *sql.Stmt) error
		ambiguous bool
	}{
		"it is run":               {[]string{"UPDATE a"}, runs, true},
		"nothing was done before": {nil, runs, false},
		"another statement is run": {[]string{"UPDATE a"}, left(func(tx *sql.Tx, _ *sql.Stmt) error {
			return kit.ExecAll(tx, "UPDATE b")
		}), true},
		"in a read": {[]string{"UPDATE a"}, func(_ *kit.Rig, tx *sql.Tx, _ *sql.Stmt) error {
			return kit.ExecAll(tx, read)
		}, true},
		"Commit":            {[]string{"UPDATE a"}, commits, false},
		"Commit of nothing": {nil, commits, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed := fakepg.Reply{ErrAt: fakepg.AtParse, EndsTx: true}
			r := kit.New(t, kit.Script{ddl: kit.Always(parsed), read: kit.Always(kit.CutOff)})
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, tc.before...))
			stmt, err := tx.PrepareContext(t.Context(), ddl)
			require.NoError(t, err)
			if err = tc.use(r, tx, stmt); tc.ambiguous {
				assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			} else {
				assert.NoError(t, err)
			}
			_ = tx.Rollback()
			assert.Equal(t, len(tc.before), r.Times("UPDATE a"))
		})
	}
}

// What was prepared loses when it is run. Where another connection has prepared it before, it is parsed only then.
func TestCommit_PreparedDDLLoses_IsRunAgain(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	for name, before := range map[string][]string{"after a write": {"UPDATE a"}, "first": nil} {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, known %t", name, known), func(t *testing.T) {
				t.Parallel()
				r := parsingDDL(t, ddl, func(s fakepg.Statement) fakepg.Reply {
					if s.Nth < 3 {
						return kit.Conflict
					}
					return kit.OK
				})
				if known {
					prepareAlone(t, r, ddl)
					r.SetMaxIdleConns(0) // closes the connection
				}
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, before...))
				stmt, err := tx.PrepareContext(t.Context(), ddl)
				require.NoError(t, err)
				require.NoError(t, execAlone(stmt))
				require.NoError(t, tx.Commit())
				assert.Equal(t, len(before), r.Times("UPDATE a"))
			})
		}
	}
}

// Its context ends while it runs. In a transaction that must not look as if nothing was done.
func TestCommit_PreparedDDLIsCancelled_IsAmbiguous(t *testing.T) {
	t.Parallel()
	const ddl = "CREATE TABLE x ()"
	ctx, cancel := context.WithCancel(t.Context())
	r := parsingDDL(t, ddl, func(fakepg.Statement) fakepg.Reply {
		cancel()
		return kit.Slow
	})
	tx := r.Begin(t)
	stmt, err := tx.PrepareContext(t.Context(), ddl)
	require.NoError(t, err)
	_, err = stmt.ExecContext(ctx)
	assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, tx.Rollback(), "has committed it")
}

// parsingDDL is a server whose Parse of ddl commits. It runs that as run says.
func parsingDDL(t *testing.T, ddl string, run func(fakepg.Statement) fakepg.Reply) *kit.Rig {
	t.Helper()
	return kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		switch {
		case s.SQL != ddl:
			return kit.OK
		case s.Describing:
			return fakepg.Reply{ErrAt: fakepg.AtParse, EndsTx: true}
		}
		return run(s)
	})
}

func prepareAlone(t *testing.T, r *kit.Rig, text string) {
	t.Helper()
	stmt, err := r.PrepareContext(t.Context(), text)
	require.NoError(t, err)
	require.NoError(t, stmt.Close())
}

func execAlone(s *sql.Stmt) error {
	_, err := s.Exec()
	return err
}

// A text with a COMMIT in it failed before it came to that, and a rollback to a savepoint undid the error. In the
// replay it may get there.
func TestCommit_ConnectionLostInReplayOfATextThatMayCommit_IsAmbiguous(t *testing.T) {
	t.Parallel()
	const text = "UPDATE b; COMMIT; BEGIN; UPDATE d"
	fatal := fakepg.Fatal(fakepg.Conflict())
	for name, d := range map[string]fakepg.Reply{"no answer": {Cut: fakepg.CutUnsent}, "a conflict": {Err: fatal}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"UPDATE b": {kit.Fails("23505", "refused"), kit.OK}, "UPDATE c": {kit.Conflict, kit.OK}, "UPDATE d": kit.Always(d),
			})
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", "SAVEPOINT s"))
			require.Error(t, kit.ExecAll(tx, text))
			require.NoError(t, kit.ExecAll(tx, "ROLLBACK TO SAVEPOINT s"))
			err := kit.ExecAll(tx, "UPDATE c")
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.Empty(t, kit.StateOf(err))
			assert.ErrorIs(t, tx.Rollback(), err, "it may be committed")
		})
	}
}

// What else is DDL to CockroachDB, or may be.
func TestCommit_ConnectionLostInAStatementThatMayCommit_IsAmbiguous(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"EXECUTE p", "ANALYZE kv", "EXPLAIN ANALYZE CREATE TABLE x ()", "DISCARD ALL", "IMPORT INTO kv CSV DATA ('x')",
		"RESTORE TABLE kv FROM LATEST IN 'x'", "BACKUP INTO 'x'", "VACUUM",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{text: kit.Always(fakepg.Reply{Cut: fakepg.CutBefore})})
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), kit.ExecAll(tx, text))
		})
	}
}

// A conflict that does not say for certain that nothing was committed must not be found in the error: loops would run
// it again.
func TestCommit_ConflictThatLeavesTheOutcomeOpen_IsNotUnwrapped(t *testing.T) {
	t.Parallel()
	fatal := fakepg.Fatal(fakepg.Conflict())
	for name, tc := range map[string]struct {
		err     *pgproto3.ErrorResponse
		options []any
	}{
		"FATAL on PostgreSQL":     {fatal, []any{fakepg.PlainPostgreSQL()}},
		"deadlock on CockroachDB": {fakepg.Error("40P01", "deadlock detected"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fails := fakepg.Reply{Err: tc.err}
			r := kit.New(t, kit.Script{kit.Release: kit.Always(fails), "COMMIT": kit.Always(fails)}, tc.options...)
			calls := 0
			err := cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				return kit.ExecAll(tx, "UPDATE a")
			})
			assert.IsType(t, (*cockroachdb.AmbiguousCommitError)(nil), err)
			assert.Empty(t, kit.StateOf(err))
			assert.Equal(t, 1, calls)
		})
	}
}

// Nothing after a Close that fails has run, the opening neither.
func TestCommit_CloseBeforeBeginFails_NothingHasRun(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"40001", "57014"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			closes := 0
			srv := fakepg.Start(t, func(c *fakepg.Conn) {
				closing(c, &closes, code)
				c.Serve(kit.Script{}.Reply)
			})
			db := kit.Open(t, srv.DSN()+"&statement_cache_capacity=1&"+kit.NoWaits)
			db.SetMaxOpenConns(1)
			for _, sql := range []string{"SELECT 1", "SELECT 2"} { // once closed, the second takes the first one's place
				stmt, err := db.PrepareContext(t.Context(), sql)
				require.NoError(t, err)
				_, err = stmt.ExecContext(t.Context())
				require.NoError(t, err)
				require.NoError(t, stmt.Close())
			}
			tx := kit.Begin(t, db)
			err := kit.ExecAll(tx, "UPDATE a")
			require.Equal(t, 1, closes)
			if err != nil {
				kit.WantCode(t, kit.ExecAll(tx, "UPDATE b"), "25P02")
				require.Error(t, tx.Commit())
				assert.Zero(t, srv.Times("UPDATE b"), "it would have run outside of a transaction")
				return
			}
			require.NoError(t, tx.Commit())
			assert.Contains(t, srv.Sent(), "BEGIN")
		})
	}
}

// closing answers until it is sent a Close, and fails that.
func closing(c *fakepg.Conn, closes *int, code string) {
	for {
		for _, m := range c.ReceiveUntilSync() {
			switch m := m.(type) {
			case *pgproto3.Parse:
				c.Send(&pgproto3.ParseComplete{})
			case *pgproto3.Describe:
				if m.ObjectType == 'S' {
					c.Send(&pgproto3.ParameterDescription{})
				}
				c.Send(&pgproto3.NoData{})
			case *pgproto3.Bind:
				c.Send(&pgproto3.BindComplete{})
			case *pgproto3.Execute:
				c.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
			case *pgproto3.Close:
				*closes++
				c.Send(fakepg.Error(code, "as it were"))
				c.Ready('I')
				return
			}
		}
		c.Ready('I')
	}
}
