package cockroachdb_test

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

const (
	savepointSQL  = "SAVEPOINT cockroach_restart"
	rollbackToSQL = "ROLLBACK TO SAVEPOINT cockroach_restart"
	releaseSQL    = "RELEASE SAVEPOINT cockroach_restart"
)

// A playbook answers the nth execution of a text with its nth reply, and from then on with its last. A text is described by its
// first reply that has something to describe.
type playbook map[string][]fakepg.Reply

func (p playbook) answer(s fakepg.Statement) fakepg.Reply {
	replies := p[s.SQL]
	if len(replies) == 0 {
		return fakepg.Reply{}
	}
	if s.Describing {
		if i := slices.IndexFunc(replies, func(r fakepg.Reply) bool { return r.Columns != nil || r.ParamOIDs != nil }); i >= 0 {
			return fakepg.Reply{Columns: replies[i].Columns, ParamOIDs: replies[i].ParamOIDs}
		}
		return fakepg.Reply{}
	}
	return replies[min(s.Nth, len(replies))-1]
}

// The replies of playbooks.
var (
	won  = fakepg.Reply{}
	lost = fakepg.Reply{Err: fakepg.Conflict()}
)

func failing(code string) fakepg.Reply { return fakepg.Reply{Err: fakepg.Error(code, "refused")} }

func tagged(tag string) fakepg.Reply { return fakepg.Reply{Tag: tag} }

// vs is a result of one text column.
func vs(values ...any) fakepg.Reply {
	r := fakepg.Reply{Columns: []fakepg.Column{{Name: "v", OID: pgtype.TextOID}}, Values: [][]any{}}
	for _, v := range values {
		r.Values = append(r.Values, []any{v})
	}
	return r
}

// breakingOff is r, ending in a conflict after some of its rows.
func breakingOff(r fakepg.Reply, afterRows int) fakepg.Reply {
	r.Err, r.ErrAfterRows = fakepg.Conflict(), afterRows
	return r
}

// A stage is a fake server that plays a playbook, and a pool of one connection to it that retries without waits.
type stage struct {
	*sql.DB
	srv *fakepg.Server
}

// noWaits are the DSN's keys for tests in which a transaction loses more than once.
const noWaits = "retry_initial_backoff=0s&retry_max_backoff=0s"

func newStage(t testing.TB, p playbook, params ...string) stage {
	t.Helper()
	return newStageWith(t, p.answer, params...)
}

func newStageWith(t testing.TB, answer func(fakepg.Statement) fakepg.Reply, params ...string) stage {
	t.Helper()
	srv := fakepg.Start(t, fakepg.Answer(answer))
	params = append([]string{noWaits}, params...)
	db := open(t, srv.DSN()+"&"+strings.Join(params, "&"))
	db.SetMaxOpenConns(1)
	require.NoError(t, db.PingContext(t.Context()))
	srv.Forget()
	return stage{db, srv}
}

// newMemoryStage is newStage for a testing/synctest bubble.
func newMemoryStage(t testing.TB, p playbook, policy cockroachdb.RetryPolicy) stage {
	t.Helper()
	srv := fakepg.Start(t, fakepg.Answer(p.answer), fakepg.InMemory())
	cfg, err := cockroachdb.ParseConfig(srv.DSN())
	require.NoError(t, err)
	cfg.ConnConfig.DialFunc, cfg.ConnConfig.LookupFunc = srv.Dial, srv.Lookup
	cfg.RetryPolicy, cfg.ConnLifetime = policy, 0 // virtual time goes on by hours
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	require.NoError(t, db.PingContext(t.Context()))
	srv.Forget()
	return stage{db, srv}
}

func (st stage) begin(t testing.TB) *sql.Tx {
	t.Helper()
	return beginOn(t, st.DB)
}

func beginOn(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// ran lists what was executed, in one list.
func (st stage) ran() []string { return slices.Concat(st.srv.Statements()...) }

// lastAttempt lists what the application's statements were since the last restart, without the opening and the commit.
func (st stage) lastAttempt() []string {
	var attempt []string
	for _, sql := range st.ran() {
		switch {
		case sql == rollbackToSQL, strings.HasPrefix(sql, "BEGIN"):
			attempt = nil
		case sql == savepointSQL, sql == releaseSQL, sql == "COMMIT", sql == "ROLLBACK":
		default:
			attempt = append(attempt, sql)
		}
	}
	return attempt
}

// mustEnd ends a transaction that has failed and checks that the server's has ended, too, at that moment and not when the
// connection is next used, and that the connection is good.
func (st stage) mustEnd(t testing.TB, tx *sql.Tx) {
	t.Helper()
	if err := tx.Rollback(); err != nil {
		require.ErrorIs(t, err, sql.ErrTxDone)
	}
	st.mustBeUsable(t)
}

func (st stage) mustBeUsable(t testing.TB) {
	t.Helper()
	all := st.ran()
	require.NotEmpty(t, all)
	assert.Contains(t, []string{"ROLLBACK", "COMMIT"}, all[len(all)-1], "the server's transaction must have ended: %q", st.srv.Statements())
	mustExec(t, st, "UPDATE afterwards")
	assert.Equal(t, 1, st.srv.Connections(), "the connection was thrown away")
}

// secret is for values and arguments that no error may show.
const secret = "s3cr3t"

// requireConflict checks that loops like cockroach-go's recognise the error as the server's conflict.
func requireConflict(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	assert.Equal(t, "40001", pgErr.Code)
	assert.NotContains(t, err.Error(), secret)
}

func requireDivergence(t testing.TB, err error, want cockroachdb.DivergenceError) {
	t.Helper()
	requireConflict(t, err)
	var got *cockroachdb.DivergenceError
	require.ErrorAs(t, err, &got)
	assert.Equal(t, want, cockroachdb.DivergenceError{Statement: got.Statement, Kind: got.Kind, Row: got.Row, Attempts: got.Attempts}, err)
}

func requireCode(t testing.TB, err error, code string) {
	t.Helper()
	pgErr, ok := err.(*pgconn.PgError) //nolint:errorlint // ORMs assert the type of statement errors
	require.True(t, ok, "%T: %v", err, err)
	assert.Equal(t, code, pgErr.Code)
}

type executor interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

// affected runs a statement and asks how many rows it affected.
func affected(t testing.TB, db executor, query string, args ...any) int {
	t.Helper()
	res, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
	n, err := res.RowsAffected()
	require.NoError(t, err)
	return int(n)
}

// A reader is rows of one column, being read.
type reader struct {
	*sql.Rows
	t testing.TB
}

func query(t testing.TB, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, query string, args ...any,
) reader {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = rows.Close() })
	return reader{rows, t}
}

