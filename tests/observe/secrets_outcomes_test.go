package observe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func secretRow(values ...string) fakepg.Reply {
	r := fakepg.Reply{Columns: []fakepg.Column{{Name: "secret"}}}
	for _, v := range values {
		r.Values = append(r.Values, []any{v})
	}
	return r
}

// An outcomeCase is an outcome that could give away a secret.
type outcomeCase struct {
	script kit.Script // beside the secrets
	option any        // of kit.InBubble
	modes  []pgx.QueryExecMode
	alone  bool // without a transaction that has given its secrets away
	do     func(t *testing.T, s outcomeRun) error
	want   string // the outcome, as nameOf names it
}

// An outcomeRun is what an outcome is brought about with.
type outcomeRun struct {
	context.Context
	db   *sql.DB
	conn *sql.Conn
	tx   *sql.Tx // it has given its secrets away
	mode pgx.QueryExecMode
}

func (o outcomeCase) withSecrets() kit.Script {
	s := kit.Script{
		selectSecret: {secretRow(planted)}, selectSecretSimple: {secretRow(planted)},
		losing: {keyed},
	}
	maps.Copy(s, o.script)
	return s
}

// executing is an outcome of a statement without arguments.
func executing(text string) func(*testing.T, outcomeRun) error {
	return func(_ *testing.T, s outcomeRun) error { return kit.ExecAll(s.tx, text) }
}

func committing(_ *testing.T, s outcomeRun) error { return s.tx.Commit() }

// sayingSecrets is the server's error with a secret wherever it may quote one.
func sayingSecrets(code string) fakepg.Reply {
	r := kit.Fails(code, "Key (k)=("+planted+") already exists")
	r.Err.Detail, r.Err.Hint, r.Err.Where, r.Err.InternalQuery = planted, planted, planted, planted
	return r
}

func outcomeCases() map[string]outcomeCase {
	all := map[string]outcomeCase{}
	for _, some := range []map[string]outcomeCase{
		divergenceCases(), conflictCases(), lossCases(), argumentCases(), runTxCases(),
	} {
		maps.Copy(all, some)
	}
	return all
}

func divergenceCases() map[string]outcomeCase {
	answers := func(second fakepg.Reply) kit.Script {
		both := []fakepg.Reply{secretRow(planted), second}
		return kit.Script{selectSecret: both, selectSecretSimple: both}
	}
	return map[string]outcomeCase{
		"a row": {
			script: answers(secretRow(planted + " 2")), do: executing(losing), want: "DivergenceError row",
		},
		"the end of rows": {script: answers(secretRow()), do: executing(losing), want: "DivergenceError end_of_rows"},
		"an error in place": {
			script: answers(sayingSecrets("22012")), do: executing(losing), want: "DivergenceError sqlstate",
		},
		"an error at UPDATE": {
			script: kit.Script{"UPDATE x": {kit.OK, sayingSecrets("23505")}},
			do:     losingAfter("UPDATE x"),
			want:   "DivergenceError sqlstate",
		},
		"another error": {
			script: kit.Script{"UPDATE x": {kit.Fails("23505", "another"), sayingSecrets("23505")}},
			want:   "DivergenceError error",
			do: func(t *testing.T, s outcomeRun) error {
				require.NoError(t, kit.ExecAll(s.tx, "SAVEPOINT s"))
				require.Error(t, kit.ExecAll(s.tx, "UPDATE x"))
				require.NoError(t, kit.ExecAll(s.tx, "ROLLBACK TO SAVEPOINT s"))
				return kit.ExecAll(s.tx, losing)
			},
		},
		"the columns": {
			script: kit.Script{"SELECT other": {secretRow(planted), kit.Ints(1)}},
			do: func(t *testing.T, s outcomeRun) error {
				// A prepared statement is not described again: there the server says that its plan is stale.
				require.NoError(t, s.tx.QueryRowContext(s, "SELECT other", pgx.QueryExecModeExec).Scan(new(string)))
				return kit.ExecAll(s.tx, losing)
			},
			want: "DivergenceError columns",
		},
		"the count": {
			script: kit.Script{"UPDATE x": {{Tag: "UPDATE 1"}, {Tag: "UPDATE 2"}}},
			do:     losingAfter("UPDATE x"),
			want:   "DivergenceError count",
		},
	}
}

// losingAfter asks how many rows text affects, and then loses.
func losingAfter(text string) func(*testing.T, outcomeRun) error {
	return func(t *testing.T, s outcomeRun) error {
		res, err := s.tx.ExecContext(s, text)
		require.NoError(t, err)
		_, err = res.RowsAffected()
		require.NoError(t, err)
		return kit.ExecAll(s.tx, losing)
	}
}

