// Report makes tables and a chart from the output of the benchmarks of contention:
//
//	go test -bench 'Contention|Latency' . | tee out.txt && go run ./report out.txt
//
// It prints the tables; with --doc it puts them into a Markdown file, between two comments, with --summary only the
// first of them, and with --chart it draws the chart; with --policy and --curves it does the like with what
// bench/sweep has measured. With --statement it compares what bench/statement has measured with what it did before. Of
// several runs of a benchmark it takes the median.
package main

import (
	"bytes"
	"errors"
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
	doc := flags.String("doc", "", "put the tables into this Markdown `file`, "+tablesMark.place())
	summary := flags.String("summary", "",
		"put the ratios over all workloads into this Markdown `file`, "+summaryMark.place())
	chart := flags.String("chart", "", "draw the chart into this SVG `file`")
	policy := flags.String("policy", "", "put the tables of bench/sweep into this Markdown `file`, "+policyMark.place())
	curves := flags.String("curves", "", "draw the curves of bench/sweep into this SVG `file`")
	statement := flags.String("statement", "", "compare with this `file`, which is of bench/statement")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("no output to read: name the files that hold what go test -bench has printed")
	}
	if *statement != "" {
		return compareStatements(out, *statement, flags.Arg(0))
	}
	if *policy != "" || *curves != "" {
		return reportPolicy(flags.Args(), *policy, *curves)
	}
	all, err := read(flags.Args())
	if err != nil {
		return err
	}
	if *doc == "" && *summary == "" && *chart == "" {
		_, err := io.WriteString(out, tables(all))
		return err
	}
	if *doc != "" {
		err = errors.Join(err, tablesMark.replaceIn(*doc, tables(all)))
	}
	if *summary != "" {
		err = errors.Join(err, summaryMark.replaceIn(*summary, ratios(all)))
	}
	if *chart != "" {
		err = errors.Join(err, os.WriteFile(*chart, drawChart(all), 0o644))
	}
	return err
}

func reportPolicy(files []string, doc, curves string) error {
	all, err := readSweeps(files)
	if err != nil {
		return err
	}
	if doc != "" {
		err = policyMark.replaceIn(doc, policyTables(all))
	}
	if curves != "" {
		svg, drawErr := drawCurves(all)
		if drawErr == nil {
			drawErr = os.WriteFile(curves, svg, 0o644)
		}
		err = errors.Join(err, drawErr)
	}
	return err
}

// A mark names the part of a document that is the program's.
type mark string

const (
	tablesMark  mark = "tables"
	summaryMark mark = "performance"
	policyMark  mark = "policy"
)

func (m mark) begin() string { return "<!-- " + string(m) + ": begin -->" }
func (m mark) end() string   { return "<!-- " + string(m) + ": end -->" }
func (m mark) place() string { return "between " + m.begin() + " and " + m.end() }

func (m mark) replaceIn(name, text string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, found := bytes.Cut(old, []byte(m.begin()))
	_, tail, foundEnd := bytes.Cut(rest, []byte(m.end()))
	if !found || !foundEnd {
		return fmt.Errorf("%s does not say where the tables go: put the lines %s and %s into it", name, m.begin(), m.end())
	}
	return os.WriteFile(name, fmt.Appendf(nil, "%s%s\n\n%s\n%s%s", head, m.begin(), text, m.end(), tail), 0o644)
}
