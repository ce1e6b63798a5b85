// Package history checks from outside that transactions through the driver were serializable. A workload runs
// transactions of many clients and writes down what each of them did and was shown: the history. A checker then looks,
// without knowing anything of the driver, whether some serial order explains it. What no order explains is an
// [Anomaly], of a class that has a name in the literature.
//
// There are four workloads, each with the checker that suits it:
//
//   - [Lists]: transactions append to lists and read them. Each value is appended once, so a list tells who wrote
//     before whom, and who had seen whom; a cycle in that is an anomaly (Kingsbury and Alvaro, "Elle", 2020; the
//     classes are Adya's).
//   - [Registers]: transactions read, write, or compare and set one value, checked for linearizability by porcupine.
//   - [Bank]: transfers between accounts. No money is made or lost, and each transfer happens once.
//   - [Duty]: doctors go off call if another one stays. One must always stay: write skew.
//
// A transaction whose commit is ambiguous may have happened or not, but not in part; of one that failed nothing may
// ever be seen.
package history
