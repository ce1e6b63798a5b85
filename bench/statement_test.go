package bench

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	_ "github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

const (
	update  = "UPDATE kv SET v = $1"
	selects = "SELECT v FROM kv"
)

// pretend answers one row of one integer to a SELECT, and success to everything else.
func pretend(s fakepg.Statement) fakepg.Reply {
	switch s.SQL {
	case selects:
		return fakepg.Reply{Columns: []fakepg.Column{{Name: "v", OID: 20}}, Values: [][]any{{int64(7)}}}
	case update:
		return fakepg.Reply{ParamOIDs: []uint32{20}}
	}
	return fakepg.Reply{}
}

func BenchmarkStatement(b *testing.B) {
	ops := map[string]func(b *testing.B, db *sql.DB){
		"exec": func(b *testing.B, db *sql.DB) {
			if _, err := db.ExecContext(b.Context(), update, 5); err != nil {
				b.Fatal(err)
			}
		},
		"queryrow": func(b *testing.B, db *sql.DB) {
			var v int64
			if err := db.QueryRowContext(b.Context(), selects).Scan(&v); err != nil {
				b.Fatal(err)
			}
		},
		"tx10": tenStatements,
	}
	for op, run := range ops {
		for _, peer := range []string{"pgx", "cockroachdb"} {
			b.Run("op="+op+"/peer="+peer, func(b *testing.B) {
				srv := fakepg.Start(b, fakepg.Answer(pretend), fakepg.Quiet())
				db, err := sql.Open(peer, srv.DSN())
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = db.Close() }()
				db.SetMaxOpenConns(1)
				run(b, db) // connects, and prepares
				trips := srv.RoundTrips()
				b.ReportAllocs()
				for b.Loop() {
					run(b, db)
				}
				b.ReportMetric(float64(srv.RoundTrips()-trips)/float64(b.N), "trips/op")
			})
		}
	}
}

func tenStatements(b *testing.B, db *sql.DB) {
	tx, err := db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var v int64
	for range 5 {
		if err := tx.QueryRowContext(b.Context(), selects).Scan(&v); err != nil {
			b.Fatal(err)
		}
		if _, err := tx.ExecContext(b.Context(), update, 5); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}
