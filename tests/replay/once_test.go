package replay_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// TestReplay_AnswerLost_StatementRunsOnce: database/sql runs a statement again on another connection when the driver
// says that nothing was sent. pgconn says so, too, of a connection that died after a Query had been sent.
func TestReplay_AnswerLost_StatementRunsOnce(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(context.Context, *sql.DB) error{
		"simple protocol": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "UPDATE kv SET v = v + 1")
			return err
		},
		"prepared": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "UPDATE kv SET v = v + $1", 1)
			return err
		},
		"with rows": func(ctx context.Context, db *sql.DB) error {
			var v int
			return db.QueryRowContext(ctx, "UPDATE kv SET v = v + 1 RETURNING v").Scan(&v)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
			db := kit.Open(t, dsn)
			kit.Exec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
			kit.Exec(t, db, "INSERT INTO kv VALUES (1, 0)")
			sim.Inject(crdbsim.On("^update", crdbsim.Action{Then: crdbsim.ExecuteCut}))
			require.Error(t, run(t.Context(), db))
			var v int
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT v FROM kv").Scan(&v))
			assert.Equal(t, 1, v)
		})
	}
}

// TestReplay_TextThatMayCommit_WaitsForTheComparison: the application releases the restart savepoint itself and
// loses. A replay that put that RELEASE after a read that has changed would have committed before it saw the change.
func TestReplay_TextThatMayCommit_WaitsForTheComparison(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"RELEASE SAVEPOINT cockroach_restart", "COMMIT"} {
		t.Run(commit, func(t *testing.T) {
			t.Parallel()
			sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
			db := kit.Open(t, dsn)
			kit.Exec(t, db, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
			kit.Exec(t, db, "INSERT INTO kv VALUES (1, 10), (2, 0)")
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			var v int
			require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v FROM kv WHERE k = 1").Scan(&v))
			kit.Exec(t, tx, "UPDATE kv SET v = 5 WHERE k = 2")

			sim.Inject(crdbsim.On("^"+commit, crdbsim.Action{
				Then:  crdbsim.Fail,
				Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
				Call:  func() { kit.Exec(t, db, "UPDATE kv SET v = 11 WHERE k = 1") },
			}))
			_, err = tx.ExecContext(t.Context(), commit)
			var diverged *cockroachdb.DivergenceError
			require.ErrorAs(t, err, &diverged)
			require.NoError(t, tx.Rollback())
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT v FROM kv WHERE k = 2").Scan(&v))
			assert.Equal(t, 0, v, "committed although it diverged")
		})
	}
}
