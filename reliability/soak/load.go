package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A weight is what the load part weighs down the driver with.
type weight struct {
	statements int // of a transaction that is within the bounds of a history
	beyond     int // and of one that is not
	bytes      int // of arguments, beyond the bounds too
	each       int // transactions of each connection in a crowd
}

var fullWeight = weight{statements: 10_000, beyond: 20_000, bytes: 12 << 20, each: 5}

const (
	loadRows        = 1000
	crowdStatements = 10
)

func load(ctx context.Context, o options, e *engine.Engine, stdout io.Writer) error {
	return loadWith(ctx, o, fullWeight, e, stdout)
}

// loadWith runs transactions that are long, too long, too large, and many at once, in that order.
func loadWith(ctx context.Context, o options, w weight, e *engine.Engine, stdout io.Writer) error {
	l := &loading{weight: w, conns: o.conns, metrics: cockroachdb.NewMetrics()}
	defer l.close()
	if err := l.open(ctx, e); err != nil {
		return fmt.Errorf("set the load up: %w", err)
	}
	t := newTable(stdout, "load", "figure")
	var wrong []string
	parts := []func(context.Context) (rows [][2]string, wrong string, err error){l.long, l.tooLong, l.tooLarge, l.crowd}
	for _, part := range parts {
		rows, complaint, err := part(ctx)
		if err != nil {
			return fmt.Errorf("the load: %w", err)
		}
		for _, r := range rows {
			t.AppendRow([]any{r[0], r[1]})
		}
		if complaint != "" {
			wrong = append(wrong, complaint)
		}
	}
	t.Render()
	if held := metricsOf(l.metrics)["history_bytes"]; held != 0 {
		wrong = append(wrong, fmt.Sprintf("%v bytes of history are held by nobody", held))
	}
	if len(wrong) > 0 {
		fmt.Fprintf(stdout, "WRONG: %s\n", strings.Join(wrong, "; "))
		return errFound
	}
	return nil
}

type loading struct {
	weight
	conns   int
	metrics *cockroachdb.Metrics
	sim     *crdbsim.Sim
	db      *sql.DB
	drop    func()
}

func (l *loading) open(ctx context.Context, e *engine.Engine) error {
	dsn, drop, err := e.NewDatabase(ctx)
	if err != nil {
		return err
	}
	l.drop = drop
	if l.sim, err = e.NewSim(crdbsim.Config{}); err != nil {
		return err
	}
	cfg, err := cockroachdb.ParseConfig(e.Through(l.sim, dsn))
	if err != nil {
		return err
	}
	cfg.Metrics = l.metrics
	cfg.RetryPolicy.MaxElapsed = settleTime
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return err
	}
	l.db = sql.OpenDB(connector)
	l.db.SetMaxOpenConns(l.conns)
	l.db.SetMaxIdleConns(l.conns)
	if _, err := l.db.ExecContext(ctx, "CREATE TABLE weights (k INT8 PRIMARY KEY, v INT8 NOT NULL, b BYTEA)"); err != nil {
		return err
	}
	_, err = l.db.ExecContext(ctx, "INSERT INTO weights SELECT k, 0 FROM generate_series(0, $1::INT8 - 1) AS k", loadRows)
	return err
}

func (l *loading) close() {
	if l.db != nil {
		_ = l.db.Close()
	}
	if l.sim != nil {
		_ = l.sim.Close()
	}
	if l.drop != nil {
		l.drop()
	}
}

// loseCommit has the next commit lose a conflict.
func (l *loading) loseCommit() {
	fail := crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	l.sim.Inject(crdbsim.On("^release savepoint cockroach_restart", fail))
}

func (l *loading) sum(ctx context.Context) (sum int64, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT sum(v)::INT8 FROM weights").Scan(&sum)
	return sum, err
}

// A heavy is a transaction of many statements that has run and not been committed.
type heavy struct {
	tx         *sql.Tx
	took       time.Duration
	held       float64 // bytes of history, by the metric
	heap       float64 // by which the heap has grown
	statements int
}

func (l *loading) run(ctx context.Context, statements int, text string, args func(i int) []any) (*heavy, error) {
	before := liveHeap()
	began := time.Now()
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	for i := range statements {
		if _, err := tx.ExecContext(ctx, text, args(i)...); err != nil {
			return nil, errors.Join(fmt.Errorf("statement %d: %w", i+1, err), tx.Rollback())
		}
	}
	h := &heavy{tx: tx, took: time.Since(began), statements: statements}
	h.held, h.heap = metricsOf(l.metrics)["history_bytes"], liveHeap()-before
	return h, nil
}

func liveHeap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

const addOne = "UPDATE weights SET v = v + 1 WHERE k = $1"

func someRow(i int) []any { return []any{i % loadRows} }

