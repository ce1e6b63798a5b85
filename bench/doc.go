// Package bench measures the driver beside what its users would use instead. It has only benchmarks:
//
//	go test -bench . | tee new.txt && benchstat -col /peer new.txt
//
// Statement measures the processor time and allocations of single statements and of a clean transaction against a server that only
// pretends, so that no database is in the figures. Contention runs transactions that conflict, on the engine of the tests: a real
// CockroachDB by COCKROACH_URL, else PostgreSQL behind crdbsim, which does not contend as CockroachDB does.
package bench
