package lane_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// The assertion of every other test here: it can fail.
func TestLane_Held_TheProbeSeesIt(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, "UPDATE hold too"))
		assert.Equal(t, 5*time.Second, time.Since(r.Started), "LaneWait")
		require.NoError(t, tx.Commit())
		require.NoError(t, holder.Commit())
		r.WantUsable(t)
	})
}

// An application that opens a transaction within another one waits for itself, but not for ever.
func TestLane_NestedTransactions_End(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{2, 3, 5} {
		kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
			var nest func(level int)
			nest = func(level int) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, fmt.Sprintf("UPDATE hold level %d", level)))
				if level < depth {
					nest(level + 1)
				}
				require.NoError(t, tx.Commit())
			}
			nest(1)
			assert.LessOrEqual(t, time.Since(r.Started), time.Duration(depth-1)*5*time.Second,
				"at most LaneWait for each level but the first")
			r.WantUsable(t)
		})
	}
}

// Closing the pool wakes nobody up, but who waits gets the lane once it is left.
func TestLane_PoolClosed_WaitersGetTheLane(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE a": {kit.Conflict}}, func(t *testing.T, r *kit.Rig) {
		other := r.Another(t) // which keeps the series when this one's pool is closed
		require.NoError(t, other.PingContext(t.Context()))
		holder, waiter := r.HoldLane(t), r.Begin(t)
		done := make(chan error)
		go func() { done <- kit.ExecAll(waiter, "UPDATE a") }()
		time.Sleep(time.Second)
		require.NoError(t, r.DB.Close())
		require.NoError(t, holder.Rollback())
		require.NoError(t, <-done)
		assert.Equal(t, time.Second, time.Since(r.Started))
		require.NoError(t, waiter.Commit())
		assert.Contains(t, r.Trips(3), "BEGIN; SAVEPOINT; UPDATE a")
		counts := r.Counts(t)
		assert.Zero(t, counts["history_bytes"])
		assert.Zero(t, counts["retry_lane_waiting"])
		assert.Equal(t, 1.0, counts["transactions_total committed"])
		assert.Equal(t, 1.0, counts["transactions_total rolled_back"])
	})
}

// A reader outside a transaction has nothing left to lose to anybody once it has its first row: it leaves the lane,
// and not when it has read all of them, which may take an hour.
func TestLane_ReaderWithItsFirstRow_LeavesIt(t *testing.T) {
	t.Parallel()
	const export = "SELECT export"
	all := kit.Texts("1", "2", "3")
	script := kit.Script{export: {{Columns: all.Columns, Err: fakepg.Conflict()}, all}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		rows := kit.Query(t, r.DB, export)
		rows.Read(1)
		time.Sleep(time.Second) // it writes a file
		r.WantFreeLane(t)
		assert.Equal(t, []string{"2", "3"}, rows.MustRest())
		assert.Equal(t, 2, r.Ran(export))
		r.WantUsable(t)
	})
}

// One that loses after rows were handed over leaves the lane as soon as it is back where it was.
func TestLane_ReaderThatLostAmidItsRows_LeavesIt(t *testing.T) {
	t.Parallel()
	const export = "SELECT export"
	all, cut := kit.Texts("1", "2", "3"), kit.Texts("1", "2", "3")
	cut.Err, cut.ErrAfterRows = fakepg.Conflict(), 1
	kit.InBubble(t, kit.Script{export: {cut, all}}, func(t *testing.T, r *kit.Rig) {
		rows := kit.Query(t, r.DB, export)
		rows.Read(2)
		time.Sleep(time.Second) // it writes a file
		r.WantFreeLane(t)
		assert.Equal(t, []string{"3"}, rows.MustRest())
		assert.Equal(t, 2, r.Ran(export))
		r.WantUsable(t)
	})
}

// Those that wait come in the order in which they came, but for the few that are in the lane at the same time.
func TestLane_ManyWait_ComeInTheirOrder(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		holder := r.HoldLane(t)
		var entered [10]time.Time
		var all sync.WaitGroup
		for i := range entered {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				tx := r.Begin(t)
				assert.NoError(t, kit.ExecAll(tx, fmt.Sprintf("UPDATE hold %d", i)))
				entered[i] = time.Now()
				// The next must not enter at the same moment, but as the lane widens, the next two may.
				time.Sleep(100 * time.Millisecond)
				assert.NoError(t, tx.Commit())
			})
		}
		time.Sleep(time.Second)
		assert.Equal(t, 10.0, r.Counts(t)["retry_lane_waiting"])
		require.NoError(t, holder.Commit())
		all.Wait()
		assert.IsNonDecreasing(t, unixMillis(entered[:]))
		assert.Less(t, entered[0], entered[9], "one after the other")
		r.WantUsable(t)
	})
}

func unixMillis(times []time.Time) (ms []int64) {
	for _, at := range times {
		ms = append(ms, at.UnixMilli())
	}
	return ms
}

// attemptCounter counts the attempts of the transaction whose context carries the count.
type attemptCounter struct{}

type attemptsKey struct{}

func (attemptCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	begins := strings.HasPrefix(data.SQL, "BEGIN") || strings.HasPrefix(data.SQL, "ROLLBACK TO")
	if n, ok := ctx.Value(attemptsKey{}).(*atomic.Int64); ok && begins {
		n.Add(1)
	}
	return ctx
}

func (attemptCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestLane_Nobody_Starves(t *testing.T) {
	t.Parallel()
	const workers, each = 32, 8
	db := kit.Open(t, enginetest.NewDB(t), func(cfg *cockroachdb.Config) { cfg.ConnConfig.Tracer = attemptCounter{} })
	kit.Exec(t, db, "CREATE TABLE counters (id INT PRIMARY KEY, v INT NOT NULL)")
	kit.Exec(t, db, "INSERT INTO counters VALUES (1, 0)")
	var most, total atomic.Int64
	var slowest atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				var attempts atomic.Int64
				ctx, began := context.WithValue(t.Context(), attemptsKey{}, &attempts), time.Now()
				err := countOn(ctx, db)
				assert.NoError(t, err)
				total.Add(attempts.Load())
				for old := most.Load(); attempts.Load() > old && !most.CompareAndSwap(old, attempts.Load()); old = most.Load() {
				}
				took := time.Since(began).Milliseconds()
				for old := slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); old = slowest.Load() {
				}
			}
		})
	}
	all.Wait()
	var v int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT v FROM counters").Scan(&v))
	assert.Equal(t, workers*each, v)
	t.Logf("%d workers, one row: at most %d attempts, %.1f on average, the slowest in %d ms",
		workers, most.Load(), float64(total.Load())/(workers*each), slowest.Load())
}

// countOn adds one, and reads first what it does not act on: a conflict then is one that a replay absorbs.
func countOn(ctx context.Context, db *sql.DB) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	for _, text := range []string{"SELECT count(*) FROM counters", "UPDATE counters SET v = v + 1 WHERE id = 1"} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
