package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/reliability/internal/command"
	"github.com/reprise-go/cockroachdb/reliability/outage"
)

// options are what the command line says.
type options struct {
	duration time.Duration
	mode     string
	nodes    int
	workers  int
	accounts int
	singles  bool
	loops    bool
	once     bool
	through  string
	params   string
	drivers  string
	away     time.Duration
	stopCmd  string
	startCmd string
	url      string
}

// The modes, and the ways to the nodes.
const (
	modeDrain   = string(outage.Drain)
	modeKill    = string(outage.Kill)
	modeSilence = string(outage.Silence)

	throughHosts    = "hosts"
	throughBalancer = "balancer"
)

// mostWorkers is what PostgreSQL's connections are enough for.
const mostWorkers = 200

// parseOptions has told what is wrong, and how it is used, if it returns an error.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{url: os.Getenv("COCKROACH_URL")}
	f := flag.NewFlagSet("rolling", flag.ContinueOnError)
	f.DurationVar(&o.duration, "for", time.Minute, "how long the load runs through each driver")
	f.StringVar(&o.mode, "mode", modeDrain, "drain, kill or silence: how a node is taken away, and so what is promised")
	f.IntVar(&o.nodes, "nodes", 3, "how many nodes the cluster has; on a real one, the numbers that {node} stands for")
	f.IntVar(&o.workers, "workers", 32, "how many clients there are, each with one connection")
	f.IntVar(&o.accounts, "accounts", 1000, "how many accounts there are: the fewer, the more conflicts")
	f.BoolVar(&o.singles, "singles", false, "adds writes outside a transaction: pgx 5.12.0 does some of them twice")
	f.BoolVar(&o.loops, "execute-tx", false, "has cockroach-go's ExecuteTx run the transactions")
	f.BoolVar(&o.once, "exactly-once", false, "retry_commit_marker=on for this driver: no commit may stay ambiguous")
	f.StringVar(&o.through, "through", throughHosts, "hosts or balancer: how clients reach crdbsim's nodes")
	f.StringVar(&o.params, "params", "connect_timeout=5", "what is added to the DSN")
	f.StringVar(&o.drivers, "drivers", "pgx,cockroachdb", "which drivers the load runs through, one after the other")
	f.DurationVar(&o.away, "away", 0, "how long a node is away, its drain included; 0 for half of its turn")
	f.StringVar(&o.stopCmd, "stop-cmd", "", "the shell command that takes node {node} of a real cluster away")
	f.StringVar(&o.startCmd, "start-cmd", "", "the shell command that brings node {node} of a real cluster back")
	err := command.Parse(f, args, stderr, func(rest []string) error { return o.check(rest) })
	return o, err
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is too much: there are flags only", rest[0])
	case o.duration <= 0, o.away < 0:
		return errors.New("-for must be above zero, and -away not below it")
	case !slices.Contains([]string{modeDrain, modeKill, modeSilence}, o.mode):
		return fmt.Errorf("-mode %q: it is %s, %s or %s", o.mode, modeDrain, modeKill, modeSilence)
	case !slices.Contains([]string{throughHosts, throughBalancer}, o.through):
		return fmt.Errorf("-through %q: it is %s or %s", o.through, throughHosts, throughBalancer)
	case o.nodes < 2:
		return errors.New("-nodes: at least 2, since one is always away")
	case o.workers < 1, o.workers > mostWorkers:
		return fmt.Errorf("-workers: 1 to %d", mostWorkers)
	case o.accounts < 2:
		return errors.New("-accounts: at least 2")
	case len(o.chosen()) == 0:
		return fmt.Errorf("-drivers %q: it is pgx, cockroachdb, or both with a comma between", o.drivers)
	}
	return o.checkCluster()
}

func (o options) checkCluster() error {
	switch {
	case (o.stopCmd == "") != (o.startCmd == ""):
		return errors.New("-stop-cmd and -start-cmd go together")
	case o.url != "" && o.stopCmd == "":
		return errors.New("COCKROACH_URL is set: say with -stop-cmd and -start-cmd how its nodes are taken away, or unset it")
	case o.url == "" && o.stopCmd != "":
		return errors.New("-stop-cmd and -start-cmd are for the cluster that COCKROACH_URL names, which is not set")
	}
	return nil
}

// chosen returns the drivers asked for, none if one of the names is not known.
func (o options) chosen() []sqlDriver {
	var chosen []sqlDriver
	for name := range strings.SplitSeq(o.drivers, ",") {
		i := slices.IndexFunc(allDrivers, func(d sqlDriver) bool { return d.name == name })
		if i < 0 {
			return nil
		}
		chosen = append(chosen, allDrivers[i])
	}
	return chosen
}

// A schedule says when nodes are away. Each has its turn; what is left after the last one is for connections to even
// out.
type schedule struct {
	turn time.Duration
	away time.Duration
}

func (o options) schedule() schedule {
	turn := o.duration * 3 / 4 / time.Duration(o.nodes)
	away := o.away
	if away == 0 || away > turn {
		away = turn / 2
	}
	return schedule{turn, away}
}
