package cockroachdb_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// read gives the rows of a query of one column, and the error that ended it, wherever it came.
func (st stage) read(ctx context.Context, query string, args ...any) (values []string, err error) {
	rows, err := st.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return values, err
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		return values, err
	}
	return values, rows.Close()
}

// mustHaveLeftTheLane retries something in the lane, which it must find free: nothing else would go by savepoint.
func (st stage) mustHaveLeftTheLane(t *testing.T) {
	t.Helper()
	tx := st.begin(t)
	mustExec(t, tx, "UPDATE lane")
	require.NoError(t, tx.Commit())
	assert.Contains(t, st.ran(), rollbackToSQL)
}

// inLane is a playbook's part for mustHaveLeftTheLane.
func inLane(p playbook) playbook {
	p["UPDATE lane"] = []fakepg.Reply{lost, won}
	return p
}

func TestOutsideConflictIsAbsorbed(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string][]fakepg.Reply{
		"before any row":       {lost, vs("a", "b", "c")},
		"twice":                {lost, lost, vs("a", "b", "c")},
		"after the rows":       {breakingOff(vs("a", "b", "c"), 3), vs("a", "b", "c")},
		"after a row":          {breakingOff(vs("a", "b", "c"), 1), vs("a", "b", "c")},
		"what follows is new":  {breakingOff(vs("a", "b", "x"), 2), vs("a", "b", "c")},
		"and again":            {breakingOff(vs("a", "b", "x"), 2), breakingOff(vs("a", "y", "z"), 1), vs("a", "b", "c")},
		"again, further on":    {breakingOff(vs("a", "x", "x"), 1), breakingOff(vs("a", "b", "x"), 2), vs("a", "b", "c")},
		"when it was not seen": {breakingOff(vs("x"), 0), vs("a", "b", "c")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range parityModes {
				st := newStage(t, inLane(playbook{"SELECT v": replies}), "default_query_exec_mode="+mode)
				got, err := st.read(t.Context(), "SELECT v")
				require.NoError(t, err, mode)
				assert.Equal(t, []string{"a", "b", "c"}, got, mode)
				assert.Equal(t, len(replies), times(st.srv, "SELECT v"))
				st.mustHaveLeftTheLane(t)
			}
		})
	}
}

func TestOutsideDivergence(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second fakepg.Reply
		want   cockroachdb.DivergenceError
	}{
		"a row":    {vs("a", "y", "c"), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2}},
		"fewer":    {vs("a"), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 2}},
		"an error": {failing("22012"), cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedSQLState, Attempts: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, inLane(playbook{"SELECT v": {breakingOff(vs("a", "b", "c"), 2), tc.second, vs("a")}}))
			got, err := st.read(t.Context(), "SELECT v")
			assert.Equal(t, []string{"a", "b"}, got)
			requireDivergence(t, err, tc.want)
			requireConflict(t, err)
			st.mustHaveLeftTheLane(t)
			assert.Equal(t, 1, st.srv.Connections(), "the connection is none the worse")
		})
	}
}

// At Sync the statement has been answered in full, and then could not be committed.
func TestOutsideConflictAtSync(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			tries := 0
			srv := fakepg.Start(t, func(c *fakepg.Conn) {
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
						case *pgproto3.Close:
							c.Send(&pgproto3.CloseComplete{})
						case *pgproto3.Execute, *pgproto3.Query:
							tries++
							c.Send(&pgproto3.CommandComplete{CommandTag: []byte("UPDATE " + strconv.Itoa(tries))})
							if tries < 3 {
								c.Send(fakepg.Conflict())
							}
						}
					}
					c.Ready('I')
				}
			})
			db := open(t, srv.DSN()+"&"+noWaits+"&default_query_exec_mode="+mode)
			db.SetMaxOpenConns(1)
			rows, err := db.QueryContext(t.Context(), "UPDATE kv")
			require.NoError(t, err)
			require.False(t, rows.Next())
			require.NoError(t, rows.Err())
			assert.Equal(t, 3, tries)
			tries = 0
			assert.Equal(t, 3, affected(t, db, "UPDATE kv"), "the count is the last attempt's")
		})
	}
}

func TestOutsideConflictInClose(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		second fakepg.Reply
		fails  bool
	}{
		"unchanged": {vs("a", "b"), false},
		"changed":   {vs("x", "b"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, inLane(playbook{"SELECT r": {breakingOff(vs("a", "b"), 2), tc.second}}))
			rows, err := st.QueryContext(t.Context(), "SELECT r")
			require.NoError(t, err)
			require.True(t, rows.Next())
			var v string
			require.NoError(t, rows.Scan(&v))
			require.Equal(t, "a", v)
			err = rows.Close()
			if tc.fails {
				_ = isA[*cockroachdb.DivergenceError](t, err)
				_ = isA[*cockroachdb.DivergenceError](t, rows.Err())
			} else {
				require.NoError(t, err)
				require.NoError(t, rows.Err())
			}
			st.mustHaveLeftTheLane(t)
		})
	}
}

