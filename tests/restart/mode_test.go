package restart_test

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const byBegin = "retry_restart=begin"

// knowsLittle is a server that knows no statement of the driver's own but BEGIN, COMMIT and ROLLBACK, and answers the
// rest by a script.
func knowsLittle(s kit.Script) func(fakepg.Statement) fakepg.Reply {
	return func(st fakepg.Statement) fakepg.Reply {
		for _, word := range []string{"SAVEPOINT", "ROLLBACK TO", "RELEASE", "BEGIN PRIORITY", "SET", "SHOW", "SELECT 1"} {
			if strings.HasPrefix(st.SQL, word) {
				return kit.Fails("0A000", "unknown: "+st.SQL)
			}
		}
		return s.Reply(st)
	}
}

// The exact conversations of transactions that begin anew, on a server that knows nothing else.
func TestRestartByBegin_Conversation_HasBeginCommitAndRollback(t *testing.T) {
	t.Parallel()
	opening := "BEGIN; UPDATE a"
	for name, c := range map[string]struct {
		script kit.Script
		run    func(tx *sql.Tx) error
		trips  []string
	}{
		"no conflict": {
			run:   func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a", "UPDATE b") },
			trips: []string{opening, "UPDATE b", "COMMIT"},
		},
		"a statement loses": {
			script: kit.Script{"UPDATE b": {kit.Conflict}},
			run:    func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a", "UPDATE b") },
			trips:  []string{opening, "UPDATE b", "ROLLBACK; BEGIN; UPDATE a; UPDATE b", "COMMIT"},
		},
		"the commit loses": {
			script: kit.Script{"COMMIT": {kit.Conflict}},
			run:    func(tx *sql.Tx) error { return affectedOf(tx, "UPDATE a") },
			trips:  []string{opening, "COMMIT", opening, "COMMIT"},
		},
		"it loses again": {
			script: kit.Script{"UPDATE b": {kit.Conflict, kit.Conflict}},
			run:    func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a", "UPDATE b") },
			trips: []string{
				opening, "UPDATE b", "ROLLBACK; BEGIN; UPDATE a; UPDATE b", "ROLLBACK", "BEGIN; UPDATE a; UPDATE b", "COMMIT",
			},
		},
		"another one aborts it": {
			script: kit.Script{"UPDATE b": {kit.Aborted, kit.Aborted}},
			run:    func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a", "UPDATE b") },
			trips: []string{
				opening, "UPDATE b", "ROLLBACK; BEGIN; UPDATE a; UPDATE b", "ROLLBACK", "BEGIN; UPDATE a; UPDATE b", "COMMIT",
			},
		},
		"a plan is out of date": {
			script: kit.Script{"UPDATE b": {kit.Stale}},
			run:    func(tx *sql.Tx) error { return prepareAndRun(tx, "UPDATE b") },
			trips: []string{
				"BEGIN; Describe UPDATE b", "Parse UPDATE b; UPDATE b", "ROLLBACK; BEGIN; Describe UPDATE b; UPDATE b", "COMMIT",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.Answering(t, knowsLittle(c.script), byBegin)
			tx := st.Begin(t)
			require.NoError(t, c.run(tx))
			require.NoError(t, tx.Commit())
			assert.Equal(t, c.trips, st.Trips(1))
		})
	}
}

// affectedOf asks for the number of affected rows.
func affectedOf(tx *sql.Tx, text string) error {
	res, err := tx.ExecContext(context.Background(), text)
	if err == nil {
		_, err = res.RowsAffected()
	}
	return err
}

func prepareAndRun(tx *sql.Tx, text string) error {
	stmt, err := tx.PrepareContext(context.Background(), text)
	if err == nil {
		_, err = stmt.ExecContext(context.Background())
	}
	return err
}

