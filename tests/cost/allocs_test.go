package cost_test

import (
	"database/sql"
	"math"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/internal/cannedpg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	cannedUpdate = "UPDATE kv SET v = $1 WHERE k = $2"
	cannedOne    = "SELECT v FROM kv WHERE k = $1"
	cannedSome   = "SELECT v FROM kv LIMIT 100"
	cannedMany   = "SELECT v FROM kv"
)

var cannedReplies = map[string]cannedpg.Reply{
	cannedUpdate: {Params: []uint32{20, 20}},
	cannedOne:    {Params: []uint32{20}, Columns: 1, Rows: 1},
	cannedSome:   {Columns: 1, Rows: 100},
	cannedMany:   {Columns: 1, Rows: 10_000},
}

// A workload is what is measured of a driver. It is given what to do with errors.
type workload func(db *sql.DB, fail func(error))

// queryer is a *sql.DB or a *sql.Tx.
type queryer interface {
	Exec(string, ...any) (sql.Result, error)
	Query(string, ...any) (*sql.Rows, error)
	QueryRow(string, ...any) *sql.Row
}

func execOne(q queryer, fail func(error)) {
	if _, err := q.Exec(cannedUpdate, 5, 6); err != nil {
		fail(err)
	}
}

func queryRow(q queryer, fail func(error)) {
	var v int64
	if err := q.QueryRow(cannedOne, 5).Scan(&v); err != nil {
		fail(err)
	}
}

func readEvery(q queryer, text string, fail func(error)) {
	rows, err := q.Query(text)
	if err != nil {
		fail(err)
		return
	}
	defer func() { _ = rows.Close() }()
	var v int64
	for rows.Next() {
		if err := rows.Scan(&v); err != nil {
			fail(err)
		}
	}
	if err := rows.Err(); err != nil {
		fail(err)
	}
}

// inTx is a transaction of n statements, every other one a query.
func inTx(n int) workload {
	return func(db *sql.DB, fail func(error)) {
		tx, err := db.Begin()
		if err != nil {
			fail(err)
			return
		}
		for i := range n {
			if i%2 == 0 {
				execOne(tx, fail)
			} else {
				queryRow(tx, fail)
			}
		}
		if err := tx.Commit(); err != nil {
			fail(err)
		}
	}
}

func inTxReading(text string) workload {
	return func(db *sql.DB, fail func(error)) {
		tx, err := db.Begin()
		if err != nil {
			fail(err)
			return
		}
		readEvery(tx, text, fail)
		if err := tx.Commit(); err != nil {
			fail(err)
		}
	}
}

func preparedOnce() workload {
	var stmt *sql.Stmt
	return func(db *sql.DB, fail func(error)) {
		if stmt == nil {
			var err error
			if stmt, err = db.Prepare(cannedUpdate); err != nil {
				fail(err)
				return
			}
		}
		if _, err := stmt.Exec(5, 6); err != nil {
			fail(err)
		}
	}
}

func workloads() map[string]workload {
	return map[string]workload{
		"exec":          func(db *sql.DB, fail func(error)) { execOne(db, fail) },
		"queryrow":      func(db *sql.DB, fail func(error)) { queryRow(db, fail) },
		"prepared":      preparedOnce(),
		"rows=100":      func(db *sql.DB, fail func(error)) { readEvery(db, cannedSome, fail) },
		"rows=10000":    func(db *sql.DB, fail func(error)) { readEvery(db, cannedMany, fail) },
		"tx=1":          inTx(1),
		"tx=10":         inTx(10),
		"tx=100":        inTx(100),
		"tx,rows=100":   inTxReading(cannedSome),
		"tx,rows=10000": inTxReading(cannedMany),
	}
}

func cannedDB(t testing.TB, driver string) *sql.DB {
	t.Helper()
	db := kit.OpenBy(t, driver, cannedpg.Start(t, cannedReplies).DSN())
	db.SetMaxOpenConns(1)
	return db
}

// The driver may not allocate more often than pgx's stdlib, with recording and digests on. The exception is a
// transaction of one statement: SAVEPOINT and RELEASE are answered with a tag each, for which pgconn makes a string;
// from the second statement on, that is made good.
func TestCost_Allocations_NoMoreThanPgx(t *testing.T) {
	more := map[string]float64{"tx=1": 2}
	for name := range workloads() {
		t.Run(name, func(t *testing.T) {
			var n [2]float64
			for i, driver := range []string{"pgx", "cockroachdb"} {
				db, run := cannedDB(t, driver), workloads()[name]
				n[i] = math.Inf(1)
				// On a busy machine a write can take so long that pgconn reads too, for one more allocation.
				for range 10 {
					n[i] = min(n[i], testing.AllocsPerRun(3, func() { run(db, func(err error) { t.Fatal(err) }) }))
				}
			}
			t.Logf("%s: pgx %.0f, cockroachdb %.0f", name, n[0], n[1])
			assert.LessOrEqual(t, n[1], n[0]+more[name])
		})
	}
}
