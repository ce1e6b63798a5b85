// The command pictures draws the main panels of the dashboard, with what a Prometheus has seen of the demonstration:
// the pictures of README.md and docs/monitoring.md.
//
//	go run ./pictures -duration 80s -out ../docs
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/reprise-go/cockroachdb/monitoring"
	"github.com/reprise-go/cockroachdb/monitoring/internal/watch"
)

// pictures are files, and the titles of the panels that are drawn into them, two in a row.
var pictures = map[string][]string{
	"monitoring-transactions.png": {
		"Transactions, by outcome", "Retries, by reason", "Attempts per transaction", "Duration of transactions",
	},
	"monitoring-conflicts.png": {
		"Retries, by place", "Divergences, by what differed", "Waits", "Connections of the pool",
	},
}

const (
	window = 5 * time.Second // over which rates are taken: Prometheus looks every second
	step   = time.Second
)

func main() {
	duration := flag.Duration("duration", 80*time.Second,
		"how long the demonstration runs: a quarter of it for each kind of transfer")
	out := flag.String("out", "../docs", "the folder that the pictures go into")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *duration, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, duration time.Duration, out string) error {
	panels, err := choose()
	if err != nil {
		return err
	}
	seen, err := observe(ctx, duration, panels)
	if err != nil {
		return err
	}
	for file, titles := range pictures {
		var drawn []observed
		for _, title := range titles {
			drawn = append(drawn, seen[title])
		}
		if err := drawPicture(filepath.Join(out, file), drawn); err != nil {
			return fmt.Errorf("draw %s: %w", file, err)
		}
	}
	return nil
}

// choose finds the panels that are drawn.
func choose() (map[string]monitoring.Panel, error) {
	d, err := monitoring.ReadDashboard()
	if err != nil {
		return nil, err
	}
	byTitle := map[string]monitoring.Panel{}
	for _, p := range d.Panels {
		if p.Type != "row" {
			byTitle[p.Title] = p
		}
	}
	chosen := map[string]monitoring.Panel{}
	for file, titles := range pictures {
		for _, title := range titles {
			p, ok := byTitle[title]
			if !ok {
				return nil, fmt.Errorf("%s: the dashboard has no panel %q", file, title)
			}
			chosen[title] = p
		}
	}
	return chosen, nil
}

// observed is a panel, with the answers to its queries.
type observed struct {
	monitoring.Panel
	answers []model.Matrix // one for each target
	start   time.Time
}

// observe runs the demonstration until its end, and asks what Prometheus has seen of it.
func observe(
	ctx context.Context, duration time.Duration, panels map[string]monitoring.Panel,
) (seen map[string]observed, err error) {
	scratch, err := os.MkdirTemp("", "pictures-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	demo, err := watch.StartDemo(ctx, scratch, "-duration", duration.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, demo.Stop()) }()
	server, err := watch.StartPrometheus(ctx, scratch, demo, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	start := time.Now()
	fmt.Fprintf(os.Stderr, "pictures: the demonstration runs for %v\n", duration)
	select {
	case <-demo.Ended():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	seen = map[string]observed{}
	for title, p := range panels {
		o := observed{Panel: p, start: start}
		for _, q := range p.Targets {
			// Without the last look, which may have been too late.
			span := v1.Range{Start: start, End: time.Now().Add(-step), Step: step}
			value, _, _, err := server.QueryRange(ctx, monitoring.Fill(q.Expr, window), span)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", title, err)
			}
			answer, ok := value.(model.Matrix)
			if !ok || len(answer) == 0 {
				return nil, fmt.Errorf("%s: %s has no data", title, q.Expr)
			}
			o.answers = append(o.answers, answer)
		}
		seen[title] = o
	}
	return seen, nil
}