// long is a transaction within the bounds: it loses its commit, is replayed, and commits.
func (l *loading) long(ctx context.Context) (rows [][2]string, wrong string, err error) {
	h, err := l.run(ctx, l.statements, addOne, someRow)
	if err != nil {
		return nil, "", err
	}
	l.loseCommit()
	began, before := time.Now(), metricsOf(l.metrics)
	err = h.tx.Commit()
	took := time.Since(began)
	replayed := metricsOf(l.metrics)["replayed_statements_total"] - before["replayed_statements_total"]
	rows = [][2]string{
		{fmt.Sprintf("transaction of %d statements: run in", h.statements), h.took.Round(time.Millisecond).String()},
		{"  bytes of history, by the metric", fmt.Sprintf("%.0f", h.held)},
		{"  for each statement", fmt.Sprintf("%.0f", h.held/float64(h.statements))},
		{"  bytes on the heap for each statement", fmt.Sprintf("%.0f", h.heap/float64(h.statements))},
		{"  committed after a replay of so many statements", fmt.Sprintf("%.0f", replayed)},
		{"  in", took.Round(time.Millisecond).String()},
	}
	if err != nil {
		return rows, fmt.Sprintf("a transaction of %d statements was to commit after a conflict: %v", h.statements, err), nil
	}
	sum, err := l.sum(ctx)
	if err == nil && (sum != int64(h.statements) || int(replayed) != h.statements) {
		wrong = fmt.Sprintf("%.0f statements were replayed and %d had effect, of %d", replayed, sum, h.statements)
	}
	return rows, wrong, err
}

func (l *loading) tooLong(ctx context.Context) (rows [][2]string, wrong string, err error) {
	h, err := l.run(ctx, l.beyond, addOne, someRow)
	if err != nil {
		return nil, "", err
	}
	return l.stepsAside(ctx, h, fmt.Sprintf("transaction of %d statements", l.beyond), "statements")
}

func (l *loading) tooLarge(ctx context.Context) (rows [][2]string, wrong string, err error) {
	const size = 64 << 10
	large := make([]byte, size)
	const update = "UPDATE weights SET v = v + 1, b = $2 WHERE k = $1"
	h, err := l.run(ctx, l.bytes/size, update, func(i int) []any { return []any{i % loadRows, large} })
	if err != nil {
		return nil, "", err
	}
	return l.stepsAside(ctx, h, fmt.Sprintf("transaction with %d MiB of arguments", l.bytes>>20), "bytes")
}

// stepsAside is a transaction beyond the bounds: nothing of it is held any more, and a conflict is the application's.
func (l *loading) stepsAside(
	ctx context.Context, h *heavy, what, cause string,
) (rows [][2]string, wrong string, err error) {
	before, err := l.sum(ctx) // on a connection beside the transaction's
	if err != nil {
		return nil, "", errors.Join(err, h.tx.Rollback())
	}
	l.loseCommit()
	err = h.tx.Commit()
	rows = [][2]string{{what + ", that loses its commit", brief(err)}}
	stepped, ok := errors.AsType[*cockroachdb.NotReplayableError](err)
	switch {
	case !ok || string(stepped.Cause) != cause:
		return rows, fmt.Sprintf("%s was to step aside, for its %s, and came to: %v", what, cause, err), nil
	case h.held != 0:
		return rows, fmt.Sprintf("%s holds %.0f bytes of history", what, h.held), nil
	}
	after, err := l.sum(ctx)
	if after != before {
		wrong = what + " has left an effect"
	}
	return rows, wrong, err
}

func brief(err error) string {
	if stepped, ok := errors.AsType[*cockroachdb.NotReplayableError](err); ok {
		return "NotReplayable: " + string(stepped.Cause)
	}
	return fmt.Sprint(err)
}

// crowd is every connection at once, on few rows.
func (l *loading) crowd(ctx context.Context) (rows [][2]string, wrong string, err error) {
	before, err := l.sum(ctx)
	if err != nil {
		return nil, "", err
	}
	counts, began := metricsOf(l.metrics), time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for i := range l.conns {
		all.Go(func() error {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for range l.each {
				keys := crowdKeys(rnd)
				err := cockroachdb.RunTx(ctx, l.db, nil, func(tx *sql.Tx) error { return addToAll(ctx, tx, keys) })
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = all.Wait()
	if err != nil {
		return nil, "one of a crowd of transactions failed: " + err.Error(), nil
	}
	took, transactions, now := time.Since(began), l.conns*l.each, metricsOf(l.metrics)
	rows = [][2]string{
		{
			fmt.Sprintf("%d transactions of %d statements over %d connections, in", transactions, crowdStatements, l.conns),
			took.Round(time.Millisecond).String(),
		},
		{"  conflicts taken up", fmt.Sprintf("%.0f", now["transaction_retries_total"]-counts["transaction_retries_total"])},
	}
	after, err := l.sum(context.WithoutCancel(ctx))
	if want := before + int64(transactions*crowdStatements); after != want {
		wrong = fmt.Sprintf("a crowd was to add up to %d, and adds up to %d", want, after)
	}
	return rows, wrong, err
}

// crowdKeys are in order, so that nobody waits for each other in a circle.
func crowdKeys(rnd *rand.Rand) []int {
	keys := rnd.Perm(loadRows)[:crowdStatements]
	slices.Sort(keys)
	return keys
}

func addToAll(ctx context.Context, tx *sql.Tx, keys []int) error {
	for _, k := range keys {
		if _, err := tx.ExecContext(ctx, addOne, k); err != nil {
			return err
		}
	}
	return nil
}
