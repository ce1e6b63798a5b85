// Package program runs random programs through the driver, many at a time and under faults, and holds what each of them
// was shown against a model.
//
// A [Program] is a short transaction: reads, writes that may depend on what was read, savepoints, errors that are
// survived. Somewhere among its statements it counts up a clock and notes the clock's value in a table of commits, and
// is never shown either. So the table says which programs were committed, and in which order they must have been,
// without giving the application anything to look at that the driver would have to verify. After a [Round] the
// committed programs are run again, one after the other in that order, on a model that is a map in Go ([Check]).
// Everything that a program was shown in the attempt that was committed must be what the model shows it, and the tables
// must end as the model ends.
//
// The programs of a round have a topic, so that they get into each other's way:
//
//   - results that are left open while other statements run, and looked at later or never (slot.go);
//   - a table that is made and dropped, and statements that are prepared and not run (extra.go);
//   - columns whose types change (typed.go), after which each connection has to recover (recover.go);
//   - settings of the session, and timeouts (session.go);
//   - what commits before the end, and what comes after that (tail.go);
//   - the pgx connection behind the driver's (raw.go), and applications that go on after any error.
//
// A [Server] is what the simulator plays; the model knows its manners. Some rounds go through a driver around this one
// (wrapper.go). Beyond what was committed and shown, errors must say what is known: reason.go has those rules.
//
// Programs and faults are functions of a seed. How the programs interleave is not: a round that has failed once may
// have to be played several times before it fails again, which is what [Shrink] does while it looks for a smaller one.
// (That is why it is not left to rapid, which takes a property that holds the second time for one that is not to be
// had.)
package program
