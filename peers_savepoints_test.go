package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// conflictAt makes a fault: a conflict at the next statement that the pattern matches.
func conflictAt(pattern string) *crdbsim.Fault {
	return crdbsim.On(pattern, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
}

// simTable opens a pool of one connection to a table kv of two rows, 1 and 2, both 0.
func simTable(t testing.TB) (*crdbsim.Sim, *sql.DB) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	db := open(t, dsn)
	db.SetMaxOpenConns(1)
	mustExec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	mustExec(t, db, "INSERT INTO kv VALUES (1, 0), (2, 0)")
	return sim, db
}

// table reads what is in the table kv.
func table(t testing.TB, db *sql.DB) map[int]int {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT k, v FROM kv")
	require.NoError(t, err)
	defer rows.Close()
	all := map[int]int{}
	for rows.Next() {
		var k, v int
		require.NoError(t, rows.Scan(&k, &v))
		all[k] = v
	}
	require.NoError(t, rows.Err())
	return all
}

// Case 29: SAVEPOINT, ROLLBACK TO it, then 40001 → the writes before the savepoint are replayed.
func TestPeerCase29WritesBeforeASavepoint(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"at the commit": "^release savepoint cockroach", "at a statement": "WHERE k = 2$"} {
		t.Run("on the engine, "+name, func(t *testing.T) {
			t.Parallel()
			sim, db := simTable(t)
			tx := begun(t, db)
			mustExec(t, tx, update(1))
			mustExec(t, tx, "SAVEPOINT a")
			mustExec(t, tx, "INSERT INTO kv VALUES (3, 3)")
			mustExec(t, tx, "ROLLBACK TO SAVEPOINT a")
			fault := conflictAt(at)
			sim.Inject(fault)
			mustExec(t, tx, update(2))
			require.NoError(t, tx.Commit())
			assert.Equal(t, 1, fault.Hits())
			assert.Equal(t, map[int]int{1: 1, 2: 1}, table(t, db))
			usable(t, db)
		})
	}
	t.Run("what was rolled back is run again too", func(t *testing.T) {
		t.Parallel()
		// It succeeded, and the application has seen that.
		srv := fakepg.Start(t, plays{update(3): loses(1)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		for _, q := range []string{update(1), "SAVEPOINT a", update(2), "ROLLBACK TO SAVEPOINT a", update(3)} {
			mustExec(t, tx, q)
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{sqlRestart, update(1), "SAVEPOINT a", update(2), "ROLLBACK TO SAVEPOINT a", update(3)}, srv.Statements()[5],
			"all of it in one round trip")
		usable(t, db)
	})
	t.Run("what was rolled back fails in the replay", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{
			update(2): inTurn(fakepg.Reply{}, fakepg.Reply{Err: fakepg.Error("23505", "duplicate key")}), sqlFree: loses(1),
		}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		for _, q := range []string{update(1), "SAVEPOINT a", update(2), "ROLLBACK TO SAVEPOINT a"} {
			mustExec(t, tx, q)
		}
		d := isA[*cockroachdb.DivergenceError](t, tx.Commit())
		assert.Equal(t, cockroachdb.DivergedSQLState, d.Kind)
		assert.Equal(t, 3, d.Statement)
		usable(t, db)
	})
}

// Case 30: ROLLBACK TO an application savepoint answers 40001 → full replay.
func TestPeerCase30RollbackToLoses(t *testing.T) {
	t.Parallel()
	const back = "ROLLBACK TO SAVEPOINT a"
	t.Run("injected", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{back: loses(1)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		for _, q := range []string{update(1), "SAVEPOINT a", update(2), back, update(3)} {
			mustExec(t, tx, q)
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{sqlRestart, update(1), "SAVEPOINT a", update(2), back}, srv.Statements()[4])
		assert.Equal(t, 1, times(srv, "BEGIN"))
		assert.Equal(t, 1, times(srv, update(3)))
		usable(t, db)
	})
	t.Run("after an error inside of it", func(t *testing.T) {
		t.Parallel()
		// The error the application was given comes again in the replay, which thus takes two round trips.
		taken := func(int) fakepg.Reply { return fakepg.Reply{Err: fakepg.Error("23505", "duplicate key")} }
		srv := fakepg.Start(t, plays{update(2): taken, back: loses(1)}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		mustExec(t, tx, "SAVEPOINT a")
		_, err := tx.ExecContext(t.Context(), update(2))
		unwraps(t, err, "23505")
		mustExec(t, tx, back)
		mustExec(t, tx, update(3))
		require.NoError(t, tx.Commit())
		assert.Equal(t, [][]string{{sqlRestart, update(1), "SAVEPOINT a", update(2)}, {back}}, srv.Statements()[4:6])
		usable(t, db)
	})
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		sim, db := simTable(t)
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		mustExec(t, tx, "SAVEPOINT a")
		mustExec(t, tx, update(2))
		fault := conflictAt("^" + back)
		sim.Inject(fault)
		mustExec(t, tx, back)
		mustExec(t, tx, "INSERT INTO kv VALUES (3, 3)")
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, fault.Hits())
		assert.Equal(t, map[int]int{1: 1, 2: 0, 3: 3}, table(t, db))
		usable(t, db)
	})
}