func conflictCases() map[string]outcomeCase {
	forever := kit.Script{losing: kit.Always(keyed)}
	return map[string]outcomeCase{
		"attempts": {script: forever, option: kit.Attempts(3), do: executing(losing), want: "RetriesExhaustedError attempts"},
		"elapsed": {
			script: kit.Script{losing: {{Err: keyed.Err, Delay: 2 * time.Minute}}},
			do:     executing(losing),
			want:   "RetriesExhaustedError elapsed",
		},
		"throttle": {
			script: forever, option: func(c *cockroachdb.Config) { c.RetryThrottle.MaxTokens = 1 },
			do: executing(losing), want: "RetriesExhaustedError throttle",
		},
		"at the commit": {
			script: kit.Script{kit.Release: kit.Always(keyed)}, option: kit.Attempts(3),
			do: committing, want: "RetriesExhaustedError attempts",
		},
		"swallowed": {
			script: forever, option: kit.Attempts(3), want: "fmt.wrapErrors",
			do: func(t *testing.T, s outcomeRun) error {
				require.Error(t, kit.ExecAll(s.tx, losing))
				return s.tx.Commit()
			},
		},
		"statements": {
			option: kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 }),
			do:     executing(losing),
			want:   "NotReplayableError statements",
		},
		"bytes": {
			option: kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxBytes = 1 }),
			do:     executing(losing),
			want:   "NotReplayableError bytes",
		},
		"raw": {
			want: "NotReplayableError raw",
			do: func(t *testing.T, s outcomeRun) error {
				require.NoError(t, s.conn.Raw(func(dc any) error {
					_, err := dc.(cockroachdb.Conn).Conn().Exec(s, "UPDATE raw SET v = $1", pgx.QueryExecModeExec, planted)
					return err
				}))
				return kit.ExecAll(s.tx, losing)
			},
		},
		"a session changed": {
			want: "NotReplayableError session",
			do: func(_ *testing.T, s outcomeRun) error {
				return kit.ExecAll(s.tx, "UPDATE a", "SET app.tenant = 7", losing)
			},
		},
		"the past": {
			want: "NotReplayableError as_of_system_time",
			do: func(_ *testing.T, s outcomeRun) error {
				return kit.ExecAll(s.tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'", losing)
			},
		},
	}
}

