// Report makes tables and a chart from the output of the benchmarks of contention:
//
//	go test -bench 'Contention|Latency' . | tee out.txt && go run ./report out.txt
//
// It prints the tables; with --doc it puts them into a Markdown file, between two comments, and with --chart it draws the chart. Of
// several runs of a benchmark it takes the median.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := pflag.NewFlagSet("report", pflag.ContinueOnError)
	doc := flags.String("doc", "", "put the tables into this Markdown `file`, between "+begin+" and "+end)
	chart := flags.String("chart", "", "draw the chart into this SVG `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("no output to read: name the files that hold what go test -bench has printed")
	}
	all, err := read(flags.Args())
	if err != nil {
		return err
	}
	if *chart != "" {
		if err := os.WriteFile(*chart, drawChart(all), 0o644); err != nil {
			return fmt.Errorf("writing the chart: %w", err)
		}
	}
	if *doc == "" {
		_, err := io.WriteString(out, tables(all))
		return err
	}
	return replaceIn(*doc, tables(all))
}

// What is between these lines of a document is the program's.
const (
	begin = "<!-- tables: begin -->"
	end   = "<!-- tables: end -->"
)

func replaceIn(name, text string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, found := bytes.Cut(old, []byte(begin))
	_, tail, foundEnd := bytes.Cut(rest, []byte(end))
	if !found || !foundEnd {
		return fmt.Errorf("%s does not say where the tables go: put the lines %s and %s into it", name, begin, end)
	}
	return os.WriteFile(name, fmt.Appendf(nil, "%s%s\n\n%s\n%s%s", head, begin, text, end, tail), 0o644)
}
