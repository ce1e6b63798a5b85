// Package command is what the commands of this module have in common: how they are interrupted, which flags they
// refuse, and the status with which they exit.
package command

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

// The status of a command.
const (
	Fine   = iota
	Bad    // it did its work, and what it found must not be
	Failed // it could not be run
)

// errUsage says that the arguments are wrong, and that Parse has printed why.
var errUsage = errors.New("wrong arguments")

// Main runs a command until it ends or the process is interrupted, and exits with its status.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Parse parses args, and has check look at what they come to. It prints what is wrong, and how the command is used.
func Parse(f *flag.FlagSet, args []string, stderr io.Writer, check func(rest []string) error) error {
	f.SetOutput(stderr)
	if err := f.Parse(args); err != nil {
		return errors.Join(errUsage, err)
	}
	if err := check(f.Args()); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n\nUsage of %s:\n", f.Name(), err, f.Name())
		f.PrintDefaults()
		return errors.Join(errUsage, err)
	}
	return nil
}

// Status returns the status for err, which the command with this name has ended with, and prints it. The error bad
// stands for a result that must not be.
func Status(name string, err, bad error, stderr io.Writer) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return Fine
	case errors.Is(err, errUsage):
		return Failed
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	if errors.Is(err, bad) {
		return Bad
	}
	return Failed
}
