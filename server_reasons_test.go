package cockroachdb_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A limit of time that a replay meets says nothing of the data: it is no divergence, and its own code is there to be
// found.
func TestReplay_MeetsATimeout_SaysSo(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"55P03", "57014"} {
		for _, commit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/at commit=%t", code, commit), func(t *testing.T) {
				t.Parallel()
				book := playbook{"UPDATE a": {won, failing(code)}, "UPDATE b": {lost, won}}
				if commit {
					book = playbook{"UPDATE a": {won, failing(code)}, releaseSQL: {lost, won}}
				}
				st := newStage(t, book)
				tx := st.begin(t)
				require.NoError(t, execAll(tx, "UPDATE a"))
				err := execAll(tx, "UPDATE b")
				if commit {
					require.NoError(t, err)
					err = tx.Commit()
				}
				unwraps(t, err, code)
				var diverged *cockroachdb.DivergenceError
				require.NotErrorAs(t, err, &diverged)
				st.mustEnd(t, tx)
			})
		}
	}
}

// Why the server has closed the connection is in the error, at every place at which it can be noticed.
func TestConnectionClosedByTheServer_TheReasonIsFound(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"25P03", "57P01", "40001"} {
		for name, book := range map[string]playbook{
			"in a statement": {"UPDATE b": {fatal(code, "terminating connection")}},
			"in a replay":    {"UPDATE a": {won, fatal(code, "terminating connection")}, "UPDATE b": {lost}},
		} {
			t.Run(name+"/"+code, func(t *testing.T) {
				t.Parallel()
				st := newStage(t, book)
				tx := st.begin(t)
				require.NoError(t, execAll(tx, "UPDATE a"))
				err := execAll(tx, "UPDATE b")
				isA[*cockroachdb.ConnectionLostError](t, err)
				want := code
				if name == "in a replay" {
					want = "40001" // which the replay was for, and which loops look for
				}
				unwraps(t, err, want)
				require.Error(t, tx.Commit())
			})
		}
	}
}

// A server that is being drained ends each connection with its transaction: the ROLLBACK before a wait is the last.
func TestConflict_OnADrainingNode_IsRunAgainElsewhere(t *testing.T) {
	t.Parallel()
	for name, rollback := range map[string]fakepg.Reply{
		"answered": {Cut: fakepg.CutAfter}, "not answered": {Cut: fakepg.CutBefore}, "half": {Cut: fakepg.CutHalf},
		"said": fatal("57P01", "shutting down"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"UPDATE a": {lost, lost, won}, "ROLLBACK": {rollback, won}})
			tx := st.begin(t)
			err := execAll(tx, "UPDATE a")
			if err != nil {
				assert.Equal(t, "40001", stateOf(err), "%T: %v", err, err)
			}
			_ = tx.Rollback()
			st = newStage(t, playbook{"UPDATE a": {lost, lost, won}, "ROLLBACK": {rollback, won}})
			write := func(tx *sql.Tx) error { return execAll(tx, "UPDATE a") }
			require.NoError(t, cockroachdb.RunTx(t.Context(), st.DB, nil, write))
			assert.Equal(t, 1, times(st.srv, releaseSQL))
		})
	}
}

