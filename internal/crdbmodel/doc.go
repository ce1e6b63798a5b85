// Package crdbmodel is a server in memory that contends as CockroachDB does. It is for measuring, in virtual time, how
// drivers fare against locks, refreshes, deadlocks and priorities of CockroachDB's kind.
//
// A [Server] speaks PostgreSQL's protocol over connections in memory; see [Server.Dial]. All that takes time in it is a
// sleep, so that in a bubble of testing/synctest hours of load take seconds. The same seed gives the same course of
// events, whatever the machine and the number of its processors: see clock.go.
//
// Each rule of concurrency control has its source above its code:
//
//	[docs]      CockroachDB's documentation, "Transaction Layer" and the pages on READ COMMITTED and on retry errors
//	[recorded]  conversations recorded with a CockroachDB v22.1
//	[measured]  how often transactions failed on a CockroachDB v22.1; docs/contention.md has the figures
//	[source]    CockroachDB's source, as remembered; nobody has looked it up for this package
//
// # What is simple about it
//
// There is one clock and one range. Timestamps only count. Locks are never lost, versions never collected, intents
// resolved at once. There are no latches, leases, heartbeats, uncertainty intervals, closed timestamps. The SQL is
// what the workloads of the module bench need, on tables of integers and booleans; anything else is refused with
// SQLSTATE 0A000 and a message that names this package.
package crdbmodel