// RunTx calls its function again in a new server transaction.
func TestRestartByBegin_RunTx_BeginsAnew(t *testing.T) {
	t.Parallel()
	s := kit.Script{"UPDATE b": {kit.Conflict}, "SELECT v": kit.IntOfEachRun(1, 2)}
	st := kit.Answering(t, knowsLittle(s), byBegin)
	var read []int64
	require.NoError(t, cockroachdb.RunTx(t.Context(), st.DB, nil, func(tx *sql.Tx) error {
		read = append(read, kit.Scan[int64](t, tx, "SELECT v"))
		return kit.ExecAll(tx, "UPDATE b")
	}))
	assert.Equal(t, []int64{1, 2}, read)
	assert.Equal(t, []string{"SELECT v", "UPDATE b"}, st.LastAttempt())
	assert.NotContains(t, strings.Join(st.Sent(), ";"), "SAVEPOINT")
}

// An application that does the restarts itself by its own savepoint is left alone.
func TestRestartByBegin_SavepointOfTheApplication_IsItsOwn(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE a": {kit.Conflict}}, byBegin)
	tx := st.Begin(t)
	require.Equal(t, "40001", kit.StateOf(kit.ExecAll(tx, kit.Savepoint, "UPDATE a")))
	require.NoError(t, kit.ExecAll(tx, kit.RollbackTo, "UPDATE a", kit.Release))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{
		"BEGIN", kit.Savepoint, "UPDATE a", kit.RollbackTo, "UPDATE a", kit.Release, "COMMIT",
	}, st.Sent())
}

// TestRestartAuto_ByVersionAndLevel: which transactions have a savepoint.
func TestRestartAuto_ByVersionAndLevel_HasSavepoint(t *testing.T) {
	t.Parallel()
	const (
		committed  = "default_transaction_isolation=read%20committed"
		buffered   = "kv_transaction_buffered_writes_enabled=on"
		unbuffered = "options=-ckv-transaction-buffered-writes-enabled%3Doff"
	)
	level := func(l sql.IsolationLevel) *sql.TxOptions { return &sql.TxOptions{Isolation: l} }
	plain := level(sql.LevelDefault)
	for name, c := range map[string]struct {
		version, params string
		opts            *sql.TxOptions
		want            bool
	}{
		"as ever":                      {"v23.1.2", "", plain, true},
		"before buffering is usual":    {"v26.1.4", "", plain, true},
		"buffered writes":              {"v26.2.0", "", plain, false},
		"a later year":                 {"v27.1.0", "", plain, false},
		"a preview":                    {"v26.2.0-beta.1", "", plain, false},
		"a version nobody knows":       {"next", "", plain, true},
		"serializable, by name":        {"v26.2.0", "", level(sql.LevelSerializable), false},
		"repeatable read":              {"v26.1.0", "", level(sql.LevelRepeatableRead), true},
		"buffering off":                {"v26.2.0", unbuffered, plain, true},
		"buffering on":                 {"v25.2.0", buffered, plain, false},
		"buffering not there yet":      {"v25.1.0", buffered, plain, true},
		"read committed":               {"v25.2.1", "", level(sql.LevelReadCommitted), false},
		"read uncommitted":             {"v25.2.1", "", level(sql.LevelReadUncommitted), false},
		"read committed, long ago":     {"v25.1.9", "", level(sql.LevelReadCommitted), true},
		"read committed by default":    {"v25.2.0", committed, plain, false},
		"serializable against default": {"v25.2.0", committed, level(sql.LevelSerializable), true},
		"committed, buffering off":     {"v26.2.0", unbuffered, level(sql.LevelReadCommitted), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, nil, "retry_restart=auto", c.params, fakepg.Version("CockroachDB CCL "+c.version+" (fakepg)"))
			tx, err := st.BeginTx(t.Context(), c.opts)
			require.NoError(t, err)
			kit.Exec(t, tx, "UPDATE a")
			require.NoError(t, tx.Commit())
			sent := st.Sent()
			assert.Equal(t, c.want, sent[1] == kit.Savepoint, sent)
			assert.Equal(t, c.want, sent[len(sent)-2] == kit.Release, sent)
		})
	}
}

