// Command explore visits every state of the protocol of commit markers, and prints how many there are; see package
// exactlyonce. With -mistake it plants a mistake, and prints the shortest way to where that breaks the protocol.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/reprise-go/cockroachdb/reliability/exactlyonce"
)

// Exit codes.
const (
	exitFine  = iota
	exitWrong // a property does not hold, or a mistake was not found
	exitUsage
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("explore", flag.ContinueOnError)
	flags.SetOutput(stderr)
	mistake := flags.String("mistake", "", "plant this mistake")
	deep := flags.Bool("deep", false, "explore two clients with three commits too: eight times as many states")
	flags.Usage = func() { usage(flags) }
	if flags.Parse(args) != nil {
		return exitUsage
	}
	if *mistake == "" {
		return prove(stdout, *deep)
	}
	for _, planted := range exactlyonce.Mistakes() {
		if string(planted.Mistake) == *mistake {
			return find(stdout, planted)
		}
	}
	fmt.Fprintf(stderr, "explore: there is no mistake %q\n", *mistake)
	flags.Usage()
	return exitUsage
}

func usage(flags *flag.FlagSet) {
	flags.PrintDefaults()
	fmt.Fprintln(flags.Output(), "mistakes:")
	for _, planted := range exactlyonce.Mistakes() {
		fmt.Fprintf(flags.Output(), "  %-25s %s\n", planted.Mistake, planted.Does)
	}
}

// prove explores the protocol as it is.
func prove(w io.Writer, deep bool) int {
	all := []exactlyonce.Bounds{exactlyonce.OneClient(), exactlyonce.TwoClients()}
	if deep {
		bounds := exactlyonce.TwoClients()
		bounds.Commits = 3
		all = append(all, bounds)
	}
	for _, bounds := range all {
		result := exactlyonce.Explore(bounds, exactlyonce.None)
		fmt.Fprintf(w, "%d client(s), %d commits: ", len(bounds.Transactions), bounds.Commits)
		if result.Violation != nil {
			report(w, result)
			return exitWrong
		}
		fmt.Fprintf(w, "%d states, %d steps between them, the farthest after %d; all properties hold\n",
			result.States, result.Steps, result.Depth)
	}
	for _, property := range exactlyonce.Properties() {
		fmt.Fprintln(w, "  -", property)
	}
	return exitFine
}

// find explores the protocol with a mistake.
func find(w io.Writer, planted exactlyonce.Planted) int {
	fmt.Fprintf(w, "%s: %s\n", planted.Mistake, planted.Does)
	result := exactlyonce.Explore(planted.Bounds, planted.Mistake, planted.Breaks)
	if result.Violation == nil {
		fmt.Fprintf(w, "not found in %d states\n", result.States)
		return exitWrong
	}
	report(w, result)
	return exitFine
}

func report(w io.Writer, result exactlyonce.Result) {
	fmt.Fprintf(w, "after %d states this does not hold: %s\n", result.States, result.Violation.Property)
	for _, line := range result.Violation.Trace {
		fmt.Fprintln(w, line)
	}
}
