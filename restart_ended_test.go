package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// noDDL is what a real server says to DDL in a transaction of high priority.
var noDDL = refused("0A000", "unimplemented: schema change statement cannot follow a statement that has written in the same transaction, PRIORITY HIGH")

func TestRestartOfDDLHasNoPriority(t *testing.T) {
	t.Parallel()
	inBubble(t, script{"UPDATE b": {lost, lost}}, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "CREATE TABLE x ()", "UPDATE b"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{
			"BEGIN; SAVEPOINT; CREATE TABLE x ()", "UPDATE b",
			"ROLLBACK TO; CREATE TABLE x ()", "UPDATE b",
			"ROLLBACK", "BEGIN; SAVEPOINT; CREATE TABLE x ()", "UPDATE b",
			"RELEASE; COMMIT",
		}, r.trips(first))
	})
}

func TestRestartLowersThePriorityForDDL(t *testing.T) {
	t.Parallel()
	const ddl = "ALTER TABLE x ADD y INT"
	high := []string{
		"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK TO; UPDATE a", "ROLLBACK", "BEGIN PRIORITY HIGH; SAVEPOINT; UPDATE a",
	}
	t.Run("alone", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {aborted, aborted, success}, ddl: {noDDL, success}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", ddl))
			require.NoError(t, tx.Commit())
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a", ddl, "RELEASE; COMMIT"), r.trips(first))
			r.usable(t)
		})
	})
	t.Run("never again", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {aborted, aborted, success}, ddl: {noDDL, success}, "UPDATE b": {aborted}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", ddl, "UPDATE b"))
			require.NoError(t, tx.Commit())
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a", ddl, "UPDATE b",
				"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a", ddl, "UPDATE b", "RELEASE; COMMIT"), r.trips(first))
		})
	})
	t.Run("and then loses", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {aborted, aborted, success, aborted, success}, ddl: {noDDL, success}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			require.NoError(t, execAll(tx, "UPDATE a", ddl))
			require.NoError(t, tx.Commit())
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a",
				"ROLLBACK", "BEGIN; SAVEPOINT; UPDATE a", ddl, "RELEASE; COMMIT"), r.trips(first))
		})
	})
	t.Run("refused for itself", func(t *testing.T) {
		inBubble(t, script{"UPDATE a": {aborted, aborted, success}, ddl: {noDDL, noDDL}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			err := execAll(tx, "UPDATE a", ddl)
			assert.IsType(t, (*pgconn.PgError)(nil), err)
			assert.Equal(t, "0A000", stateOf(err))
			require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
			assert.Equal(t, append(high, ddl, "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a", ddl, "ROLLBACK"), r.trips(first))
			r.usable(t)
		})
	})
	t.Run("not in the lane", func(t *testing.T) {
		inBubble(t, script{ddl: {noDDL}}, func(t *testing.T, r *rig) {
			tx := r.begin(t, t.Context())
			assert.Equal(t, "0A000", stateOf(execAll(tx, "UPDATE a", ddl)))
			require.NoError(t, tx.Rollback())
			assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", ddl, "ROLLBACK"}, r.trips(first))
		})
	})
	t.Run("and diverges", func(t *testing.T) {
		inBubble(t, script{"SELECT v": {numbers(1), numbers(2)}, "UPDATE a": {aborted, aborted, success}, ddl: {noDDL}},
			func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				require.NoError(t, execAll(tx, "UPDATE a"))
				var v int
				require.NoError(t, tx.QueryRow("SELECT v").Scan(&v))
				before := r.counts(t)
				err := execAll(tx, ddl)
				var diverged *cockroachdb.DivergenceError
				require.ErrorAs(t, err, &diverged)
				assert.Same(t, diverged, err, "by itself, not as a aborted connection")
				assert.Equal(t, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 3}, publicPart(diverged))
				assert.Equal(t, "40001", stateOf(err))
				require.NoError(t, tx.Rollback())
				assert.Equal(t, 1.0, r.moved(t, before)["replay_divergences_total row"])
				assert.Equal(t, 1, r.Connections(), "the connection is as good as ever")
				r.usable(t)
			})
	})
}

