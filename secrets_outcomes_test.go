package cockroachdb_test

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
)

// A telling is an outcome that could give away a secret.
type telling struct {
	script script // beside the secrets
	option any    // of newRig
	modes  []pgx.QueryExecMode
	alone  bool // without a transaction that has given its secrets away
	do     func(t *testing.T, s scenery) error
	want   string // the outcome, as nameOf names it
}

// A scenery is what an outcome is brought about with.
type scenery struct {
	context.Context
	db   *sql.DB
	conn *sql.Conn
	tx   *sql.Tx // it has given its secrets away
	mode pgx.QueryExecMode
}

func (o telling) withSecrets() script {
	s := script{
		selectSecret: {secretRow(planted)}, selectSecretSimple: {secretRow(planted)},
		losing: {keyed},
	}
	maps.Copy(s, o.script)
	return s
}

// executing is an outcome of a statement without arguments.
func executing(text string) func(*testing.T, scenery) error {
	return func(_ *testing.T, s scenery) error { return execAll(s.tx, text) }
}

func committing(_ *testing.T, s scenery) error { return s.tx.Commit() }

// sayingSecrets is the server's error with a secret wherever it may quote one.
func sayingSecrets(code string) fakepg.Reply {
	r := refused(code, "Key (k)=("+planted+") already exists")
	r.Err.Detail, r.Err.Hint, r.Err.Where, r.Err.InternalQuery = planted, planted, planted, planted
	return r
}

func tellings() map[string]telling {
	all := map[string]telling{}
	for _, some := range []map[string]telling{divergenceTellings(), conflictTellings(), lossTellings(), argumentTellings(), runTxTellings()} {
		maps.Copy(all, some)
	}
	return all
}

func divergenceTellings() map[string]telling {
	answers := func(second fakepg.Reply) script {
		both := []fakepg.Reply{secretRow(planted), second}
		return script{selectSecret: both, selectSecretSimple: both}
	}
	return map[string]telling{
		"a row":              {script: answers(secretRow(planted + " 2")), do: executing(losing), want: "DivergenceError row"},
		"the end of rows":    {script: answers(secretRow()), do: executing(losing), want: "DivergenceError end_of_rows"},
		"an error in place":  {script: answers(sayingSecrets("22012")), do: executing(losing), want: "DivergenceError sqlstate"},
		"an error at UPDATE": {script: script{"UPDATE x": {success, sayingSecrets("23505")}}, do: losingAfter("UPDATE x"), want: "DivergenceError sqlstate"},
		"another error": {
			script: script{"UPDATE x": {refused("23505", "another"), sayingSecrets("23505")}}, want: "DivergenceError error",
			do: func(t *testing.T, s scenery) error {
				require.NoError(t, execAll(s.tx, "SAVEPOINT s"))
				require.Error(t, execAll(s.tx, "UPDATE x"))
				require.NoError(t, execAll(s.tx, "ROLLBACK TO SAVEPOINT s"))
				return execAll(s.tx, losing)
			},
		},
		"the columns": {
			script: script{"SELECT other": {secretRow(planted), numbers(1)}},
			do: func(t *testing.T, s scenery) error {
				// A prepared statement is not described again: there the server says that its plan is stale.
				require.NoError(t, s.tx.QueryRowContext(s, "SELECT other", pgx.QueryExecModeExec).Scan(new(string)))
				return execAll(s.tx, losing)
			},
			want: "DivergenceError columns",
		},
		"the count": {
			script: script{"UPDATE x": {{Tag: "UPDATE 1"}, {Tag: "UPDATE 2"}}}, do: losingAfter("UPDATE x"), want: "DivergenceError count",
		},
	}
}

// losingAfter asks how many rows text affects, and then loses.
func losingAfter(text string) func(*testing.T, scenery) error {
	return func(t *testing.T, s scenery) error {
		res, err := s.tx.ExecContext(s, text)
		require.NoError(t, err)
		_, err = res.RowsAffected()
		require.NoError(t, err)
		return execAll(s.tx, losing)
	}
}

