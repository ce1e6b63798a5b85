// Package kit is what the driver's tests stand on: a fake server that answers by a [Script] and a pool on it ([New],
// [InBubble]), a database with a rival ([NewKV]), and assertions about errors, metrics and connections.
//
// Tests of the driver's own package can't use it, since it imports the driver.
package kit