// publicPart leaves what Error and Unwrap are made of.
func publicPart(e *cockroachdb.DivergenceError) cockroachdb.DivergenceError {
	return cockroachdb.DivergenceError{Statement: e.Statement, Kind: e.Kind, Row: e.Row, Attempts: e.Attempts}
}

// raw is an answer given by hand.
type raw struct {
	tag    string
	err    string // SQLSTATE
	status byte
}

// committedPart checks that err says that something may be committed, and is no conflict to loops.
func committedPart(t *testing.T, err error) {
	t.Helper()
	isA[*cockroachdb.AmbiguousCommitError](t, err)
	assert.Empty(t, stateOf(err), "a loop would run again what is committed")
}

// A conflict that leaves the server idle has come after a commit that was not the driver's.
func TestRestartNotAfterTheServerHasCommitted(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]any{"CockroachDB": nil, "PostgreSQL": {plainPostgreSQL}} {
		t.Run(name, func(t *testing.T) {
			t.Run("but a COMMIT as text that loses has committed nothing", func(t *testing.T) {
				inBubble(t, script{"COMMIT": {lost, success}}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					before := r.counts(t)
					require.NoError(t, execAll(tx, "UPDATE a", "COMMIT"))
					_ = tx.Rollback()
					assert.Equal(t, 2, r.times("UPDATE a"))
					assert.Equal(t, 2, r.times("BEGIN"))
					assert.Equal(t, 1.0, r.moved(t, before)["transactions_total ended_by_application"])
					r.usable(t)
				}, options...)
			})
			t.Run("COMMIT and BEGIN in one text", func(t *testing.T) {
				inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					require.NoError(t, execAll(tx, "UPDATE a", "COMMIT; BEGIN"))
					err := execAll(tx, "UPDATE b")
					committedPart(t, err)
					assert.Equal(t, err, execAll(tx, "UPDATE c"))
					require.Error(t, tx.Rollback(), "a part is committed")
					assert.Equal(t, 1, r.times("UPDATE a"))
					assert.Equal(t, []string{"Query COMMIT; BEGIN", "UPDATE b", "ROLLBACK"}, r.trips(first)[1:])
					r.usable(t)
				}, options...)
			})
			t.Run("COMMIT and BEGIN in one text, committed", func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					require.NoError(t, execAll(tx, "UPDATE a", "COMMIT; BEGIN", "UPDATE b"))
					require.NoError(t, tx.Commit())
					assert.Equal(t, []string{"Query COMMIT; BEGIN", "UPDATE b", "COMMIT"}, r.trips(first)[1:])
					r.usable(t)
				}, options...)
			})
			t.Run("a conflict behind COMMIT in one text", func(t *testing.T) {
				inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					committedPart(t, execAll(tx, "UPDATE a", "COMMIT; BEGIN; UPDATE b"))
					require.Error(t, tx.Rollback(), "a part is committed")
					assert.Equal(t, 1, r.times("UPDATE a"))
					assert.Equal(t, 1, r.times("UPDATE b"))
					r.usable(t)
				}, options...)
			})
			t.Run("a conflict behind COMMIT, outside", func(t *testing.T) {
				inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
					_, err := r.db.Exec("BEGIN; UPDATE a; COMMIT; UPDATE b")
					committedPart(t, err)
					assert.Equal(t, 1, r.times("UPDATE a"))
					r.usable(t)
				}, options...)
			})
			t.Run("a conflict in a text before its COMMIT", func(t *testing.T) {
				inBubble(t, script{"UPDATE b": {lost}}, func(t *testing.T, r *rig) {
					tx := r.begin(t, t.Context())
					require.NoError(t, execAll(tx, "UPDATE a", "UPDATE b; COMMIT; BEGIN"), "nothing was committed, so all can be run again")
					require.Error(t, tx.Rollback(), "a part is committed")
					assert.Equal(t, 2, r.times("UPDATE a"))
					assert.Equal(t, 2, r.times("UPDATE b"))
					r.usable(t)
				}, options...)
			})
		})
	}
}

