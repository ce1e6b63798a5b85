// Package chance is where the driver's waits have their randomness from. It is a package of its own so that a
// laboratory in virtual time can repeat what it has measured.
package chance

import "math/rand/v2"

// Float64 returns a number from 0 up to but not including 1. Nobody but a laboratory sets it, before there is any
// connection, to a function that any number of goroutines may call.
var Float64 = rand.Float64
