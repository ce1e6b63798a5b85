package fuzz_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What the application of FuzzServerAnswers does, by the bits of its first argument; the lowest three choose the query
// mode.
const (
	appPostgreSQL = 1 << (iota + 3)
	appStatementConflicts
	appCommitConflicts
	appRunTx
	appReadsAll
	appSavepoint
	appPrepares
	appDDL
	appTexts   // several statements in one
	appStartUp // the server's nonsense begins at once
)

var appModes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
	pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// FuzzServerAnswers runs a short application against a server whose answers are changed on the way: messages are lost,
// doubled, in the wrong order, of the wrong kind or content, broken, or cut off. It must end, without a panic and with
// nobody left behind (synctest sees to both: time is virtual, and a goroutine that waits for ever fails the test); and
// what is reported as success must be what the server said, by a reading of its messages that is independent of pgx.
func FuzzServerAnswers(f *testing.F) {
	for app := uint16(0); app < 1<<13; app += 37 {
		f.Add(app, []byte{})
		f.Add(app, []byte{byte(app >> 2), byte(app), byte(app >> 3), byte(app >> 5)})
		f.Add(app, []byte{byte(app >> 4), editFail, 0, 0, byte(app >> 5), byte(app >> 1), byte(app >> 2), byte(app)})
	}
	f.Fuzz(func(t *testing.T, app uint16, edits []byte) {
		synctest.Test(t, func(t *testing.T) {
			newNonsense(t, app, edits).run()
		})
	})
}

// nonsenseTest is one run of the application.
type nonsenseTest struct {
	t   *testing.T
	app uint16
	m   *mangler
	db  *sql.DB

	claims []claim // of the transaction at hand
}

// A claim is what the driver has told the application of one statement.
type claim struct {
	sql      string // the beginning of its text
	rows     [][]any
	end      bool
	affected int64 // -1: not asked
	state    string
}

func newNonsense(t *testing.T, app uint16, edits []byte) *nonsenseTest {
	n := &nonsenseTest{t: t, app: app}
	kv := fakepg.Reply{
		Columns: []fakepg.Column{{Name: "k"}, {Name: "v"}},
		Values:  [][]any{{"a", "1"}, {"b", ""}, {"c", nil}, {"d", "4"}},
	}
	s := kit.Script{"SELECT k, v FROM kv": {kv}, "INSERT INTO kv VALUES (1)": {kit.Fails("23505", "duplicate")}}
	s["SELECT v FROM kv WHERE k = $1"] = []fakepg.Reply{
		{Columns: []fakepg.Column{{Name: "v"}}, ParamOIDs: []uint32{25}, Values: [][]any{{"7"}}},
	}
	if n.is(appStatementConflicts) {
		s["UPDATE kv SET v = 2"] = []fakepg.Reply{kit.Conflict, kit.OK}
	}
	commit := "RELEASE SAVEPOINT cockroach_restart"
	options := []fakepg.Option{fakepg.InMemory(), fakepg.Quiet()}
	if n.is(appPostgreSQL) {
		commit = "COMMIT"
		options = append(options, fakepg.PlainPostgreSQL())
	}
	if n.is(appCommitConflicts) {
		s[commit] = []fakepg.Reply{kit.Conflict, kit.OK}
	}
	srv := fakepg.Start(t, fakepg.Answer(s.Reply), options...)
	n.m = &mangler{srv: srv, edits: editsFrom(edits), startUp: n.is(appStartUp)}
	cfg, err := cockroachdb.ParseConfig(srv.DSN())
	require.NoError(t, err)
	cfg.ConnConfig.DialFunc, cfg.ConnConfig.LookupFunc = n.m.dial, srv.Lookup
	cfg.ConnConfig.DefaultQueryExecMode = appModes[int(app%8)%len(appModes)]
	cfg.RetryPolicy.MaxAttempts = 8
	cfg.Metrics = nil
	// pgconn makes room for as many bytes as a message claims to have, up to 2 GB, before it reads the first of them.
	cfg.ConnConfig.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		frontend := pgproto3.NewFrontend(r, w)
		frontend.SetMaxBodyLen(1 << 16)
		return frontend
	}
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	n.db = sql.OpenDB(connector)
	n.db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = n.db.Close() })
	return n
}

func (n *nonsenseTest) is(bit uint16) bool { return n.app&bit != 0 }

func (n *nonsenseTest) run() {
	ctx := context.Background()
	if n.exec(ctx, n.db, "UPDATE kv SET v = 0") == nil {
		n.checkLatest()
	}
	n.transaction(ctx)
	n.claims = nil
	if n.exec(ctx, n.db, "UPDATE kv SET v = 9") == nil {
		n.checkLatest()
	}
	if n.query(ctx, n.db, "SELECT k, v FROM kv", true) == nil {
		n.checkLatest()
	}
}

