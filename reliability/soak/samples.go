package main

import (
	"context"
	"runtime"
	"time"
)

// samples are what the soak holds at points in time: if something leaks, it grows.
type samples struct {
	soak  *soaking
	began time.Time
	all   []sample
}

type sample struct {
	at     time.Duration
	values [quantities]float64
}

// What is sampled.
const (
	heap = iota
	goroutine
	poolConns
	simConns
	historyBytes
	quantities
)

var quantityNames = [quantities]string{
	"heap after a collection (MiB)", "goroutines", "connections of the pools", "connections at the server",
	"bytes of history",
}

// room is by how much a quantity may be higher at the end of the soak than at its beginning: programs come and go, and
// at each sample another number of them is under way. What leaks with each program soon is more.
var room = [quantities]float64{heap: 24, goroutine: 300, poolConns: 20, simConns: 20, historyBytes: 1 << 20}

const mib = 1 << 20

func newSamples(s *soaking) *samples { return &samples{soak: s, began: time.Now()} }

const (
	sampleEvery = 500 * time.Millisecond
	sampleCount = 200
	enough      = 40 // samples, to say whether something grows
)

// watch takes samples until the soak has ended.
func (s *samples) watch(ctx context.Context, ended <-chan struct{}) {
	ticker := time.NewTicker(max(sampleEvery, s.soak.duration/sampleCount))
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			if ctx.Err() == nil { // the load is going down else
				s.take()
			}
		}
	}
}

func (s *samples) take() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	smp := sample{at: time.Since(s.began)}
	smp.values[heap] = float64(m.HeapAlloc) / mib
	smp.values[goroutine] = float64(runtime.NumGoroutine())
	for _, g := range s.soak.groups {
		open, clients := g.Conns()
		smp.values[poolConns] += float64(open)
		smp.values[simConns] += float64(clients)
	}
	smp.values[historyBytes] = metricsOf(s.soak.metrics)["history_bytes"]
	s.all = append(s.all, smp)
}

// A course is how a quantity has gone.
type course struct {
	first, last float64 // the means of the first and of the last third
	highest     float64
	slope       float64 // by least squares, for each minute
	flat        bool
}

func (s *samples) course(q int) course {
	var c course
	third := len(s.all) / 3
	if len(s.all) < enough {
		c.flat = true // it was too short to tell
	}
	if third == 0 {
		return c
	}
	var n, sumT, sumV, sumTT, sumTV float64
	for i, smp := range s.all {
		t, v := smp.at.Minutes(), smp.values[q]
		n, sumT, sumV, sumTT, sumTV = n+1, sumT+t, sumV+v, sumTT+t*t, sumTV+t*v
		c.highest = max(c.highest, v)
		switch {
		case i < third:
			c.first += v / float64(third)
		case i >= len(s.all)-third:
			c.last += v / float64(third)
		}
	}
	c.slope = (n*sumTV - sumT*sumV) / (n*sumTT - sumT*sumT)
	c.flat = c.flat || c.last <= c.first*1.25+room[q]
	return c
}

func (s *samples) flat() bool {
	for q := range quantities {
		if !s.course(q).flat {
			return false
		}
	}
	return true
}
