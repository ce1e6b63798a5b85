// Statement measures the processor time and the allocations that a statement costs the application, beside pgx's
// stdlib:
//
//	go run ./statement | tee new.txt && benchstat -col /peer new.txt
//
// With --pair it measures what it costs this driver to be watched: "metrics" or "tracer", beside "unwatched".
//
// The server gives ready-made answers from a process of its own, and so is not in the figures. With --memory it answers
// on the client's goroutine: what is left is the client's code, and the server's, which reads what the client sends.
//
// The peers take turns in short slices, each slice a line of the output, so that whatever else the machine does falls
// on both alike.
package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/reprise-go/cockroachdb/bench/internal/aside"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
)

func main() {
	if aside.IsServer() {
		exitOn(aside.Serve(replies))
		return
	}
	turns := pflag.Int("turns", 20, "how many slices each peer gets for each operation")
	slice := pflag.Duration("slice", 100*time.Millisecond, "how long a slice is, about")
	only := pflag.String("op", "", "only the operations that match this regular expression")
	profile := pflag.String("profile", "", "instead, write a processor profile of the first operation that matches to this file")
	peer := pflag.String("peer", "cockroachdb", "with --profile, whose")
	pair := pflag.String("pair", "pgx,cockroachdb", "which two are compared: pgx, cockroachdb, unwatched, metrics, tracer")
	procs := pflag.Int("procs", 1, "GOMAXPROCS: with more than one, threads that look for work while the server is at it are counted too")
	memory := pflag.Bool("memory", false, "have the server answer in this process, without a system call, so that only code counts")
	pflag.Parse()
	runtime.GOMAXPROCS(*procs)
	match, err := regexp.Compile(*only)
	exitOn(err)
	s, stop, err := start(*memory)
	exitOn(err)
	defer stop()
	if *profile != "" {
		exitOn(profileOne(s, match, *peer, *profile))
		return
	}
	one, other, _ := strings.Cut(*pair, ",")
	exitOn(compare(s, [2]string{one, other}, match, *turns, *slice))
}

func start(inMemory bool) (s server, stop func(), err error) {
	if !inMemory {
		s.dsn, stop, err = aside.Start()
		return s, stop, err
	}
	srv, err := cannedpg.Listen(replies)
	if err != nil {
		return s, nil, err
	}
	return server{dsn: srv.DSN(), dial: srv.Dial}, srv.Close, nil
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "statement:", err)
		os.Exit(1)
	}
}

// compare prints a line for each slice, and at the end, on standard error, the ratios.
func compare(s server, names [2]string, match *regexp.Regexp, turns int, slice time.Duration) error {
	fmt.Printf("goos: %s\ngoarch: %s\n", runtime.GOOS, runtime.GOARCH)
	fmt.Println("pkg: github.com/reprise-go/cockroachdb/bench/statement")
	fmt.Fprintf(os.Stderr, "%-22s %28s %8s %28s %7s %9s\n",
		names[1]+"/"+names[0], "processor time", "least", "time", "allocs", names[0])
	for _, o := range ops {
		if !match.MatchString(o.name) {
			continue
		}
		pair, err := openPair(s, names, o)
		if err != nil {
			return err
		}
		n, err := pair[0].calibrate(slice)
		if err != nil {
			return err
		}
		samples, err := takeTurns(pair, n, turns)
		for _, p := range pair {
			_ = p.db.Close()
		}
		if err != nil {
			return err
		}
		summarize(o.name, samples)
	}
	return nil
}

func takeTurns(pair [2]*peer, n, turns int) (samples [2][]sample, err error) {
	for turn := range turns {
		for i := range pair {
			who := (i + turn) % 2 // who goes first changes
			s, err := pair[who].slice(n)
			if err != nil {
				return samples, err
			}
			samples[who] = append(samples[who], s)
			fmt.Printf("BenchmarkStatement/op=%s/peer=%s-%d\t%d\t%.1f ns/op\t%.1f cpu-ns/op\t%.1f B/op\t%.2f allocs/op\n",
				pair[who].op.name, pair[who].name, runtime.GOMAXPROCS(0), n, s.time, s.cpu, s.bytes, s.allocs)
		}
	}
	return samples, nil
}

func summarize(op string, samples [2][]sample) {
	ratio := func(of func(sample) float64) string {
		var all []float64
		for i, pgx := range samples[0] {
			all = append(all, of(samples[1][i])/of(pgx))
		}
		slices.Sort(all)
		return fmt.Sprintf("%.3f (%.3f to %.3f)", all[len(all)/2], all[len(all)/4], all[3*len(all)/4])
	}
	least := func(all []sample) float64 {
		return slices.MinFunc(all, func(a, b sample) int { return cmp.Compare(a.cpu, b.cpu) }).cpu
	}
	fmt.Fprintf(os.Stderr, "%-22s %28s %8.3f %28s %7.1f %9.1f\n", op,
		ratio(func(s sample) float64 { return s.cpu }), least(samples[1])/least(samples[0]),
		ratio(func(s sample) float64 { return s.time }), samples[1][0].allocs, samples[0][0].allocs)
}