func lossCases() map[string]outcomeCase {
	last := sayingSecrets("57P01")
	fakepg.Fatal(last.Err)
	return map[string]outcomeCase{
		"ambiguous, an error": {
			script: kit.Script{kit.Release: {sayingSecrets("40003")}}, do: committing, want: "AmbiguousCommitError",
		},
		"ambiguous, a last word": {script: kit.Script{kit.Release: {last}}, do: committing, want: "AmbiguousCommitError"},
		"ambiguous, cut": {
			script: kit.Script{kit.Release: {kit.CutOff}}, do: committing, want: "AmbiguousCommitError",
		},
		"ambiguous, in procedure": {
			script: kit.Script{"CALL p()": {kit.CutOff}}, do: executing("CALL p()"), want: "AmbiguousCommitError",
		},
		"lost, a last word": {
			option: kit.NoFailover, script: kit.Script{"UPDATE x": {last}},
			do: executing("UPDATE x"), want: "ConnectionLostError",
		},
		"lost, cut": {
			option: kit.NoFailover, script: kit.Script{"UPDATE x": {kit.CutOff}},
			do: executing("UPDATE x"), want: "ConnectionLostError",
		},
		"lost in a replay": {
			option: kit.NoFailover, script: kit.Script{losing: {keyed, kit.CutOff}},
			do: executing(losing), want: "ConnectionLostError",
		},
		"lost before": {
			option: kit.NoFailover,
			script: kit.Script{"UPDATE x": {kit.CutOff}}, want: "ConnectionLostError",
			do: func(t *testing.T, s outcomeRun) error {
				require.Error(t, kit.ExecAll(s.tx, "UPDATE x"))
				_, err := s.tx.ExecContext(s, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
		"cancelled": {
			script: kit.Script{losing: {keyed, kit.Slow}}, want: "errors.errorString", // context.Canceled
			do: func(t *testing.T, s outcomeRun) error {
				_, err := s.tx.ExecContext(kit.CancelledSoon(t), losing)
				assert.ErrorIs(t, err, context.Canceled)
				return err
			},
		},
		"not sent": {
			want: "errors.errorString",
			do: func(_ *testing.T, s outcomeRun) error {
				ctx, cancel := context.WithCancel(s)
				cancel()
				_, err := s.tx.ExecContext(ctx, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
		"a server's error": {
			script: kit.Script{"UPDATE x": {sayingSecrets("23505")}}, do: executing("UPDATE x"), want: "pgconn.PgError",
		},
	}
}

// argumentCases are statements that don't get as far as the server, and rows that don't get as far as the application.
func argumentCases() map[string]outcomeCase {
	simple := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol}
	with := func(text string, args ...any) func(*testing.T, outcomeRun) error {
		return func(_ *testing.T, s outcomeRun) error {
			_, err := s.tx.ExecContext(s, text, append([]any{s.mode}, args...)...)
			return err
		}
	}
	return map[string]outcomeCase{
		"no encoding":      {do: with("UPDATE a SET v = $1", map[string]string{planted: planted}), want: "quietError"},
		"a struct":         {do: with("UPDATE a SET v = $1", struct{ A, B string }{planted, planted}), want: "quietError"},
		"a failing Valuer": {do: with("UPDATE a SET v = $1", failingValuer{planted}), want: "quietError"},
		"a number": {
			script: kit.Script{"UPDATE n SET i = $1": {{ParamOIDs: []uint32{pgtype.Int4OID}}}},
			modes: []pgx.QueryExecMode{
				pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
			},
			do: with("UPDATE n SET i = $1", []string{planted}), want: "quietError",
		},
		"NUL":          {modes: simple, do: with("UPDATE a SET v = $1", planted+"\x00"), want: "errors.errorString"},
		"one too many": {modes: simple, do: with("UPDATE a SET v = $1", planted, planted), want: "errors.errorString"},
		"one too few":  {modes: simple, do: with("UPDATE a SET v = $1, w = $2", planted), want: "errors.errorString"},
		"another number": {
			modes: []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement},
			do:    with("UPDATE a SET v = $1", planted, planted),
			want:  "errors.errorString",
		},
		"an odd text":       {modes: simple, do: with("UPDATE a SET v = $1 WHERE $ w", planted), want: "errors.errorString"},
		"a failed rewriter": {do: with("UPDATE a SET v = @v", pgx.StrictNamedArgs{"w": planted}), want: "fmt.wrapError"},
		"rows still open": {
			script: kit.Script{"SELECT many": {secretRow(planted, planted)}}, want: "errors.errorString",
			do: func(t *testing.T, s outcomeRun) error {
				rows, err := s.tx.QueryContext(s, "SELECT many")
				require.NoError(t, err)
				defer rows.Close()
				_, err = s.tx.ExecContext(s, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
		"a row that is none": {
			script: kit.Script{
				"SELECT odd": {{Columns: []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}}, Rows: [][][]byte{{[]byte(planted)}}}},
			},
			do: func(_ *testing.T, s outcomeRun) error {
				err := s.tx.QueryRowContext(s, "SELECT odd", s.mode).Scan(new(int64))
				for err != nil && !strings.HasPrefix(reflect.TypeOf(err).String(), "*cockroachdb.") {
					err = errors.Unwrap(err) // under Go 1.27 database/sql wraps it
				}
				return err
			},
			want: "quietError",
		},
	}
}

func runTxCases() map[string]outcomeCase {
	running := func(f func(t *testing.T, s outcomeRun, tx *sql.Tx) error) func(*testing.T, outcomeRun) error {
		return func(t *testing.T, s outcomeRun) error {
			return cockroachdb.RunTx(s, s.db, nil, func(tx *sql.Tx) error {
				giveAway(t, s, tx, s.mode)
				return f(t, s, tx)
			})
		}
	}
	return map[string]outcomeCase{
		"RunTx": {
			alone: true, script: kit.Script{losing: kit.Always(keyed)},
			option: kit.Attempts(3), want: "RetriesExhaustedError attempts",
			do: running(func(_ *testing.T, _ outcomeRun, tx *sql.Tx) error { return kit.ExecAll(tx, losing) }),
		},
		"RunTx, ended inside": {
			alone: true, want: "errors.errorString",
			do: running(func(_ *testing.T, _ outcomeRun, tx *sql.Tx) error { return tx.Commit() }),
		},
		"RunTx, ambiguous": {
			alone: true, script: kit.Script{kit.Release: {sayingSecrets("40003")}}, want: "AmbiguousCommitError",
			do: running(func(*testing.T, outcomeRun, *sql.Tx) error { return nil }),
		},
		"RunTx, a panic": {
			alone: true, want: "errors.errorString",
			do: func(t *testing.T, s outcomeRun) (err error) {
				defer func() { err = errors.New(fmt.Sprint(recover())) }()
				return running(func(*testing.T, outcomeRun, *sql.Tx) error { panic("of the application") })(t, s)
			},
		},
		"outside": {
			alone: true,
			script: kit.Script{
				"UPDATE people SET a = $1":                 {keyed, keyed, keyed},
				"UPDATE people SET a =  '" + planted + "'": {keyed, keyed, keyed},
			},
			option: kit.Attempts(3), want: "RetriesExhaustedError attempts",
			do: func(_ *testing.T, s outcomeRun) error {
				_, err := s.db.ExecContext(s, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
	}
}
