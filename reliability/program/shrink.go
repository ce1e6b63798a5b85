package program

import (
	"context"
	"reflect"
	"slices"
)

// Smallest is the smallest round to be found that still comes to an anomaly, and what it comes to, before ctx is done.
// Each one is played up to that many times.
func (g *Group) Smallest(ctx context.Context, r *Round, times int) (*Round, []Anomaly) {
	var found []Anomaly
	fails := func(r *Round) bool {
		for range times {
			h, err := g.Play(ctx, r)
			if err != nil || ctx.Err() != nil {
				return false
			}
			if a := Check(r, h); len(a) > 0 {
				found = a
				return true
			}
		}
		return false
	}
	return Shrink(r, fails, func() bool { return ctx.Err() != nil }), found
}

// Shrink looks for a smaller round that still fails: it takes away workers, programs, steps, kinds of fault, and what
// is special about a program, as long as fails says so of what is left. As the interleaving is not to be had again,
// fails plays a round more than once before it gives up on it. Shrink ends when nothing more can be taken away, or when
// enough says so.
func Shrink(r *Round, fails func(*Round) bool, enough func() bool) *Round {
	for smaller := true; smaller; {
		smaller = false
		candidates := r.smaller()
		for i := 0; i < len(candidates) && !enough(); {
			if !fails(candidates[i]) {
				i++
				continue
			}
			// What could not be taken away before is not tried again before all else was: each try takes its time.
			r, smaller = candidates[i], true
			candidates = r.smaller()
		}
	}
	return r
}

// smaller are rounds with one thing less, those with much less first.
func (r *Round) smaller() (all []*Round) {
	for i := range r.Workers {
		all = append(all, r.with(slices.Delete(slices.Clone(r.Workers), i, i+1)))
	}
	for i, list := range r.Workers {
		for half := len(list) / 2; half > 0; half /= 2 {
			for at := 0; at+half <= len(list); at += half {
				all = append(all, r.withList(i, slices.Delete(slices.Clone(list), at, at+half)))
			}
		}
	}
	all = append(all, r.calmer()...)
	for i, list := range r.Workers {
		for j, p := range list {
			for _, q := range p.smaller() {
				changed := slices.Clone(list)
				changed[j] = q
				all = append(all, r.withList(i, changed))
			}
		}
	}
	return all
}

func (r *Round) with(workers [][]*Program) *Round {
	c := *r
	c.Workers = slices.DeleteFunc(workers, func(list []*Program) bool { return len(list) == 0 })
	return &c
}

func (r *Round) withList(i int, list []*Program) *Round {
	workers := slices.Clone(r.Workers)
	workers[i] = list
	return r.with(workers)
}

// calmer are rounds with fewer kinds of fault.
func (r *Round) calmer() (all []*Round) {
	if r.Wrapped {
		c := *r
		c.Wrapped = false
		all = append(all, &c)
	}
	if r.Marked {
		c := *r
		c.Marked = false
		all = append(all, &c)
	}
	if r.Taught {
		c := *r
		c.Taught = false
		all = append(all, &c)
	}
	if len(r.Faults.Nodes) > 0 {
		c := *r
		c.Faults.Nodes = nil
		all = append(all, &c)
	}
	for i := range r.Faults.Outages {
		c := *r
		c.Faults.Outages = slices.Delete(slices.Clone(c.Faults.Outages), i, i+1)
		all = append(all, &c)
	}
	for _, k := range faultKinds {
		if r.Faults.Rates[k.name] == 0 {
			continue
		}
		c := *r
		c.Faults.Rates = make(map[string]float64)
		for name, rate := range r.Faults.Rates {
			if name != k.name {
				c.Faults.Rates[name] = rate
			}
		}
		all = append(all, &c)
	}
	return all
}

// smaller are programs with one thing less.
func (p *Program) smaller() (all []*Program) {
	if len(p.Steps) > 1 {
		for i := range p.Steps {
			c := *p
			c.Steps = slices.Delete(slices.Clone(p.Steps), i, i+1)
			c.Clock, c.Enter = without(p.Clock, i), without(p.Enter, i)
			all = append(all, &c)
		}
	}
	for i, s := range p.Steps {
		for _, t := range s.smaller() {
			c := *p
			c.Steps = slices.Clone(p.Steps)
			c.Steps[i] = t
			all = append(all, &c)
		}
	}
	all = append(all, p.withSmallerTail()...)
	for _, plainer := range []func(*Program){
		func(c *Program) { c.Cancel = nil },
		func(c *Program) { c.Policy = Default },
		func(c *Program) { c.Careless = false },
		func(c *Program) { c.Patient = false },
		func(c *Program) { c.Mask = Unmasked },
	} {
		c := *p
		if plainer(&c); !reflect.DeepEqual(&c, p) {
			all = append(all, &c)
		}
	}
	return all
}

func (p *Program) withSmallerTail() (all []*Program) {
	if p.Tail == nil {
		return nil
	}
	c := *p
	c.Tail = nil
	if len(p.Steps) > 0 {
		all = append(all, &c)
	}
	for i := range p.Tail.Steps {
		t, d := *p.Tail, *p
		t.Steps = slices.Delete(slices.Clone(t.Steps), i, i+1)
		d.Tail = &t
		all = append(all, &d)
	}
	return all
}

// without is where something stands once step i is gone.
func without(at, i int) int {
	if at > i {
		return at - 1
	}
	return at
}

// smaller are steps that are simpler.
func (s *Step) smaller() (all []Step) {
	if s.If != Always {
		c := *s
		c.If = Always
		all = append(all, c)
	}
	if s.Block == nil {
		return append(all, s.plainer()...)
	}
	for i, inner := range s.Block.Steps {
		all = append(all, inner) // in place of the block
		b := *s.Block
		b.Steps = slices.Delete(slices.Clone(b.Steps), i, i+1)
		c := *s
		c.Block = &b
		all = append(all, c)
	}
	return all
}

// plainer are steps whose statement has one thing less that is special.
func (s *Step) plainer() (all []Step) {
	for _, plain := range []func(*Statement){
		func(c *Statement) {
			if c.Kind != Copy && !c.Only {
				c.How, c.Mode = Direct, 0
			}
		},
		func(c *Statement) {
			if c.Kind == Bear && c.Hi > c.Lo+1 {
				c.Hi--
			}
		},
		func(c *Statement) { c.Row = false },
		func(c *Statement) { c.Deaf = false },
		func(c *Statement) { c.Names = false },
		func(c *Statement) { c.Ask = false },
		func(c *Statement) {
			if c.Kind != Look {
				c.Slot, c.Row = 0, false
			}
		},
	} {
		c := *s
		if plain(&c.Statement); !reflect.DeepEqual(c, *s) {
			all = append(all, c)
		}
	}
	return all
}