func conflictTellings() map[string]telling {
	forever := script{losing: always(keyed)}
	return map[string]telling{
		"attempts": {script: forever, option: three, do: executing(losing), want: "RetriesExhaustedError attempts"},
		"elapsed": {
			script: script{losing: {{Err: keyed.Err, Delay: 2 * time.Minute}}}, do: executing(losing), want: "RetriesExhaustedError elapsed",
		},
		"throttle": {
			script: forever, option: func(c *cockroachdb.Config) { c.RetryThrottle.MaxTokens = 1 }, do: executing(losing), want: "RetriesExhaustedError throttle",
		},
		"at the commit": {script: script{releaseSQL: always(keyed)}, option: three, do: committing, want: "RetriesExhaustedError attempts"},
		"swallowed": {
			script: forever, option: three, want: "fmt.wrapErrors",
			do: func(t *testing.T, s scenery) error {
				require.Error(t, execAll(s.tx, losing))
				return s.tx.Commit()
			},
		},
		"statements": {
			option: withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 }), do: executing(losing), want: "NotReplayableError statements",
		},
		"bytes": {
			option: withPolicy(func(p *cockroachdb.RetryPolicy) { p.MaxBytes = 1 }), do: executing(losing), want: "NotReplayableError bytes",
		},
		"raw": {
			want: "NotReplayableError raw",
			do: func(t *testing.T, s scenery) error {
				require.NoError(t, s.conn.Raw(func(dc any) error {
					_, err := dc.(cockroachdb.Conn).Conn().Exec(s, "UPDATE raw SET v = $1", pgx.QueryExecModeExec, planted)
					return err
				}))
				return execAll(s.tx, losing)
			},
		},
		"a session changed": {
			want: "NotReplayableError session",
			do: func(_ *testing.T, s scenery) error {
				return execAll(s.tx, "UPDATE a", "SET app.tenant = 7", losing)
			},
		},
		"the past": {
			want: "NotReplayableError as_of_system_time",
			do: func(_ *testing.T, s scenery) error {
				return execAll(s.tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'", losing)
			},
		},
	}
}

