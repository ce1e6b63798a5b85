package errors_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What must not be in any error of the driver's own.
const (
	passwordInDSN = "hush-hush"
	argumentValue = "an argument"
	rowValue      = "a value of a row"
	textWithValue = "UPDATE people SET secret = $1"
)

// secretRow is an answer with a value that nobody else is to see.
func secretRow(values ...string) fakepg.Reply {
	r := fakepg.Reply{Columns: []fakepg.Column{{Name: "secret"}}}
	for _, v := range values {
		r.Values = append(r.Values, []any{v})
	}
	return r
}

// A failure is an outcome that only this driver has.
type failure struct {
	script kit.Script
	option any
	cause  func(t *testing.T, r *kit.Rig) error
	want   string // how its message goes, between the words that no test should pin down
	state  string // SQLSTATE of what it unwraps to
	is     error  // what else it unwraps to
	typ    error
}

// afterSecrets runs statements with secrets in them before what fails.
func afterSecrets(text string) func(t *testing.T, r *kit.Rig) error {
	return func(t *testing.T, r *kit.Rig) error {
		tx := r.Begin(t)
		defer func() { _ = tx.Rollback() }()
		_, err := tx.Exec(textWithValue, argumentValue)
		require.NoError(t, err)
		require.NoError(t, tx.QueryRow("SELECT secret").Scan(new(string)))
		if text == "COMMIT" {
			return tx.Commit()
		}
		return kit.ExecAll(tx, text)
	}
}

func failures() map[string]failure {
	const release = "RELEASE SAVEPOINT cockroach_restart"
	const secretText = "UPDATE people SET secret = 'a value of a row'"
	sees := func(more ...fakepg.Reply) []fakepg.Reply { return append([]fakepg.Reply{secretRow(rowValue)}, more...) }
	diverges := func(second fakepg.Reply, want string) failure {
		return failure{
			script: kit.Script{"SELECT secret": sees(second), secretText: {kit.Conflict}},
			cause:  afterSecrets(secretText),
			state:  "40001",
			want: "could not be replayed unseen: on attempt 2, statement 2: " + want +
				"; nothing was committed, run the transaction again",
			typ: (*cockroachdb.DivergenceError)(nil),
		}
	}
	return map[string]failure{
		"a row changed": diverges(secretRow("another one"), "row 1, already read, changed"),
		"a row is gone": diverges(secretRow(), "the end of the rows, as already seen, moved (at row 1)"),
		"the columns differ": {
			script: kit.Script{"SELECT secret": sees(kit.Ints(1)), release: {kit.Conflict}}, state: "40001",
			cause: func(t *testing.T, r *kit.Rig) error {
				tx := r.Begin(t)
				// A prepared statement is not described again: there the server says that its plan is stale.
				require.NoError(t, tx.QueryRow("SELECT secret", pgx.QueryExecModeExec).Scan(new(string)))
				return tx.Commit()
			},
			want: "statement 1: the columns of the result changed", typ: (*cockroachdb.DivergenceError)(nil),
		},
		"an error for success": diverges(kit.Fails("22012", "division of 'a value of a row' by zero"),
			"it answered SQLSTATE 22012 where it had answered with success"),
		"the count differs": {
			script: kit.Script{"UPDATE x": {{Tag: "UPDATE 1"}, {Tag: "UPDATE 2"}}, release: {kit.Conflict}}, state: "40001",
			cause: func(t *testing.T, r *kit.Rig) error {
				tx := r.Begin(t)
				res, err := tx.Exec("UPDATE x")
				require.NoError(t, err)
				_, err = res.RowsAffected()
				require.NoError(t, err)
				return tx.Commit()
			},
			want: "statement 1: the number of affected rows, already asked for, changed",
			typ:  (*cockroachdb.DivergenceError)(nil),
		},
		"exhausted": {
			script: kit.Script{"SELECT secret": sees(), secretText: kit.Always(kit.Conflict)},
			option: kit.Attempts(3), cause: afterSecrets(secretText), state: "40001",
			want: "gave up after 3 attempts in 0s (bound: attempts); nothing was committed",
			typ:  (*cockroachdb.RetriesExhaustedError)(nil),
		},
		"exhausted by time": {
			script: kit.Script{"SELECT secret": sees(), secretText: {{Err: kit.Conflict.Err, Delay: 2 * time.Minute}}},
			cause:  afterSecrets(secretText),
			state:  "40001",
			want:   "gave up after 1 attempts in 2m0s (bound: elapsed)", typ: (*cockroachdb.RetriesExhaustedError)(nil),
		},
		"not replayable": {
			script: kit.Script{"SELECT secret": sees(), secretText: {kit.Conflict}},
			cause:  afterSecrets(secretText),
			state:  "40001",
			option: kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 }),
			want:   "is not replayable: it ran more statements than RetryPolicy.MaxStatements keeps on record; nothing was committed, run it again",
			typ:    (*cockroachdb.NotReplayableError)(nil),
		},
		"ambiguous": {
			script: kit.Script{"SELECT secret": sees(), release: {kit.Fails("40003", "result is ambiguous")}},
			cause:  afterSecrets("COMMIT"),
			state:  "40003",
			want:   "the commit was sent and its outcome is unknown; look whether",
			typ:    (*cockroachdb.AmbiguousCommitError)(nil),
		},
		"ambiguous, cut": {
			script: kit.Script{"SELECT secret": sees(), release: {kit.CutOff}}, cause: afterSecrets("COMMIT"),
			want: "its outcome is unknown", typ: (*cockroachdb.AmbiguousCommitError)(nil),
		},
		"ambiguous, cancelled": {
			script: kit.Script{release: {kit.Slow, kit.OK}}, is: context.Canceled,
			cause: func(t *testing.T, r *kit.Rig) error {
				tx := r.BeginIn(t, kit.CancelledSoon(t))
				require.NoError(t, kit.ExecAll(tx, "UPDATE a"))
				return tx.Commit()
			},
			want: "its outcome is unknown", typ: (*cockroachdb.AmbiguousCommitError)(nil),
		},
		"connection lost": {
			script: kit.Script{"SELECT secret": sees(), secretText: {kit.CutOff}}, cause: afterSecrets(secretText),
			want: "the connection was lost before the commit was sent; nothing was committed, run the transaction again",
			typ:  (*cockroachdb.ConnectionLostError)(nil),
		},
		"connection lost, the server said why": {
			script: kit.Script{"SELECT secret": sees(), secretText: {kit.Fatal("57P01", "server is shutting down")}},
			cause:  afterSecrets(secretText),
			state:  "57P01",
			want:   "the connection was lost", typ: (*cockroachdb.ConnectionLostError)(nil),
		},
	}
}

