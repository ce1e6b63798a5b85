package history

import (
	"maps"
	"slices"
)

// CheckLists says what is wrong with a history of transactions on lists. final is what the lists held when all had
// ended.
func CheckLists(txns []*Txn, final map[int][]int) []Anomaly {
	c := &listCheck{
		txns: txns, final: final,
		writers: map[version]*Txn{}, last: map[*Txn]map[int]int{}, at: map[version]int{},
	}
	c.index()
	c.checkFinal()
	for _, t := range txns {
		c.checkWrites(t)
		if c.happened(t) {
			c.checkReads(t)
			c.checkInternal(t)
		}
	}
	return append(c.found, c.dependencies().cycles()...).few()
}

// A version of a list is that with this value at its end.
type version struct{ key, value int }

type listCheck struct {
	txns    []*Txn
	final   map[int][]int
	writers map[version]*Txn
	last    map[*Txn]map[int]int // the last value that a transaction appended to a list
	at      map[version]int      // the place of a value in the final list
	found   anomalies
}

func (c *listCheck) index() {
	for _, t := range c.txns {
		c.last[t] = map[int]int{}
		for _, o := range t.Ops {
			if !o.isRead() {
				c.writers[version{o.Key, o.Append}] = t
				c.last[t][o.Key] = o.Append
			}
		}
	}
	for key, list := range c.final {
		for i, value := range list {
			c.at[version{key, value}] = i
		}
	}
}

// happened says whether a transaction is part of what has to be explained: it has committed, or is seen to have.
func (c *listCheck) happened(t *Txn) bool {
	isWritten := func(o Op) bool { return !o.isRead() && c.isThere(o) }
	return t.Outcome == Committed || t.Outcome == Unknown && slices.ContainsFunc(t.Ops, isWritten)
}

func (c *listCheck) isThere(o Op) bool {
	_, ok := c.at[version{o.Key, o.Append}]
	return ok
}

// checkFinal looks at the lists as they are in the end.
func (c *listCheck) checkFinal() {
	for _, key := range slices.Sorted(maps.Keys(c.final)) {
		c.checkList("the end", key, c.final[key])
	}
}

// checkList looks at one list for values that should not be in it.
func (c *listCheck) checkList(who string, key int, list []int) {
	seen := map[int]bool{}
	for _, value := range list {
		writer := c.writers[version{key, value}]
		switch {
		case seen[value]:
			c.found.add(Duplicate, "%d is in k%d twice, as seen by %s; appended by %v", value, key, who, writer)
		case writer == nil:
			c.found.add(GarbageRead, "%s saw %d in k%d, which nobody appended", who, value, key)
		case writer.Outcome == Failed:
			c.found.add(DirtyRead, "%s saw %d in k%d, of %v", who, value, key, writer)
		}
		seen[value] = true
	}
}

// checkWrites looks whether what a transaction appended is there, all of it or, if it may not have happened, nothing.
func (c *listCheck) checkWrites(t *Txn) {
	var there, missing []Op
	for _, o := range t.Ops {
		switch {
		case o.isRead():
		case c.isThere(o):
			there = append(there, o)
		default:
			missing = append(missing, o)
		}
	}
	switch {
	case len(missing) == 0, t.Outcome == Failed, t.Outcome == Unknown && len(there) == 0:
	case len(there) == 0:
		c.found.add(PhantomCommit, "nothing is there of %v", t)
	default:
		c.found.add(LostWrite, "%v is missing of %v", missing, t)
	}
}

// checkReads looks at what a transaction saw of others.
func (c *listCheck) checkReads(t *Txn) {
	for _, o := range t.Ops {
		if !o.isRead() {
			continue
		}
		c.checkList(t.String(), o.Key, o.Read)
		if final := c.final[o.Key]; len(o.Read) > len(final) || !slices.Equal(o.Read, final[:len(o.Read)]) {
			c.found.add(IncompatibleOrder, "%v; in the end k%d is %v", t, o.Key, final)
		}
		before := c.others(t, o)
		if len(before) == 0 {
			continue
		}
		value := before[len(before)-1]
		if w := c.writers[version{o.Key, value}]; w != nil && w != t && c.last[w][o.Key] != value {
			c.found.add(IntermediateRead, "%v saw k%d end with %d, of %v", t, o.Key, value, w)
		}
	}
}

// others is what of a list was there before the transaction that read it appended to it.
func (c *listCheck) others(t *Txn, o Op) []int {
	list := o.Read
	for len(list) > 0 && c.writers[version{o.Key, list[len(list)-1]}] == t {
		list = list[:len(list)-1]
	}
	return list
}

// checkInternal looks whether a transaction saw its own appends, and nothing else change.
func (c *listCheck) checkInternal(t *Txn) {
	known, mine := map[int][]int{}, map[int][]int{}
	for _, o := range t.Ops {
		if !o.isRead() {
			mine[o.Key] = append(mine[o.Key], o.Append)
			if list, ok := known[o.Key]; ok {
				known[o.Key] = append(slices.Clone(list), o.Append)
			}
			continue
		}
		want, ok := known[o.Key]
		if !ok {
			want = append(slices.Clone(c.others(t, o)), mine[o.Key]...)
		}
		if !slices.Equal(o.Read, want) {
			c.found.add(Internal, "k%d should have been %v in %v", o.Key, want, t)
		}
		known[o.Key] = o.Read
	}
}

// dependencies follow from the order of the values in each list.
func (c *listCheck) dependencies() graph {
	g := graph{}
	for key, list := range c.final {
		for i := 1; i < len(list); i++ {
			g.add(c.writer(key, list[i-1]), c.writer(key, list[i]), ww, key)
		}
	}
	for _, t := range c.txns {
		if !c.happened(t) {
			continue
		}
		for _, o := range t.Ops {
			if o.isRead() {
				c.dependenciesOf(t, o, g)
			}
		}
	}
	return g
}

func (c *listCheck) dependenciesOf(t *Txn, o Op, g graph) {
	list, next := c.others(t, o), 0
	if len(list) > 0 {
		value := list[len(list)-1]
		i, ok := c.at[version{o.Key, value}]
		if !ok {
			return // it is told already that this read can't be
		}
		g.add(c.writer(o.Key, value), t, wr, o.Key)
		next = i + 1
	}
	if final := c.final[o.Key]; next < len(final) {
		g.add(t, c.writer(o.Key, final[next]), rw, o.Key)
	}
}

// writer is nil for what did not happen.
func (c *listCheck) writer(key, value int) *Txn {
	if w := c.writers[version{key, value}]; w != nil && c.happened(w) {
		return w
	}
	return nil
}
