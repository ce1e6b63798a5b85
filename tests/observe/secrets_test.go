package observe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"expvar"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// planted is put wherever a secret could come from: the password, arguments of all kinds, rows, and what the server
// says.
const planted = "s3cr3t-Zebra"

// formsOfPlanted are the ways in which its bytes are printed, in lower case.
var formsOfPlanted = func() []string {
	var decimal, goBytes []string
	for _, b := range []byte(planted) {
		decimal, goBytes = append(decimal, strconv.Itoa(int(b))), append(goBytes, fmt.Sprintf("%#x", b))
	}
	forms := []string{
		planted, hex.EncodeToString([]byte(planted)), strings.Join(decimal, " "), strings.Join(goBytes, ", "),
		base64.RawStdEncoding.EncodeToString([]byte(planted))[:15],
	}
	for i := range forms {
		forms[i] = strings.ToLower(forms[i])
	}
	return forms
}()

// shows says whether a text holds what is planted, in any form.
func shows(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(formsOfPlanted, func(form string) bool { return strings.Contains(text, form) })
}

func TestShows_SecretInAnyForm_IsFound(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.True(t, shows(fmt.Sprintf(verb, struct{ A []byte }{[]byte(planted)})), verb)
		assert.True(t, shows(fmt.Sprintf(verb, planted)), verb)
	}
	assert.True(t, shows(base64.StdEncoding.EncodeToString([]byte(planted))))
	assert.False(t, shows("nothing"))
}

// verbs are all ways of printing that print more than one thing differently.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"}

// prints asserts that v is printed without what is planted.
func prints(t testing.TB, v any) {
	t.Helper()
	for _, verb := range verbs {
		if text := fmt.Sprintf(verb, v); shows(text) {
			t.Errorf("%T as %s: %s", v, verb, text)
		}
	}
}

// quiet asserts that err, and what of this package it is made of, is printed without what is planted. The server's own
// errors, and those of the application and of pgx inside ours, are not this package's to word.
func quiet(t testing.TB, err error) {
	t.Helper()
	if _, server := err.(*pgconn.PgError); err == nil || server { //nolint:errorlint // not what it wraps
		return
	}
	prints(t, err)
	inner := []error{errors.Unwrap(err)}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		inner = many.Unwrap()
	}
	for _, e := range inner {
		if e != nil && strings.HasPrefix(reflect.TypeOf(e).String(), "*cockroachdb.") {
			quiet(t, e)
		}
	}
}

// A Valuer with a secret in it; and one that fails, and says too much.
type secretValuer struct{ text string }

func (v secretValuer) Value() (driver.Value, error) { return v.text, nil }

var errOfValuer = errors.New("no value of " + planted)

type failingValuer struct{ text string }

func (failingValuer) Value() (driver.Value, error) { return nil, errOfValuer }

// A textTracer is a tracer that tells texts and errors, and no arguments: those it was handed as such, by pgx's
// contract.
type textTracer struct{ told []string }

func (t *textTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	t.told = append(t.told, data.SQL)
	return ctx
}

func (t *textTracer) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if _, server := data.Err.(*pgconn.PgError); !server { //nolint:errorlint // not what it wraps
		t.told = append(t.told, fmt.Sprint(data.CommandTag, data.Err))
	}
}

// plantedTexts are what the script answers with secrets; simple is how the query arrives by the simple protocol.
const (
	selectSecret = "SELECT secret WHERE k = $1"
	losing       = "UPDATE losing"
)

var selectSecretSimple = "SELECT secret WHERE k =  '" + planted + "'"

// giveAway runs statements with secrets in them, of all kinds, in a transaction.
func giveAway(t testing.TB, ctx context.Context, tx *sql.Tx, mode pgx.QueryExecMode) {
	t.Helper()
	text := planted
	for _, arg := range []any{planted, &text, []byte(planted), secretValuer{planted}, []string{planted}} {
		_, err := tx.ExecContext(ctx, "UPDATE people SET a = $1", mode, arg)
		require.NoError(t, err)
	}
	stmt, err := tx.PrepareContext(ctx, "UPDATE people SET b = $1")
	require.NoError(t, err)
	_, err = stmt.ExecContext(ctx, planted)
	require.NoError(t, err)
	require.NoError(t, stmt.Close())
	var got string
	require.NoError(t, tx.QueryRowContext(ctx, selectSecret, mode, planted).Scan(&got))
	require.Equal(t, planted, got)
}

// TestSecrets_EachOutcome_ShowsNone brings about every outcome after secrets were given away, in each query mode, and
// looks for them in all that comes out.
func TestSecrets_EachOutcome_ShowsNone(t *testing.T) {
	t.Parallel()
	for name, o := range outcomeCases() {
		for _, mode := range []pgx.QueryExecMode{
			pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
			pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
		} {
			if len(o.modes) > 0 && !slices.Contains(o.modes, mode) {
				continue
			}
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				t.Parallel()
				tracer := &textTracer{}
				l := &listener{}
				options := []any{
					o.option, l.hooks, func(c *cockroachdb.Config) { c.ConnConfig.Password, c.ConnConfig.Tracer = planted, tracer },
				}
				kit.InBubble(t, o.withSecrets(), func(t *testing.T, r *kit.Rig) {
					tell(t, o, r, mode)
					if text := strings.Join(tracer.told, "\n"); shows(text) {
						t.Errorf("a tracer was told: %s", text)
					}
					for _, e := range l.Retries {
						assert.False(t, shows(logged(e)), logged(e))
						e.Err = nil // the server's
						prints(t, e)
					}
					for _, e := range l.Ended {
						assert.False(t, shows(logged(e)), logged(e))
						e.Err = nil
						prints(t, e)
					}
				}, options...)
			})
		}
	}
}