// fatal is the last word of a server.
func TestErrors_OfTheDriver_SayWhatToDo(t *testing.T) {
	t.Parallel()
	for name, f := range failures() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit.InBubble(t, f.script, func(t *testing.T, r *kit.Rig) {
				err := f.cause(t, r)
				require.IsType(t, f.typ, err, "%v", err)
				for _, verb := range []string{"%v", "%+v", "%s"} {
					text := fmt.Sprintf(verb, err)
					assert.True(t, strings.HasPrefix(text, "cockroachdb: "), text)
					assert.Contains(t, text, f.want)
					for _, secret := range []string{passwordInDSN, argumentValue, rowValue, "another one", "people", "SELECT"} {
						assert.NotContains(t, text, secret)
					}
				}
				require.Error(t, errors.Unwrap(err))
				assert.Equal(t, f.state, kit.StateOf(err))
				if f.state != "" {
					var pgErr *pgconn.PgError
					require.ErrorAs(t, err, &pgErr)
					assert.Equal(t, f.state, pgErr.Code)
				}
				if f.is != nil {
					assert.ErrorIs(t, err, f.is)
				} else {
					assert.NotErrorIs(t, err, context.Canceled)
				}
				r.WantUsable(t)
			}, f.option, func(c *cockroachdb.Config) { c.ConnConfig.Password = passwordInDSN })
		})
	}
}

