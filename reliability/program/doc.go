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
// # What the programs do
//
// The programs of a round have a topic, so that they get into each other's way:
//
//   - "keys", "comings and goings": reads, writes, ranges and counts of a few rows with values of ten types, in every
//     query mode, prepared or not, by the transaction or by the pool;
//   - "open results": results that are left open while other statements run, empty ones and single rows among them, and
//     looked at later or never (slot.go);
//   - "schema": a table that is made and dropped, and statements that are prepared and not run (extra.go);
//   - "types": columns whose types change (typed.go), after which each connection has to recover (recover.go);
//   - "keys of the database": INSERTs of one to three rows, of which all, some or none are read, and what is done with
//     the keys that were shown (born.go), which in the end must be those of the same rows (key.go);
//   - "settings": SET, SET LOCAL, RESET and set_config, and statements whose meaning they change (session.go);
//   - "locks": reads of one row by key, and reads that look much like them, through pools that learn locks (locks.go):
//     before the programs begin, or as they run;
//   - "rows to wait for": writes of single rows that others write, delete and insert, on PostgreSQL, where statements
//     wait for their turn and transactions begin anew before they have lost;
//   - "timeouts": lock_timeout and statement_timeout, which also strike in replays;
//   - "endings": what commits before the end, and what comes after that: COMMIT as text, a text with COMMIT in its
//     middle, SHOW COMMIT TIMESTAMP, DDL that commits what is open, prepared or not (tail.go); and, outside of a
//     transaction, CALL, DO and texts that commit in their middle (halves.go);
//   - "loops": the application has a savepoint cockroach_restart of its own, to which it goes back after a conflict
//     (loop.go);
//   - "the pgx connection": statements and COPY on the connection that Raw hands over (raw.go), and applications that
//     go on after any error.
//
// They run under five policies: the default, one that soon steps aside, none, one that waits for long, and one that
// does not go on, on another connection, when one is lost.
//
// In half of the rounds of a cluster the programs of a worker that have a connection of their own have the same one,
// after it was lost, too (own.go).
//
// Some transactions are READ COMMITTED or REPEATABLE READ, and touch the clock first, so that no other one can commit
// before they have ended (level.go).
//
// TestVariety fails if a word of this vocabulary does not come up in the rounds of a few seeds.
//
// # What they don't do
//
// One database; no LISTEN, large objects, temporary tables, PREPARE as text or DISCARD; no AS OF SYSTEM TIME. No two
// goroutines use one transaction. Hooks only look.
// Packages history and kinds, and the driver's own tests, have some of these.
//
// # How they are judged
//
// A [Server] is what the simulator plays; the model knows its manners. Some rounds go through a driver around this one
// (wrapper.go). No application sees the locks that the driver adds: lockwatch.go looks at them. Beyond what was
// committed and shown, errors must say what is known: reason.go has those rules.
//
// Programs and faults are functions of a seed. How the programs interleave is not: a round that has failed once may
// have to be played several times before it fails again, which is what [Shrink] does while it looks for a smaller one.
// (That is why it is not left to rapid, which gives up on a failure that does not repeat at once.)
package program
