//go:build unix

package failover_test

import (
	"testing"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// TestPgBouncer_Restart kills a PgBouncer under load, with all transactions that go by way of it, and starts it again.
func TestPgBouncer_Restart(t *testing.T) {
	t.Parallel()
	for _, way := range []contender{{"pgx", "&default_query_exec_mode=exec"}, ours, marked} {
		t.Run(way.name(), func(t *testing.T) {
			t.Parallel()
			direct := enginetest.NewDirectDB(t)
			b := pgbouncer.Start(t, direct, pgbouncer.Options{Servers: 4})
			s := outage{dsn: b.DSN(), direct: direct, leave: func(t *testing.T, l *load) {
				for range 2 {
					b.Restart(t)
					l.goesOn(t)
				}
			}}
			s.run(t, way)
		})
	}
}