func (n *nonsenseTest) transaction(ctx context.Context) {
	if n.is(appRunTx) {
		err := cockroachdb.RunTx(ctx, n.db, nil, func(tx *sql.Tx) error {
			n.claims = nil
			return n.statements(ctx, tx)
		})
		n.checkCommit(err)
		return
	}
	n.claims = nil
	tx, err := n.db.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	if n.statements(ctx, tx) != nil {
		_ = tx.Rollback()
		n.checkCommit(errors.New("rolled back"))
		return
	}
	n.checkCommit(tx.Commit())
}

// statements runs the transaction's statements. It gives up at the first error that it has not asked for.
func (n *nonsenseTest) statements(ctx context.Context, tx *sql.Tx) error {
	steps := []func() error{
		func() error { return n.exec(ctx, tx, "UPDATE kv SET v = 1") },
		func() error { return n.query(ctx, tx, "SELECT k, v FROM kv", n.is(appReadsAll)) },
	}
	if n.is(appSavepoint) {
		steps = append(steps, func() error {
			if err := n.exec(ctx, tx, "SAVEPOINT app"); err != nil {
				return err
			}
			if err := n.exec(ctx, tx, "INSERT INTO kv VALUES (1)"); kit.StateOf(err) != "23505" {
				return errors.Join(err, errors.New("no 23505"))
			}
			n.claims[len(n.claims)-1].state = "23505"
			return n.exec(ctx, tx, "ROLLBACK TO SAVEPOINT app")
		})
	}
	if n.is(appPrepares) {
		steps = append(steps, func() error {
			st, err := tx.PrepareContext(ctx, "SELECT v FROM kv WHERE k = $1")
			if err != nil {
				return err
			}
			defer st.Close()
			return n.read(ctx, "SELECT v FROM kv WHERE k = ", true, func() (*sql.Rows, error) {
				return st.QueryContext(ctx, "x")
			})
		})
	}
	if n.is(appDDL) {
		steps = append(steps, func() error { return n.exec(ctx, tx, "CREATE TABLE t (k INT)") })
	}
	if n.is(appTexts) {
		steps = append(steps, func() error { return n.exec(ctx, tx, "UPDATE kv SET v = 3; UPDATE kv SET v = 4") })
	}
	steps = append(steps, func() error { return n.exec(ctx, tx, "UPDATE kv SET v = 2") })
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		n.checkLatest()
	}
	return nil
}

type execs interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (n *nonsenseTest) exec(ctx context.Context, on execs, text string) error {
	result, err := on.ExecContext(ctx, text)
	c := claim{sql: text, affected: -1}
	if err == nil && strings.HasPrefix(text, "UPDATE") {
		c.affected, _ = result.RowsAffected()
	}
	n.claims = append(n.claims, c)
	return err
}

type queries interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (n *nonsenseTest) query(ctx context.Context, on queries, text string, all bool) error {
	return n.read(ctx, text, all, func() (*sql.Rows, error) { return on.QueryContext(ctx, text) })
}

// read reads all rows, or two.
func (n *nonsenseTest) read(_ context.Context, text string, all bool, query func() (*sql.Rows, error)) error {
	rows, err := query()
	if err != nil {
		return err
	}
	defer rows.Close()
	c := claim{sql: text, affected: -1}
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	for (all || len(c.rows) < 2) && rows.Next() {
		values := make([]any, len(types))
		dest := make([]any, len(types))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for i, typ := range types {
			if typ.DatabaseTypeName() != "TEXT" && values[i] != nil {
				values[i] = typ // of its value nothing is claimed
			}
		}
		c.rows = append(c.rows, values)
	}
	c.end = all || len(c.rows) < 2
	if err := rows.Err(); err != nil {
		return err
	}
	if err := rows.Close(); err != nil {
		return err
	}
	n.claims = append(n.claims, c)
	return nil
}

// executions are those of all connections, in the order of sending.
func (n *nonsenseTest) executions() (all []execution, fit bool) {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	for _, c := range n.m.conns {
		of, fit := c.executions()
		if !fit || c.broken {
			return nil, false
		}
		all = append(all, of...)
	}
	return all, true
}

// checkLatest holds the latest claim against the latest answer to its statement.
func (n *nonsenseTest) checkLatest() {
	all, fit := n.executions()
	if fit {
		n.check(n.claims[len(n.claims)-1], all)
	}
}

