package crdbmodel

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// An engine is what the sessions of a server share. All of it is under one mutex, which nobody holds while he waits.
type engine struct {
	cfg Config

	mu     sync.Mutex
	clock  int64
	idle   [][]time.Time // by node, since or from when each of its processors is idle
	tables map[string]*table
	parsed map[string][]*statement
	counts Counts
	rowIDs int64 // that unique_rowid() has given out
}

func newEngine(cfg Config) *engine {
	e := &engine{cfg: cfg, tables: map[string]*table{}, parsed: map[string][]*statement{}}
	for range cfg.Nodes {
		e.idle = append(e.idle, make([]time.Time, cfg.Processors))
	}
	return e
}

type table struct {
	name    string
	columns []column
	key     []int // which columns
	rows    []*row
	read    mark // the latest read of all of it, or of a part
}

type column struct {
	name      string
	oid       uint32
	generated bool // by unique_rowid(), where an INSERT does not name it
}

// A key has as many columns as a primary key may have; those that it does not have are zero.
type key [3]int64

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k[0], other[0]), cmp.Compare(k[1], other[1]), cmp.Compare(k[2], other[2]))
}

// A row is a key of a table, whether there is a row under it or not.
type row struct {
	table    *table
	key      key
	versions []version // committed, the oldest first
	intent   *intent
	read     mark

	holder  *txn // of the exclusive lock; it is the intent's transaction, if there is one
	locked  int64
	writers []*waiter // for the lock, the first to come at the front
	readers []*waiter
}

type version struct {
	at    int64
	value []int64
}

// An intent is what a transaction is going to commit.
type intent struct {
	txn      *txn
	at       int64
	value    []int64
	buffered bool // the server does not have it yet, only the lock
}

// row finds a row by its key.
func (t *table) row(k key) *row {
	i, found := slices.BinarySearchFunc(t.rows, k, func(r *row, k key) int { return r.key.compare(k) })
	if !found {
		t.rows = slices.Insert(t.rows, i, &row{table: t, key: k})
	}
	return t.rows[i]
}

// newest returns the timestamp of the newest committed version; 0 if there is none.
func (r *row) newest() int64 {
	if n := len(r.versions); n > 0 {
		return r.versions[n-1].at
	}
	return 0
}

// valueFor returns what t sees: its own intent, or else the newest version at its read timestamp.
func (r *row) valueFor(t *txn) []int64 {
	if r.intent != nil && r.intent.txn == t {
		return r.intent.value
	}
	for _, v := range slices.Backward(r.versions) {
		if v.at <= t.readAt {
			return v.value
		}
	}
	return nil
}

// A span is the rows of a table whose keys begin with some columns; all of them if there are none.
type span struct {
	table  *table
	prefix []int64
}

// rows returns the rows of the span, in the order of their keys.
func (s span) rows() []*row {
	compare := func(r *row, prefix []int64) int { return slices.Compare(r.key[:len(prefix)], prefix) }
	from, _ := slices.BinarySearchFunc(s.table.rows, s.prefix, compare)
	to := from
	for to < len(s.table.rows) && compare(s.table.rows[to], s.prefix) == 0 {
		to++
	}
	return s.table.rows[from:to]
}

// point returns the row that the span is of, if it can be of one only.
func (s span) point() (*row, bool) {
	if len(s.prefix) < len(s.table.key) {
		return nil, false
	}
	var k key
	copy(k[:], s.prefix)
	return s.table.row(k), true
}

// A mark is an entry of the timestamp cache: when a key was last read, and by whom; see [txn.pushAboveReads].
type mark struct {
	at int64
	by *txn // nil: by several
}

func (m *mark) note(at int64, by *txn) {
	switch {
	case at > m.at:
		m.at, m.by = at, by
	case at == m.at && by != m.by:
		m.by = nil
	}
}
