// Package crdbsim makes a PostgreSQL answer as CockroachDB does, and makes it fail when and how a test wants it to.
//
// A [Sim] is a proxy in front of a real PostgreSQL. SQL and its conflicts are PostgreSQL's: its serializable isolation
// raises the 40001. The answers are those of CockroachDB v22.1, compared with recordings of one (testdata). What is of
// a later version is so marked; it applies where [Config.Version] is of that version, and follows CockroachDB's source,
// since there is no recording:
//
//   - crdb_version at start-up; start-up parameters that PostgreSQL doesn't know are ignored.
//   - The restart savepoint with its rules and errors. RELEASE commits, says COMMIT and leaves the state at 'T' until
//     COMMIT or ROLLBACK. ROLLBACK TO it works after any error, gives a new snapshot and leaves prepared statements
//     alone.
//   - Transaction statements outside a transaction are errors; COMMIT of a failed one is a ROLLBACK and no error.
//   - A conflict is a 40001 worded as CockroachDB words it, a deadlock too. The first statement of a transaction, and
//     one outside a transaction, is tried again by the server as long as nothing of its answer was sent (16 KiB).
//   - After a 40001 only the restart savepoint can be rolled back to.
//   - Each statement outside a transaction is committed before it is answered, in the extended protocol too.
//   - Priorities and AS OF SYSTEM TIME are accepted, every isolation level is SERIALIZABLE.
//   - SET, RESET and set_config(…, false) outlive the ROLLBACK and the ROLLBACK TO of their transaction.
//   - SHOW COMMIT TIMESTAMP (v22.2) commits the open transaction as RELEASE of the restart savepoint does, with the
//     tag COMMIT. After it COMMIT and ROLLBACK are accepted, itself again, and RELEASE of the restart savepoint, once,
//     if there is one. Outside a transaction it shows when the latest one committed, and fails by 25000 if that has
//     not.
//   - autocommit_before_ddl (on by default from v25.1): before a statement that changes the schema the transaction is
//     committed, at Parse or Bind already; the statement then runs alone. If that commit loses, its 40001 is the
//     answer, and the transaction has failed and can be restarted. While it is on, a COMMIT, ROLLBACK, SAVEPOINT,
//     RELEASE or SET TRANSACTION outside a transaction is a warning.
//   - The node of a connection in its process id ([Config.NodeID]), and how a node goes down and comes back
//     ([Sim.Enter]): unready, refusing, closing, ended, and as nobody plans it, silent or dead. A bound on its clients
//     ([Sim.LimitConns]). Its health check ([Sim.ServeHTTP]).
//   - Several nodes over one database ([StartCluster]), each of which can be drained, killed, silenced and brought back
//     ([Node]), with a load balancer in front ([Cluster.Balance]). A request to cancel reaches its node by way of any.
//   - SHOW TRANSACTION STATUS, crdb_internal.force_retry, inject_retry_errors_enabled, unique_rowid,
//     cluster_logical_timestamp.
//
// What it can't simulate:
//
//   - Locks are not kept over ROLLBACK TO: PostgreSQL gives them up with the snapshot. A transaction that restarts has
//     no advantage over others, so contention is not CockroachDB's, nor is anything measured under it.
//   - now() is that of the restart and does not stay the same.
//   - A setting is undone with its transaction where it can't be seen: set_config with arguments that are neither
//     literals nor bound, and what functions, procedures, DO and EXECUTE do. SET LOCAL before the restart savepoint is
//     undone by a restart.
//   - SHOW COMMIT TIMESTAMP shows the clock of the Sim when it heard of the commit: no row has that timestamp. In the
//     middle of a text that is one transaction it does not fail.
//   - USE and SET database are refused with 0A000: a session of PostgreSQL stays in its database.
//   - Priorities decide nothing, AS OF SYSTEM TIME reads the present, and the server's own retry covers one statement:
//     CockroachDB's covers all those of which nothing was sent.
//   - Several statements in one Query outside a transaction are one transaction, as in v22.2 and later, unless one of
//     them is about transactions, or changes the schema under autocommit_before_ddl. A string of which PostgreSQL
//     can't parse a part is run up to that part.
//   - After an error with application savepoints in place, Parse is answered with 25P02; CockroachDB still parses, and
//     refuses at Execute.
//   - What PostgreSQL says to an idle connection reaches the client with its next statement; for a node that goes down
//     see [Sim.Enter].
//   - A node refuses a client after it has declined encryption, and never before; [Sim.LimitConns] counts everybody,
//     administrators too.
//   - Requests to cancel reach the Sim alone whose connection it is, unless it is one of a [Cluster].
//   - The transactions of a dead node are rolled back at once; CockroachDB's others wait for some seconds, in which
//     their locks are kept. Those of a silent node are rolled back when [Node.Expire] is called.
//   - A client may be given the session of one that has gone, after a DISCARD ALL: for PostgreSQL a new session is a
//     new process, and slow. It is kept for a second at most, so a DROP DATABASE that the Sim does not see may take
//     that long. It is given only to a client that would be let in without a password, into a database and to a role
//     with the same attributes and settings.
//   - PostgreSQL detects some conflicts that CockroachDB would not, and the other way round.
//
// Faults are put in force with [Sim.Inject]. A fault says where it strikes and what happens then; see [Fault] and
// [Action]:
//
//	sim.Inject(crdbsim.On(`^release`, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}))
//	sim.Inject(crdbsim.On(`^update`, crdbsim.Action{Then: crdbsim.ExecuteCut}))
//
// An injected error leaves the session as if the server had meant it.
package crdbsim