// tell brings about one outcome.
func tell(t *testing.T, o outcomeCase, r *kit.Rig, mode pgx.QueryExecMode) {
	t.Helper()
	conn, err := r.DB.Conn(t.Context())
	require.NoError(t, err)
	var own cockroachdb.Conn
	require.NoError(t, conn.Raw(func(dc any) error { own = dc.(cockroachdb.Conn); return nil }))
	if o.alone {
		require.NoError(t, conn.Close())
		err = o.do(t, outcomeRun{Context: t.Context(), db: r.DB, mode: mode})
	} else {
		defer conn.Close()
		tx, beginErr := conn.BeginTx(t.Context(), nil)
		require.NoError(t, beginErr)
		defer tx.Rollback() //nolint:errcheck // after the outcome, for the connection to be closed
		giveAway(t, t.Context(), tx, mode)
		prints(t, own)
		err = o.do(t, outcomeRun{Context: t.Context(), db: r.DB, conn: conn, tx: tx, mode: mode})
	}
	require.Error(t, err)
	assert.Equal(t, o.want, nameOf(err), "%v", err)
	quiet(t, err)
	for _, v := range []any{own, r.Connector, r.Config, *r.Config} {
		prints(t, v)
	}
	families, err := r.Registry.Gather()
	require.NoError(t, err)
	assert.False(t, shows(fmt.Sprint(families)), "%v", families)
	expvar.Do(func(kv expvar.KeyValue) { assert.False(t, shows(kv.Key+kv.Value.String()), kv.Key) })
}

// nameOf says which outcome of this package's err is.
func nameOf(err error) string {
	switch err := err.(type) { //nolint:errorlint // an outcome is not wrapped
	case *cockroachdb.DivergenceError:
		return "DivergenceError " + string(err.Kind)
	case *cockroachdb.RetriesExhaustedError:
		return "RetriesExhaustedError " + string(err.Bound)
	case *cockroachdb.NotReplayableError:
		return "NotReplayableError " + string(err.Cause)
	default:
		return strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", err), "*"), "cockroachdb.")
	}
}

// A new outcome needs an outcomeCase: each error type of this package, and each kind, bound and cause.
func TestSecrets_EachErrorType_HasACase(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, o := range outcomeCases() {
		told[o.want] = true
		name, _, _ := strings.Cut(o.want, " ")
		told[name] = true
	}
	told["ResultLostError"] = true // which needs a database: TestResultLostError_Text_HasNoSecret, beside errors.go
	outcomes := declaredOutcomes(t)
	require.Greater(t, len(outcomes), 15)
	for _, outcome := range outcomes {
		assert.True(t, told[outcome], "TestSecrets_EachOutcome_ShowsNone does not bring about %s", outcome)
	}
}

// declaredOutcomes are the exported error types of the driver, and the values of DivergenceError.Kind and so on.
func declaredOutcomes(t *testing.T) (all []string) {
	t.Helper()
	valuesOf := map[string]string{
		"DivergenceKind": "DivergenceError ", "Bound": "RetriesExhaustedError ", "Cause": "NotReplayableError ",
	}
	names, err := filepath.Glob("../../*.go")
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv != nil && n.Name.Name == "Error" {
					star, ok := n.Recv.List[0].Type.(*ast.StarExpr)
					if ok && star.X.(*ast.Ident).IsExported() {
						all = append(all, star.X.(*ast.Ident).Name)
					}
				}
			case *ast.ValueSpec:
				if ident, ok := n.Type.(*ast.Ident); ok && valuesOf[ident.Name] != "" && len(n.Values) == 1 {
					value, err := strconv.Unquote(n.Values[0].(*ast.BasicLit).Value)
					require.NoError(t, err)
					all = append(all, valuesOf[ident.Name]+value)
				}
			}
			return true
		})
	}
	noErrors := []cockroachdb.Cause{
		cockroachdb.CauseRetriesOff, cockroachdb.CauseBegunAsText, cockroachdb.CauseMayCommit, cockroachdb.CauseFailoversOff,
		cockroachdb.CauseDiverged, cockroachdb.CauseRowsOfWrite,
		cockroachdb.CauseApplicationSavepoint, // the server's conflict is the application's as it is
	}
	return slices.DeleteFunc(all, func(s string) bool {
		cause, ok := strings.CutPrefix(s, "NotReplayableError ")
		return ok && slices.Contains(noErrors, cockroachdb.Cause(cause))
	})
}

// TestSecrets_EachOutcome_PrintsNothing runs TestSecrets_EachOutcome_ShowsNone in a process of its own, and looks at
// what it prints: this package logs nothing, to neither of the outputs nor to the standard loggers.
func TestSecrets_EachOutcome_PrintsNothing(t *testing.T) {
	t.Parallel()
	const inside = "REPRISE_SECRETS"
	if os.Getenv(inside) != "" {
		slog.Info("looked at")
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^(TestSecrets_EachOutcome_ShowsNone|TestSecrets_EachOutcome_PrintsNothing)$/.*/^(cache_statement|simple_protocol)$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "looked at")
	assert.Greater(t, strings.Count(string(out), "--- PASS"), 80)
	assert.False(t, shows(string(out)), "%s", out)
	for line := range strings.Lines(string(out)) {
		assert.Regexp(t, `^(=== |\s*--- PASS|PASS|ok |\d{4}/.* INFO looked at|coverage: |\s*$)`, line, "somebody prints")
	}
}

// keyed is the server's conflict, as CockroachDB words it: with the key.
var keyed = func() fakepg.Reply {
	e := fakepg.Conflict()
	e.Message += " key=/Table/106/1/" + planted
	e.Detail, e.Hint, e.Where = planted, planted, planted
	return fakepg.Reply{Err: e}
}()
