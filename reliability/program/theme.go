package program

import (
	"math/rand/v2"
	"slices"
)

// A theme is what the programs of a round have in common, so that they get into each other's way: mostly a few of the
// keys, one of the columns, and there NULL and what it could be mistaken for; and what they are about.
type theme struct {
	server    Server
	keys, hot int
	column    Column
	shapes    []int // by turns one that may lock, and another
	topic
}

// A topic is what the programs of a round are about. The numbers say that something is so one time in that many; 0 for
// never.
type topic struct {
	name     string
	kinds    weighted[Kind]
	open     int // a result is left open
	only     int // a statement is prepared, and not run
	settings int // a program has settings of its own
	tails    int // it commits before its end
	halving  int // a statement alone commits in its middle
	looping  int // a program has a loop of its own
	own      int // a program of BeginTx has a connection of its own
	raw      int // a statement runs on the pgx connection
	careless int
	cursors  bool // a program begins with DECLARE
	locks    bool // the pool learns locks
	calm     bool // every other round has no faults but conflicts
	slow     int
	cancel   int
	plain    bool     // what writes does so by BeginTx
	servers  []Server // that have it; nil for all
}

// classic are those that know what they do when they commit, and in which DDL is part of a transaction.
var classic = []Server{CockroachDB, PostgreSQL, Cluster, Pooled}

// unpooled are those on which a session is the client's own.
var unpooled = []Server{CockroachDB, NewerCockroachDB, PostgreSQL, Cluster}

var topics = weighted[topic]{
	{topic{name: "keys", kinds: all, open: 12, own: 6, careless: 16, slow: 40, tails: 40, raw: 60, cancel: 12}, 5},
	{topic{name: "comings and goings", kinds: comings, own: 6, careless: 16, slow: 40, cancel: 12}, 2},
	{topic{
		name: "open results", kinds: append(looks, comings...), open: 2, own: 6, careless: 16, slow: 40, cancel: 30,
	}, 3},
	{topic{name: "schema", kinds: extras, open: 12, only: 3, own: 6, careless: 16, cancel: 30, servers: classic}, 2},
	{topic{name: "types", kinds: append(types, reads...), own: 6, careless: 16, cancel: 30, servers: classic}, 2},
	{topic{
		name: "keys of the database", kinds: births, calm: true, open: 12, own: 6, careless: 16, slow: 40, cancel: 30,
	}, 2},
	{topic{name: "settings", kinds: settings, settings: 1, own: 1, open: 12, cancel: 30, servers: unpooled}, 3},
	{topic{name: "endings", kinds: sets, tails: 1, halving: 1, own: 4, cancel: 20}, 3},
	{topic{
		name: "the pgx connection", kinds: append(copies, sets...), own: 1, plain: true, raw: 3, tails: 4, careless: 2,
		slow: 2, cancel: 2,
	}, 3},
	{topic{
		name: "cursors", kinds: append(cursory, sets...), cursors: true, open: 6, own: 6, careless: 16, cancel: 30,
	}, 3},
	{topic{
		name: "locks", kinds: locking, locks: true, open: 12, own: 6, careless: 16, slow: 40, cancel: 30,
		servers: unpooled,
	}, 3},
	{topic{
		name: "loops", kinds: all, looping: 1, own: 4, cancel: 12,
		servers: []Server{CockroachDB, NewerCockroachDB, Cluster},
	}, 2},
	{topic{name: "rows to wait for", kinds: blind, servers: []Server{PostgreSQL, Pooled}}, 2},
	{topic{name: "timeouts", kinds: append(hurries, sets...), own: 4, careless: 8, cancel: 30}, 2},
}

func newTheme(rnd *rand.Rand, about string, server Server, keys int) theme {
	t := theme{server: server, keys: keys, hot: 1 + rnd.IntN(keys), column: Column(rnd.IntN(columns))}
	g := &generator{Rand: rnd}
	if t.topic = topicsOf(server, about).pick(g); t.locks {
		t.chooseShapes(g)
	}
	return t
}

