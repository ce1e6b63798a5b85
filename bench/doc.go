// Package bench measures the driver beside what its users would use instead. It has only benchmarks, and a test that
// keeps them alive:
//
//	go test -bench . | tee new.txt && benchstat -col /peer new.txt
//
// Contention runs transactions that conflict, on the engine of the tests: a real CockroachDB by COCKROACH_URL, else
// PostgreSQL behind crdbsim, which does not contend as CockroachDB does. Each benchmark checks an invariant at its
// end, and fails if a transaction was lost or happened twice. Per commit it reports round trips (on a real cluster
// counted, and delayed, at the client's end), retries, which are attempts beyond the first, and seen, which is how
// often the application's code had to run again. BENCH_WORKERS, 16 by default, is how many transactions are under way
// at a time.
//
// Churn is a pool that makes a new connection every few transactions, beside pgx's.
//
// Latency shows that the latency of Contention is what it says. Replay and Connections measure what grows, against a
// server that only pretends, so that no database is in the figures; what a statement costs the processor is measured
// by the program in the folder statement.
//
// The program in report makes tables and a chart from what Contention and Latency print.
package bench