// A read outside a transaction that loses after some of its rows is run again, whatever word it begins with; what may
// write is not.
func TestOutside_LosesAfterRows_ReadsAreRunAgain(t *testing.T) {
	t.Parallel()
	for text, again := range map[string]bool{
		"SELECT v FROM kv":                                              true,
		"select v from kv -- all":                                       true,
		"/* a */ (SELECT v FROM kv)":                                    true,
		"((SELECT v FROM kv) UNION (SELECT v FROM w))":                  true,
		"WITH a AS (SELECT v FROM kv) SELECT v FROM a":                  true,
		"WITH RECURSIVE a AS (SELECT v FROM kv) SELECT v FROM a":        true,
		"VALUES ('1'), ('2')":                                           true,
		"TABLE kv":                                                      true,
		"SELECT v FROM kv FOR UPDATE":                                   true,
		"SELECT v FROM kv FOR SHARE":                                    true,
		"SELECT count(*), lower(v) FROM kv GROUP BY v":                  true,
		"SHOW TABLES":                                                   true,
		"SELECT 'INSERT INTO kv'":                                       true,
		"SELECT pay(v) FROM kv":                                         false,
		"SELECT nextval('s')":                                           false,
		"SELECT \"nextval\"('s')":                                       false,
		"SELECT set_config('a', 'b', false)":                            false,
		"SELECT pg_advisory_lock(1)":                                    false,
		"WITH a AS (DELETE FROM kv RETURNING v) SELECT v FROM a":        false,
		"SELECT v INTO w FROM kv":                                       false,
		"INSERT INTO kv VALUES (1) RETURNING v":                         false,
		"SELECT * FROM [INSERT INTO kv VALUES (1) RETURNING v]":         false,
		"(WITH a AS (UPDATE kv SET v = 1 RETURNING v) SELECT v FROM a)": false,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			all := vs("1", "2", "3")
			st := newStage(t, playbook{text: {breakingOff(all, 2), all}})
			rows := query(t, st, text)
			values, err := rows.rest()
			if again {
				require.NoError(t, err)
				assert.Equal(t, []string{"1", "2", "3"}, values)
				return
			}
			require.Equal(t, "40001", stateOf(err))
			assert.Equal(t, 1, times(st.srv, text))
		})
	}
}

// openOnly is a driver around this one that knows Open alone.
type openOnly struct{ driver.Driver }

func init() { sql.Register("open only", openOnly{&cockroachdb.Driver{}}) }

// Two transactions of a pool lose, and the first stays open: the second waits for its turn.
func TestWrapper_ThatKnowsOpenAlone_SharesTheLane(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(playbook{"UPDATE a": {lost, won}, "UPDATE b": {lost, won}}.answer))
	db := openAs(t, "open only", srv.DSN()+"&retry_lane_wait=1h&retry_max_elapsed=2h")
	first := begun(t, db)
	require.NoError(t, execAll(first, "UPDATE a"))
	second := begun(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := second.ExecContext(ctx, "UPDATE b")
	require.ErrorIs(t, err, context.DeadlineExceeded, "it has a lane of its own")
}

func TestMetrics_OfClosedPools_GoAway(t *testing.T) {
	t.Parallel()
	m := cockroachdb.NewMetrics()
	for i := range 20 {
		cfg, err := cockroachdb.ParseConfig(fmt.Sprintf("postgresql://u@127.0.0.1:1/tenant_%d?sslmode=disable", i))
		require.NoError(t, err)
		cfg.Metrics = m
		db := sql.OpenDB(mustConnector(t, cfg))
		if i == 0 {
			require.NotZero(t, testutil.CollectAndCount(m))
		}
		require.NoError(t, db.Close())
	}
	assert.Zero(t, testutil.CollectAndCount(m))
}

// What the server has refused was not set.
func TestSetForceSavepoint_Refused_KeepsOurs(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"SET force_savepoint_restart = nonsense", "SET force_savepoint_restart = on"} {
		st := newStage(t, playbook{set: {failing("22023")}})
		_, err := st.ExecContext(t.Context(), set)
		requireCode(t, err, "22023")
		tx := st.begin(t)
		mustExec(t, tx, "UPDATE a")
		require.NoError(t, tx.Commit())
		assert.Contains(t, st.ran(), savepointSQL)
	}
}

// No transaction rests in the pool, with its locks.
func TestTransactionAsText_LeftOpen_DoesNotRestInThePool(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"BEGIN; UPDATE a", "BEGIN", "START TRANSACTION", "BEGIN; UPDATE a; COMMIT; BEGIN"} {
		st := newStage(t, playbook{})
		mustExec(t, st, text)
		assert.Zero(t, st.Stats().OpenConnections, text)
		mustExec(t, st, "UPDATE b")
		assert.Equal(t, 2, st.srv.Connections(), text)
	}
}

// A statement after the application's own COMMIT loses: what is committed must not look as if it can be run again.
func TestStatementAfterACommit_Loses_IsNoConflict(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"COMMIT", "END", "commit work", "COMMIT; BEGIN", "COMMIT AND CHAIN", releaseSQL} {
		t.Run(commit, func(t *testing.T) {
			t.Parallel()
			st := newStage(t, playbook{"UPDATE two": {lost}})
			tx := st.begin(t)
			require.NoError(t, execAll(tx, "UPDATE one", commit))
			err := execAll(tx, "UPDATE two")
			require.Error(t, err)
			assert.NotEqual(t, "40001", stateOf(err), "%T: %v", err, err)
			assert.Error(t, tx.Rollback(), "a part is committed")
			assert.Equal(t, 1, times(st.srv, "UPDATE one"))
		})
	}
}

