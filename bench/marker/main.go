// Marker measures what commit markers (retry_commit_marker=on) cost: the client's processor time, the server's, time,
// WAL and round trips, with markers beside without:
//
//	go run ./marker | tee markers.txt
//
// The server is a PostgreSQL that is started for it, which writes nothing through to the disk. The two pools, of one
// connection each, take turns in short slices, so that whatever else the machine does falls on both alike. The server's
// time is that of the connection's own process.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/reprise-go/cockroachdb/internal/engine"
)

func main() {
	turns := pflag.Int("turns", 30, "how many slices each pool gets for each operation")
	slice := pflag.Duration("slice", 200*time.Millisecond, "how long a slice is, about")
	pflag.Parse()
	runtime.GOMAXPROCS(1) // threads that look for work while the server is at it would be counted too
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *turns, *slice); err != nil {
		fmt.Fprintln(os.Stderr, "marker:", err)
		os.Exit(1)
	}
}

// run measures all operations, and prints a line for each.
func run(ctx context.Context, w io.Writer, turns int, slice time.Duration) (err error) {
	e, err := engine.Start(ctx, engine.Options{PostgreSQL: true})
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, e.Close()) }()
	b, err := newBench(ctx, e)
	if err != nil {
		return err
	}
	defer b.close()
	fmt.Fprintf(w, "%s; medians without and with markers, and of their ratios, with the quartiles\n", e.Name())
	for _, o := range ops {
		trips, err := b.roundTrips(ctx, o)
		if err != nil {
			return err
		}
		samples, err := b.takeTurns(ctx, o, turns, slice)
		if err != nil {
			return err
		}
		summarize(w, o, trips, samples)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