// What is asked for is done whatever the version is. PostgreSQL has one way.
func TestRestartMode_Asked_IsDone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		option fakepg.Option
		mode   string
		want   bool
	}{
		"savepoint":               {fakepg.Version("CockroachDB CCL v26.2.0"), "savepoint", true},
		"begin":                   {fakepg.Version("CockroachDB CCL v22.1.0"), "begin", false},
		"savepoint on PostgreSQL": {fakepg.PlainPostgreSQL(), "savepoint", false},
		"auto on PostgreSQL":      {fakepg.PlainPostgreSQL(), "auto", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, nil, "retry_restart="+c.mode, c.option)
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			require.NoError(t, tx.Commit())
			assert.Equal(t, c.want, st.Sent()[1] == kit.Savepoint)
		})
	}
}

// Where auto begins anew, PRIORITY HIGH is CockroachDB's all the same.
func TestRestartAuto_Aborted_HasPriority(t *testing.T) {
	t.Parallel()
	s := kit.Script{"UPDATE a": {kit.Aborted, kit.Aborted}}
	st := kit.New(t, s, "retry_restart=auto", fakepg.Version("CockroachDB CCL v26.2.0"))
	tx := st.Begin(t)
	kit.Exec(t, tx, "UPDATE a")
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{
		"BEGIN; UPDATE a", "ROLLBACK; BEGIN PRIORITY HIGH; UPDATE a", "ROLLBACK", "BEGIN PRIORITY HIGH; UPDATE a", "COMMIT",
	}, st.Trips(1))
}

// What a transaction with PRIORITY HIGH aborts is mostly like it. If that has shown rows, and nobody can call its
// function again, the application hears of it.
func TestRestart_AbortedAfterRows_PriorityOnlyInRunTx(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		read string
		run  func(context.Context, *sql.DB, *sql.TxOptions, func(*sql.Tx) error) error
		high bool
	}{
		"unchanged code, rows":        {"SELECT v FOR UPDATE", kit.InTx, false},
		"unchanged code, no rows":     {"SELECT none FOR UPDATE", kit.InTx, false},
		"unchanged code, only writes": {"", kit.InTx, true},
		"unchanged code, a key":       {insertOne, kit.InTx, true},
		"RunTx, rows":                 {"SELECT v FOR UPDATE", cockroachdb.RunTx, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := kit.Script{
				"SELECT v FOR UPDATE": kit.Always(kit.Ints(1)), "SELECT none FOR UPDATE": kit.Always(kit.Ints()),
				"UPDATE a": {kit.Aborted, kit.Aborted},
			}
			st := kit.Answering(t, func(st fakepg.Statement) fakepg.Reply {
				switch {
				case strings.HasPrefix(st.SQL, "SELECT a.attname"): // which columns may be pinned
					return catalogOf("v", "unique_rowid()")
				case strings.HasPrefix(st.SQL, "INSERT INTO a"): // as it is, and pinned
					return kit.Ints(1)
				}
				return script.Reply(st)
			}, fakepg.Version("CockroachDB CCL v23.1.0"))
			require.NoError(t, tc.run(t.Context(), st.DB, nil, func(tx *sql.Tx) error {
				if tc.read != "" {
					if _, err := kit.ReadAll(t.Context(), tx, tc.read); err != nil {
						return err
					}
				}
				return kit.ExecAll(tx, "UPDATE a")
			}))
			assert.Equal(t, tc.high, slices.Contains(st.Sent(), "BEGIN PRIORITY HIGH"))
		})
	}
}

const insertOne = "INSERT INTO a (n) VALUES (1) RETURNING v"

// catalogOf is what the catalogue says of a table of one column.
func catalogOf(column, byDefault string) fakepg.Reply {
	r := fakepg.Reply{Values: [][]any{{column, "", "", byDefault}}}
	for _, name := range []string{"attname", "attidentity", "attgenerated", "default"} {
		r.Columns = append(r.Columns, fakepg.Column{Name: name, OID: pgtype.TextOID})
	}
	return r
}
