package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/reliability/internal/command"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

// options are what the command line says.
type options struct {
	duration time.Duration
	seed     uint64
	conns    int
	size     program.Size
	server   string
	parts    string
	shrink   time.Duration
	round    uint64
	times    int
	goOn     bool
}

const (
	partPrograms = "programs"
	partLoad     = "load"

	serverAll = "all"
)

// servers are what the simulator can play, by name.
var servers = map[string]program.Server{
	"cockroachdb":     program.CockroachDB,
	"cockroachdb-v25": program.NewerCockroachDB,
	"postgresql":      program.PostgreSQL,
	"cluster":         program.Cluster,
	"pgbouncer":       program.Pooled,
}

// parseOptions has told what is wrong, and how it is used, if it returns an error.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.DurationVar(&o.duration, "for", time.Minute,
		"how long the random programs run; the load comes on top, a minute or so")
	f.Uint64Var(&o.seed, "seed", 1, "makes the same programs and faults; how they interleave is another matter")
	f.IntVar(&o.conns, "conns", 200, "how many connections, in groups of -workers")
	f.IntVar(&o.size.Workers, "workers", 8, "how many programs at a time in a group, on the same few keys")
	f.IntVar(&o.size.Programs, "programs", 12, "how many programs each of them runs between two looks at the tables")
	f.IntVar(&o.size.Keys, "keys", 6, "how many keys a group has: the fewer, the hotter")
	f.StringVar(&o.server, "server", serverAll,
		"what the simulator plays: cockroachdb, cockroachdb-v25, postgresql, cluster, "+
			"pgbouncer (PostgreSQL behind one), or all of them in turn")
	f.StringVar(&o.parts, "parts", partPrograms+","+partLoad, "which parts are run")
	f.DurationVar(&o.shrink, "shrink", time.Minute,
		"how long to look for a smaller round that shows the same; 0 for not at all")
	f.Uint64Var(&o.round, "round", 0, "plays nothing but the round of this seed, as an anomaly names it, -times times")
	f.IntVar(&o.times, "times", 10, "how often a round is played, for -round and while shrinking, since the interleaving is another each time")
	f.BoolVar(&o.goOn, "go-on", false, "goes on after an anomaly, and lists at the end what was found how often")
	err := command.Parse(f, args, stderr, func(rest []string) error { return o.check(rest) })
	return o, err
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is too much: there are flags only", rest[0])
	case o.duration <= 0:
		return fmt.Errorf("-for %v: it must be above zero", o.duration)
	case o.size.Workers < 1, o.size.Programs < 1, o.size.Keys < 1, o.times < 1:
		return errors.New("-workers, -programs, -keys and -times: at least 1 each")
	case o.conns < o.size.Workers, o.conns > maxConns:
		return fmt.Errorf("-conns %d: at least -workers, which is %d, and at most %d, for the server takes no more", o.conns, o.size.Workers, maxConns)
	case o.server != serverAll && !slices.Contains(serverNames(), o.server):
		return fmt.Errorf("-server %q: it is %s or %s", o.server, strings.Join(serverNames(), ", "), serverAll)
	}
	for part := range strings.SplitSeq(o.parts, ",") {
		if part != partPrograms && part != partLoad {
			return fmt.Errorf("-parts %q: they are %s and %s", o.parts, partPrograms, partLoad)
		}
	}
	return nil
}

// maxConns leaves the 300 that the server takes some for the groups' own looking around.
const maxConns = 240

func (o options) groups() int { return o.conns / o.size.Workers }

func (o options) has(part string) bool { return slices.Contains(strings.Split(o.parts, ","), part) }

func serverNames() []string { return slices.Sorted(maps.Keys(servers)) }

// serverOf says what the simulator of a group plays.
func (o options) serverOf(group int) program.Server {
	if o.server == serverAll {
		return program.Servers[group%len(program.Servers)]
	}
	return servers[o.server]
}

// repeat is the command that plays a round again.
func (o options) repeat(r *program.Round) string {
	name := ""
	for n, s := range servers {
		if s == r.Server {
			name = n
		}
	}
	return fmt.Sprintf("go run ./soak -round %d -server %s -workers %d -programs %d -keys %d",
		r.Seed, name, o.size.Workers, o.size.Programs, o.size.Keys)
}
