package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reprise-go/cockroachdb/bench/internal/aside"
	"github.com/reprise-go/cockroachdb/bench/internal/figures"
)

// measured is what a load came to with a peer, over all turns.
type measured struct {
	rates []float64 // operations a second, turn by turn
	ops   int
	waits waits // of all turns
}

func measureWaits(ctx context.Context, w io.Writer, o *options) error {
	dsn, stop, err := aside.Start()
	if err != nil {
		return err
	}
	defer stop()
	p := profileOf(o.profile)
	fmt.Fprintf(w, "\nWaits by the %s profile: how many for each 1,000 operations, and how many µs for each operation:\n\n", o.profile)
	fmt.Fprintf(w, "| load | goroutines, connections | peer | operations a second, to pgx | %s |\n",
		strings.Join(owners, " | "))
	fmt.Fprintf(w, "|%s\n", strings.Repeat(" --- |", 4+len(owners)))
	var ours []string
	for _, l := range loads(o.conns) {
		all, err := l.measure(ctx, dsn, p, o)
		if err != nil {
			return fmt.Errorf("%s: %w", l.title, err)
		}
		for _, peer := range l.peers {
			all[peer].print(w, l.name(), peer, all["pgx"])
		}
		for _, line := range all["cockroachdb"].places() {
			ours = append(ours, fmt.Sprintf("| %s | %s |", l.name(), line))
		}
	}
	if len(ours) > 0 {
		fmt.Fprintf(w, "\nThis driver's share, by the function that held the lock:\n\n| load | goroutines, connections | function | waits |\n| --- | --- | --- | --- |\n%s\n",
			strings.Join(ours, "\n"))
	}
	return nil
}

func (m *measured) print(w io.Writer, title, peer string, pgx *measured) {
	ratio := "–"
	if pgx != nil {
		ratio = fmt.Sprintf("%.2f", figures.Median(m.rates)/figures.Median(pgx.rates))
	}
	fmt.Fprintf(w, "| %s | %s | %s |", title, peer, ratio)
	for _, owner := range owners {
		fmt.Fprintf(w, " %s |", m.figures(m.waits.of(owner)))
	}
	fmt.Fprintln(w)
}

func (m *measured) figures(w wait) string {
	if w.times == 0 {
		return "0"
	}
	ops := float64(m.ops)
	return fmt.Sprintf("%.3g, %.3g µs", 1000*float64(w.times)/ops, float64(w.took.Nanoseconds())/1000/ops)
}

// places are the driver's functions that others waited for, the longest first.
func (m *measured) places() (lines []string) {
	mine := maps.Clone(m.waits)
	maps.DeleteFunc(mine, func(function string, _ wait) bool { return ownerOf(function) != thisDriver })
	names := slices.SortedFunc(maps.Keys(mine), func(a, b string) int { return cmp.Compare(mine[b].took, mine[a].took) })
	for _, name := range names {
		short := strings.TrimPrefix(strings.TrimPrefix(name, module+"/internal/"), module+".")
		lines = append(lines, fmt.Sprintf("`%s` | %s", short, m.figures(mine[name])))
	}
	return lines
}

func (l *load) name() string { return fmt.Sprintf("%s | %d, %d", l.title, l.goroutines, l.conns) }

func (l *load) measure(ctx context.Context, dsn string, p profile, o *options) (map[string]*measured, error) {
	all := make(map[string]*measured)
	for turn := range o.turns {
		for i := range l.peers {
			peer := l.peers[(i+turn)%len(l.peers)] // who goes first changes
			if all[peer] == nil {
				all[peer] = &measured{waits: make(waits)}
			}
			if err := l.turn(ctx, peer, dsn, p, o.slice, all[peer]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// turn runs the load for a while, once all connections are open and have prepared.
func (l *load) turn(ctx context.Context, peer, dsn string, p profile, slice time.Duration, m *measured) (err error) {
	if peer != "pgx" {
		dsn += l.params
	}
	db, err := sql.Open(peer, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(l.conns)
	db.SetMaxIdleConns(l.conns)
	if err := l.warmUp(ctx, db); err != nil {
		return err
	}
	before, err := p.start()
	if err != nil {
		return err
	}
	began := time.Now()
	n, err := l.runFor(db, slice)
	took := time.Since(began)
	after, stopErr := p.stop()
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	m.rates = append(m.rates, float64(n)/took.Seconds())
	m.ops += n
	m.waits.add(after, before)
	return nil
}

// warmUp opens all connections, one after the other, and has each prepare.
func (l *load) warmUp(ctx context.Context, db *sql.DB) error {
	held := make([]*sql.Conn, l.conns)
	defer func() {
		for _, c := range held {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := range held {
		var err error
		if held[i], err = db.Conn(ctx); err != nil {
			return err
		}
		if _, err := held[i].ExecContext(ctx, update, 5, 6); err != nil {
			return err
		}
	}
	return nil
}

// runFor has each goroutine do operations until the time is over, and at least one.
func (l *load) runFor(db *sql.DB, slice time.Duration) (ops int, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(slice)
	for range l.goroutines {
		wg.Go(func() {
			n, failure := 0, error(nil)
			for n == 0 || failure == nil && time.Now().Before(end) {
				failure = l.run(db)
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			ops += n
			err = cmp.Or(err, failure)
		})
	}
	wg.Wait()
	return ops, err
}
