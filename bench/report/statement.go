package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// An opRatio is how much processor time this driver takes for an operation beside pgx: slice by slice, the least first.
type opRatio []float64

func (r opRatio) quarter(n int) float64 { return r[n*len(r)/4] }

func (r opRatio) String() string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", r.quarter(2), r.quarter(1), r.quarter(3))
}

// slowerThan reports whether r is above other by more than the noise: their middle halves are apart.
func (r opRatio) slowerThan(other opRatio) bool { return r.quarter(1) > other.quarter(3) }

// compareStatements prints what bench/statement has measured before and now, and names what became slower.
func compareStatements(out io.Writer, published, now string) error {
	was, _, err := readStatements(published)
	if err != nil {
		return err
	}
	is, ops, err := readStatements(now)
	if err != nil {
		return err
	}
	var slower []string
	var b strings.Builder
	b.WriteString("Processor time, this driver / pgx:\n\n")
	row(&b, "operation", "published", "now")
	rule(&b, 3)
	for _, op := range ops {
		if was[op] == nil {
			continue
		}
		row(&b, op, was[op].String(), is[op].String())
		if is[op].slowerThan(was[op]) {
			slower = append(slower, op)
		}
	}
	if len(slower) > 0 {
		fmt.Fprintf(&b, "\nSlower beside pgx than the published results: %s\n", strings.Join(slower, "; "))
	} else {
		b.WriteString("\nNo operation is certainly slower beside pgx than the published results.\n")
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// readStatements returns the ratios by operation, and the operations in their order.
func readStatements(file string) (ratios map[string]opRatio, ops []string, err error) {
	times := make(map[string]map[string][]float64) // by operation and peer
	in := benchfmt.Files{Paths: []string{file}}
	for in.Scan() {
		r, ok := in.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		bench, parts := nameParts(r.Name)
		op, peer := parts["op"], parts["peer"]
		if bench != "Statement" {
			continue
		}
		if times[op] == nil {
			times[op] = make(map[string][]float64)
			ops = append(ops, op)
		}
		if took, ok := r.Value("cpu-sec/op"); ok { // benchfmt makes seconds of cpu-ns/op
			times[op][peer] = append(times[op][peer], took)
		}
	}
	if err := in.Err(); err != nil {
		return nil, nil, err
	}
	ratios = make(map[string]opRatio)
	for op, of := range times {
		ours, pgx := of["cockroachdb"], of["pgx"]
		if len(ours) == 0 || len(ours) != len(pgx) {
			return nil, nil, fmt.Errorf("%s has %d slices of %s, and %d of pgx: use all of what bench/statement printed",
				file, len(ours), op, len(pgx))
		}
		for i := range ours {
			ratios[op] = append(ratios[op], ours[i]/pgx[i])
		}
		slices.Sort(ratios[op])
	}
	if len(ops) == 0 {
		return nil, nil, fmt.Errorf("no result of BenchmarkStatement in %s", file)
	}
	return ratios, ops, nil
}
