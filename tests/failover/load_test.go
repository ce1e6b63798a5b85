//go:build unix

package failover_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// The load: each worker adds to a row and writes down in a journal that it has, in a transaction, over and over. It has
// no retry of its own.
const (
	workers   = 8
	rows      = 64
	perWorker = 1_000_000 // numbers in the journal
	progress  = 5 * workers
)

// tables are made past whatever is in front of the server.
var tables = []string{
	"CREATE TABLE counters (k INT PRIMARY KEY, name TEXT NOT NULL, v INT NOT NULL)",
	"INSERT INTO counters SELECT k, 'counter ' || k, 0 FROM generate_series(0, 63) AS k",
	"CREATE TABLE journal (entry SERIAL PRIMARY KEY, number INT NOT NULL)",
}

// A load is what workers do through a pool, and what they are told.
type load struct {
	db   *sql.DB
	done atomic.Int64 // transactions that were told to be committed
	stop chan struct{}
	all  sync.WaitGroup

	mu   sync.Mutex
	told map[int]error // by the number in the journal, what Commit or an earlier statement has returned
}

func startLoad(db *sql.DB) *load {
	db.SetMaxOpenConns(workers)
	db.SetMaxIdleConns(workers)
	l := &load{db: db, stop: make(chan struct{}), told: make(map[int]error)}
	for worker := range workers {
		l.all.Go(func() { l.work(worker) })
	}
	return l
}

func (l *load) work(worker int) {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		number := worker*perWorker + i
		err := l.step(number)
		l.mu.Lock()
		l.told[number] = err
		l.mu.Unlock()
		if err == nil {
			l.done.Add(1)
		} else {
			time.Sleep(time.Millisecond) // nobody is served while a server is away, and the journal's numbers are few
		}
	}
}

// errAtCommit is of what Commit has returned.
type errAtCommit struct{ error }

func (e errAtCommit) Unwrap() error { return e.error }

func (l *load) step(number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := add(ctx, tx, number); err != nil {
		_ = tx.Rollback() // it has failed already
		return err
	}
	if err := tx.Commit(); err != nil {
		return errAtCommit{err}
	}
	return nil
}

func add(ctx context.Context, tx *sql.Tx, number int) error {
	var name string
	k := number % rows
	if err := tx.QueryRowContext(ctx, "SELECT name FROM counters WHERE k = $1", k).Scan(&name); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE counters SET v = v + 1 WHERE k = $1 AND name = $2", k, name); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO journal (number) VALUES ($1)", number)
	return err
}

// goesOn waits until some more transactions of each worker have committed.
func (l *load) goesOn(t *testing.T) {
	t.Helper()
	before := l.done.Load()
	require.Eventually(t, func() bool { return l.done.Load() >= before+progress }, 2*time.Minute, time.Millisecond)
}

// finish stops the workers.
func (l *load) finish() {
	close(l.stop)
	l.all.Wait()
}

// ambiguous reports whether what a worker was told leaves open whether its transaction is committed.
func ambiguous(err error) bool {
	at, ok := errors.AsType[errAtCommit](err)
	if !ok {
		return false
	}
	if is[*cockroachdb.AmbiguousCommitError](err) {
		return true
	}
	if is[*cockroachdb.ConnectionLostError](err) || is[*cockroachdb.DivergenceError](err) ||
		is[*cockroachdb.RetriesExhaustedError](err) || is[*cockroachdb.NotReplayableError](err) {
		return false
	}
	server, ok := errors.AsType[*pgconn.PgError](at.error)
	return !ok || strings.HasPrefix(server.Code, "57") || strings.HasPrefix(server.Code, "08")
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// errorsSeen returns those that are not ambiguous commits, and how many of those there are.
func (l *load) errorsSeen() (seen []error, perhaps int) {
	for _, err := range l.told {
		switch {
		case ambiguous(err):
			perhaps++
		case err != nil:
			seen = append(seen, err)
		}
	}
	return seen, perhaps
}

// contradictions returns what workers were told that is not so by the tables. It asks past what is before the server.
func (l *load) contradictions(ctx context.Context, direct *sql.DB) (found []string, err error) {
	entries, err := l.entries(ctx, direct)
	if err != nil {
		return nil, err
	}
	total := 0
	for number, told := range l.told {
		n := entries[number]
		total += n
		switch {
		case n > 1:
			found = append(found, fmt.Sprintf("transaction %d was run %d times; it was told: %v", number, n, told))
		case told == nil && n == 0:
			found = append(found, fmt.Sprintf("transaction %d was committed, and is not there", number))
		case told != nil && !ambiguous(told) && n == 1:
			found = append(found, fmt.Sprintf("transaction %d has failed, and is there; it was told: %v", number, told))
		}
	}
	var sum int
	if err := direct.QueryRowContext(ctx, "SELECT sum(v) FROM counters").Scan(&sum); err != nil {
		return nil, err
	}
	if sum != total {
		found = append(found, fmt.Sprintf("the counters say %d, and the journal %d", sum, total))
	}
	return found, nil
}

// entries returns how many there are in the journal for each number.
func (l *load) entries(ctx context.Context, direct *sql.DB) (map[int]int, error) {
	found, err := direct.QueryContext(ctx, "SELECT number, count(*) FROM journal GROUP BY number")
	if err != nil {
		return nil, err
	}
	defer found.Close()
	entries := make(map[int]int)
	for found.Next() {
		var number, n int
		if err := found.Scan(&number, &n); err != nil {
			return nil, err
		}
		entries[number] = n
	}
	return entries, found.Err()
}

// TestLoad_Planted_Found checks that each kind of contradiction is found.
func TestLoad_Planted_Found(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("pgx", enginetest.NewDirectDB(t))
	require.NoError(t, err)
	defer db.Close()
	for _, statement := range tables {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	l := startLoad(db)
	l.goesOn(t)
	l.finish()
	found, err := l.contradictions(t.Context(), db)
	require.NoError(t, err)
	require.Empty(t, found)

	l.told[0], l.told[1] = errors.New("it has failed"), nil
	for _, statement := range []string{
		"DELETE FROM journal WHERE number = 1",
		"DELETE FROM journal WHERE number = 0",
		"INSERT INTO journal (number) VALUES (0)",
		"INSERT INTO journal (number) SELECT 2 FROM generate_series(1, 2)",
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	l.told[2] = errAtCommit{io.ErrUnexpectedEOF}
	found, err = l.contradictions(t.Context(), db)
	require.NoError(t, err)
	all := strings.Join(found, "\n")
	for _, lie := range []string{
		"transaction 0 has failed, and is there", "transaction 1 was committed, and is not there", "transaction 2 was run",
		"the counters say",
	} {
		assert.Contains(t, all, lie)
	}
	assert.Len(t, found, 4)
}