// Case 31: the same savepoint name used twice.
func TestPeerCase31SavepointTwice(t *testing.T) {
	t.Parallel()
	sim, db := simTable(t)
	for _, at := range []string{"^insert into kv values .5", "^release savepoint cockroach"} {
		mustExec(t, db, "DELETE FROM kv WHERE k > 2")
		tx := begun(t, db)
		mustExec(t, tx, "INSERT INTO kv VALUES (3, 3)")
		mustExec(t, tx, "SAVEPOINT a")
		mustExec(t, tx, "INSERT INTO kv VALUES (4, 4)")
		mustExec(t, tx, "SAVEPOINT a") // shadows the first
		mustExec(t, tx, "INSERT INTO kv VALUES (6, 6)")
		mustExec(t, tx, "ROLLBACK TO SAVEPOINT a") // to the second
		fault := conflictAt(at)
		sim.Inject(fault)
		mustExec(t, tx, "INSERT INTO kv VALUES (5, 5)")
		mustExec(t, tx, "RELEASE SAVEPOINT a") // the second
		mustExec(t, tx, "SAVEPOINT b")
		mustExec(t, tx, "RELEASE SAVEPOINT b")
		if at != "^insert into kv values .5" {
			mustExec(t, tx, "ROLLBACK TO SAVEPOINT a") // the first
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, fault.Hits(), at)
		if at == "^insert into kv values .5" {
			assert.Equal(t, map[int]int{1: 0, 2: 0, 3: 3, 4: 4, 5: 5}, table(t, db))
		} else {
			assert.Equal(t, map[int]int{1: 0, 2: 0, 3: 3}, table(t, db))
		}
		usable(t, db)
	}
}

// executeTx does what cockroach-go's crdb.ExecuteTx does with a transaction, under any name of the savepoint.
func executeTx(ctx context.Context, db *sql.DB, name string, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "SAVEPOINT "+name); err != nil {
		return err
	}
	for range 10 {
		released := false
		if err = fn(tx); err == nil {
			released = true
			if _, err = tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err == nil {
				return tx.Commit()
			}
		}
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "40001" {
			if released {
				return errors.Join(errors.New("ambiguous"), err)
			}
			return err
		}
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+name); err != nil {
			return err
		}
	}
	return err
}

