package replay_test

import (
	"database/sql"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// SAVEPOINT, ROLLBACK TO it, then 40001 → the writes before the savepoint are replayed.
func TestSavepoint_WritesBeforeIt_AreReplayed(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{
		"at the commit": "^release savepoint cockroach", "at a statement": "WHERE k = 2$",
	} {
		t.Run("on the engine, "+name, func(t *testing.T) {
			t.Parallel()
			sim, db := kit.NewSimTable(t)
			tx := kit.Begin(t, db)
			kit.Exec(t, tx, kit.Update(1))
			kit.Exec(t, tx, "SAVEPOINT a")
			kit.Exec(t, tx, "INSERT INTO kv VALUES (3, 3)")
			kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT a")
			fault := kit.ConflictAt(at)
			sim.Inject(fault)
			kit.Exec(t, tx, kit.Update(2))
			require.NoError(t, tx.Commit())
			assert.Equal(t, 1, fault.Hits())
			assert.Equal(t, "1=1 2=1", kit.Table(t, db))
			kit.WantUsable(t, db)
		})
	}
	t.Run("what was rolled back is run again too", func(t *testing.T) {
		t.Parallel()
		// It succeeded, and the application has seen that.
		r := kit.New(t, kit.Script{kit.Update(3): kit.ConflictOn(1)})
		tx := r.Begin(t)
		for _, q := range []string{kit.Update(1), "SAVEPOINT a", kit.Update(2), "ROLLBACK TO SAVEPOINT a", kit.Update(3)} {
			kit.Exec(t, tx, q)
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			kit.RollbackTo, kit.Update(1), "SAVEPOINT a", kit.Update(2), "ROLLBACK TO SAVEPOINT a", kit.Update(3),
		}, r.Statements()[5],
			"all of it in one round trip")
		kit.WantUsable(t, r.DB)
	})
	t.Run("what was rolled back fails in the replay", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{
			kit.Update(2): kit.Always(fakepg.Reply{}, fakepg.Reply{Err: fakepg.Error("23505", "duplicate key")}),
			kit.Release:   kit.ConflictOn(1),
		})
		tx := r.Begin(t)
		for _, q := range []string{kit.Update(1), "SAVEPOINT a", kit.Update(2), "ROLLBACK TO SAVEPOINT a"} {
			kit.Exec(t, tx, q)
		}
		d := kit.As[*cockroachdb.DivergenceError](t, tx.Commit())
		assert.Equal(t, cockroachdb.DivergedSQLState, d.Kind)
		assert.Equal(t, 3, d.Statement)
		kit.WantUsable(t, r.DB)
	})
}

// ROLLBACK TO an application savepoint answers 40001 → full replay.
func TestSavepoint_RollbackToLoses_IsAbsorbed(t *testing.T) {
	t.Parallel()
	const back = "ROLLBACK TO SAVEPOINT a"
	t.Run("injected", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{back: kit.ConflictOn(1)})
		tx := r.Begin(t)
		for _, q := range []string{kit.Update(1), "SAVEPOINT a", kit.Update(2), back, kit.Update(3)} {
			kit.Exec(t, tx, q)
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{kit.RollbackTo, kit.Update(1), "SAVEPOINT a", kit.Update(2), back}, r.Statements()[4])
		assert.Equal(t, 1, r.Times("BEGIN"))
		assert.Equal(t, 1, r.Times(kit.Update(3)))
		kit.WantUsable(t, r.DB)
	})
	t.Run("after an error inside of it", func(t *testing.T) {
		t.Parallel()
		// The error the application was given comes again in the replay, which thus takes two round trips.
		taken := kit.Always(kit.Fails("23505", "duplicate key"))
		r := kit.New(t, kit.Script{kit.Update(2): taken, back: kit.ConflictOn(1)})
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		kit.Exec(t, tx, "SAVEPOINT a")
		_, err := tx.ExecContext(t.Context(), kit.Update(2))
		kit.WantCodeWithin(t, err, "23505")
		kit.Exec(t, tx, back)
		kit.Exec(t, tx, kit.Update(3))
		require.NoError(t, tx.Commit())
		assert.Equal(t, [][]string{{kit.RollbackTo, kit.Update(1), "SAVEPOINT a", kit.Update(2)}, {back}},
			r.Statements()[4:6])
		kit.WantUsable(t, r.DB)
	})
	t.Run("on the engine", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, kit.Update(1))
		kit.Exec(t, tx, "SAVEPOINT a")
		kit.Exec(t, tx, kit.Update(2))
		fault := kit.ConflictAt("^" + back)
		sim.Inject(fault)
		kit.Exec(t, tx, back)
		kit.Exec(t, tx, "INSERT INTO kv VALUES (3, 3)")
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, fault.Hits())
		assert.Equal(t, "1=1 2=0 3=3", kit.Table(t, db))
		kit.WantUsable(t, db)
	})
}

