// Package bench measures the driver beside what its users would use instead. It has only benchmarks:
//
//	go test -bench . | tee new.txt && benchstat -col /peer new.txt
//
// Replay and Connections measure what grows, against a server that only pretends, so that no database is in the figures; what a statement
// costs the processor is measured by the program in the folder statement. Contention runs transactions that conflict, on the engine of the tests: a real
// CockroachDB by COCKROACH_URL, else PostgreSQL behind crdbsim, which does not contend as CockroachDB does.
package bench
