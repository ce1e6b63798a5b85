package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/bench/internal/aside"
	"github.com/reprise-go/cockroachdb/bench/internal/figures"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A stormer is a way to open the pool.
type stormer struct{ title, driver, params string }

var stormers = []stormer{
	{"pgx", "pgx", ""},
	{"this driver", "cockroachdb", ""},
	{"`dials_per_second=0`", "cockroachdb", "&dials_per_second=0"},
}

// storm is what became of one.
type storm struct {
	half, all time.Duration // until so many had their answer
	opened    int
	errs      []error
}

// measureStorms has them on PostgreSQL, which makes a process for each connection.
func measureStorms(ctx context.Context, w io.Writer, o *options) (err error) {
	const administrators = 20
	e, err := engine.Start(ctx, engine.Options{PostgreSQL: true, Room: o.conns + administrators})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return stormOn(ctx, w, o, e.Direct(e.URL()), untilEmpty)
}

// measureLogins has them where a login costs the server nothing.
func measureLogins(ctx context.Context, w io.Writer, o *options) error {
	dsn, stop, err := aside.Start()
	if err != nil {
		return err
	}
	defer stop()
	return stormOn(ctx, w, o, dsn, func(context.Context, string) error { return nil })
}

// stormOn calls settle after each storm.
func stormOn(
	ctx context.Context, w io.Writer, o *options, dsn string, settle func(ctx context.Context, dsn string) error,
) error {
	storms := make([][]storm, len(stormers))
	for range o.turns {
		for i, s := range stormers {
			result, err := s.storm(ctx, dsn, o.conns)
			if err = errors.Join(err, settle(ctx, dsn)); err != nil {
				return err
			}
			storms[i] = append(storms[i], result)
		}
	}
	fmt.Fprintf(w, "\n%d connections at once:\n\n", o.conns)
	fmt.Fprintln(w, "| pool | opened | errors | half after | all after | least to most | all, to pgx |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- |")
	for i, s := range stormers {
		s.print(w, storms[i], storms[0])
	}
	return nil
}

func (s *stormer) print(w io.Writer, storms, pgx []storm) {
	all := times(storms, func(s storm) time.Duration { return s.all })
	ofPgx := times(pgx, func(s storm) time.Duration { return s.all })
	failed, opened := 0, storms[0].opened
	for _, s := range storms {
		failed += len(s.errs)
		opened = min(opened, s.opened)
	}
	fmt.Fprintf(w, "| %s | %d | %d | %.2f s | %.2f s | %.2f to %.2f s | %.2f |\n", s.title, opened, failed,
		figures.Median(times(storms, func(s storm) time.Duration { return s.half })),
		figures.Median(all), slices.Min(all), slices.Max(all), figures.Median(all)/figures.Median(ofPgx))
}

func times(storms []storm, of func(storm) time.Duration) (seconds []float64) {
	for _, s := range storms {
		seconds = append(seconds, of(s).Seconds())
	}
	return seconds
}

// storm opens a pool of so many connections, all at once, and says on standard error how it went.
func (s *stormer) storm(ctx context.Context, dsn string, conns int) (storm, error) {
	db, err := sql.Open(s.driver, dsn+s.params)
	if err != nil {
		return storm{}, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	result := openAll(ctx, db, conns)
	fmt.Fprintf(os.Stderr, "%s: %d opened in %v\n", s.title, result.opened, result.all)
	for _, err := range result.errs {
		fmt.Fprintf(os.Stderr, "  %v\n", err)
	}
	return result, db.Close()
}

// openAll has each connection answer once, and gives none back before all have.
func openAll(ctx context.Context, db *sql.DB, conns int) (result storm) {
	var mu sync.Mutex
	var took []time.Duration
	var answered, done sync.WaitGroup
	answered.Add(conns)
	began := time.Now()
	for range conns {
		done.Go(func() {
			conn, err := askOne(ctx, db)
			mu.Lock()
			if err != nil {
				result.errs = append(result.errs, err)
			}
			took = append(took, time.Since(began))
			mu.Unlock()
			answered.Done()
			answered.Wait()
			if conn != nil {
				_ = conn.Close()
			}
		})
	}
	answered.Wait()
	result.opened = db.Stats().OpenConnections
	done.Wait()
	result.half, result.all = took[(conns-1)/2], took[conns-1]
	return result
}

func askOne(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var answer int
	return conn, conn.QueryRowContext(ctx, selectOne).Scan(&answer)
}

// untilEmpty waits until the server has no connection but the one that asks.
func untilEmpty(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for n := 2; n > 1; time.Sleep(10 * time.Millisecond) {
		const count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database()"
		if err := conn.QueryRow(ctx, count).Scan(&n); err != nil {
			return err
		}
	}
	return nil
}
