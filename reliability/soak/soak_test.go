package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/reliability/internal/command"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// small is a soak that is over soon.
func small(t *testing.T, args ...string) options {
	t.Helper()
	o, err := parseOptions(append([]string{
		"-for", "300ms", "-conns", "4", "-workers", "2", "-programs", "4", "-shrink", "0", "-times", "2",
	}, args...), io.Discard)
	require.NoError(t, err)
	return o
}

// TestSoak runs the parts of a soak, each small. They look at all connections and goroutines, and so come one after
// the other.
func TestSoak(t *testing.T) {
	e := enginetest.Get(t)
	if e.IsCockroach() {
		t.Skip("injects faults, which needs crdbsim; this engine is " + e.Name())
	}
	ctx := context.Background()

	t.Run("programs", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		require.NoError(t, soak(ctx, small(t), e, &stdout, &stderr), stdout.String())
		for _, words := range []string{
			"programs, in", "faults injected", "the driver", "heap after a collection", "anomalies: 0", "left behind: nothing",
		} {
			assert.Contains(t, stdout.String(), words)
		}
	})
	t.Run("again", func(t *testing.T) {
		var stdout bytes.Buffer
		require.NoError(t, again(ctx, small(t, "-round", "7"), e, &stdout))
		assert.Contains(t, stdout.String(), program.NewRound(program.CockroachDB, 7, small(t).size).String())
		assert.Contains(t, stdout.String(), "nothing was found in 2 times")
	})
	t.Run("load", func(t *testing.T) {
		var stdout bytes.Buffer
		w := weight{statements: 500, beyond: 16_385, bytes: 9 << 20, each: 2}
		require.NoError(t, loadWith(ctx, small(t), w, e, &stdout), stdout.String())
		for _, words := range []string{
			"transaction of 500 statements", "NotReplayable: statements",
			"NotReplayable: bytes", "8 transactions of 10 statements over 4 connections",
		} {
			assert.Contains(t, stdout.String(), words)
		}
	})
	t.Run("a load that is too light", func(t *testing.T) {
		var stdout bytes.Buffer
		w := weight{statements: 10, beyond: 20, bytes: 9 << 20, each: 1}
		require.ErrorIs(t, loadWith(ctx, small(t), w, e, &stdout), errFound)
		assert.Contains(t, stdout.String(), "WRONG: transaction of 20 statements was to step aside, for its statements, and came to: <nil>")
	})
	t.Run("left", func(t *testing.T) {
		metrics := cockroachdb.NewMetrics()
		w, err := newWatch(e, metrics)
		require.NoError(t, err)
		defer w.close()
		left, err := w.now()
		require.NoError(t, err)
		require.Empty(t, left)

		g, err := program.NewGroup(ctx, e, 1, program.CockroachDB, metrics)
		require.NoError(t, err)
		left, err = w.now()
		g.Close()
		require.NoError(t, err)
		assert.Contains(t, strings.Join(left, "\n"), "goroutine")
		assert.Contains(t, strings.Join(left, "\n"), "1 connections at the server")
		left, err = w.left(ctx)
		require.NoError(t, err)
		assert.Empty(t, left)
	})
}

// TestFound tells of a round in which something was found.
func TestFound(t *testing.T) {
	s := &soaking{options: small(t), metrics: cockroachdb.NewMetrics(), tally: newTally()}
	s.found = []finding{{
		round:     program.NewRound(program.PostgreSQL, 9, s.size),
		anomalies: []program.Anomaly{{Kind: program.Twice, Text: "once and again"}},
	}}
	var b bytes.Buffer
	s.report(&b, newSamples(s), nil)
	s.explain(t.Context(), &b)
	assert.Contains(t, b.String(), "anomalies: 1\n")
	assert.Contains(t, b.String(), "go run ./soak -round 9 -server postgresql -workers 2 -programs 4 -keys 6\ncommitted twice: once and again\n",
		"what is to be typed is on a line of its own")
}

// TestSummary has what looks alike counted together.
func TestSummary(t *testing.T) {
	s := &soaking{options: small(t, "-go-on"), metrics: cockroachdb.NewMetrics(), tally: newTally()}
	for seed, text := range []string{"program 1, at clock 2", "program 30, at clock 4", "something else"} {
		s.found = append(s.found, finding{
			round:     program.NewRound(program.PostgreSQL, uint64(seed), s.size),
			anomalies: []program.Anomaly{{Kind: program.Twice, Text: text}},
		})
		s.found[seed].round.Wrapped = false
	}
	var b bytes.Buffer
	s.explain(t.Context(), &b)
	assert.Contains(t, b.String(), "2 times:\n  go run ./soak -round 0 -server postgresql -workers 2 -programs 4 -keys 6\n"+
		"committed twice: program 1, at clock 2\n")
	assert.Contains(t, b.String(), "1 times:\n  go run ./soak -round 2 ")
	assert.NotContains(t, b.String(), "program 30")
}

func TestCourse(t *testing.T) {
	s := &samples{}
	for i := range enough {
		s.all = append(s.all, sample{at: time.Duration(i) * time.Minute})
		s.all[i].values[heap] = float64(10 + 3*i)
		s.all[i].values[goroutine] = float64(100 + i%7)
	}
	growing := s.course(heap)
	assert.InDelta(t, 3, growing.slope, 0.001)
	assert.False(t, growing.flat)
	assert.InDelta(t, 10+3*(enough-1), growing.highest, 0.001)
	assert.True(t, s.course(goroutine).flat)
	assert.False(t, s.flat())
	s.all = s.all[:enough-1]
	assert.True(t, s.flat(), "too few to tell")
}

func TestRoundSeed(t *testing.T) {
	seen := make(map[uint64]bool)
	for seed := range uint64(5) {
		for group := range 30 {
			for n := range 100 {
				seen[roundSeed(seed, group, n)] = true
			}
		}
	}
	assert.Len(t, seen, 5*30*100)
	assert.NotContains(t, seen, uint64(0))
}

func TestOptions(t *testing.T) {
	for _, wrong := range [][]string{
		{"-for", "0s"},
		{"-conns", "4"},
		{"-conns", "1000"},
		{"-workers", "0"},
		{"-programs", "0"},
		{"-keys", "0"},
		{"-times", "0"},
		{"-server", "mysql"},
		{"-parts", "nothing"},
		{"more"},
		{"-nosuch"},
	} {
		var stderr bytes.Buffer
		assert.Equal(t, command.Failed, execute(t.Context(), wrong, io.Discard, &stderr), wrong)
		assert.Contains(t, stderr.String(), "Usage of soak", wrong)
	}
	assert.Equal(t, command.Fine, execute(t.Context(), []string{"-h"}, io.Discard, io.Discard))

	o := small(t, "-conns", "17", "-workers", "4")
	assert.Equal(t, 4, o.groups())
	assert.Equal(t, program.CockroachDB, o.serverOf(0))
	assert.Equal(t, program.PostgreSQL, o.serverOf(2))
	assert.True(t, o.has(partLoad))
	o.server = "postgresql"
	assert.Equal(t, program.PostgreSQL, o.serverOf(0))
}
