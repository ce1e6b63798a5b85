package restart_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	randomWorkers = 4
	randomRepeats = 15 // of each worker
)

// newRandomPool opens a pool that never gives up, at a server that fails on request.
func newRandomPool(t *testing.T) (*crdbsim.Sim, *sql.DB) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	return sim, kit.Open(t, dsn, kit.Attempts(1000), func(cfg *cockroachdb.Config) { cfg.RetryThrottle.Off = true })
}

// injectConflicts has statements and commits lose conflicts at random.
func injectConflicts(sim *crdbsim.Sim, seed uint64) []*crdbsim.Fault {
	fail := crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("ABORT_REASON_ABORTED_RECORD_FOUND")}
	late := crdbsim.Action{Then: crdbsim.ExecuteFail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	faults := []*crdbsim.Fault{
		crdbsim.On("^(update|select|insert)", fail),
		crdbsim.On("^(update|select|insert)", late),
		crdbsim.On("^release", fail),
	}
	for i, f := range faults {
		f.Times, f.Chance, f.Rand = -1, []float64{0.15, 0.15, 0.4}[i], rand.New(rand.NewPCG(seed, uint64(i)))
	}
	sim.Inject(faults...)
	return faults
}

// requireInjected ends the injection, and looks whether each fault has occurred.
func requireInjected(t *testing.T, sim *crdbsim.Sim, faults []*crdbsim.Fault) {
	t.Helper()
	sim.ClearFaults()
	for _, f := range faults {
		assert.Positive(t, f.Hits())
	}
}

// runRandomly has workers do this at the same time, and counts how it ended.
func runRandomly(t *testing.T, work func(rnd *rand.Rand, worker, i int) error) (committed, diverged int) {
	t.Helper()
	var c, d atomic.Int64
	var wg sync.WaitGroup
	for w := range randomWorkers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(43, uint64(w)))
			for i := range randomRepeats {
				err := work(rnd, w, i)
				var divergence *cockroachdb.DivergenceError
				switch {
				case err == nil:
					c.Add(1)
				case errors.As(err, &divergence):
					d.Add(1)
				default:
					assert.NoError(t, err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, randomWorkers*randomRepeats, int(c.Load()+d.Load()))
	t.Logf("%d committed, %d diverged", c.Load(), d.Load())
	return int(c.Load()), int(d.Load())
}

// 25–50 % random conflicts, invariants hold (bank, write skew, counters). The conflicts strike before a statement,
// after it and at the commit, besides those that the workers cause each other.
func TestRestart_RandomConflicts_LoseNoWrite(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	t.Run("bank", func(t *testing.T) {
		t.Parallel()
		sim, db := newRandomPool(t)
		newBank(t, db)
		faults := injectConflicts(sim, 1)
		runRandomly(t, func(rnd *rand.Rand, _, i int) error {
			from, to := rnd.IntN(accounts), rnd.IntN(accounts)
			switch i % 3 {
			case 0:
				return blindTransfer(ctx, db, from, to)
			case 1:
				return readTransfer(ctx, db, from, to)
			default:
				return cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error { return readWrite(ctx, tx, from, to) })
			}
		})
		requireInjected(t, sim, faults)
		assert.Equal(t, 1000*accounts, kit.Scan[int](t, db, "SELECT sum(balance) FROM accounts"))
	})
	t.Run("counters", func(t *testing.T) {
		t.Parallel()
		sim, db := newRandomPool(t)
		kit.Exec(t, db, "CREATE TABLE counters (id INT PRIMARY KEY, n INT NOT NULL)")
		kit.Exec(t, db, "INSERT INTO counters VALUES (0, 0), (1, 0)")
		kit.Exec(t, db, "CREATE TABLE entries (worker INT, i INT, PRIMARY KEY (worker, i))")
		faults := injectConflicts(sim, 2)
		committed, diverged := runRandomly(t, func(_ *rand.Rand, w, i int) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			// Blind, and so never a divergence. Run twice in one attempt, the INSERT would fail and the counter be too high.
			if _, err := tx.ExecContext(ctx, "INSERT INTO entries VALUES ($1, $2)", w, i); err != nil {
				return err
			}
			for k := range 2 {
				if _, err := tx.ExecContext(ctx, "UPDATE counters SET n = n + 1 WHERE id = $1", (k+w)%2); err != nil {
					return err
				}
			}
			return tx.Commit()
		})
		requireInjected(t, sim, faults)
		assert.Zero(t, diverged)
		assert.Equal(t, randomWorkers*randomRepeats, committed)
		var low, high, entries int
		require.NoError(t, db.QueryRowContext(ctx, "SELECT min(n), max(n) FROM counters").Scan(&low, &high))
		require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM entries").Scan(&entries))
		assert.Equal(t, []int{committed, committed, committed}, []int{low, high, entries})
	})
	t.Run("doctors on call", func(t *testing.T) {
		t.Parallel()
		// Each shift must keep a doctor. Two doctors that look and leave at the same time would both see the other one.
		sim, db := newRandomPool(t)
		kit.Exec(t, db, "CREATE TABLE doctors (id INT PRIMARY KEY, on_call BOOL NOT NULL)")
		kit.Exec(t, db, "INSERT INTO doctors VALUES (0, true), (1, true), (2, true)")
		faults := injectConflicts(sim, 3)
		leave := func(ctx context.Context, tx *sql.Tx, id int) error {
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM doctors WHERE on_call").Scan(&n); err != nil {
				return err
			}
			if n == 0 {
				return errors.New("nobody is on call")
			}
			on := n < 2 // the last one stays; else one leaves, or comes back
			_, err := tx.ExecContext(ctx, "UPDATE doctors SET on_call = $2 WHERE id = $1", id, on)
			return err
		}
		runRandomly(t, func(rnd *rand.Rand, _, i int) error {
			id := rnd.IntN(3)
			if i%2 == 0 {
				return cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error { return leave(ctx, tx, id) })
			}
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if err := leave(ctx, tx, id); err != nil {
				return err
			}
			return tx.Commit()
		})
		requireInjected(t, sim, faults)
		var n int
		require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM doctors WHERE on_call").Scan(&n))
		assert.Positive(t, n)
	})
}
