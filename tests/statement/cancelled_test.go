package statement_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What a transaction whose context ended came to.
const (
	toldCommitted = iota
	toldAmbiguous
	toldNothing
)

// Contexts end wherever a transaction happens to be: in a statement, between two, in a replay, in the lane, in Commit,
// while another goroutine runs a statement of it. Then database/sql rolls back in a goroutine of its own. What was
// called committed is there, what was called ambiguous may be, and of all else there is nothing.
func TestStatement_CancelledAnywhere_LeavesAUsableConnection(t *testing.T) {
	t.Parallel()
	db := kit.Open(t, enginetest.NewDB(t), kit.NoWaits+"&statement_timeout=30s")
	const workers, turns = 6, 40
	db.SetMaxOpenConns(workers)
	db.SetMaxIdleConns(workers)
	kit.Exec(t, db, "CREATE TABLE done (id INT, part INT, PRIMARY KEY (id, part))")
	kit.Exec(t, db, "CREATE TABLE hot (k INT PRIMARY KEY, v INT NOT NULL)")
	kit.Exec(t, db, "INSERT INTO hot VALUES (1, 0)")

	told := make([]int, workers*turns)
	var committed, ended atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range turns {
				id := w*turns + i
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(200_000))*time.Microsecond)
				told[id] = toldOf(runOnHot(ctx, db, id))
				cancel()
				if told[id] == toldCommitted {
					committed.Add(1)
				} else {
					ended.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d committed, %d ended otherwise", committed.Load(), ended.Load())

	rows, err := db.QueryContext(t.Context(), "SELECT id, count(*) FROM done GROUP BY id")
	require.NoError(t, err)
	parts := map[int]int{}
	for rows.Next() {
		var id, n int
		require.NoError(t, rows.Scan(&id, &n))
		parts[id] = n
	}
	require.NoError(t, rows.Err())
	var total int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT v FROM hot").Scan(&total))
	assert.Len(t, parts, total, "each has counted itself once")
	for id, outcome := range told {
		switch n := parts[id]; outcome {
		case toldCommitted:
			assert.Equal(t, 3, n, "transaction %d was called committed", id)
		case toldNothing:
			assert.Zero(t, n, "transaction %d was called not committed", id)
		default:
			assert.Contains(t, []int{0, 3}, n, "half of transaction %d", id)
		}
	}
}

func toldOf(err error) int {
	var ambiguous *cockroachdb.AmbiguousCommitError
	switch {
	case err == nil:
		return toldCommitted
	case errors.As(err, &ambiguous):
		return toldAmbiguous
	}
	return toldNothing
}

// runOnHot runs a transaction in one of the ways there are: by RunTx, or by hand, with a statement under way in
// another goroutine.
func runOnHot(ctx context.Context, db *sql.DB, id int) error {
	work := func(tx *sql.Tx) error {
		ctx := ctx
		if id%2 == 0 {
			ctx = context.WithoutCancel(ctx) // only the transaction's ends
		}
		var v int
		if err := tx.QueryRowContext(ctx, "SELECT v FROM hot WHERE k = $1", 1).Scan(&v); err != nil {
			return err
		}
		for part := range 3 {
			if _, err := tx.ExecContext(ctx, "INSERT INTO done VALUES ($1, $2)", id, part); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE hot SET v = $1 WHERE k = 1", v+1)
		return err
	}
	if id%3 == 0 {
		return cockroachdb.RunTx(ctx, db, nil, work)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if id%3 == 1 {
		beside := make(chan struct{})
		go func() {
			defer close(beside)
			_, _ = tx.ExecContext(context.WithoutCancel(ctx), "SELECT 1")
		}()
		defer func() { <-beside }()
	}
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}
