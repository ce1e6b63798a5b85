// Package fleet knows the servers that a connector can connect to: how many connections each has, and which of them are
// in doubt. It says which to try first, when one may be dialled, and when a connection should be replaced.
//
// A host is an address that can be dialled; behind a load balancer there are several nodes under one host. A host is in
// one of these states. A probe is a dial to a host that is not healthy: there is one at a time.
//
//	state     begins with                in a plan               dials     connections     ends with
//	healthy   the first use; a login     by load, or as given    any       stay            a failure; a loss
//	doubted   a failed dial; a loss;     last                    a probe   stay            a login; its time (due)
//	          dials never answered
//	draining  a refused login            last                    a probe   leave when idle  a login; its time (due)
//	due       its time has passed        as healthy; in that     a probe   as before       a probe (probing)
//	                                     of a failover, last
//	probing   a dial when not healthy    last                    no more   as before       the probe's end
//
// Where hosts are divided into groups, those of an earlier group come first among the hosts that are as good.
// Connections in a later group are too many there once a host of an earlier one is healthy, and are moved like all that
// are too many.
//
// The time of a doubt is some seconds, longer after a long absence, and jittered. No host is ever left out of a plan:
// where all are in doubt, all are tried.
//
// Waiting is done without a lock, and ends with the context that the caller gave. All types may be used by any number
// of goroutines. A nil *Fleet, and the nil *Dial and *Member that come of it, are valid: they bound, count and retire
// nothing.
package fleet
