// The command bank moves money between a few accounts that everybody wants at once: first through pgx, as most
// applications use it, then through the driver cockroachdb, with the same transfers. It shows what becomes of the
// conflicts, and checks that no money is made or lost.
//
//	go run ./bank
//	go run ./bank -contention postgresql
//	go run ./bank -url 'postgresql://root@localhost:26257/defaultdb?sslmode=disable' -workers 64 -accounts 4
//
// The exit status is 0 if the balances add up, 1 if they do not or something else went wrong, 2 for a mistake on the
// command line, and 130 after Ctrl-C; go run and make report any of these but 0 as a failure of their own. Whatever
// was started or created is gone by then.
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
)

const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 and SIGINT, as shells have it
)

func main() {
	os.Exit(mainStatus(os.Args[1:], os.Stdout, os.Stderr))
}

func mainStatus(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // a second Ctrl-C does not wait

	opts, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	return status(ctx, run(ctx, opts, stdout, stderr), stderr)
}

// status is the exit status for what run returned, which is told if it is not nil.
func status(ctx context.Context, err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "bank: interrupted")
		return exitInterrupted
	default:
		fmt.Fprintln(stderr, "bank:", err)
		return exitFailure
	}
}
