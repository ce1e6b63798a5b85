package bench

import (
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	_ "github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
)

const (
	growthUpdate = "UPDATE kv SET v = $1 WHERE k = $2"
	growthLoses  = "UPDATE hot SET v = $1 WHERE k = $2"
	growthOne    = "SELECT v FROM kv WHERE k = $1"
)

func growthDB(b *testing.B, peer string, connections int) *sql.DB {
	srv := cannedpg.Start(b, map[string]cannedpg.Reply{
		growthUpdate: {Params: []uint32{20, 20}},
		growthLoses:  {Params: []uint32{20, 20}, Loses: true},
		growthOne:    {Params: []uint32{20}, Columns: 1, Rows: 1},
	})
	db, err := sql.Open(peer, srv.DSN())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// BenchmarkReplay measures what a conflict costs after so many statements, half of them queries: one round trip, and
// a time that is linear in the statements. The server is in the figures.
func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("statements=%d", n), func(b *testing.B) {
			db := growthDB(b, "cockroachdb", 1)
			var replays time.Duration
			for b.Loop() {
				tx, err := db.Begin()
				if err != nil {
					b.Fatal(err)
				}
				for i := range n {
					growthStatement(b, tx, i)
				}
				began := time.Now()
				if _, err := tx.Exec(growthLoses, 5, 6); err != nil {
					b.Fatal(err)
				}
				replays += time.Since(began)
				if err := tx.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(replays)/float64(b.N)/float64(n+1), "replay-ns/statement")
			b.ReportMetric(float64(replays)/float64(b.N), "replay-ns/op")
		})
	}
}

func growthStatement(b *testing.B, tx *sql.Tx, i int) {
	if i%2 == 0 {
		if _, err := tx.Exec(growthUpdate, i, 6); err != nil {
			b.Error(err)
		}
		return
	}
	var v int
	if err := tx.QueryRow(growthOne, i).Scan(&v); err != nil {
		b.Error(err)
	}
}

// BenchmarkConnections runs clean transactions of ten statements on so many connections at a time.
func BenchmarkConnections(b *testing.B) {
	for _, n := range []int{1, 4, 16, 64, 256} {
		for _, peer := range []string{"pgx", "cockroachdb"} {
			b.Run(fmt.Sprintf("connections=%d/peer=%s", n, peer), func(b *testing.B) {
				db := growthDB(b, peer, n)
				onEach(b, db, n, 10*n) // which connects, and prepares
				b.ReportAllocs()
				b.ResetTimer()
				onEach(b, db, n, b.N)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}

// onEach has n goroutines run so many transactions together.
func onEach(b *testing.B, db *sql.DB, n, transactions int) {
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(transactions))
	for range n {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				tx, err := db.Begin()
				if err != nil {
					b.Error(err)
					return
				}
				for i := range 10 {
					growthStatement(b, tx, i)
				}
				if err := tx.Commit(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}