// The same savepoint name used twice.
func TestSavepoint_OfTheSameNameTwice_IsReplayed(t *testing.T) {
	t.Parallel()
	sim, db := kit.NewSimTable(t)
	for _, at := range []string{"^insert into kv values .5", "^release savepoint cockroach"} {
		kit.Exec(t, db, "DELETE FROM kv WHERE k > 2")
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, "INSERT INTO kv VALUES (3, 3)")
		kit.Exec(t, tx, "SAVEPOINT a")
		kit.Exec(t, tx, "INSERT INTO kv VALUES (4, 4)")
		kit.Exec(t, tx, "SAVEPOINT a") // shadows the first
		kit.Exec(t, tx, "INSERT INTO kv VALUES (6, 6)")
		kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT a") // to the second
		fault := kit.ConflictAt(at)
		sim.Inject(fault)
		kit.Exec(t, tx, "INSERT INTO kv VALUES (5, 5)")
		kit.Exec(t, tx, "RELEASE SAVEPOINT a") // the second
		kit.Exec(t, tx, "SAVEPOINT b")
		kit.Exec(t, tx, "RELEASE SAVEPOINT b")
		if at != "^insert into kv values .5" {
			kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT a") // the first
		}
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, fault.Hits(), at)
		if at == "^insert into kv values .5" {
			assert.Equal(t, "1=0 2=0 3=3 4=4 5=5", kit.Table(t, db))
		} else {
			assert.Equal(t, "1=0 2=0 3=3", kit.Table(t, db))
		}
		kit.WantUsable(t, db)
	}
}

// cockroach-go's crdb.ExecuteTx on top → the driver stands aside; any name with the prefix, and
// force_savepoint_restart=on.
func TestSavepoint_OfCockroachGosExecuteTx_StandsAside(t *testing.T) {
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
			r := kit.New(t, kit.Script{kit.Update(2): kit.ConflictOn(1), free: kit.ConflictOn(1)})
			calls := 0
			require.NoError(t, kit.ExecuteTx(t.Context(), r.DB, tc.savepoint, func(tx *sql.Tx) error {
				calls++
				if _, err := tx.ExecContext(t.Context(), kit.Update(1)); err != nil {
					return err
				}
				_, err := tx.ExecContext(t.Context(), kit.Update(2))
				return err
			}))
			assert.Equal(t, 3, calls, "the application restarts, once for each conflict")
			assert.Equal(t, [][]string{
				{"BEGIN", "SAVEPOINT " + tc.savepoint}, // and not the driver's own
				{kit.Update(1)},
				{kit.Update(2)},
				{back},
				{kit.Update(1)},
				{kit.Update(2)},
				{free},
				{back},
				{kit.Update(1)},
				{kit.Update(2)},
				{free},
				{"COMMIT"}, // and no RELEASE
			}, r.Statements())
			kit.WantUsable(t, r.DB)
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
			db := kit.Open(t, dsn)
			db.SetMaxOpenConns(1)
			kit.Exec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
			kit.Exec(t, db, "INSERT INTO kv VALUES (1, 0), (2, 0)")
			atStatement, atRelease := kit.ConflictAt(`WHERE k = 2$`), kit.ConflictAt("^release")
			sim.Inject(atStatement, atRelease)
			calls := 0
			require.NoError(t, kit.ExecuteTx(t.Context(), db, tc.savepoint, func(tx *sql.Tx) error {
				calls++
				if _, err := tx.ExecContext(t.Context(), kit.Update(1)); err != nil {
					return err
				}
				_, err := tx.ExecContext(t.Context(), kit.Update(2))
				return err
			}))
			assert.Equal(t, 3, calls)
			assert.Equal(t, 1, atStatement.Hits())
			assert.Equal(t, 1, atRelease.Hits())
			assert.Equal(t, "1=1 2=1", kit.Table(t, db))
			kit.WantUsable(t, db)
		})
	}
	// A name that only begins with almost that is an ordinary savepoint, and the driver retries.
	for _, name := range []string{"cockroach_rest", `"Cockroach_restart"`, "a_cockroach_restart"} {
		t.Run("ordinary "+name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{kit.Update(2): kit.ConflictOn(1)})
			tx := r.Begin(t)
			kit.Exec(t, tx, "SAVEPOINT "+name)
			kit.Exec(t, tx, kit.Update(2))
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{"BEGIN", kit.Savepoint, "SAVEPOINT " + name}, r.Statements()[0])
			assert.Equal(t, 1, r.Times(kit.RollbackTo))
		})
	}
	t.Run("force_savepoint_restart set later, on a transaction without savepoints", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		kit.Exec(t, db, "SET force_savepoint_restart = on")
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, kit.Update(1))
		fault := kit.ConflictAt("WHERE k = 2$")
		sim.Inject(fault)
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1, fault.Hits())
		assert.Equal(t, "1=1 2=1", kit.Table(t, db))
	})
	t.Run("force_savepoint_restart set later, with a savepoint", func(t *testing.T) {
		t.Parallel()
		sim, db := kit.NewSimTable(t)
		kit.Exec(t, db, "SET force_savepoint_restart = on")
		calls := 0
		sim.Inject(kit.ConflictAt("^release"))
		require.NoError(t, kit.ExecuteTx(t.Context(), db, "foo", func(tx *sql.Tx) error {
			calls++
			_, err := tx.ExecContext(t.Context(), kit.Update(1))
			return err
		}))
		assert.Equal(t, 2, calls)
		assert.Equal(t, 1, kit.Scan[int](t, db, "SELECT v FROM kv WHERE k = 1"))
	})
	t.Run("counted", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{})
		require.NoError(t, kit.ExecuteTx(t.Context(), r.DB, "cockroach_restart", func(*sql.Tx) error { return nil }))
		assert.EqualValues(t, 1, r.Count(t, "not_replayable_total", "application_savepoint"))
		assert.EqualValues(t, 1, r.Count(t, "transactions_total", "committed"))
	})
}