// Of what follows the server may have committed a part, or the application does the retrying: it is run once.
func TestOutsideNotRunAgain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query string
		ctx   func(context.Context) context.Context
	}{
		"several statements": {query: "UPDATE a; UPDATE b"},
		"a procedure":        {query: "CALL p()"},
		"a block":            {query: "DO $$BEGIN COMMIT; END$$"},
		"without retries":    {query: "UPDATE b", ctx: cockroachdb.WithoutRetries},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range parityModes {
				st := newStage(t, inLane(playbook{"UPDATE b": {lost}, tc.query: {lost}}), "default_query_exec_mode="+mode)
				ctx := t.Context()
				if tc.ctx != nil {
					ctx = tc.ctx(ctx)
				}
				_, err := st.ExecContext(ctx, tc.query)
				requireConflict(t, err)
				assert.IsType(t, &pgconn.PgError{}, err, "the server's own")
				assert.Equal(t, 1, times(st.srv, tc.query))
				st.mustHaveLeftTheLane(t)
			}
		})
	}
}

// A transaction that the application has begun as text is its own to retry.
func TestTransactionAsTextIsNotRetried(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"UPDATE a": {lost, won}})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	mustExec(t, conn, "BEGIN")
	_, err = conn.ExecContext(t.Context(), "UPDATE a")
	requireConflict(t, err)
	assert.Equal(t, 1, times(st.srv, "UPDATE a"))
	mustExec(t, conn, "ROLLBACK")
	require.NoError(t, conn.Close())
	st.mustBeUsable(t)
	assert.Equal(t, 1, st.srv.Connections())
}

// What is left open is not handed to the next user.
func TestTransactionAsTextLeftOpen(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	mustExec(t, conn, "BEGIN")
	require.NoError(t, conn.Close())
	mustExec(t, st, update(1))
	assert.Equal(t, 2, st.srv.Connections())
}

func TestRowsOpenOnTheConnection(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{"SELECT v": {vs("a", "b", "c")}})
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	rows, err := conn.QueryContext(t.Context(), "SELECT v")
	require.NoError(t, err)
	require.True(t, rows.Next())
	_, err = conn.ExecContext(t.Context(), update(1))
	require.ErrorContains(t, err, "the rows of an earlier query are still open")
	require.ErrorContains(t, conn.PingContext(t.Context()), "the rows of an earlier query are still open")
	_, err = conn.PrepareContext(t.Context(), "SELECT 1")
	require.ErrorContains(t, err, "the rows of an earlier query are still open")
	require.True(t, rows.Next(), "no harm was done")
	require.NoError(t, rows.Close())
	mustExec(t, conn, update(1))
}

// With pgx's stdlib a statement whose context is done already costs a *sql.Conn its connection.
func TestContextDoneBeforeCostsNothing(t *testing.T) {
	t.Parallel()
	st := newStage(t, playbook{})
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
	assert.Zero(t, st.srv.RoundTrips())
	mustExec(t, conn, "UPDATE a")
	assert.Equal(t, 1, st.srv.Connections())
}

func TestRawGivesTheConnection(t *testing.T) {
	t.Parallel()
	db := open(t, enginetest.NewDB(t))
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
	mustExec(t, conn, "SELECT 1")
}

func TestDeprecatedMethods(t *testing.T) {
	t.Parallel()
	c := driverConn(t, fakepg.Start(t, fakepg.Answer(playbook{}.answer)))
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

// asDriver is a connection as database/sql uses it.
type asDriver interface {
	cockroachdb.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// driverConn is a connection without database/sql around it.
func driverConn(t *testing.T, srv *fakepg.Server, change ...func(*cockroachdb.Config)) asDriver {
	t.Helper()
	cfg, err := cockroachdb.ParseConfig(srv.DSN())
	require.NoError(t, err)
	for _, f := range change {
		f(cfg)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	c, err := connector.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(asDriver)
}

func TestPing(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(playbook{}.answer))
	c := driverConn(t, srv)
	require.NoError(t, c.Ping(t.Context()))
	assert.Equal(t, 1, srv.RoundTrips())
	srv.Disconnect()
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

func TestResetSessionHook(t *testing.T) {
	t.Parallel()
	var hook error
	c := driverConn(t, fakepg.Start(t, fakepg.Answer(playbook{}.answer)), func(cfg *cockroachdb.Config) {
		cfg.ResetSession = func(_ context.Context, pc *pgx.Conn) error {
			assert.NotNil(t, pc)
			return hook
		}
	})
	require.NoError(t, c.ResetSession(t.Context()))
	hook = errors.New("no")
	require.Equal(t, hook, c.ResetSession(t.Context()), "as it is")
	assert.True(t, c.IsValid())

	_, err := c.ExecContext(t.Context(), "BEGIN", nil)
	require.NoError(t, err)
	require.ErrorIs(t, c.ResetSession(t.Context()), driver.ErrBadConn, "a transaction is open: the hook is not asked")
	assert.False(t, c.IsValid(), "an open transaction must not rest in the pool with its locks")
}

// A connection cut in the middle of an answer is the application's to know of, since the statement may have been run: it must
// not be run again on another. (pgx's stdlib does so in the simple protocol.)
func TestOutsideConnectionCut(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]fakepg.Cut{"before": fakepg.CutBefore, "half": fakepg.CutHalf, "after": fakepg.CutAfter, "unsent": fakepg.CutUnsent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range parityModes {
				for _, args := range [][]any{nil, {"1"}} {
					var runs atomic.Int32
					st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
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
					mustExec(t, st, update(1))
					assert.Equal(t, 2, st.srv.Connections())
				}
			}
		})
	}
}