// topicsOf are those of a server that have this name, or any if it is "".
func topicsOf(server Server, about string) (some weighted[topic]) {
	for _, t := range topics {
		has := t.what.servers == nil || slices.Contains(t.what.servers, server)
		if has && (about == "" || t.what.name == about) {
			some = append(some, t)
		}
	}
	return some
}

// Has reports whether rounds on the server can have a topic.
func (s Server) Has(topic string) bool { return len(topicsOf(s, topic)) > 0 }

// reads are what a program is made of that writes nothing.
func (t *topic) reads() weighted[Kind] {
	if t.locks {
		return peeks
	}
	return reads
}

// alone are what a statement outside of a transaction can be.
func (t *topic) alone() weighted[Kind] {
	if t.locks {
		return append(peeks, singles...)
	}
	return singles
}

// What topics are made of.
var (
	all = weighted[Kind]{
		{Get, 6},
		{Scan, 2},
		{Wide, 1},
		{Count, 2},
		{Divide, 1},
		{Set, 6},
		{Add, 5},
		{Insert, 1},
		{Return, 1},
		{Quiet, 2},
		{Upsert, 3},
		{Delete, 1},
		{Texts, 1},
		{Look, 2},
		{Bump, 1},
	}
	comings = weighted[Kind]{
		{Get, 3}, {Scan, 1}, {Count, 2}, {Set, 2}, {Insert, 4}, {Return, 3}, {Quiet, 2}, {Upsert, 1}, {Delete, 5},
	}
	blind  = weighted[Kind]{{Set, 10}, {Delete, 5}, {Insert, 5}}
	looks  = weighted[Kind]{{Look, 12}, {Get, 4}, {Scan, 1}}
	extras = weighted[Kind]{
		{Create, 3}, {Drop, 3}, {GetExtra, 6}, {PutExtra, 4}, {Get, 1}, {Set, 2}, {Add, 2}, {Look, 1},
	}
	types  = weighted[Kind]{{GetTyped, 5}, {PutTyped, 5}, {Feel, 3}, {Retype, 2}, {Remake, 1}, {Set, 1}, {Add, 2}}
	births = weighted[Kind]{
		{Bear, 8}, {Meet, 6}, {Rear, 4}, {Leave, 3}, {Look, 1}, {Get, 1}, {Set, 2}, {Add, 2}, {Upsert, 1}, {Insert, 1},
	}
	settings = weighted[Kind]{
		{Assign, 7}, {Config, 4}, {Show, 1}, {Setting, 1}, {Stamp, 6}, {GetSpot, 2}, {PutSpot, 6}, {Add, 2}, {Get, 1},
	}
	sets    = weighted[Kind]{{Get, 4}, {Count, 1}, {Set, 4}, {Add, 4}, {Upsert, 2}}
	copies  = weighted[Kind]{{Copy, 8}}
	cursory = weighted[Kind]{{Fetch, 10}, {Move, 2}, {CloseCursor, 1}, {Declare, 2}, {Bump, 3}}
	fetches = weighted[Kind]{{Fetch, 6}, {Move, 1}, {CloseCursor, 1}, {Get, 3}, {Count, 1}}
	locking = weighted[Kind]{{Peek, 10}, {Raise, 9}, {Set, 1}, {Upsert, 1}, {Quiet, 1}, {Delete, 1}, {Hurry, 1}}
	peeks   = weighted[Kind]{{Peek, 1}}
	hurries = weighted[Kind]{{Hurry, 6}, {Add, 6}, {Set, 4}}
	reads   = weighted[Kind]{{Get, 4}, {Scan, 3}, {Wide, 1}, {Count, 2}}
	singles = weighted[Kind]{
		{ReadClock, 1}, {Survey, 2}, {Set, 2}, {Add, 3}, {Quiet, 1}, {Upsert, 2}, {Delete, 1}, {Bump, 2},
	}
	writes   = weighted[Kind]{{Set, 2}, {Add, 3}, {Quiet, 1}, {Upsert, 2}, {Delete, 1}}
	failures = weighted[Kind]{{Insert, 1}, {Return, 1}, {Divide, 1}}
)
