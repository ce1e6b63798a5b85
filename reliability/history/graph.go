package history

import (
	"fmt"
	"strings"
)

// A dependency is why one transaction comes before another in every serial order.
type dependency uint8

const (
	ww dependency = 1 << iota // the second overwrote what the first wrote
	wr                        // the second read what the first wrote
	rw                        // the second overwrote what the first read
)

func (d dependency) String() string { return map[dependency]string{ww: "ww", wr: "wr", rw: "rw"}[d] }

// An edge leads from a transaction to one that depends on it.
type edge struct {
	from, to *Txn
	by       dependency
	key      int
}

// A graph has the dependencies of a history. In a serializable one there is no cycle.
type graph map[*Txn][]edge

func (g graph) add(from, to *Txn, by dependency, key int) {
	if from != nil && to != nil && from != to {
		g[from] = append(g[from], edge{from, to, by, key})
	}
}

// A cycle is a list of edges each of which begins where the one before it ends.
type cycle []edge

// shortest finds a shortest cycle that begins with a dependency of the kind first and goes on by those in rest; nil if
// there is none.
func (g graph) shortest(first, rest dependency) cycle {
	g = g.core(first | rest)
	var best cycle
	for _, edges := range g {
		for _, e := range edges {
			if e.by != first {
				continue
			}
			if c := g.path(e, rest); c != nil && (best == nil || len(c) < len(best)) {
				best = c
			}
		}
	}
	return best
}

// core leaves out, again and again, the transactions on which nothing depends: they are in no cycle.
func (g graph) core(by dependency) graph {
	incoming := map[*Txn][]*Txn{}
	outgoing := map[*Txn]int{}
	for _, edges := range g {
		for _, e := range edges {
			if e.by&by != 0 {
				incoming[e.to] = append(incoming[e.to], e.from)
				outgoing[e.from]++
			}
		}
	}
	var ends []*Txn
	for t := range incoming {
		if outgoing[t] == 0 {
			ends = append(ends, t)
		}
	}
	gone := map[*Txn]bool{}
	for len(ends) > 0 {
		t := ends[0]
		ends, gone[t] = ends[1:], true
		for _, from := range incoming[t] {
			if outgoing[from]--; outgoing[from] == 0 {
				ends = append(ends, from)
			}
		}
	}
	left := graph{}
	for t, edges := range g {
		for _, e := range edges {
			if e.by&by != 0 && !gone[e.to] && !gone[t] {
				left[t] = append(left[t], e)
			}
		}
	}
	return left
}

// path closes the shortest cycle that begins with e.
func (g graph) path(e edge, rest dependency) cycle {
	came := map[*Txn]edge{e.to: e}
	for queue := []*Txn{e.to}; len(queue) > 0; queue = queue[1:] {
		for _, next := range g[queue[0]] {
			if _, seen := came[next.to]; seen || next.by&rest == 0 {
				continue
			}
			came[next.to] = next
			if next.to == e.from {
				return trace(came, e)
			}
			queue = append(queue, next.to)
		}
	}
	return nil
}

// trace walks back from the beginning of e to e itself.
func trace(came map[*Txn]edge, e edge) cycle {
	var back cycle
	for at := e.from; ; {
		step := came[at]
		back = append(back, step)
		if at = step.from; step == e {
			break
		}
	}
	for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
		back[i], back[j] = back[j], back[i]
	}
	return back
}

// String gives the way around, and then each transaction with what it did.
func (c cycle) String() string {
	var way, who strings.Builder
	for _, e := range c {
		fmt.Fprintf(&way, "%s -%s k%d-> ", e.from.name(), e.by, e.key)
		fmt.Fprintf(&who, "\n  %v", e.from)
	}
	return way.String() + c[0].from.name() + who.String()
}

// cycles looks for a cycle of each class, the worst first. The milder classes contain the worse ones, and are looked
// for only where there is none of those.
func (g graph) cycles() (found anomalies) {
	if c := g.shortest(ww, ww); c != nil {
		found.add(WriteCycle, "%v", c)
	}
	if c := g.shortest(wr, ww|wr); c != nil {
		found.add(CircularFlow, "%v", c)
	}
	if c := g.shortest(rw, ww|wr); c != nil {
		found.add(singleClass(c), "%v", c)
		return found
	}
	if c := g.shortest(rw, ww|wr|rw); c != nil && len(found) == 0 {
		found.add(doubleClass(c), "%v", c)
	}
	return found
}

// singleClass tells the best known cycle with one rw: both have read the same version of a list, and both written the
// next.
func singleClass(c cycle) Class {
	for _, e := range c {
		if e.key != c[0].key || e.by == wr {
			return ReadSkew
		}
	}
	return LostUpdate
}

func doubleClass(c cycle) Class {
	if len(c) == 2 {
		return WriteSkew
	}
	return AntiDependency
}
