package bench

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/reprise-go/cockroachdb/bench/internal/transact"
	"github.com/reprise-go/cockroachdb/internal/chance"
	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

// The four workloads that were measured on a real CockroachDB; see docs/contention.md. Their programs are lost: these
// are made anew from their description. The shares of failing attempts were measured with pgx, 16 workers, 10 rows.
var calibrated = []struct {
	workload
	share    float64                 // of attempts that fail, on the real server
	policies map[string]float64      // commits to those of the loop, on the real server
	change   func(*crdbmodel.Config) // the service time that was fitted for this one
}{
	{
		workload: workload{"blind transfer", keyValue(hotRows), transfer(asDrawn), sumIsKept},
		share:    0.21, policies: toLoop(147, 96, 356, 422, 1502),
	},
	{
		workload: workload{"read-modify-write", keyValue(hotRows), readModifyWriteTwo("", asDrawn), sumIsKept},
		share:    0.67, policies: toLoop(619, 482, 787, 638, 712),
	},
	{
		workload: workload{"the same, FOR UPDATE", keyValue(hotRows), readModifyWriteTwo(forUpdate, asDrawn), sumIsKept},
		share:    0.22, policies: toLoop(119, 77, 326, 280, 506),
	},
	{
		workload: workload{"wide read, hot write", keyValue(hotRows), sumThenIncrement, sumIsKept},
		share:    0.93, policies: toLoop(81, 33, 157, 218, 184), change: slowRefresh,
	},
}

// toLoop returns the commits of the policies as multiples of the loop's.
func toLoop(loop, executeTx, lane, savepoint, high float64) map[string]float64 {
	return map[string]float64{
		"ExecuteTx":               executeTx / loop,
		"lane":                    lane / loop,
		"lane, savepoint if free": savepoint / loop,
		"lane, HIGH":              high / loop,
	}
}

// slowRefresh is for wide reads, which took the real server that long to refresh.
func slowRefresh(cfg *crdbmodel.Config) { cfg.Refresh = 20 * time.Millisecond }

const forUpdate = " FOR UPDATE"

// readModifyWriteTwo reads two rows and writes what it makes of them.
func readModifyWriteTwo(locking string, in order) func(*rand.Rand) body {
	return func(r *rand.Rand) body {
		rows := r.Perm(hotRows)[:2]
		in(rows)
		return func(ctx context.Context, tx *sql.Tx) (int64, error) {
			var values [2]int64
			for i, k := range rows {
				if err := tx.QueryRowContext(ctx, "SELECT v FROM kv WHERE k = $1"+locking, k).Scan(&values[i]); err != nil {
					return 0, err
				}
			}
			for i, k := range rows {
				if _, err := tx.ExecContext(ctx, "UPDATE kv SET v = $1 WHERE k = $2", values[i]+1, k); err != nil {
					return 0, err
				}
			}
			return 2, nil
		}
	}
}

// sumThenIncrement reads all rows and writes one of them.
func sumThenIncrement(r *rand.Rand) body {
	k := r.IntN(hotRows)
	return func(ctx context.Context, tx *sql.Tx) (int64, error) {
		var sum int64
		if err := tx.QueryRowContext(ctx, "SELECT sum(v) FROM kv").Scan(&sum); err != nil {
			return 0, err
		}
		return 1, increment(ctx, tx, k)
	}
}

// impatient tries again at once, as if each attempt were a transaction of its own: the share of those that fail is what
// was measured on the real server without retries.
var impatient = peer{"no retries", likeCockroachDB, with(pgxConnector, atOnce)}

func atOnce(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	for {
		if err := transact.Once(ctx, db, work); !isConflict(err) {
			return err
		}
	}
}

func sharesTable(t *testing.T) string {
	text := row("", "CockroachDB v22.1", "the model", "in which") + row("---", "---:", "---:", "---")
	for _, c := range calibrated {
		f := measured(t, cell{workload: c.workload, peer: impatient, workers: 16, lasts: longEnough, change: c.change})
		text += fmt.Sprintf("| %s | %.0f %% | %.0f %% | %d aborted, %d too late, %d at the commit |\n", c.name,
			100*c.share, 100*f.share(), f.counts.Aborted, f.counts.TooOld, f.counts.Unserialized)
	}
	return text
}

// share is the share of attempts that fail.
func (f figures) share() float64 { return f.seen / (1 + f.seen) }

// A prototype is a policy that was measured on the real server, but that it calls the function again where that
// replayed what it had recorded. Whoever loses takes turns in a lane for one.
type prototype struct {
	lane      chan struct{}
	savepoint bool // who finds the lane free restarts by savepoint
	high      bool // who begins anew in the lane asks for PRIORITY HIGH
}

// policies are those that the table has, beside the loop.
func policies() []peer {
	made := func(name string, p prototype) peer {
		return peer{name, likeCockroachDB, func(tb testing.TB, g ground) *client {
			p.lane = make(chan struct{}, 1)
			return with(pgxConnector, p.untilCommitted)(tb, g)
		}}
	}
	return []peer{
		{"ExecuteTx", likeCockroachDB, with(pgxConnector, executeTx)},
		made("lane", prototype{}),
		made("lane, savepoint if free", prototype{savepoint: true}),
		made("lane, HIGH", prototype{high: true}),
	}
}

func (p *prototype) untilCommitted(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	inLane := false
	defer func() {
		if inLane {
			<-p.lane
		}
	}()
	for ceiling := 20 * time.Millisecond; ; ceiling = min(2*ceiling, time.Second) {
		err := p.transaction(ctx, db, &inLane, work)
		switch {
		case !isConflict(err):
			return err
		case inLane:
			time.Sleep(time.Duration(chance.Float64() * float64(ceiling)))
		default:
			p.lane <- struct{}{}
			inLane = true
		}
	}
}

// transaction runs work in a transaction, and again in the same one where the policy restarts by savepoint.
func (p *prototype) transaction(ctx context.Context, db *sql.DB, inLane *bool, work func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if *inLane && p.high {
		if _, err := tx.ExecContext(ctx, "SET TRANSACTION PRIORITY HIGH"); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "SAVEPOINT cockroach_restart"); err != nil {
		return err
	}
	for {
		err := work(tx)
		if err == nil {
			_, err = tx.ExecContext(ctx, "RELEASE SAVEPOINT cockroach_restart")
		}
		if err == nil {
			return tx.Commit()
		}
		if !isConflict(err) || *inLane || !p.savepoint || !p.tryEnter() {
			return err
		}
		*inLane = true
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT cockroach_restart"); err != nil {
			return err
		}
	}
}

func (p *prototype) tryEnter() bool {
	select {
	case p.lane <- struct{}{}:
		return true
	default:
		return false
	}
}

// policiesTable has the commits of each policy as multiples of the loop's.
func policiesTable(t *testing.T) string {
	text := row("", "policy", "CockroachDB v22.1", "the model", "the model's p99") +
		row("---", "---", "---:", "---:", "---:")
	for _, c := range calibrated {
		in := cell{workload: c.workload, peer: peerNamed(t, "pgx-loop"), workers: 16, lasts: longEnough, change: c.change}
		loop := measured(t, in)
		text += fmt.Sprintf("| %s | loop | 1 | 1 (%.0f/s) | %s |\n", c.name, loop.perSecond, seconds(loop.p99))
		for _, p := range policies() {
			in.peer = p
			f := measured(t, in)
			text += fmt.Sprintf("| | %s | %.2f × | %.2f × | %s |\n", p.name,
				c.policies[p.name], f.perSecond/loop.perSecond, seconds(f.p99))
		}
	}
	return text
}
