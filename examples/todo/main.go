// The command todo is a list of things to do, as a web page: the application of CockroachDB's introduction, in Go, on
// the driver cockroachdb and GORM. Its handlers begin, write and commit, once; they never see conflicts.
//
//	go run ./todo demo  # find or start a database, init and serve
//	go run ./todo init  # make the table, if it is not there
//	go run ./todo serve # serve the page until Ctrl-C
//
// init and serve take the database by -url 'postgresql://root@localhost:26257/defaultdb?sslmode=disable'.
//
// README.md walks through it. The exit status is 0 after Ctrl-C too, 1 if something went wrong, 2 for a mistake on the
// command line.
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
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
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
	if err := opts.command(ctx, opts, stdout, stderr); err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "todo:", err)
		return exitFailure
	}
	return exitOK
}
