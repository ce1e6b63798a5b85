// Command soak runs random programs through the driver under random faults, for as long as it is told, and holds what
// they were shown against a model; see package program. It looks for what is left behind, and puts a load on the
// driver too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/reprise-go/cockroachdb/internal/engine"
)

// Exit codes.
const (
	exitFine = iota
	exitFound
	exitFailed // it could not be run
)

// errFound says that something was found that must not be; the report has told what.
var errFound = errors.New("there are anomalies")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitFine
	}
	if err != nil {
		return exitFailed
	}
	switch err := run(ctx, o, stdout, stderr); {
	case errors.Is(err, errFound):
		fmt.Fprintln(stderr, "soak: "+err.Error())
		return exitFound
	case err != nil:
		fmt.Fprintln(stderr, "soak: "+err.Error())
		return exitFailed
	}
	return exitFine
}

// run starts a server and does all the parts on it. Faults can't be injected into a real CockroachDB, so it is
// PostgreSQL in any case.
func run(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	e, err := engine.Start(ctx, engine.Options{PostgreSQL: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if o.round != 0 {
		return again(ctx, o, e, stdout)
	}
	fmt.Fprintf(stdout, "soak: %s, seed %d\n", e.Name(), o.seed)
	var failed error
	if o.has(partPrograms) {
		failed = errors.Join(failed, soak(ctx, o, e, stdout, stderr))
	}
	if o.has(partLoad) && failed == nil && ctx.Err() == nil {
		failed = errors.Join(failed, load(ctx, o, e, stdout))
	}
	return failed
}
