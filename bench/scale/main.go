// Scale measures pools of many connections, beside pgx's stdlib:
//
//	go run ./scale
//
// A storm opens all connections of a pool at once, to a PostgreSQL that is started for it, and to a server with
// ready-made answers, in a process of its own: how long it takes. Then many goroutines use a pool at once, on the
// latter: how long they wait for mutexes, and whose those are. The peers take turns. What it prints are the tables of
// bench/results/scale.md.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/spf13/pflag"

	_ "github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/bench/internal/aside"
)

type options struct {
	conns, turns, procs int
	slice               time.Duration
	profile, only       string
}

func main() {
	if aside.IsServer() {
		exitOn(aside.Serve(replies))
		return
	}
	var o options
	pflag.IntVar(&o.conns, "conns", 1000, "how many connections the largest pool has")
	pflag.IntVar(&o.turns, "turns", 5, "how many turns each peer gets")
	pflag.DurationVar(&o.slice, "slice", time.Second, "how long a turn of a load is")
	pflag.IntVar(&o.procs, "procs", runtime.GOMAXPROCS(0), "GOMAXPROCS")
	pflag.StringVar(&o.profile, "profile", "mutex",
		"what waiting is counted: mutex, or block, which has all waits but those for the network")
	pflag.StringVar(&o.only, "only", "", "storms, logins or waits; default all")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exitOn(run(ctx, os.Stdout, &o))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, o *options) error {
	runtime.GOMAXPROCS(o.procs)
	fmt.Fprintf(w, "%d processors, GOMAXPROCS %d, %s, %d turns\n", runtime.NumCPU(), o.procs, runtime.Version(), o.turns)
	for _, part := range []struct {
		name    string
		measure func(context.Context, io.Writer, *options) error
	}{{"storms", measureStorms}, {"logins", measureLogins}, {"waits", measureWaits}} {
		if o.only != "" && o.only != part.name {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", part.name)
		if err := part.measure(ctx, w, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
