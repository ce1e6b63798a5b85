package main

import (
	"bytes"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	pprofile "github.com/google/pprof/profile"
)

// waits are those of others, by the function that held the lock. In a block profile it is the one that waited.
type waits map[string]wait

// wait is how often, and how long altogether.
type wait struct {
	times int64
	took  time.Duration
}

func (w *wait) add(times int64, took time.Duration) {
	w.times += times
	w.took += took
}

// Whose a lock is.
const (
	module     = "github.com/reprise-go/cockroachdb"
	thisDriver = "this driver"
	ofSQL      = "database/sql"
	rest       = "the rest"
)

var owners = []string{thisDriver, ofSQL, "pgx", "Go's runtime", rest}

func ownerOf(function string) string {
	switch {
	case strings.HasPrefix(function, module+"/bench"):
		return rest
	case strings.HasPrefix(function, module):
		return thisDriver
	case strings.HasPrefix(function, "database/sql"):
		return ofSQL
	case strings.HasPrefix(function, "github.com/jackc/"):
		return "pgx"
	case strings.HasPrefix(function, "runtime."):
		return "Go's runtime"
	}
	return rest
}

func (w waits) of(owner string) (sum wait) {
	for function, one := range w {
		if ownerOf(function) == owner {
			sum.add(one.times, one.took)
		}
	}
	return sum
}

// add adds what there is after, and was not before.
func (w waits) add(after, before waits) {
	for function, one := range after {
		was, sum := before[function], w[function]
		if one.times > was.times {
			sum.add(one.times-was.times, one.took-was.took)
			w[function] = sum
		}
	}
}

// profile is one of the runtime's that count waits.
type profile struct {
	name string
	rate func(int)
}

func profileOf(name string) profile {
	if name == "block" {
		return profile{name, runtime.SetBlockProfileRate}
	}
	return profile{"mutex", func(rate int) { runtime.SetMutexProfileFraction(rate) }}
}

// start counts every wait from now on, and returns what was counted before.
func (p profile) start() (waits, error) {
	p.rate(1)
	return p.read()
}

// stop counts no more, and returns what was counted.
func (p profile) stop() (waits, error) {
	p.rate(0)
	return p.read()
}

func (p profile) read() (waits, error) {
	var b bytes.Buffer
	if err := pprof.Lookup(p.name).WriteTo(&b, 0); err != nil {
		return nil, err
	}
	parsed, err := pprofile.Parse(&b)
	if err != nil {
		return nil, err
	}
	const times, took = 0, 1 // the values of these profiles
	all := make(waits)
	for _, s := range parsed.Sample {
		one := all[p.holder(s)]
		one.add(s.Value[times], time.Duration(s.Value[took]))
		all[p.holder(s)] = one
	}
	return all, nil
}

// holder is the innermost function that is not a lock's own, or a context's, but for locks that are the runtime's.
func (p profile) holder(s *pprofile.Sample) (function string) {
	for _, location := range s.Location {
		for _, line := range location.Line {
			function = line.Function.Name
			pkg, _, _ := strings.Cut(function, ".")
			switch {
			case pkg == "runtime" && p.name == "mutex":
				return function
			case pkg != "runtime" && pkg != "sync" && pkg != "internal/sync" && pkg != "context":
				return function
			}
		}
	}
	return function
}