// check holds a claim against the latest execution of its text in all.
func (n *nonsenseTest) check(c claim, all []execution) {
	n.t.Helper()
	for i, e := range slices.Backward(all) {
		if !strings.HasPrefix(e.sql, c.sql) {
			continue
		}
		tags := []string{e.tag}
		for ; i > 0 && all[i-1].at == e.at; i-- { // the first result of a text; its count is the last one's
			e, tags = all[i-1], append(tags, all[i-1].tag)
		}
		e.tag = tags[slices.IndexFunc(append(tags, "x"), func(tag string) bool { return tag != "" })%len(tags)]
		if why := c.differs(e); why != "" {
			n.t.Fatalf("%s: %s\nclaimed: %+v\nthe server: %+v\n%s", c.sql, why, c, e, n.transcript())
		}
		return
	}
	n.t.Fatalf("%s was never sent\n%s", c.sql, n.transcript())
}

func (c claim) differs(e execution) string {
	switch {
	case c.state != "":
		if e.ending != failed || !strings.Contains(e.state, c.state) {
			return "the server gave no such error"
		}
		return ""
	case e.ending != completed:
		return "the server did not complete it"
	case len(c.rows) > len(e.rows), c.end && len(c.rows) < len(e.rows):
		return "that is not how many rows there were"
	case c.affected >= 0 && c.affected != pgconn.NewCommandTag(e.tag).RowsAffected():
		return "that is not how many rows were affected"
	}
	for i, row := range c.rows {
		values, ok := cells(e.rows[i])
		if !ok || !slices.EqualFunc(row, values, isValue) {
			return fmt.Sprintf("row %d is not that", i)
		}
	}
	return ""
}

// isValue reports whether what the application was shown, a string or nil, is the value that the server sent. Of a
// value of another type, in place of which there is the column's type, it is known that it is not NULL.
func isValue(shown any, sent []byte) bool {
	switch shown := shown.(type) {
	case nil:
		return sent == nil
	case *sql.ColumnType:
		return sent != nil
	default:
		return sent != nil && string(sent) == shown
	}
}

// checkCommit holds what a commit came to against what the server said: a success was one, of an attempt that was as
// the application has seen it; and what the server has committed is not called anything else, unless it be ambiguous.
func (n *nonsenseTest) checkCommit(err error) {
	n.t.Helper()
	all, fit := n.executions()
	if !fit {
		return
	}
	last := lastAttempt(all)
	ambiguous, _ := errors.AsType[*cockroachdb.AmbiguousCommitError](err)
	switch {
	case last.idle: // the transaction had ended before, unasked
	case err == nil && !last.committed && last.sent:
		n.t.Fatalf("Commit said it had committed\n%s", n.transcript())
	case err == nil:
		for _, c := range n.claims {
			n.check(c, last.statements)
		}
	case ambiguous == nil && last.committed && kit.StateOf(err) != "XXA00":
		n.t.Fatalf("Commit said %v\n%s", err, n.transcript())
	}
}

// An attempt is the statements from a BEGIN or ROLLBACK TO on.
type attempt struct {
	statements      []execution
	sent, committed bool // a RELEASE or COMMIT was; the server said that it had committed
	idle            bool // the server was in no transaction when that came
}

func lastAttempt(all []execution) (a attempt) {
	a.statements = all
	for i, e := range all {
		switch text := kit.Short(e.sql); {
		case strings.HasPrefix(text, "BEGIN"), text == "ROLLBACK TO":
			a = attempt{statements: all[i:], idle: a.idle}
		case text == "RELEASE", text == "COMMIT":
			a.sent, a.idle = true, e.idle
			a.committed = a.committed || e.hasCommitted()
		}
	}
	return a
}

func (e *execution) hasCommitted() bool { return e.ending == completed && e.tag == "COMMIT" }

// transcript is everything that went to and fro, for a failure's message.
func (n *nonsenseTest) transcript() string {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	var out strings.Builder
	for i, c := range n.m.conns {
		fmt.Fprintf(&out, "connection %d\n", i+1)
		type line struct {
			at   int
			text string
		}
		var lines []line
		for _, f := range c.sent {
			lines = append(lines, line{f.at, fmt.Sprintf("  > %c %q", f.kind(), f.body())})
		}
		for _, f := range c.received {
			lines = append(lines, line{f.at, fmt.Sprintf("  < %c %q", f.kind(), f.body())})
		}
		slices.SortFunc(lines, func(a, b line) int { return a.at - b.at })
		for _, l := range lines {
			fmt.Fprintln(&out, l.text)
		}
	}
	return out.String()
}
