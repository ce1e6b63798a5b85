//go:build !race

package cost_test

const scaleInFlight = 10_000
