// Package exactlyonce proves the protocol of commit markers. It has a model of it, and visits every state that the
// model can reach. The driver's option retry_commit_marker is built by the same rules.
//
// # The protocol
//
//   - A commit inserts a marker: a row with a random key, under the same Sync as RELEASE and COMMIT. Each commit that
//     is sent has a key of its own, a replay's too.
//   - Whoever has lost the answer asks by inserting the same key, marked as refused. If that succeeds, the lost commit
//     can never happen, since its own INSERT fails. If the key is there and not refused, it has happened.
//   - Committed: the application is told nil. Refused: the transaction is replayed, with a new key, or the application
//     is told that it is not committed. If nobody can know, it gets AmbiguousCommitError and may ask later.
//   - One row, the sentinel, is as old as the table, and has a random epoch that is learnt before the commit is sent.
//     Both the question and the commit look for it. TRUNCATE takes it away with the markers.
//   - The commit after a confirmed one deletes its marker. Confirmed is what its own answer says. Other markers stay
//     for a day, and nobody asks about those that are older than half of that. A marker that the client's own question
//     has found may be deleted too, if nobody else can have its key; see [Bounds].
//
// The commit has to look for the sentinel as the question does. Otherwise a TRUNCATE deletes the row that refuses a
// commit, and the commit happens after all if it arrives late. The mistake commits-without-sentinel shows it.
//
// # What is modelled
//
// A client with two transactions, or two with one each, that send up to three commits. The server executes each message
// of a commit as a step of its own. In between, anything else may happen, any number of times:
//
//   - A connection is cut before, while or after a message is executed. What was sent on it may still be executed, in
//     whole or in part. The transaction is rolled back after that, if it has not committed.
//   - The server crashes, or closes a connection, or answers by 40001.
//   - A question or its answer is lost or late, or a question is executed again.
//   - A client stops asking, or crashes. Others ask about the same commit, any number of them at any time.
//   - The table is truncated, once, and made anew with another epoch. A day passes.
//
// Each of the properties is checked in every state. One, [NothingWaits], is about states in which no step is left but
// faults: there all must be settled. The other steps always bring the end nearer, so that a client comes to its end
// after the last fault.
//
// # What stands for more than one thing
//
//   - A question is one step. It holds one lock until its own end, which comes without another message. Who waits for
//     that lock comes after it.
//   - Questions that are late, and those of all other askers, are one flag for each commit: some are on their way. Each
//     may be executed, again and again, or never.
//   - An answer to them counts from when the server gives it, not from when it arrives. If it stays true from then on,
//     it does not matter when it arrives.
//   - A message that is lost is one that is late, of a transaction that the server rolls back first.
//   - Locks of the application's rows are left out. They would make a replay wait for what is left of the attempt
//     before it, and that only takes away states. What is left ends when the server finds its connection closed.
//
// # What is assumed
//
//   - The server keeps its promises: transactions are atomic, keys unique, and what it has answered is durable.
//   - The server finds out at some time that a connection is closed.
//   - No commit is executed a day after it was sent. The mistake expires-too-early shows what would happen.
//   - The sentinel does not expire. Markers are deleted only by the rules, or together with the sentinel.
//   - An answer is about one key. Only of the last key is it about the transaction, and only once no replay follows: so
//     AmbiguousCommitError is what hands a key out, and nothing before it.
//   - Every commit is marked. One that is not stays ambiguous, as without the option.
//
// The bounds leave out longer runs. They have what the rules speak of: a transaction and the one before it on the same
// connection, a commit and its replay, one client and another.
//
// # Mistakes
//
// A proof that can't fail is worth nothing. [Mistakes] are changes of the protocol that break it. The tests plant each,
// and the exploration must find it, by the property that it breaks.
// `go run ./exactlyonce/explore -mistake asks-by-reading` prints the shortest way there.
package exactlyonce