// read reads the next n rows, which must be there.
func (r reader) read(n int) []string {
	r.t.Helper()
	values := []string{}
	for range n {
		require.True(r.t, r.Next(), "no row: %v", r.Err())
		values = append(values, r.value())
	}
	return values
}

func (r reader) value() string {
	r.t.Helper()
	var v sql.NullString
	require.NoError(r.t, r.Scan(&v))
	if !v.Valid {
		return "NULL"
	}
	return v.String
}

// rest reads what is left, with its end.
func (r reader) rest() ([]string, error) {
	r.t.Helper()
	values := []string{}
	for r.Next() {
		values = append(values, r.value())
	}
	return values, r.Err()
}

func (r reader) mustRest() []string {
	r.t.Helper()
	values, err := r.rest()
	require.NoError(r.t, err)
	return values
}

func (r reader) mustClose() {
	r.t.Helper()
	require.NoError(r.t, r.Close())
}

// An arena is a database with rows 1 to 3 (v = 10, 20, 30) and the row 100 to clash on; the pool of one connection that is
// tested, and a rival's.
type arena struct {
	*sql.DB
	rival *sql.DB
	dsn   string
}

func newArena(t testing.TB, dsn, rivalDSN string) arena {
	t.Helper()
	a := arena{open(t, withParams(dsn, noWaits)), open(t, withParams(rivalDSN, "statement_timeout=10s")), dsn}
	a.SetMaxOpenConns(1)
	mustExec(t, a.rival, "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
	mustExec(t, a.rival, "INSERT INTO kv VALUES (1, 10), (2, 20), (3, 30), (100, 0)")
	return a
}

func newRealArena(t testing.TB) arena {
	t.Helper()
	dsn := enginetest.NewDB(t)
	return newArena(t, dsn, dsn)
}

// newSimArena is an arena into which faults can be injected. The rival is not subject to them.
func newSimArena(t testing.TB) (arena, *crdbsim.Sim) {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	return newArena(t, dsn, enginetest.Get(t).Direct(dsn)), sim
}

func withParams(dsn, params string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + params
	}
	return dsn + "?" + params
}

func (a arena) begin(t testing.TB) *sql.Tx {
	t.Helper()
	return beginOn(t, a.DB)
}

// provoke has the rival do something, and the transaction lose to it: it writes what the rival has written since.
func (a arena) provoke(t testing.TB, tx *sql.Tx, rivalDoes ...string) error {
	t.Helper()
	for _, sql := range append(rivalDoes, "UPDATE kv SET v = v + 1 WHERE k = 100") {
		mustExec(t, a.rival, sql)
	}
	_, err := tx.ExecContext(t.Context(), "UPDATE kv SET v = v + 100 WHERE k = 100")
	return err
}

// value is what a row holds for everybody.
func (a arena) value(t testing.TB, k int) (v int) {
	t.Helper()
	require.NoError(t, a.rival.QueryRowContext(t.Context(), "SELECT v FROM kv WHERE k = $1", k).Scan(&v))
	return v
}

// mustEnd rolls a transaction that has failed back and checks that nothing of it was committed and the connection is good.
func (a arena) mustEnd(t testing.TB, tx *sql.Tx) {
	t.Helper()
	if err := tx.Rollback(); err != nil {
		require.ErrorIs(t, err, sql.ErrTxDone)
	}
	assert.Less(t, a.value(t, 100), 100)
	assert.Equal(t, 1, affected(t, a, "UPDATE kv SET v = 0 WHERE k = 100"))
}

// mustCommit commits a transaction that has survived a conflict.
func (a arena) mustCommit(t testing.TB, tx *sql.Tx) {
	t.Helper()
	require.NoError(t, tx.Commit())
	assert.Equal(t, 101, a.value(t, 100))
}

// atomicOnce says true once.
type atomicOnce struct{ done atomic.Bool }

func (o *atomicOnce) first() bool { return o.done.CompareAndSwap(false, true) }
