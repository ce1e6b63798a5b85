//go:build unix

package pooler_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// TestCrdbVersion_IsPassedOn: by crdb_version the driver knows that it talks to CockroachDB.
func TestCrdbVersion_IsPassedOn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		server serverKind
		want   string
	}{{ofPostgreSQL, ""}, {ofCockroachDB, crdbsim.DefaultVersion}} {
		behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
			p := w.program(t, 2)
			for range 2 { // the first client of PgBouncer, and one after it
				conn, err := p.Conn(t.Context())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.Raw(func(c any) error {
					assert.Equal(t, test.want, c.(cockroachdb.Conn).Conn().PgConn().ParameterStatus("crdb_version"))
					return nil
				}))
			}
		}, test.server)
	}
}

// TestProcessID_IsPgBouncers: a direct connection to CockroachDB shows its node in the process id, this one does not.
func TestProcessID_IsPgBouncers(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		conn, err := w.program(t, 1).Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		server := ask(t, conn, "SELECT pg_backend_pid()")
		require.NoError(t, conn.Raw(func(c any) error {
			assert.NotEqualValues(t, server, c.(cockroachdb.Conn).Conn().PgConn().PID())
			return nil
		}))
	}, ofPostgreSQL)
}

// TestConflict_GoesBackToTheSavepoint checks what follows from crdb_version.
func TestConflict_GoesBackToTheSavepoint(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		w.exec(t, "CREATE TABLE orders (k INT)")
		back := crdbsim.On("^ROLLBACK TO SAVEPOINT cockroach_restart", crdbsim.Action{})
		conflict := crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}
		w.sim.Inject(back, crdbsim.On("^INSERT.*2", conflict))
		inTransaction(t, w.program(t, 1), func(tx *sql.Tx) {
			txRun(t, tx, "INSERT INTO orders VALUES (1)")
			txRun(t, tx, "INSERT INTO orders VALUES (2)")
		})
		assert.Equal(t, 1, back.Hits())
		assert.EqualValues(t, 2, w.number(t, "SELECT count(*) FROM orders"))
	}, ofCockroachDB)
}

// TestStartupParameter_Unknown_IsRefused is what becomes of a session variable in the DSN: PgBouncer refuses it
// unless told to ignore it, and then ignores it.
func TestStartupParameter_Unknown_IsRefused(t *testing.T) {
	t.Parallel()
	const variable, value = "statement_timeout", "12345"
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		err := w.program(t, 1, variable, value).PingContext(t.Context())
		require.ErrorContains(t, err, "unsupported startup parameter: "+variable)
		for _, tracked := range []string{"application_name", "timezone"} {
			require.NoError(t, w.program(t, 1, tracked, "UTC").PingContext(t.Context()), tracked)
		}
	}, ofPostgreSQL, ofCockroachDB)
	ignoring := pgbouncer.Options{Settings: map[string]string{"ignore_startup_parameters": variable}}
	behindPgBouncer(t, ignoring, func(t *testing.T, w *testbed) {
		is := ""
		require.NoError(t, w.program(t, 1, variable, value).QueryRowContext(t.Context(), "SHOW statement_timeout").Scan(&is))
		assert.Equal(t, "0", is)
	}, serverKind{"ignored", ofPostgreSQL.start})
}
