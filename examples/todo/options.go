package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
)

// options are what the command line says.
type options struct {
	command   command
	url       string
	listen    string
	metrics   string
	wire      bool
	conflicts bool
}

type command func(_ context.Context, _ options, stdout, stderr io.Writer) error

var commands = map[string]command{"demo": runDemo, "init": runInit, "serve": runServe}

const usage = `Usage: todo demo|init|serve [flags]

  demo   find a database or start one, make the table, and serve the page
  init   make the table in the database of -url, if it is not there
  serve  serve the page from the database of -url

`

// parseOptions has told what is wrong, and how it is used, if it returns an error.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("todo", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.url, "url", os.Getenv("COCKROACH_URL"), "the database (default: COCKROACH_URL)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "where the page is served")
	f.StringVar(&o.metrics, "metrics", "", "serve Prometheus metrics too, on an address such as 127.0.0.1:2112")
	f.BoolVar(&o.wire, "wire", false, "log each statement that goes to the server")
	f.BoolVar(&o.conflicts, "conflicts", false, "demo, where PostgreSQL stands in for CockroachDB: have each transaction lose a conflict")

	name := ""
	if len(args) > 0 && commands[args[0]] != nil {
		name, args = args[0], args[1:]
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.command = commands[name]
	if err := o.check(name, f.Args()); err != nil {
		fmt.Fprintf(stderr, "todo: %v\n\n", err)
		f.Usage()
		return o, err
	}
	return o, nil
}

func (o options) check(command string, rest []string) error {
	switch {
	case command == "" && len(rest) > 0:
		return fmt.Errorf("there is no command %q", rest[0])
	case command == "":
		return fmt.Errorf("which command? Begin with: todo demo")
	case len(rest) > 0:
		return fmt.Errorf("%q is too much: after the command there are flags only", rest[0])
	case command != "demo" && o.conflicts:
		return fmt.Errorf("-conflicts is for demo")
	case command != "demo" && o.url == "":
		return fmt.Errorf("%s needs a database: give its -url, or set COCKROACH_URL; or let todo demo start one", command)
	}
	return nil
}
