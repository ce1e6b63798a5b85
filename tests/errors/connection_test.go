package errors_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// isCode returns a function that reports whether there is an error of that SQLSTATE.
func isCode(code string) func(error) bool {
	return func(err error) bool { return kit.StateOf(err) == code }
}

// MaxOpenConns(1) and goleak after every failure. It is not parallel, since it looks at the goroutines of the process.
func TestErrors_AfterEachOfThem_TheConnectionIsUsable(t *testing.T) {
	const read, last = "SELECT v FROM kv", "UPDATE kv SET last = $1"
	run := func(ctx context.Context, tx *sql.Tx) error {
		var v int64
		if err := tx.QueryRowContext(ctx, read).Scan(&v); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, last, kit.Secret); err != nil {
			return err
		}
		return tx.Commit()
	}
	failing := func(code string) []fakepg.Reply { return []fakepg.Reply{kit.Fails(code, "no")} }
	for name, tc := range map[string]struct {
		script  kit.Script
		options []any
		cancel  bool // the context at the reply that has Nth 2 of last
		is      func(error) bool
	}{
		"divergence": {
			script: kit.Script{read: kit.IntOfEachRun(1, 2), kit.Release: kit.ConflictOn(1)},
			is:     kit.IsA[*cockroachdb.DivergenceError],
		},
		"divergence on PostgreSQL": {
			script:  kit.Script{read: kit.IntOfEachRun(1, 2), "COMMIT": kit.ConflictOn(1)},
			options: []any{fakepg.PlainPostgreSQL()},
			is:      kit.IsA[*cockroachdb.DivergenceError],
		},
		"exhausted": {
			script:  kit.Script{read: kit.IntOfEachRun(1), last: kit.Always(kit.Conflict)},
			options: []any{kit.Attempts(3)},
			is:      kit.IsA[*cockroachdb.RetriesExhaustedError],
		},
		"not replayable": {
			script:  kit.Script{read: kit.IntOfEachRun(1), kit.Release: kit.ConflictOn(1)},
			options: []any{kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 })},
			is:      kit.IsA[*cockroachdb.NotReplayableError],
		},
		"retries off": {
			script:  kit.Script{read: kit.IntOfEachRun(1), last: kit.ConflictOn(1)},
			options: []any{kit.Attempts(1)},
			is:      isCode("40001"),
		},
		"ambiguous, cut": {
			script: kit.Script{read: kit.IntOfEachRun(1), kit.Release: {fakepg.Reply{Cut: fakepg.CutBefore}, kit.OK}},
			is:     kit.IsA[*cockroachdb.AmbiguousCommitError],
		},
		"ambiguous, 40003": {
			script: kit.Script{read: kit.IntOfEachRun(1), kit.Release: failing("40003")},
			is:     kit.IsA[*cockroachdb.AmbiguousCommitError],
		},
		"connection lost": {
			script:  kit.Script{read: kit.IntOfEachRun(1), last: {{Cut: fakepg.CutHalf}}},
			is:      kit.IsA[*cockroachdb.ConnectionLostError],
			options: []any{kit.NoFailover},
		},
		"lost in a replay": {
			script:  kit.Script{read: kit.IntOfEachRun(1), last: {kit.OK, kit.CutOff}, kit.Release: kit.ConflictOn(1)},
			is:      kit.IsA[*cockroachdb.ConnectionLostError],
			options: []any{kit.NoFailover},
		},
		"a statement fails": {
			script: kit.Script{read: kit.IntOfEachRun(1), last: failing("23505")}, is: isCode("23505"),
		},
		"a query fails": {script: kit.Script{read: failing("42P01")}, is: isCode("42P01")},
		"a Parse fails": {
			script: kit.Script{
				last: kit.Always(fakepg.Reply{Err: fakepg.Error("42601", ""), ErrAt: fakepg.AtParse}), read: kit.IntOfEachRun(1),
			},
			is: isCode("42601"),
		},
		"BEGIN fails":     {script: kit.Script{"BEGIN": failing("53400")}, is: isCode("53400")},
		"SAVEPOINT fails": {script: kit.Script{kit.Savepoint: failing("53400")}, is: isCode("53400")},
		"no way back": {
			script: kit.Script{read: kit.IntOfEachRun(1, 2), kit.Release: kit.ConflictOn(1), kit.RollbackTo: failing("0A000")},
			is:     kit.IsA[*cockroachdb.DivergenceError],
		},
		"ROLLBACK fails": {
			script: kit.Script{read: kit.IntOfEachRun(1), last: failing("23505"), "ROLLBACK": failing("XX000")},
			is:     isCode("23505"),
		},
		"cancelled in a replay": {
			script: kit.Script{read: kit.IntOfEachRun(1), last: kit.ConflictOn(1)},
			cancel: true,
			is:     func(err error) bool { return errors.Is(err, context.Canceled) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
					if tc.cancel && s.SQL == last && s.Nth == 1 {
						cancel()
					}
					return tc.script.Reply(s)
				}, tc.options...)
				defer r.Server.Close()
				defer r.DB.Close()
				for _, how := range []string{"Rollback", "no Rollback"} {
					tx, err := r.BeginTx(ctx, nil)
					if err != nil {
						require.True(t, tc.cancel, "%v", err)
						break
					}
					err = run(ctx, tx)
					if how == "Rollback" || tc.is(err) {
						require.True(t, tc.is(err), "%T %v", err, err)
						assert.NotContains(t, err.Error(), kit.Secret)
					}
					if how == "Rollback" {
						_ = tx.Rollback()
					} else { // but the context's end
						cancel()
					}
					kit.WantUsable(t, r.DB)
				}
				require.Eventually(t, func() bool { return r.Stats().InUse == 0 }, time.Minute, time.Millisecond)
			}()
			require.NoError(t, goleak.Find(before))
		})
	}
}