// With autocommit_before_ddl, DDL commits what is open before it runs, and may then lose.
func TestRestartNotAfterDDLThatCommits(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]raw{
		"and succeeds": {tag: "CREATE TABLE", status: 'I'},
		"and fails":    {err: "42P07", status: 'I'},
	} {
		t.Run(name, func(t *testing.T) {
			srv := fakepg.Start(t, func(c *fakepg.Conn) {
				play(c, raw{tag: "BEGIN"}, raw{tag: "SAVEPOINT"}, raw{tag: "UPDATE 1", status: 'T'})
				play(c, answer)
				c.Serve(func(fakepg.Statement) fakepg.Reply { return success })
			})
			db := openFake(t, srv)
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			err = execAll(tx, "UPDATE a", "CREATE TABLE x ()")
			assert.Equal(t, answer.err, stateOf(err))
			require.NoError(t, execAll(tx, "UPDATE b"), "it runs by itself, as through pgx")
			require.Error(t, tx.Rollback(), "it is committed")
			assert.Len(t, srv.Statements(), 3)
			assert.Equal(t, []string{"UPDATE b"}, srv.Statements()[2])
		})
	}
}

// To a loop around the transaction a 40001 would say that nothing was committed.
func TestDDLThatCommitsAndThenLosesIsAmbiguous(t *testing.T) {
	t.Parallel()
	for name, ctx := range map[string]context.Context{"": t.Context(), "without retries": cockroachdb.WithoutRetries(t.Context())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, func(c *fakepg.Conn) {
				if name == "" {
					play(c, raw{tag: "BEGIN"}, raw{tag: "SAVEPOINT"}, raw{tag: "UPDATE 1", status: 'T'})
				} else {
					play(c, raw{tag: "BEGIN"}, raw{tag: "UPDATE 1", status: 'T'})
				}
				play(c, raw{err: "40001", status: 'I'})
				c.Serve(func(fakepg.Statement) fakepg.Reply { return success })
			})
			db := openFake(t, srv)
			tx, err := db.BeginTx(ctx, nil)
			require.NoError(t, err)
			require.NoError(t, execAll(tx, "UPDATE a"))
			connections := srv.Connections()
			isA[*cockroachdb.AmbiguousCommitError](t, execAll(tx, "CREATE TABLE x ()"))
			isA[*cockroachdb.AmbiguousCommitError](t, execAll(tx, "UPDATE b"))
			isA[*cockroachdb.AmbiguousCommitError](t, tx.Commit())
			assert.Len(t, srv.Statements(), 2, "nothing else was sent")
			mustExec(t, db, "UPDATE c") // the connection is good
			assert.Equal(t, connections, srv.Connections())
		})
	}
}

// play answers one exchange of the extended protocol, a statement of it per answer.
func play(c *fakepg.Conn, answers ...raw) {
	c.ReceiveUntilSync()
	for _, a := range answers {
		c.Send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{})
		if a.err != "" {
			c.Send(fakepg.Error(a.err, "restart transaction: TransactionAbortedError"))
		} else {
			c.Send(&pgproto3.CommandComplete{CommandTag: []byte(a.tag)})
		}
		if a.status != 0 {
			c.Ready(a.status)
		}
	}
}

func TestRestartAfterTheApplicationsRollback(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, r *rig) {
		tx := r.begin(t, t.Context())
		require.NoError(t, execAll(tx, "UPDATE a", "ROLLBACK"))
		require.NoError(t, tx.Rollback())
		assert.Equal(t, []string{"BEGIN; SAVEPOINT; UPDATE a", "ROLLBACK"}, r.trips(first), "there is nothing to roll back any more")
		r.usable(t)
	})
}