// Case 32: crdb.ExecuteTx on top → the driver stands aside; any name with the prefix, and force_savepoint_restart=on.
func TestPeerCase32ExecuteTx(t *testing.T) {
	t.Parallel()
	const force = "force_savepoint_restart"
	for name, tc := range map[string]struct{ savepoint, param string }{
		"the usual name":                     {savepoint: "cockroach_restart"},
		"another name":                       {savepoint: "cockroach_restart_0"},
		"in capitals":                        {savepoint: "COCKROACH_RESTART"},
		"quoted":                             {savepoint: `"cockroach_restart_X"`},
		"any name, force_savepoint_restart":  {savepoint: "foo", param: "on"},
		"any name, force_savepoint_restart1": {savepoint: "foo", param: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			free, back := "RELEASE SAVEPOINT "+tc.savepoint, "ROLLBACK TO SAVEPOINT "+tc.savepoint
			if tc.param != "" {
				t.Skip("the fake knows nothing of the variable")
			}
			srv := fakepg.Start(t, plays{update(2): loses(1), free: loses(1)}.handler())
			db := poolOf(t, srv)
			calls := 0
			require.NoError(t, executeTx(t.Context(), db, tc.savepoint, func(tx *sql.Tx) error {
				calls++
				if _, err := tx.ExecContext(t.Context(), update(1)); err != nil {
					return err
				}
				_, err := tx.ExecContext(t.Context(), update(2))
				return err
			}))
			assert.Equal(t, 3, calls, "the application restarts, once for each conflict")
			assert.Equal(t, [][]string{
				{"BEGIN", "SAVEPOINT " + tc.savepoint}, // and not the driver's own
				{update(1)},
				{update(2)},
				{back},
				{update(1)},
				{update(2)},
				{free},
				{back},
				{update(1)},
				{update(2)},
				{free},
				{"COMMIT"}, // and no RELEASE
			}, srv.Statements())
			usable(t, db)
		})
		t.Run("on the engine, "+name, func(t *testing.T) {
			t.Parallel()
			sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
			if tc.param != "" {
				u, err := url.Parse(dsn)
				require.NoError(t, err)
				q := u.Query()
				q.Set(force, tc.param)
				u.RawQuery = q.Encode()
				dsn = u.String()
			}
			db := open(t, dsn)
			db.SetMaxOpenConns(1)
			mustExec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
			mustExec(t, db, "INSERT INTO kv VALUES (1, 0), (2, 0)")
			atStatement, atRelease := conflictAt(`WHERE k = 2$`), conflictAt("^release")
			sim.Inject(atStatement, atRelease)
			calls := 0
			require.NoError(t, executeTx(t.Context(), db, tc.savepoint, func(tx *sql.Tx) error {
				calls++
				if _, err := tx.ExecContext(t.Context(), update(1)); err != nil {
					return err
				}
				_, err := tx.ExecContext(t.Context(), update(2))
				return err
			}))
			assert.Equal(t, 3, calls)
			assert.Equal(t, 1, atStatement.Hits())
			assert.Equal(t, 1, atRelease.Hits())
			assert.Equal(t, map[int]int{1: 1, 2: 1}, table(t, db))
			usable(t, db)
		})
	}
	// A name that only begins with almost that is an ordinary savepoint, and the driver retries.
	for _, name := range []string{"cockroach_rest", `"Cockroach_restart"`, "a_cockroach_restart"} {
		t.Run("ordinary "+name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, plays{update(2): loses(1)}.handler())
			db := poolOf(t, srv)
			tx := begun(t, db)
			mustExec(t, tx, "SAVEPOINT "+name)
			mustExec(t, tx, update(2))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN", sqlOurs, "SAVEPOINT " + name}, srv.Statements()[0])
			assert.Equal(t, 1, times(srv, sqlRestart))
		})
	}
	t.Run("force_savepoint_restart set later, on a transaction without savepoints", func(t *testing.T) {
		t.Parallel()
		sim, db := simTable(t)
		mustExec(t, db, "SET force_savepoint_restart = on")
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		fault := conflictAt("WHERE k = 2$")
		sim.Inject(fault)
		mustExec(t, tx, update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, fault.Hits())
		assert.Equal(t, map[int]int{1: 1, 2: 1}, table(t, db))
	})
	t.Run("force_savepoint_restart set later, with a savepoint", func(t *testing.T) {
		t.Parallel()
		sim, db := simTable(t)
		mustExec(t, db, "SET force_savepoint_restart = on")
		calls := 0
		sim.Inject(conflictAt("^release"))
		require.NoError(t, executeTx(t.Context(), db, "foo", func(tx *sql.Tx) error {
			calls++
			_, err := tx.ExecContext(t.Context(), update(1))
			return err
		}))
		assert.Equal(t, 2, calls)
		assert.Equal(t, 1, table(t, db)[1])
	})
	t.Run("counted", func(t *testing.T) {
		t.Parallel()
		var m *cockroachdb.Metrics
		srv := fakepg.Start(t, plays{}.handler())
		db := poolOf(t, srv, counted(&m))
		require.NoError(t, executeTx(t.Context(), db, "cockroach_restart", func(*sql.Tx) error { return nil }))
		assert.EqualValues(t, 1, metric(t, m, "cockroachdb_not_replayable_total", "application_savepoint"))
		assert.EqualValues(t, 1, metric(t, m, "cockroachdb_transactions_total", "committed"))
	})
}
