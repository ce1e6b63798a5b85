package crdbmodel

import "time"

// A Config says what takes how long, and which of CockroachDB's versions the server is like. Start from [Defaults].
// Times may be zero; none may be below zero.
type Config struct {
	// Statement is what a statement costs one processor, half of it before it asks for locks and half after. Row is
	// what each row beyond the first costs on top.
	Statement, Row time.Duration

	// Control is what BEGIN, SAVEPOINT, ROLLBACK and the like cost one processor.
	Control time.Duration

	// Commit is how long the commit of what was written is replicated, with locks held and no processor.
	Commit time.Duration

	// Refresh is what it costs one processor to refresh a span, as opposed to single keys.
	Refresh time.Duration

	// Deadlock is how long a transaction waits for a lock before it looks for a deadlock.
	Deadlock time.Duration

	// Processors is how many there are in each node. Connections come to the nodes in turn. Nodes is at least 1; each
	// key is led by one of them, and a statement that needs it from another one takes a round trip of twice Hop more.
	Processors, Nodes int
	Hop               time.Duration

	// Buffered is whether writes are buffered until the commit, as by default since v26.2.
	Buffered bool

	// Seed decides which of two transactions that deadlock is aborted.
	Seed uint64
}

// Defaults returns the service times that were fitted to a CockroachDB v22.1 of one node with two processors; see
// docs/contention.md. The one second-guessed is Refresh, which was 20 ms there for wide reads, and is none here.
func Defaults() Config {
	return Config{
		Statement:  time.Millisecond,
		Row:        time.Microsecond,
		Control:    200 * time.Microsecond,
		Commit:     2 * time.Millisecond,
		Deadlock:   100 * time.Millisecond,
		Processors: 2,
		Nodes:      1,
	}
}

// Counts are how often things have happened on a server.
type Counts struct {
	Waits         int64 // for a lock
	Deadlocks     int64 // found
	Overridden    int64 // transactions aborted by one of higher priority
	Pushed        int64 // timestamps of lock holders, by readers
	Refreshed     int64 // read timestamps
	TooOld        int64 // 40001 of a statement that came too late
	Unserialized  int64 // 40001 of a commit
	Aborted       int64 // 40001 of a statement or commit of an aborted transaction
	ServerRetries int64 // of transactions of which nothing had been sent
	Commits       int64
}
