package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/reprise-go/cockroachdb/bench/internal/processor"
)

// peer is a way to open a pool that does an operation.
type peer struct {
	name string
	op   op
	db   *sql.DB
	run  func() error
}

// sample is what one operation took, on average over a slice.
type sample struct{ time, cpu, bytes, allocs float64 }

func openPair(s server, names [2]string, o op) (pair [2]*peer, err error) {
	for i, name := range names {
		if pair[i], err = open(name, s, o); err != nil {
			return pair, err
		}
	}
	return pair, nil
}

func open(name string, s server, o op) (*peer, error) {
	db, err := openPool(name, s)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	p := &peer{name: name, op: o, db: db}
	if p.run, err = o.start(db); err != nil {
		return nil, err
	}
	if err := p.run(); err != nil { // which connects, and prepares
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// calibrate finds how many operations make a slice.
func (p *peer) calibrate(slice time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		s, err := p.slice(n)
		if err != nil {
			return 0, err
		}
		if took := s.time * float64(n); took >= float64(slice)/2 {
			return max(1, int(float64(slice)/s.time)), nil
		}
	}
}

// slice does the operation n times.
func (p *peer) slice(n int) (sample, error) {
	runtime.GC() // so that neither clears up what the other has left
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := processor.Own(), time.Now()
	for range n {
		if err := p.run(); err != nil {
			return sample{}, fmt.Errorf("%s, %s: %w", p.op.name, p.name, err)
		}
	}
	took := time.Since(began)
	cpu = processor.Own() - cpu
	runtime.ReadMemStats(&after)
	per := func(x float64) float64 { return x / float64(n) }
	return sample{
		time: per(float64(took)), cpu: per(float64(cpu)),
		bytes: per(float64(after.TotalAlloc - before.TotalAlloc)), allocs: per(float64(after.Mallocs - before.Mallocs)),
	}, nil
}

const profiled = 5 * time.Second

// profileOne runs the first operation that matches with one peer alone.
func profileOne(s server, match *regexp.Regexp, name, file string) error {
	first := slices.IndexFunc(ops, func(o op) bool { return match.MatchString(o.name) })
	if first < 0 {
		return fmt.Errorf("no operation matches %s", match)
	}
	p, err := open(name, s, ops[first])
	if err != nil {
		return err
	}
	defer func() { _ = p.db.Close() }()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	for began := time.Now(); err == nil && time.Since(began) < profiled; {
		err = p.run()
	}
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}