// The stale statement can't be run again in the replay either: all of the record is prepared anew.
func TestRenewalOfSeveralStalePlans(t *testing.T) {
	t.Parallel()
	stale := refused("0A000", "cached plan must not change result type")
	inBubble(t, script{"SELECT a": {numbers(1), numbers(1), stale, numbers(1)}, "SELECT b": {numbers(2), stale, numbers(2)}},
		func(t *testing.T, r *rig) {
			var v int
			for _, text := range []string{"SELECT a", "SELECT b"} {
				require.NoError(t, r.db.QueryRow(text).Scan(&v))
			}
			tx := r.begin(t, t.Context())
			require.NoError(t, tx.QueryRow("SELECT a").Scan(&v))
			require.NoError(t, tx.QueryRow("SELECT b").Scan(&v))
			require.NoError(t, tx.Commit())
			assert.Equal(t, 2, v)
			assert.Equal(t, 1, r.Connections())
			assert.Zero(t, time.Since(r.started), "nothing was lost, nothing is waited for")
			r.usable(t)
		})
}

// A renewal replays, and so may diverge without a conflict.
func TestRenewalThatDiverges(t *testing.T) {
	t.Parallel()
	stale := refused("26000", "prepared statement does not exist")
	s := script{"SELECT a": {numbers(1), numbers(2)}, "SELECT b": {numbers(2), stale, numbers(2)}}
	inBubble(t, s, func(t *testing.T, r *rig) {
		var v int
		require.NoError(t, r.db.QueryRow("SELECT b").Scan(&v))
		before := r.counts(t)
		tx := r.begin(t, t.Context())
		require.NoError(t, tx.QueryRow("SELECT a").Scan(&v))
		err := tx.QueryRow("SELECT b").Scan(&v)
		require.IsType(t, (*cockroachdb.DivergenceError)(nil), err)
		assert.Equal(t, "26000", stateOf(err))
		require.NoError(t, tx.Rollback())
		assert.Equal(t, 1.0, r.moved(t, before)["transactions_total diverged"])
		assert.Equal(t, 1.0, r.moved(t, before)["replay_divergences_total row"])
		r.usable(t)
	})
	inBubble(t, s, func(t *testing.T, r *rig) {
		var v, calls int
		require.NoError(t, r.db.QueryRow("SELECT b").Scan(&v))
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.db, nil, func(tx *sql.Tx) error {
			calls++
			if err := tx.QueryRow("SELECT a").Scan(&v); err != nil {
				return err
			}
			return tx.QueryRow("SELECT b").Scan(&v)
		}))
		assert.Equal(t, 2, calls)
		r.usable(t)
	})
}

// A COMMIT that the application sends as text is a commit: an answer that leaves open whether it has committed is told as Commit would.
func TestOwnCommitIsAmbiguous(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code      string
		ambiguous bool
		option    any
	}{
		"statement timeout":                    {"57014", true, ""},
		"unknown to the server":                {"40003", true, ""},
		"shutdown":                             {"57P01", true, plainPostgreSQL},
		"PostgreSQL's word is definite":        {"23505", false, plainPostgreSQL},
		"PostgreSQL's, of a statement timeout": {"57014", false, plainPostgreSQL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, script{"COMMIT": {refused(tt.code, "injected")}}, func(t *testing.T, r *rig) {
				tx := r.begin(t, t.Context())
				err := execAll(tx, "UPDATE a", "COMMIT")
				assert.Equal(t, tt.code, stateOf(err))
				var ambiguous *cockroachdb.AmbiguousCommitError
				assert.Equal(t, tt.ambiguous, errors.As(err, &ambiguous))
				assert.Equal(t, tt.ambiguous, tx.Rollback() != nil, "it is rolled back for certain, or it may be committed")
				assert.Equal(t, 1, r.times("COMMIT"))
				r.usable(t)
			}, tt.option)
		})
	}
}
