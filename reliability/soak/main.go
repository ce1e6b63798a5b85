// Command soak runs random programs through the driver under random faults, for as long as it is told, and holds what
// they were shown against a model; see package program. It looks for what is left behind, and puts a load on the
// driver too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/reprise-go/cockroachdb/internal/engine"
	"github.com/reprise-go/cockroachdb/reliability/internal/command"
)

// errFound says that something was found that must not be; the report has told what.
var errFound = errors.New("there are anomalies")

func main() { command.Main(execute) }

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if err == nil {
		err = run(ctx, o, stdout, stderr)
	}
	return command.Status("soak", err, errFound, stderr)
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
