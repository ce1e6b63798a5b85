// Package cockroachdb is a [database/sql] driver for CockroachDB that retries transactions automatically.
//
// CockroachDB runs transactions as if one after the other. Where two of them collide it ends one with SQLSTATE 40001,
// "restart transaction", and expects the application to run it again. This driver does that in the application's
// place. It keeps what the application ran inside a transaction and what it was shown of the answers. After a 40001 it
// goes back to the beginning, runs the same statements again, and checks that the application would have been shown
// the same. If so it goes on as if nothing had happened; if not it says so, by an error. When a connection is lost,
// because its node is restarted for example, the transaction goes on in the same way on another one.
//
// It speaks the wire protocol through [github.com/jackc/pgx/v5]: types, tracers and DSNs are pgx's.
//
// # Opening
//
// The driver is registered under the name "cockroachdb":
//
//	import (
//		"database/sql"
//
//		_ "github.com/reprise-go/cockroachdb"
//	)
//
//	db, err := sql.Open("cockroachdb",
//		"postgresql://app@db1:26257,db2:26257,db3:26257/bank?sslmode=verify-full&retry_max_attempts=10")
//
// [ParseConfig] says what a DSN may hold. What it has no words for, such as hooks, goes into a [Config], and by
// [NewConnector] and [sql.OpenDB] into a pool.
//
// # Transactions
//
// There is nothing to call. [sql.DB.BeginTx], statements, [sql.Tx.Commit] and [sql.Tx.Rollback] are those of
// database/sql:
//
//	tx, err := db.BeginTx(ctx, nil)
//	if err != nil {
//		return err
//	}
//	defer tx.Rollback()
//	_, err = tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, from)
//	if err != nil {
//		return err
//	}
//	_, err = tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $1 WHERE id = $2", amount, to)
//	if err != nil {
//		return err
//	}
//	return tx.Commit()
//
// BeginTx sends nothing; BEGIN, the savepoint cockroach_restart and the first statement travel together. RELEASE and
// COMMIT travel together too. A transaction of N statements takes N+1 round trips, and one more for each conflict. To
// this comes one round trip for each text with arguments, or of a query, that a connection has not prepared yet.
//
// A replay is compared with everything that the application has seen: names, types and formats of the columns, the
// rows that it has read and their order, the end of the rows if it came there, the number of affected rows if it asked
// for it, and whether a statement succeeded or which SQLSTATE it failed with. What it has not seen may be different,
// and then comes from the new attempt. A transaction whose every answer is the same is one that the application could
// itself have run at the later time.
//
// Where something differs the application gets a [DivergenceError]. Nothing is committed then. Typical are
// transactions that read what others write, and INSERT … RETURNING of a key that the database makes up. Such
// transactions are for [RunTx].
//
// A statement outside a transaction is run again too, as long as it is a single statement that is no commit and holds
// none.
//
// # RunTx
//
// [RunTx] takes the transaction as a function:
//
//	err := cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error {
//		var balance int
//		row := tx.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = $1", id)
//		if err := row.Scan(&balance); err != nil {
//			return err
//		}
//		balance += interest(balance)
//		_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = $1 WHERE id = $2", balance, id)
//		return err
//	})
//
// It tries the transparent replay first. Where that diverges or is not possible, it begins a new attempt and calls the
// function again. The function may thus run several times.
//
// # Errors
//
// The error of a statement is the server's own, a bare [*pgconn.PgError]. Outcomes that only this driver has are types
// of their own:
//
//   - [DivergenceError]: a replay would have shown something else. Not committed.
//   - [RetriesExhaustedError]: a bound of the policy was reached. Not committed.
//   - [NotReplayableError]: the transaction did something that is not replayed. Not committed.
//   - [ConnectionLostError]: the connection was lost before the commit was sent, and the transaction could not go on,
//     on another one; its Cause says why. Not committed.
//   - [AmbiguousCommitError]: the commit, or a statement outside a transaction that may write, was sent, and its
//     outcome is not known. The driver never runs it again blindly; see [CreateCommitTable] for how it can find out.
//   - [ResultLostError]: the statement is committed, and its result was lost with the connection.
//
// Each unwraps to the error that led to it, so that [errors.As] still finds the server's 40001 in the first three of
// them.
//
// # What is never replayed
//
// What a transaction does outside the database is not in the driver's hands: requests sent, files written. The driver
// does not call the application's code again, RunTx excepted. Transactions that use the pgx connection behind
// [sql.Conn.Raw] (COPY, for instance), that read AS OF SYSTEM TIME, that set a variable of the session after other
// statements, or that outgrow the record are not replayed, and a conflict in them is a [NotReplayableError]. What a
// session holds that can't be made again, such as a temporary table, keeps its transactions from going on, on another
// connection. A transaction that opens a savepoint cockroach_restart of its own, as cockroach-go's ExecuteTx does, is
// left to the application altogether.
//
// # Policy
//
// A [RetryPolicy] bounds attempts, time and memory. It belongs to a connector, or by [WithRetryPolicy] to one
// transaction; [WithoutRetries] switches retries off. Of the transactions of a connector only one at a time retries,
// in the retry lane, and on PostgreSQL one for each row; the others wait for their turn without holding locks. A
// [RetryThrottle] keeps a struggling cluster from being drowned in retries.
//
// # Metrics
//
// [Metrics] is a Prometheus collector. Pools opened by a DSN count into [DefaultMetrics], which is registered nowhere
// until you do it.
//
// # Events and traces
//
// [Config.OnRetry] is called before each new attempt, [Config.OnSettled] at the end of a transaction that met a
// conflict. pgx's tracers see the statements of a replay, too; [AttemptFrom] tells which they are.
//
// # PostgreSQL
//
// The driver works with PostgreSQL as well. There is no restart savepoint there: a new attempt is ROLLBACK and BEGIN,
// in the same round trip as the statements.
//
// # More
//
//   - [What is transparent, and what is not], and when not to use this driver
//   - [What if …?], case by case
//   - [Tuning], and what to do where transactions diverge
//   - [Coming from] lib/pq, pgx's stdlib, cockroach-go or a loop
//   - [What is promised], and how it is tested
//
// [What is transparent, and what is not]: https://github.com/reprise-go/cockroachdb#what-is-transparent-and-what-is-not
// [What if …?]: https://github.com/reprise-go/cockroachdb/blob/main/docs/semantics.md
// [Tuning]: https://github.com/reprise-go/cockroachdb/blob/main/docs/tuning.md
// [Coming from]: https://github.com/reprise-go/cockroachdb/blob/main/docs/migrating.md
// [What is promised]: https://github.com/reprise-go/cockroachdb/blob/main/docs/reliability.md
package cockroachdb
