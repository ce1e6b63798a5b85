package bench

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The goal is 1.3 times the best loop and three times ExecuteTx, with a third of the loop's p99, on the four workloads
// that were measured on a real server. Where it is not reached, the best that is known with hindsight says what was to
// be had.
const (
	goalOfLoop, goalOfExecuteTx = 1.3, 3
	mostMissed                  = 0.9 // of what was to be had, where that is not the goal either
)

// loops are the loop on pgx with several backoffs.
func loops() (all []peer) {
	for _, backoff := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond} {
		all = append(all, peer{"loop, " + backoff.String(), likeCockroachDB, func(tb testing.TB, g ground) *client {
			c := peerNamed(tb, "pgx-loop").open(tb, g)
			c.backoff = backoff
			return c
		}})
	}
	return all
}

// A hindsight is a policy for one workload, by somebody who knows it.
type hindsight struct {
	workload workload
	peer     peer
}

// withHindsight are the loop and RunTx with a bound on how many transactions run at a time, and with FOR UPDATE where
// that helps.
func withHindsight(tb testing.TB, w workload) (all []hindsight) {
	candidates := []workload{w}
	if w.name == "read-modify-write" {
		candidates = append(candidates, workload{"FOR UPDATE", w.schema, readModifyWriteTwo(forUpdate, asDrawn), w.check})
	}
	for _, w := range candidates {
		for _, n := range []int{1, 2, 4, 16} {
			all = append(all, hindsight{w, admitting(tb, "pgx-loop", n)}, hindsight{w, admitting(tb, "RunTx", n)})
		}
	}
	return all
}

// admitting lets only so many transactions run at once.
func admitting(tb testing.TB, name string, n int) peer {
	p := peerNamed(tb, name)
	return peer{fmt.Sprintf("%s, %d at a time", name, n), likeCockroachDB, func(tb testing.TB, g ground) *client {
		places := make(chan struct{}, n)
		c := p.open(tb, g)
		once := c.once
		c.once = func(ctx context.Context, db *sql.DB, work func(*sql.Tx) error) error {
			places <- struct{}{}
			defer func() { <-places }()
			return once(ctx, db, work)
		}
		return c
	}}
}

// inOrder has those of the workloads that a program could be written for whose transactions never deadlock, and wait in
// place of losing.
func inOrder(name string) (w workload, ok bool) {
	switch name {
	case "blind transfer":
		return workload{"in order", keyValue(hotRows), transfer(slices.Sort), sumIsKept}, true
	case "read-modify-write", "the same, FOR UPDATE":
		return workload{"in order", keyValue(hotRows), readModifyWriteTwo(forUpdate, slices.Sort), sumIsKept}, true
	}
	return workload{}, false
}

// by is what the cell comes to with a workload and a peer.
func (c cell) by(t *testing.T, w workload, p peer) figures {
	t.Helper()
	c.workload, c.peer = w, p
	return measured(t, c)
}

// best returns the name and the figures of the peer that commits most.
func (c cell) best(t *testing.T, all []hindsight) (name string, most figures) {
	t.Helper()
	for _, h := range all {
		if f := c.by(t, h.workload, h.peer); f.perSecond > most.perSecond {
			name, most = h.peer.name, f
		}
	}
	return name, most
}

// goalTable has the four workloads with what the driver comes to beside the best loop, ExecuteTx, and hindsight.
func goalTable(t *testing.T) string {
	text := row("workload", "latency", "best loop", "ExecuteTx", "transparent", "RunTx", "its p99", "RunTx to ExecuteTx",
		"best policy with hindsight", "program in order") +
		row("---", "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:")
	for _, of := range calibrated {
		for _, latency := range latencies[:2] {
			text += goalRow(t, of.workload, cell{latency: latency, workers: 16, lasts: longEnough, change: of.change})
		}
	}
	return text
}

func goalRow(t *testing.T, w workload, c cell) string {
	var all []hindsight
	for _, p := range loops() {
		all = append(all, hindsight{w, p})
	}
	_, loop := c.best(t, all)
	to := func(f figures) string { return fmt.Sprintf("%.2f ×", f.perSecond/loop.perSecond) }
	executeTx := c.by(t, w, peerNamed(t, "ExecuteTx"))
	unchanged := c.by(t, w, peerNamed(t, "transparent"))
	ours := c.by(t, w, peerNamed(t, "RunTx"))
	name, best := c.best(t, withHindsight(t, w))
	ordered := "–"
	if program, ok := inOrder(w.name); ok {
		ordered = to(c.by(t, program, peerNamed(t, "pgx-loop")))
	}
	reached := ours.perSecond >= goalOfLoop*loop.perSecond && ours.perSecond >= goalOfExecuteTx*executeTx.perSecond
	assert.True(t, reached || ours.perSecond > mostMissed*best.perSecond,
		"%s, %v: the goal is not reached, although it could be: %s", w.name, c.latency, name)
	return row(w.name, c.latency, fmt.Sprintf("%.0f/s", loop.perSecond), to(executeTx), to(unchanged), to(ours),
		fmt.Sprintf("%.2f ×", ours.p99.Seconds()/loop.p99.Seconds()),
		fmt.Sprintf("%.2f ×", ours.perSecond/executeTx.perSecond), to(best)+" ("+name+")", ordered)
}