// What the caller cancelled is its own doing, and never a network failure.
func TestErrors_CallerCancelled_AreNoNetworkFailure(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]kit.Script{
		"a statement":  {"UPDATE a": {kit.Slow}},
		"a replay":     {"UPDATE a": {kit.Conflict, kit.Slow}},
		"the rollback": {"UPDATE a": {kit.Conflict, kit.Conflict}, "ROLLBACK": {kit.Slow}},
		"the backoff":  {"UPDATE a": {kit.Conflict, kit.Conflict}},
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				_, err := tx.ExecContext(kit.CancelledSoon(t), "UPDATE a")
				require.ErrorIs(t, err, context.Canceled)
				var lost *cockroachdb.ConnectionLostError
				assert.NotErrorAs(t, err, &lost)
				err = tx.Commit()
				require.Error(t, err)
				assert.ErrorIs(t, err, context.Canceled, "it says why, for those who did not look")
				r.WantUsable(t)
			}, kit.Patient)
		})
	}
}

// A caller that has not looked at the error of a statement is told by Commit.
func TestErrors_CommitAfterAnUnreadConflict_IsTold(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, kit.Script{"UPDATE a": kit.Always(kit.Conflict)}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		told := kit.ExecAll(tx, "UPDATE a")
		err := tx.Commit()
		require.ErrorIs(t, err, pgx.ErrTxCommitRollback)
		require.ErrorIs(t, err, told)
		assert.Equal(t, "40001", kit.StateOf(err))
		r.WantUsable(t)
	}, kit.Attempts(3))
}

// A loop as cockroach-go's knows the conflict in each of the errors that mean one, and by running again gets through.
func TestErrors_OfAConflict_AreKnownToRetryLoops(t *testing.T) {
	t.Parallel()
	for name, f := range failures() {
		if f.state != "40001" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, f.script, func(t *testing.T, r *kit.Rig) {
				assert.True(t, retryable(f.cause(t, r)))
			}, f.option)
		})
	}
	script := kit.Script{"SELECT v": {kit.Ints(1), kit.Ints(2), kit.Ints(2)}, "UPDATE a": {kit.Conflict, kit.OK}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		runs := 0
		for {
			runs++
			err := func() error {
				tx := r.Begin(t)
				defer func() { _ = tx.Rollback() }()
				if err := tx.QueryRow("SELECT v").Scan(new(int)); err != nil {
					return fmt.Errorf("reading: %w", err)
				}
				if err := kit.ExecAll(tx, "UPDATE a"); err != nil {
					return fmt.Errorf("writing: %w", err)
				}
				return tx.Commit()
			}()
			if !retryable(err) {
				require.NoError(t, err)
				break
			}
		}
		assert.Equal(t, 2, runs)
		r.WantUsable(t)
	})
}

// retryable is cockroach-go's errIsRetryable.
func retryable(err error) bool {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) {
		return false
	}
	code := state.SQLState()
	return code == "CR000" || code == "40001"
}

// execer is a *sql.DB or a *sql.Tx.
type execer interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

// Statements' errors are the server's own, bare, as through pgx.
func TestErrors_OfStatements_AreTheServers(t *testing.T) {
	t.Parallel()
	const text = "UPDATE a SET v = $1"
	duplicate := kit.Fails("23505", "duplicate key")
	unknown := kit.Fails("42P01", "no such table")
	unknown.ErrAt = fakepg.AtParse
	for name, reply := range map[string]fakepg.Reply{"at Execute": duplicate, "at Parse": unknown} {
		for what, exec := range map[string]func(context.Context, execer) error{
			"text": func(ctx context.Context, db execer) error {
				_, err := db.ExecContext(ctx, "UPDATE a")
				return err
			},
			"argument": func(ctx context.Context, db execer) error {
				_, err := db.ExecContext(ctx, text, "x")
				return err
			},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				script := kit.Script{text: {reply, reply, reply}, "UPDATE a": {reply, reply, reply}}
				kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
					assert.IsType(t, (*pgconn.PgError)(nil), exec(t.Context(), r.DB))
					tx := r.Begin(t)
					assert.IsType(t, (*pgconn.PgError)(nil), exec(t.Context(), tx))
					require.NoError(t, tx.Rollback())
					r.WantUsable(t)
				})
			})
		}
	}
}
