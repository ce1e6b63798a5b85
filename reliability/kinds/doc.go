// Package kinds has tests of faults that neither the random programs nor the histories can have: settings of the
// server, what stands between the driver and the server, and what wraps the driver.
//
// Each stands for a kind of fault that was found from outside. The tests of package mutants plant the fault, and expect
// the test to find it.
package kinds
