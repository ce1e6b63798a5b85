package contention

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

// The model knows numbers only. A list is the digits of one, in base 64, and so holds ten values at most.
const (
	base       = 64
	listLength = 10
	atATime    = 3 // lists in use
	lists      = 30
)

func TestModel_RandomHistories_AreSerializable(t *testing.T) {
	for name, change := range map[string]func(*crdbmodel.Config){
		"as measured": func(*crdbmodel.Config) {},
		"buffered":    func(cfg *crdbmodel.Config) { cfg.Buffered = true },
		"three nodes": func(cfg *crdbmodel.Config) { cfg.Nodes, cfg.Hop = 3, time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				synctest.Test(t, func(t *testing.T) {
					cfg := crdbmodel.Defaults()
					cfg.Seed = seed
					change(&cfg)
					newRun(t, cfg).check()
				})
			}
		})
	}
}

// A run is one history.
type run struct {
	*testing.T
	server *crdbmodel.Server

	mu    sync.Mutex
	txns  []*history.Txn
	taken [lists]int // values of each list
	first int        // list in use
}

func newRun(t *testing.T, cfg crdbmodel.Config) *run {
	r := &run{T: t, server: crdbmodel.New(cfg)}
	t.Cleanup(r.server.Close)
	r.exec(r.connect(), "CREATE TABLE lists (k INT PRIMARY KEY, v INT NOT NULL)")
	return r
}

func (r *run) connect() *pgx.Conn {
	cfg, err := pgx.ParseConfig(r.server.DSN())
	require.NoError(r, err)
	cfg.DialFunc = r.server.Dial
	c, err := pgx.ConnectConfig(r.Context(), cfg)
	require.NoError(r, err)
	r.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (r *run) exec(c *pgx.Conn, sql string) {
	_, err := c.Exec(r.Context(), sql)
	require.NoError(r, err, sql)
}

func (r *run) check() {
	var all sync.WaitGroup
	for n := range 8 {
		c, rnd := r.connect(), rand.New(rand.NewPCG(7, uint64(n)))
		all.Go(func() {
			for r.inUse() < lists-atATime {
				r.transaction(c, rnd)
			}
		})
	}
	all.Wait()
	final, err := query(r.Context(), r.connect(), "SELECT k, v FROM lists")
	require.NoError(r, err)
	for i, t := range r.txns {
		t.ID = i
	}
	for _, a := range history.CheckLists(r.txns, final) {
		r.Error(a)
	}
	counts := r.server.Counts()
	require.NotZero(r, counts.TooOld+counts.Unserialized, "they have met")
	require.NotZero(r, counts.Aborted, "and deadlocked")
}

func (r *run) inUse() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// value returns a new value of a list; 0 if there is none left.
func (r *run) value(key int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[key] == listLength {
		r.first = max(r.first, key-atATime+2)
		return 0
	}
	r.taken[key]++
	return r.taken[key]
}

// transaction runs one at random, with restarts at random, and writes down what each attempt has seen and done.
func (r *run) transaction(c *pgx.Conn, rnd *rand.Rand) {
	r.exec(c, []string{"BEGIN", "BEGIN", "BEGIN PRIORITY HIGH"}[rnd.IntN(3)])
	r.exec(c, "SAVEPOINT cockroach_restart")
	for {
		t := &history.Txn{Outcome: history.Failed}
		err := r.attempt(c, rnd, t)
		if err == nil {
			t.Outcome = history.Committed
		}
		r.mu.Lock()
		r.txns = append(r.txns, t)
		r.mu.Unlock()
		answer, failed := errors.AsType[*pgconn.PgError](err)
		require.True(r, !failed || answer.Code == "40001" || answer.Code == "23505", "%v", err)
		switch {
		case !failed:
			r.exec(c, "COMMIT")
			return
		case rnd.IntN(2) == 0:
			r.exec(c, "ROLLBACK")
			return
		}
		r.exec(c, "ROLLBACK TO SAVEPOINT cockroach_restart")
	}
}

func (r *run) attempt(c *pgx.Conn, rnd *rand.Rand, t *history.Txn) (err error) {
	first := r.inUse()
	appended := map[int]bool{}
	for range 1 + rnd.IntN(4) {
		key := first + rnd.IntN(atATime)
		switch rnd.IntN(4) {
		case 0:
			err = r.read(c, t, key, key+1, []string{"", " FOR UPDATE"}[rnd.IntN(2)])
		case 1:
			err = r.read(c, t, first, first+atATime, "")
		default:
			if !appended[key] {
				appended[key] = true
				err = r.append(c, t, key)
			}
		}
		if err != nil {
			return err
		}
	}
	_, err = c.Exec(r.Context(), "RELEASE SAVEPOINT cockroach_restart")
	return err
}

// append appends to a list, or makes it.
func (r *run) append(c *pgx.Conn, t *history.Txn, key int) error {
	value := r.value(key)
	if value == 0 {
		return nil
	}
	t.Ops = append(t.Ops, history.Op{Key: key, Append: value})
	tag, err := c.Exec(r.Context(), "UPDATE lists SET v = v * $1 + $2 WHERE k = $3", base, value, key)
	if err == nil && tag.RowsAffected() == 0 {
		_, err = c.Exec(r.Context(), "INSERT INTO lists VALUES ($1, $2)", key, value)
	}
	return err
}

// read reads one list, or all that are in use.
func (r *run) read(c *pgx.Conn, t *history.Txn, from, to int, locking string) error {
	sql := "SELECT k, v FROM lists" + locking
	args := []any{}
	if to == from+1 {
		sql, args = "SELECT k, v FROM lists WHERE k = $1"+locking, []any{from}
	}
	seen, err := query(r.Context(), c, sql, args...)
	for key := from; err == nil && key < to; key++ {
		t.Ops = append(t.Ops, history.Op{Key: key, Read: seen[key]})
	}
	return err
}

func query(ctx context.Context, c *pgx.Conn, sql string, args ...any) (map[int][]int, error) {
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	seen := map[int][]int{}
	var key, number int
	_, err = pgx.ForEachRow(rows, []any{&key, &number}, func() error {
		seen[key] = digits(number)
		return nil
	})
	return seen, err
}

func digits(number int) (list []int) {
	for ; number > 0; number /= base {
		list = append(list, number%base)
	}
	slices.Reverse(list)
	return list
}
