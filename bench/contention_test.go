package bench

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

const (
	rows    = 4
	workers = 16
)

// A peer runs work in a transaction until it commits.
type peer struct {
	name, driver string
	run          func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error
}

var peers = []peer{
	{"pgx-loop", "pgx", loop},
	{"ExecuteTx", "pgx", func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
		return crdb.ExecuteTx(ctx, db, nil, work)
	}},
	{"cockroachdb", "cockroachdb", func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
		return once(ctx, db, work)
	}},
	{"RunTx", "cockroachdb", func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
		return cockroachdb.RunTx(ctx, db, nil, work)
	}},
}

func once(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// loop is what CockroachDB's documentation teaches: roll back, wait 20 ms doubling with full jitter, begin anew.
func loop(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := once(ctx, db, work)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "40001" && pgErr.Code != "40P01" {
			return err
		}
		time.Sleep(rand.N(wait))
	}
}

// workloads are all of a kind that this driver can replay unseen, so that each peer gets to commit without help.
var workloads = []struct {
	name string
	work func(ctx context.Context, tx *sql.Tx) error
}{
	{"counter", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE kv SET v = v + 1 WHERE k = $1", rand.IntN(rows))
		return err
	}},
	{"transfer", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE kv SET v = v - 1 WHERE k = $1", rand.IntN(rows)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE kv SET v = v + 1 WHERE k = $1", rand.IntN(rows))
		return err
	}},
}

func BenchmarkContention(b *testing.B) {
	for _, w := range workloads {
		for _, p := range peers {
			b.Run("workload="+w.name+"/peer="+p.name, func(b *testing.B) {
				db, err := sql.Open(p.driver, enginetest.NewDB(b))
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = db.Close() }()
				db.SetMaxOpenConns(workers)
				db.SetMaxIdleConns(workers)
				if _, err := db.ExecContext(b.Context(), "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)"); err != nil {
					b.Fatal(err)
				}
				for k := range rows {
					if _, err := db.ExecContext(b.Context(), "INSERT INTO kv VALUES ($1, 0)", k); err != nil {
						b.Fatal(err)
					}
				}
				b.ResetTimer()
				took := contend(b, func(ctx context.Context) error {
					return p.run(ctx, db, func(tx *sql.Tx) error { return w.work(ctx, tx) })
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}

// contend runs b.N transactions by the workers and says how long each of them took.
func contend(b *testing.B, transaction func(context.Context) error) []time.Duration {
	took := make([]time.Duration, b.N)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				began := time.Now()
				if err := transaction(b.Context()); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(began)
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	return took
}
