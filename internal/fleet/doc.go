// Package fleet knows the servers that a connector can connect to: how many connections each has, and which of them are in
// doubt. It says which to try first, when one may be dialled, and when a connection should be replaced.
//
// A host is an address that can be dialled; behind a load balancer there are several nodes under one host. A host is in one
// of these states. "Doubted" is the state after any failure, "draining" the same after a refused login:
//
//	state     begins with                  place in a plan          dials at a time  its connections  ends with
//	healthy   the first use; a login       by load, or as given     any number       stay             a failure, a loss
//	doubted   a failed dial, a loss, a     last                     one (a probe)    stay             a login; its time: due
//	          dial that was never answered
//	draining  a refused login              last                     one (a probe)    leave at rest    a login; its time: due
//	due       its time has passed          as healthy; after those  one (a probe)    as before        the probe's beginning
//	                                       in a failover's plan
//	probing   a dial in doubt or when due  last                     none more        as before        the probe's end
//
// The time of a doubt is some seconds, longer after a long absence, and jittered. No host is ever left out of a plan: where
// all are in doubt, all are tried.
//
// Waiting is done without a lock, and ends with the context that the caller gave. All types may be used by any number of
// goroutines. A nil *Fleet, and the nil *Dial and *Member that come of it, are valid: they bound, count and retire nothing.
package fleet