func lossTellings() map[string]telling {
	last := sayingSecrets("57P01")
	last.Err.Severity, last.Err.SeverityUnlocalized = "FATAL", "FATAL"
	return map[string]telling{
		"ambiguous, an error":     {script: script{releaseSQL: {sayingSecrets("40003")}}, do: committing, want: "AmbiguousCommitError"},
		"ambiguous, a last word":  {script: script{releaseSQL: {last}}, do: committing, want: "AmbiguousCommitError"},
		"ambiguous, cut":          {script: script{releaseSQL: {cutOff}}, do: committing, want: "AmbiguousCommitError"},
		"ambiguous, in procedure": {script: script{"CALL p()": {cutOff}}, do: executing("CALL p()"), want: "AmbiguousCommitError"},
		"lost, a last word":       {option: noFailover, script: script{"UPDATE x": {last}}, do: executing("UPDATE x"), want: "ConnectionLostError"},
		"lost, cut":               {option: noFailover, script: script{"UPDATE x": {cutOff}}, do: executing("UPDATE x"), want: "ConnectionLostError"},
		"lost in a replay":        {option: noFailover, script: script{losing: {keyed, cutOff}}, do: executing(losing), want: "ConnectionLostError"},
		"lost before": {
			option: noFailover,
			script: script{"UPDATE x": {cutOff}}, want: "ConnectionLostError",
			do: func(t *testing.T, s scenery) error {
				require.Error(t, execAll(s.tx, "UPDATE x"))
				_, err := s.tx.ExecContext(s, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
		"cancelled": {
			script: script{losing: {keyed, slow}}, want: "errors.errorString", // context.Canceled
			do: func(t *testing.T, s scenery) error {
				_, err := s.tx.ExecContext(cancelled(t), losing)
				assert.ErrorIs(t, err, context.Canceled)
				return err
			},
		},
		"not sent": {
			want: "errors.errorString",
			do: func(_ *testing.T, s scenery) error {
				ctx, cancel := context.WithCancel(s)
				cancel()
				_, err := s.tx.ExecContext(ctx, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
		"a server's error": {script: script{"UPDATE x": {sayingSecrets("23505")}}, do: executing("UPDATE x"), want: "pgconn.PgError"},
	}
}

// argumentTellings are statements that don't get as far as the server, and rows that don't get as far as the application.
func argumentTellings() map[string]telling {
	simple := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol}
	with := func(text string, args ...any) func(*testing.T, scenery) error {
		return func(_ *testing.T, s scenery) error {
			_, err := s.tx.ExecContext(s, text, append([]any{s.mode}, args...)...)
			return err
		}
	}
	return map[string]telling{
		"no encoding":      {do: with("UPDATE a SET v = $1", map[string]string{planted: planted}), want: "quietError"},
		"a struct":         {do: with("UPDATE a SET v = $1", struct{ A, B string }{planted, planted}), want: "quietError"},
		"a failing Valuer": {do: with("UPDATE a SET v = $1", failingValuer{planted}), want: "quietError"},
		"a number": {
			script: script{"UPDATE n SET i = $1": {{ParamOIDs: []uint32{pgtype.Int4OID}}}},
			modes:  []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec},
			do:     with("UPDATE n SET i = $1", []string{planted}), want: "quietError",
		},
		"NUL":               {modes: simple, do: with("UPDATE a SET v = $1", planted+"\x00"), want: "errors.errorString"},
		"one too many":      {modes: simple, do: with("UPDATE a SET v = $1", planted, planted), want: "errors.errorString"},
		"one too few":       {modes: simple, do: with("UPDATE a SET v = $1, w = $2", planted), want: "errors.errorString"},
		"another number":    {modes: []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement}, do: with("UPDATE a SET v = $1", planted, planted), want: "errors.errorString"},
		"an odd text":       {modes: simple, do: with("UPDATE a SET v = $1 WHERE $ w", planted), want: "errors.errorString"},
		"a failed rewriter": {do: with("UPDATE a SET v = @v", pgx.StrictNamedArgs{"w": planted}), want: "fmt.wrapError"},
		"rows still open": {
			script: script{"SELECT many": {secretRow(planted, planted)}}, want: "errors.errorString",
			do: func(t *testing.T, s scenery) error {
				rows, err := s.tx.QueryContext(s, "SELECT many")
				require.NoError(t, err)
				defer rows.Close()
				_, err = s.tx.ExecContext(s, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
		"a row that is none": {
			script: script{"SELECT odd": {{Columns: []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}}, Rows: [][][]byte{{[]byte(planted)}}}}},
			do: func(_ *testing.T, s scenery) error {
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

func runTxTellings() map[string]telling {
	running := func(f func(t *testing.T, s scenery, tx *sql.Tx) error) func(*testing.T, scenery) error {
		return func(t *testing.T, s scenery) error {
			return cockroachdb.RunTx(s, s.db, nil, func(tx *sql.Tx) error {
				giveAway(t, s, tx, s.mode)
				return f(t, s, tx)
			})
		}
	}
	return map[string]telling{
		"RunTx": {
			alone: true, script: script{losing: always(keyed)}, option: three, want: "RetriesExhaustedError attempts",
			do: running(func(_ *testing.T, _ scenery, tx *sql.Tx) error { return execAll(tx, losing) }),
		},
		"RunTx, ended inside": {
			alone: true, want: "errors.errorString",
			do: running(func(_ *testing.T, _ scenery, tx *sql.Tx) error { return tx.Commit() }),
		},
		"RunTx, ambiguous": {
			alone: true, script: script{releaseSQL: {sayingSecrets("40003")}}, want: "AmbiguousCommitError",
			do: running(func(*testing.T, scenery, *sql.Tx) error { return nil }),
		},
		"RunTx, a panic": {
			alone: true, want: "errors.errorString",
			do: func(t *testing.T, s scenery) (err error) {
				defer func() { err = errors.New(fmt.Sprint(recover())) }()
				return running(func(*testing.T, scenery, *sql.Tx) error { panic("of the application") })(t, s)
			},
		},
		"outside": {
			alone: true, script: script{"UPDATE people SET a = $1": {keyed, keyed, keyed}, "UPDATE people SET a =  '" + planted + "'": {keyed, keyed, keyed}},
			option: three, want: "RetriesExhaustedError attempts",
			do: func(_ *testing.T, s scenery) error {
				_, err := s.db.ExecContext(s, "UPDATE people SET a = $1", s.mode, planted)
				return err
			},
		},
	}
}