// ABORT and ROLLBACK commit nothing.
func TestStatementAfterARollback_Loses_IsAConflict(t *testing.T) {
	t.Parallel()
	for _, rollback := range []string{"ROLLBACK", "ROLLBACK WORK"} {
		st := newStage(t, playbook{"UPDATE two": {lost, won}})
		tx := st.begin(t)
		require.NoError(t, execAll(tx, "UPDATE one", rollback))
		require.NoError(t, execAll(tx, "UPDATE two"), "it stands alone, and is run again")
		assert.Equal(t, 2, times(st.srv, "UPDATE two"))
		require.NoError(t, tx.Rollback())
	}
}

// A driver around this one may give statements a context of its own, without RunTx's order in it.
type detaching struct{ driver.Connector }

func (d detaching) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return detachedConn{c.(fullConn)}, nil
}

type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnPrepareContext
}

type detachedConn struct{ fullConn }

func (c detachedConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.fullConn.ExecContext(context.Background(), query, args)
}

func (c detachedConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.fullConn.QueryContext(context.Background(), query, args)
}

func TestRunTx_ThroughAWrapperThatDetachesContexts_BelievesTheServer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		release []fakepg.Reply
		ok      bool
	}{
		"committed":          {[]fakepg.Reply{won}, true},
		"lost every time":    {[]fakepg.Reply{lost}, false},
		"lost, and then not": {[]fakepg.Reply{lost, won}, true},
		"refused":            {[]fakepg.Reply{failing("23505")}, false},
		"not answered":       {[]fakepg.Reply{{Cut: fakepg.CutBefore}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, fakepg.Answer(playbook{selectV: {vs("a"), vs("b")}, releaseSQL: tc.release}.answer))
			cfg, err := cockroachdb.ParseConfig(srv.DSN() + "&retry_max_attempts=3&" + noWaits)
			require.NoError(t, err)
			db := sql.OpenDB(detaching{mustConnector(t, cfg)})
			defer db.Close()
			ctx := cockroachdb.WithRetryPolicy(t.Context(), cfg.RetryPolicy)
			err = cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error {
				var v string
				if err := tx.QueryRowContext(ctx, selectV).Scan(&v); err != nil {
					return err
				}
				return execAll(tx, "UPDATE kv SET v = '"+v+"'")
			})
			assert.Equal(t, tc.ok, err == nil, "%v; %q", err, ran(srv))
		})
	}
}

// On CockroachDB with autocommit_before_ddl, DDL commits what is open, and itself.
func TestRunTx_WithDDLThatCommits_Succeeds(t *testing.T) {
	t.Parallel()
	for _, ddl := range []string{
		"CREATE TABLE x ()", "ALTER TABLE x ADD y INT", "DROP TABLE x", "CREATE TABLE x AS SELECT 1", "TRUNCATE x",
		"GRANT SELECT ON x TO y",
	} {
		srv := fakepg.Start(t, func(c *fakepg.Conn) {
			play(c, raw{tag: "BEGIN"}, raw{tag: "SAVEPOINT"}, raw{tag: "DDL", status: 'I'})
			serveAll(c)
		})
		db := open(t, srv.DSN()+"&"+noWaits)
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error { return execAll(tx, ddl) }), ddl)
		assert.Equal(t, 1, times(srv, ddl))
	}
}

// Before the first statement there was nothing to be committed.
func TestFirstDDL_Loses_IsRunAgain(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, func(c *fakepg.Conn) {
		play(c, raw{tag: "BEGIN"}, raw{tag: "SAVEPOINT"}, raw{err: "40001", status: 'I'})
		serveAll(c)
	})
	db := open(t, srv.DSN()+"&"+noWaits)
	tx := begun(t, db)
	err := execAll(tx, "CREATE INDEX ON kv (v)")
	var ambiguous *cockroachdb.AmbiguousCommitError
	require.False(t, errors.As(err, &ambiguous), "%v", err)
	require.NoError(t, err)
	assert.Equal(t, 2, times(srv, "CREATE INDEX ON kv (v)"))
}
