//go:build unix

package failover_test

import (
	"testing"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// A disturbance is what PgBouncer, or its server, suffers under load.
type disturbance func(*testing.T, *pgbouncer.PgBouncer)

// throughPgBouncer runs each driver through a PgBouncer of its own. start returns a DSN for PgBouncer, and one past it.
func throughPgBouncer(t *testing.T, planned bool, start func(*testing.T) (dsn, direct string, disturb disturbance)) {
	t.Helper()
	for _, way := range []contender{{"pgx", "&default_query_exec_mode=exec"}, ours, marked} {
		t.Run(way.name(), func(t *testing.T) {
			t.Parallel()
			dsn, direct, disturb := start(t)
			b := pgbouncer.Start(t, dsn, pgbouncer.Options{Servers: 4})
			s := outage{dsn: b.DSN(), direct: direct, planned: planned, leave: func(t *testing.T, l *load) {
				for range 2 {
					disturb(t, b)
					l.goesOn(t)
				}
			}}
			s.run(t, way)
		})
	}
}

// toPostgreSQL starts nothing but a database.
func toPostgreSQL(disturb disturbance) func(*testing.T) (string, string, disturbance) {
	return func(t *testing.T) (string, string, disturbance) {
		t.Helper()
		direct := enginetest.NewDirectDB(t)
		return direct, direct, disturb
	}
}

// TestPgBouncer_Killed kills a PgBouncer under load, with all transactions that go by way of it, and starts it again.
func TestPgBouncer_Killed(t *testing.T) {
	t.Parallel()
	throughPgBouncer(t, false, toPostgreSQL(func(t *testing.T, b *pgbouncer.PgBouncer) { b.Restart(t) }))
}

// TestPgBouncer_Restarted does what PgBouncer does at SIGINT: transactions end, their clients and all others wait, and
// then the process ends.
func TestPgBouncer_Restarted(t *testing.T) {
	t.Parallel()
	throughPgBouncer(t, true, toPostgreSQL(func(t *testing.T, b *pgbouncer.PgBouncer) {
		b.Command(t, "PAUSE")
		b.Restart(t)
	}))
}

// TestPgBouncer_ServersLost has PgBouncer lose its connections to the server under load, and hang up on its clients.
func TestPgBouncer_ServersLost(t *testing.T) {
	t.Parallel()
	throughPgBouncer(t, false, func(t *testing.T) (string, string, disturbance) {
		c := clustertest.New(t, 1, crdbsim.Config{})
		return c.NodeDSN(1), c.Direct, func(*testing.T, *pgbouncer.PgBouncer) { c.Node(1).CloseConns() }
	})
}
