// Command rolling takes one node of a cluster away after the other, and brings each back, while a load runs: once
// through pgx, once through this driver. It then says what the application saw of it, and whether any transaction was
// lost or done twice.
//
// The load is plain database/sql, without a retry of its own: transfers between accounts, each with a row in a journal,
// and appends to lists, which other clients read. What a transaction reads nobody else changes, so that no conflict and
// no failover can show it anything else when it is run again. With -singles there are writes outside a transaction too.
// With -execute-tx the transactions are run by cockroach-go's ExecuteTx.
//
// The cluster is crdbsim's, or the CockroachDB of several hosts that COCKROACH_URL names: -stop-cmd and -start-cmd then
// say how a node is taken away and brought back.
//
// The exit status is 0 if what the mode promises has held for this driver:
//
//   - drain: no error was seen, nothing was lost or done twice, and in the end each node has its share of connections.
//   - kill, silence: no error was seen but ambiguous commits; of all others nothing was lost or done twice. With
//     -exactly-once no ambiguous commit either.
//
// It is 1 if that has not held, and 2 if it could not be run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/reprise-go/cockroachdb/reliability/internal/command"
)

// errBroken says that a promise has not held; the report has told which.
var errBroken = errors.New("what the mode promises has not held")

func main() { command.Main(execute) }

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if err == nil {
		err = run(ctx, o, stdout)
	}
	return command.Status("rolling", err, errBroken, stderr)
}

// run has each driver go through the same, and reports.
func run(ctx context.Context, o options, stdout io.Writer) (err error) {
	t, err := newTarget(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	fmt.Fprintf(stdout, "rolling: %s, %d nodes, mode %s, %d workers, %v for each driver\n",
		t.name(), t.nodes(), o.mode, o.workers, o.duration)
	var results []*result
	for _, d := range o.chosen() {
		r, err := runOne(ctx, o, t, d, stdout)
		if err != nil {
			return fmt.Errorf("with %s: %w", d.name, err)
		}
		results = append(results, r)
	}
	return report(stdout, o, results)
}
