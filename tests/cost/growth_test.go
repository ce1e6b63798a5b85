package cost_test

import (
	"database/sql"
	"fmt"
	"maps"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// These tests look at the heap of the process, and so don't run in parallel with others.

// heapInUse is what is reachable.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what sync.Pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// growthPool is a pool of one connection to a server of ready-made answers, and what its metrics say of the memory of
// its records.
func growthPool(t *testing.T, replies map[string]cannedpg.Reply) (db *sql.DB, recorded func() int64) {
	t.Helper()
	m := cockroachdb.NewMetrics()
	db = kit.Open(t, cannedpg.Start(t, replies).DSN(), "retry_max_bytes=100000000&retry_max_statements=100000",
		func(cfg *cockroachdb.Config) { cfg.Metrics = m })
	db.SetMaxOpenConns(1)
	return db, func() int64 { return int64(kit.Counts(t, m)["history_bytes"]) }
}

func failTest(t *testing.T) func(error) { return func(err error) { t.Fatal(err) } }

// What the metric and MaxBytes count of a record is what it takes, or a little more: the text, which the application
// may hold anyway, is counted too.
func TestCost_MemoryOfARecord_IsWhatIsCounted(t *testing.T) {
	const updateMany = "UPDATE kv SET v = v + 1 WHERE k IN (100 keys)"
	types, keys := make([]uint32, 100), make([]any, 100)
	for i := range keys {
		types[i], keys[i] = pgtype.Int8OID, i
	}
	replies := map[string]cannedpg.Reply{updateMany: {Params: types}}
	maps.Copy(replies, cannedReplies)
	for name, run := range map[string]func(tx *sql.Tx){
		"two arguments":     func(tx *sql.Tx) { execOne(tx, failTest(t)) },
		"a row":             func(tx *sql.Tx) { queryRow(tx, failTest(t)) },
		"a hundred rows":    func(tx *sql.Tx) { readEvery(tx, cannedSome, failTest(t)) },
		"hundred arguments": func(tx *sql.Tx) { kit.Exec(t, tx, updateMany, keys...) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 100, 10_000} {
				db, recorded := growthPool(t, replies)
				tx, err := db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				run(tx)
				heap, counted := heapInUse(), recorded()
				for range n {
					run(tx)
				}
				heap, counted = heapInUse()-heap, recorded()-counted
				t.Logf("%d statements: %d bytes each on the heap, %d counted", n, heap/int64(n), counted/int64(n))
				const piece = 64 << 10 // that memory is taken in, and what else comes and goes
				assert.LessOrEqual(t, heap, counted+counted/5+piece)
				assert.LessOrEqual(t, counted, 3*max(heap, 0)+piece)
				require.NoError(t, tx.Commit())
				assert.Zero(t, recorded())
			}
		})
	}
}

// Of a row that was read nothing stays: a million take no more memory than one, with their digest on record.
func TestCost_ManyRowsRead_TakeConstantMemory(t *testing.T) {
	const million = "SELECT 1000000 rows"
	db, _ := growthPool(t, map[string]cannedpg.Reply{million: {Columns: 2, Rows: 1_000_000}})
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.Query(million)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var first, most int64
	n := 0
	for ; rows.Next(); n++ {
		var a, b int64
		require.NoError(t, rows.Scan(&a, &b))
		switch {
		case n == 1000:
			first = heapInUse()
		case n%200_000 == 0:
			most = max(most, heapInUse())
		}
	}
	require.NoError(t, rows.Err())
	require.Equal(t, 1_000_000, n)
	t.Logf("%d bytes more after a million rows than after a thousand", most-first)
	assert.Less(t, most-first, int64(1<<20))
	require.NoError(t, tx.Commit())
}

// A replay is one round trip, be the record of one statement or of ten thousand.
func TestCost_ReplayOfManyStatements_IsOneRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 100, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			updates := kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}
			st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
				if s.SQL != tripSelect {
					return updates.Reply(s)
				}
				r := kit.Texts("a")
				r.ParamOIDs = []uint32{pgtype.Int8OID}
				return r
			}, "retry_max_elapsed=1h") // the machine may be busy
			tx := st.Begin(t)
			for range n {
				var v string
				require.NoError(t, tx.QueryRow(tripSelect, 5).Scan(&v))
			}
			before := st.Server.RoundTrips()
			kit.Exec(t, tx, "UPDATE c")
			assert.Equal(t, 2, st.Server.RoundTrips()-before, "the statement that lost, and the replay")
			assert.Equal(t, 2*n, st.Times(tripSelect))
			require.NoError(t, tx.Commit())
		})
	}
}
