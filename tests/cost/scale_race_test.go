//go:build race

package cost_test

const scaleInFlight = 2000 // the race detector knows 8128 goroutines at most
