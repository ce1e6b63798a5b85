package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/reprise-go/cockroachdb"
)

// A load is a number of workers which run transfers of one kind, each one after the other, until the time is up.
type load struct {
	db       *sql.DB
	run      runFunc
	kind     kind
	accounts int
	workers  int
	window   time.Duration
	seed     uint64

	committed, failed atomic.Int64 // so far, for those who watch
}

// A tally is what came of it.
type tally struct {
	committed int64
	failed    int64                       // ended with a 40001 in the application's hands; among them:
	diverged  int64                       // those that the driver could not replay unseen
	gaveUp    map[cockroachdb.Bound]int64 // those for which the driver had come to a bound
	elapsed   time.Duration               // until the last transfer under way had ended
	latency   *hdrhistogram.Histogram     // of those that committed, in microseconds, from BeginTx to the answer to Commit
}

func newTally() tally {
	return tally{
		gaveUp:  make(map[cockroachdb.Bound]int64),
		latency: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3),
	}
}

func (t *tally) add(other tally) {
	t.committed += other.committed
	t.failed += other.failed
	t.diverged += other.diverged
	t.elapsed += other.elapsed
	for bound, n := range other.gaveUp {
		t.gaveUp[bound] += n
	}
	t.latency.Merge(other.latency)
}

func (t *tally) commit(took time.Duration) {
	t.committed++
	_ = t.latency.RecordValue(took.Microseconds()) // an error beyond an hour
}

func (t *tally) fail(err error) {
	t.failed++
	if spent, ok := errors.AsType[*cockroachdb.RetriesExhaustedError](err); ok {
		t.gaveUp[spent.Bound]++
	} else if _, ok := errors.AsType[*cockroachdb.DivergenceError](err); ok {
		t.diverged++
	}
}

// drive runs the load. Transfers that are under way when the time is up come to their end.
func (l *load) drive(ctx context.Context) (tally, error) {
	tallies := make([]tally, l.workers)
	began := time.Now()
	workers, ctx := errgroup.WithContext(ctx)
	for w := range l.workers {
		tallies[w] = newTally()
		workers.Go(func() error { return l.work(ctx, &tallies[w], rand.New(rand.NewPCG(l.seed, uint64(w))), began) })
	}
	if err := workers.Wait(); err != nil {
		return tally{}, fmt.Errorf("%s: %w", l.kind.title, err)
	}
	sum := newTally()
	for _, t := range tallies {
		sum.add(t)
	}
	sum.elapsed = time.Since(began)
	return sum, nil
}

func (l *load) work(ctx context.Context, mine *tally, rnd *rand.Rand, began time.Time) error {
	for time.Since(began) < l.window {
		next := randomTransfer(rnd, l.accounts)
		start := time.Now()
		err := l.run(ctx, l.db, func(tx *sql.Tx) error { return l.kind.do(ctx, tx, next) })
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errInsufficientFunds): // the bank's own answer
		case err == nil:
			l.committed.Add(1)
			mine.commit(time.Since(start))
		case isConflict(err):
			l.failed.Add(1)
			mine.fail(err)
		default:
			return err
		}
	}
	return nil
}

// connect fills the pool beforehand, so that no transfer pays for a connection.
func connect(ctx context.Context, db *sql.DB, n int) error {
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	for range n {
		conn, err := db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer conn.Close() // all at the end: back into the pool
	}
	return nil
}
