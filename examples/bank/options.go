package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb"
)

// options are what the command line says.
type options struct {
	url        string
	contention string
	postgres   bool
	metrics    string
	duration   time.Duration
	workers    int
	accounts   int
	seed       uint64
	json       bool
	kinds      []kind
	contenders []contender
}

// parseOptions has told what is wrong, and how it is used, if it returns an error.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var (
		o              options
		kinds, drivers string
		params         []url.Values
	)
	f := flag.NewFlagSet("bank", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.url, "url", "", "the CockroachDB to run on (default: COCKROACH_URL, or else what -contention says)")
	f.DurationVar(&o.duration, "duration", 20*time.Second, "how long it runs, in all")
	f.IntVar(&o.workers, "workers", 16, "how many transfers at a time")
	f.IntVar(&o.accounts, "accounts", 10, "how many accounts: the fewer, the hotter")
	f.StringVar(&kinds, "kinds", names(allKinds), "which kinds of transfer")
	f.StringVar(&drivers, "drivers", "pgx,cockroachdb", "which drivers, of "+names(allContenders))
	f.StringVar(&o.metrics, "metrics", "", "serve Prometheus metrics while it runs, on an address such as :2112")
	f.Uint64Var(&o.seed, "seed", 1, "makes the same sequence of transfers")
	f.BoolVar(&o.json, "json", false, "write a line of JSON per kind of transfer instead of the table")
	f.StringVar(&o.contention, "contention", "", "as whom the server contends, cockroachdb or postgresql: on CockroachDB or, without one, on a model of its concurrency control in memory; or on PostgreSQL in its place (default cockroachdb)")
	f.BoolVar(&o.postgres, "postgres", false, "with -contention postgresql, which it implies: run on PostgreSQL as it is, and not as CockroachDB's stand-in")
	f.Func("params", "settings for the DSN of cockroachdb besides "+learning.Encode()+", such as 'retry_lane_wait=1s'; "+
		"once more for each further set to compare", func(s string) error {
		v, err := url.ParseQuery(s)
		params = append(params, v)
		return err
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.contention == "" {
		o.contention = likeCockroach
		if o.postgres {
			o.contention = likePostgreSQL
		}
	}
	err := o.check(f.Args())
	if err == nil {
		o.kinds, err = choose("kind", kinds, allKinds)
	}
	if err == nil {
		o.contenders, err = choose("driver", drivers, allContenders)
	}
	if err == nil && len(params) > 0 {
		o.contenders, err = withParams(o.contenders, params)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bank: %v\n\nUsage of bank:\n", err)
		f.PrintDefaults()
	}
	return o, err
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is too much: there are flags only", rest[0])
	case o.contention != likeCockroach && o.contention != likePostgreSQL:
		return fmt.Errorf("-contention %q: there are %s and %s", o.contention, likeCockroach, likePostgreSQL)
	case o.postgres && o.contention != likePostgreSQL:
		return fmt.Errorf("-postgres with -contention %s: the two exclude each other", o.contention)
	case o.url != "" && o.contention != likeCockroach:
		return fmt.Errorf("-url with -contention %s: the URL is that of a CockroachDB", o.contention)
	case o.duration <= 0:
		return fmt.Errorf("-duration %v: it must be above zero", o.duration)
	case o.workers < 1:
		return fmt.Errorf("-workers %d: at least 1", o.workers)
	case o.accounts < 2:
		return fmt.Errorf("-accounts %d: at least 2, for a transfer to go from one to another", o.accounts)
	}
	return nil
}

// window is the time that one kind of transfer has with one driver.
func (o options) window() time.Duration {
	return o.duration / time.Duration(len(o.contenders)*len(o.kinds))
}

func (k kind) id() string      { return k.name }
func (c contender) id() string { return c.name }

func names[T interface{ id() string }](all []T) string {
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = x.id()
	}
	return strings.Join(ids, ",")
}

// choose finds the ones that a list names.
func choose[T interface{ id() string }](what, list string, all []T) (chosen []T, err error) {
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(x T) bool { return x.id() == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s %q; there are %s", what, name, names(all))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// withParams makes a contender of each set of parameters, out of each that has the driver they are for.
func withParams(contenders []contender, params []url.Values) (all []contender, err error) {
	for _, c := range contenders {
		if c.driver != "cockroachdb" {
			all = append(all, c)
			continue
		}
		for _, p := range params {
			if _, err := cockroachdb.ParseConfig("postgresql://?" + p.Encode()); err != nil {
				return nil, fmt.Errorf("-params: %w", err)
			}
			with := c
			with.params = maps.Clone(c.params)
			maps.Copy(with.params, p)
			if text, _ := url.QueryUnescape(p.Encode()); text != "" {
				with.name += " " + text
			}
			all = append(all, with)
		}
	}
	if len(all) == len(contenders) && !slices.ContainsFunc(all, func(c contender) bool { return c.params != nil }) {
		return nil, errors.New("-params: cockroachdb is not among the -drivers")
	}
	return all, nil
}
