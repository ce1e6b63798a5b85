package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A watch looks for what is still there when everything has been closed, and was not before.
type watch struct {
	db      *sql.DB
	before  goleak.Option // the goroutines there were
	metrics *cockroachdb.Metrics
}

func newWatch(e *engine.Engine, metrics *cockroachdb.Metrics) (*watch, error) {
	db, err := sql.Open("pgx", e.Direct(e.URL()))
	if err != nil {
		return nil, err
	}
	return &watch{db, goleak.IgnoreCurrent(), metrics}, nil
}

func (w *watch) close() { _ = w.db.Close() }

// settleTime is how long what has been closed may take to be gone.
const settleTime = time.Minute

// left says what there still is.
func (w *watch) left(ctx context.Context) (left []string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	for {
		left, err = w.now()
		if err != nil || len(left) == 0 {
			return left, err
		}
		select {
		case <-ctx.Done():
			return left, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *watch) now() (left []string, err error) {
	if err := goleak.Find(w.before); err != nil {
		left = append(left, err.Error())
	}
	var conns int
	// The sessions in which the engine makes databases stay; they are in none of those.
	const others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname <> 'postgres'"
	if err := w.db.QueryRow(others).Scan(&conns); err != nil {
		return nil, fmt.Errorf("ask for the connections that are left: %w", err)
	}
	if conns > 0 {
		left = append(left, fmt.Sprintf("%d connections at the server", conns))
	}
	counts := metricsOf(w.metrics)
	for _, gauge := range []string{"history_bytes", "retry_lane_waiting"} {
		if counts[gauge] != 0 {
			left = append(left, fmt.Sprintf("the metric %s is %v", gauge, counts[gauge]))
		}
	}
	return left, nil
}
