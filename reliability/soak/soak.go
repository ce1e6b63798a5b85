package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

// soak plays rounds in all groups until the time is up, or until something is found.
func soak(ctx context.Context, o options, e *engine.Engine, stdout, stderr io.Writer) error {
	s := &soaking{options: o, engine: e, metrics: cockroachdb.NewMetrics(), tally: newTally()}
	w, err := newWatch(e, s.metrics)
	if err != nil {
		return err
	}
	defer w.close()
	if err := s.open(ctx); err != nil {
		s.close()
		return err
	}
	samples, err := s.play(ctx, stderr)
	s.close()
	left, leftErr := w.left(ctx)
	if err := errors.Join(err, leftErr); err != nil {
		return err
	}
	s.report(stdout, samples, left)
	if len(s.found) > 0 {
		s.explain(context.WithoutCancel(ctx), stdout)
	}
	if len(s.found)+len(left) > 0 || !samples.flat() {
		return errFound
	}
	return nil
}

type soaking struct {
	options
	engine  *engine.Engine
	metrics *cockroachdb.Metrics
	tally   *tally
	groups  []*program.Group

	mu    sync.Mutex
	found []finding
}

// A finding is what was found in a round.
type finding struct {
	round     *program.Round
	anomalies []program.Anomaly
}

// open makes the groups.
func (s *soaking) open(ctx context.Context) error {
	for i := range s.options.groups() {
		g, err := program.NewGroup(ctx, s.engine, s.size.Workers, s.serverOf(i), s.metrics)
		if err != nil {
			return fmt.Errorf("make group %d of %d: %w", i+1, s.options.groups(), err)
		}
		s.groups = append(s.groups, g)
	}
	return nil
}

func (s *soaking) close() {
	var closing sync.WaitGroup
	for _, g := range s.groups {
		closing.Go(g.Close)
	}
	closing.Wait()
}

// play plays until the time is up, and takes samples meanwhile.
func (s *soaking) play(ctx context.Context, stderr io.Writer) (*samples, error) {
	ctx, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	samples := newSamples(s)
	errs := make([]error, len(s.groups))
	var groups, watchers sync.WaitGroup
	ended := make(chan struct{})
	watchers.Go(func() { samples.watch(ctx, ended) })
	watchers.Go(func() { s.showProgress(stderr, ended) })
	for i, g := range s.groups {
		groups.Go(func() {
			errs[i] = s.playGroup(ctx, cancel, g, i)
		})
	}
	groups.Wait()
	close(ended)
	watchers.Wait()
	return samples, errors.Join(errs...)
}

func (s *soaking) playGroup(ctx context.Context, stop func(), g *program.Group, group int) error {
	for n := 0; ctx.Err() == nil; n++ {
		r := program.NewRound(g.Server(), roundSeed(s.seed, group, n), s.size)
		h, err := g.Play(ctx, r)
		if err != nil {
			stop()
			return fmt.Errorf("play round %d of group %d: %w", n+1, group+1, err)
		}
		s.tally.add(r, h)
		if found := program.Check(r, h); len(found) > 0 {
			s.mu.Lock()
			s.found = append(s.found, finding{r, found})
			s.mu.Unlock()
			if !s.goOn {
				stop()
			}
		}
	}
	return nil
}

// roundSeed mixes the three (as splitmix64 does), so that groups and soaks don't play the same rounds.
func roundSeed(seed uint64, group, n int) uint64 {
	x := seed + uint64(group+1)*0x9e3779b97f4a7c15 + uint64(n+1)*0xd1342543de82ef95
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return max(x^x>>31, 1) // 0 stands for no round
}

// explain tells what was found, and in how small a round it can be found again.
func (s *soaking) explain(ctx context.Context, w io.Writer) {
	if s.goOn {
		s.summarize(w)
		return
	}
	for _, f := range s.found {
		fmt.Fprintf(w, "\nANOMALIES in the round of seed %d; to play it again:\n  %s\n", f.round.Seed, s.repeat(f.round))
		for _, a := range f.anomalies {
			fmt.Fprintln(w, a)
		}
	}
	if s.shrink <= 0 {
		return
	}
	f := s.found[0]
	if err := shrink(ctx, s.options, s.engine, f, w); err != nil {
		fmt.Fprintf(w, "it could not be shrunk: %v\n", err)
	}
}

func shrink(ctx context.Context, o options, e *engine.Engine, f finding, w io.Writer) error {
	g, err := program.NewGroup(ctx, e, o.size.Workers, f.round.Server, nil)
	if err != nil {
		return err
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(ctx, o.shrink)
	defer cancel()
	small, found := g.Smallest(ctx, f.round, o.times)
	if len(found) == 0 {
		fmt.Fprintf(w, "\nIn %v it was not found again in a smaller round.\n", o.shrink)
		return nil
	}
	fmt.Fprintf(w, "\nTHE SMALLEST ROUND found in %v:\n%v\n", o.shrink, small)
	for _, a := range found {
		fmt.Fprintln(w, a)
	}
	return nil
}

// again plays one round, several times.
func again(ctx context.Context, o options, e *engine.Engine, stdout io.Writer) error {
	g, err := program.NewGroup(ctx, e, o.size.Workers, o.serverOf(0), nil)
	if err != nil {
		return err
	}
	defer g.Close()
	r := program.NewRound(g.Server(), o.round, o.size)
	fmt.Fprintln(stdout, r)
	began := time.Now()
	for i := range o.times {
		h, err := g.Play(ctx, r)
		if err != nil {
			return err
		}
		if found := program.Check(r, h); len(found) > 0 {
			fmt.Fprintf(stdout, "the %d. time it was played:\n", i+1)
			for _, a := range found {
				fmt.Fprintln(stdout, a)
			}
			return errFound
		}
	}
	fmt.Fprintf(stdout, "nothing was found in %d times, %v\n", o.times, time.Since(began).Round(time.Second))
	return nil
}
