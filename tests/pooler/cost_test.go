//go:build unix

package pooler_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// TestPooler_RoundTrips_AreTheDocumented counts what docs/poolers.md says of round trips, for one statement outside a
// transaction and for a transaction of three.
func TestPooler_RoundTrips_AreTheDocumented(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{}, func(t *testing.T, w *testbed) {
		s := w.hold(t)
		for _, mode := range []string{"cache_statement", "cache_describe", "exec"} {
			for _, load := range []struct {
				name              string
				run               func(t *testing.T, p *program)
				statements, trips int64
			}{
				{"outside", func(t *testing.T, p *program) { ask(t, p, "SELECT $1::INT", 1) }, 1, 1},
				{"in a transaction", threeQuestions, 3, 4},
			} {
				p := w.program(t, 1, "default_query_exec_mode", mode)
				s.leave(0)
				cold, warm := w.trips(t, p, load.run), w.trips(t, p, load.run)
				s.leave(1)
				missing, repaired := w.trips(t, p, load.run), w.trips(t, p, load.run)
				known := w.trips(t, p, load.run)
				t.Logf("%s, %s: %d cold, %d warm; on another server %d, then %d, then %d",
					mode, load.name, cold, warm, missing, repaired, known)

				assert.Equal(t, load.trips, warm, "the server knows them")
				assert.Equal(t, load.trips, known, "so does the other one, by now")
				if mode != "cache_statement" {
					assert.Equal(t, load.trips, missing, "nothing is needed of the server")
					continue
				}
				assert.Greater(t, missing, load.trips, "the other server did not know them")
				assert.LessOrEqual(t, missing, load.trips+2*load.statements)
				assert.LessOrEqual(t, repaired, load.trips+2*load.statements)
			}
		}
	}, ofPostgreSQLWithFaults, ofCockroachDB)
}

func threeQuestions(t *testing.T, p *program) {
	inTransaction(t, p, func(tx *sql.Tx) {
		for _, question := range []string{"SELECT $1::INT + 1", "SELECT $1::INT + 2", "SELECT $1::INT + 3"} {
			ask(t, tx, question, 1)
		}
	})
}

// trips returns how many round trips there are while run runs.
func (w *testbed) trips(t *testing.T, p *program, run func(t *testing.T, p *program)) int64 {
	before := w.sim.RoundTrips()
	run(t, p)
	return w.sim.RoundTrips() - before
}
