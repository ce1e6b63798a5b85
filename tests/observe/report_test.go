package observe_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// inTx runs statements in a transaction, and commits it.
func inTx(texts ...string) func(*testing.T, *kit.Rig) {
	return func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, kit.ExecAll(tx, texts...))
		_ = tx.Commit()
	}
}

func outside(texts ...string) func(*testing.T, *kit.Rig) {
	return func(t *testing.T, r *kit.Rig) { require.NoError(t, kit.ExecAll(r, texts...)) }
}

// useRaw takes the pgx connection.
func useRaw(t *testing.T, c *sql.Conn) {
	t.Helper()
	require.NoError(t, c.Raw(func(dc any) error {
		dc.(cockroachdb.Conn).Conn()
		return nil
	}))
}

func onConn(t *testing.T, r *kit.Rig) *sql.Conn {
	t.Helper()
	c, err := r.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// What ends protection, and what does not: the report of each run alone.
func TestReport_EachCause_IsFoundWithItsText(t *testing.T) {
	t.Parallel()
	whole := func(n int64) cockroachdb.Protection {
		return cockroachdb.Protection{Total: n, UntilCommit: n, Whole: n}
	}
	until := cockroachdb.Protection{Total: 1, UntilCommit: 1}
	ended := cockroachdb.Protection{Total: 1}
	rtx := func(ctx context.Context, r *kit.Rig, fn func(*sql.Tx) error) error {
		return cockroachdb.RunTx(ctx, r.DB, nil, fn)
	}
	for name, c := range map[string]struct {
		script  kit.Script
		params  string
		run     func(*testing.T, *kit.Rig)
		tx, out cockroachdb.Protection
		cause   cockroachdb.Cause
		text    string
	}{
		"a transaction": {run: inTx("UPDATE a", "UPDATE b"), tx: until},
		"with a conflict": {
			script: kit.Script{"UPDATE b": {kit.Conflict}}, run: inTx("UPDATE a", "UPDATE b"), tx: until,
		},
		"that only reads": {run: inTx("SELECT v"), tx: whole(1)},
		"that reads, and lost at its commit": {
			script: kit.Script{kit.Release: {kit.Conflict}}, run: inTx("SELECT v"), tx: whole(1),
		},
		"that writes, and lost at its commit": {
			script: kit.Script{kit.Release: {kit.Conflict}}, run: inTx("UPDATE a"), tx: until,
		},
		"rolled back": {
			run: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				kit.Exec(t, tx, "UPDATE a")
				require.NoError(t, tx.Rollback())
			},
			tx: whole(1),
		},
		"nothing sent":     {run: inTx()},
		"a read, outside":  {run: func(t *testing.T, r *kit.Rig) { kit.Scan[string](t, r, "SELECT v") }, out: whole(1)},
		"a write, outside": {run: outside("UPDATE a"), out: until},
		"rows of a write, outside": {
			run: func(t *testing.T, r *kit.Rig) { kit.Scan[string](t, r, "UPDATE a SET v = 7 RETURNING v") },
			out: until,
		},
		"many rows of a write, outside": {
			script: kit.Script{"UPDATE a SET v = 7 RETURNING v": {kit.Texts(strings.Repeat("x", 9<<10))}},
			run:    func(t *testing.T, r *kit.Rig) { kit.Scan[string](t, r, "UPDATE a SET v = 7 RETURNING v") },
			out:    ended, cause: cockroachdb.CauseRowsOfWrite, text: "UPDATE a SET v = ? RETURNING v",
		},
		"several statements, outside": {
			run: outside("UPDATE a; UPDATE b"), out: ended, cause: cockroachdb.CauseMayCommit, text: "UPDATE a; UPDATE b",
		},
		"a call that never arrived, and was made on another connection": {
			script: kit.Script{"CALL p()": {kit.Fatal("08P01", "query_wait_timeout"), kit.OK}}, run: outside("CALL p()"),
			out: ended, cause: cockroachdb.CauseMayCommit, text: "CALL p …",
		},
		"DDL": {
			run: inTx("UPDATE a", "CREATE TABLE t (x INT DEFAULT 7)"), tx: ended, cause: cockroachdb.CauseMayCommit,
			text: "CREATE TABLE t …",
		},
		"COMMIT as text": {
			run: inTx("UPDATE a", "COMMIT"), tx: ended, cause: cockroachdb.CauseMayCommit, text: "COMMIT",
		},
		"SET in the middle": {
			run: inTx("UPDATE a", "SET b = 7"), tx: ended, cause: cockroachdb.CauseSession, text: "SET b …",
		},
		"too many statements": {
			params: "retry_max_statements=1", run: inTx("UPDATE a", "UPDATE b"), tx: ended,
			cause: cockroachdb.CauseStatements, text: "UPDATE b",
		},
		"too many bytes": {
			params: "retry_max_bytes=1000", run: inTx("UPDATE a /* " + strings.Repeat("x", 1000) + " */"), tx: ended,
			cause: cockroachdb.CauseBytes, text: "UPDATE a",
		},
		"the past": {
			run: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "SET TRANSACTION AS OF SYSTEM TIME '-1s'", "UPDATE a"))
				require.NoError(t, tx.Commit())
			},
			tx: ended, cause: cockroachdb.CauseAsOfSystemTime, text: "SET TRANSACTION …",
		},
		"a savepoint of its own": {
			run: inTx(kit.Savepoint, "UPDATE a", kit.Release), tx: ended, cause: cockroachdb.CauseApplicationSavepoint,
			text: kit.Savepoint,
		},
		"no retries": {params: "retry_max_attempts=1", run: inTx("UPDATE a"), tx: ended, cause: cockroachdb.CauseRetriesOff},
		"no retries, outside": {
			params: "retry_max_attempts=1", run: outside("UPDATE a"), out: ended, cause: cockroachdb.CauseRetriesOff,
		},
		"no failovers": {
			params: "retry_max_failovers=0", run: inTx("UPDATE a"), tx: ended, cause: cockroachdb.CauseFailoversOff,
		},
		"Raw": {
			run: func(t *testing.T, r *kit.Rig) {
				c := onConn(t, r)
				tx, err := c.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				useRaw(t, c)
				require.NoError(t, tx.Commit())
			},
			tx: ended, cause: cockroachdb.CauseRaw,
		},
		"Raw, before": {
			run: func(t *testing.T, r *kit.Rig) {
				useRaw(t, onConn(t, r))
				r.SetMaxOpenConns(2)
				r.SetMaxIdleConns(2)
				c := onConn(t, r)
				useRaw(t, c)
				tx, err := c.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				kit.Exec(t, tx, "UPDATE a")
				require.NoError(t, tx.Commit())
			},
			tx: ended, cause: cockroachdb.CauseRaw,
		},
		"a session that can't be made again": {
			run: func(t *testing.T, r *kit.Rig) {
				inTx("UPDATE a", "LISTEN c")(t, r)
				kit.Scan[string](t, r, "SELECT v")
			},
			tx: ended, out: ended, cause: cockroachdb.CauseSession, text: "LISTEN c",
		},
		"begun as text": {
			run: func(t *testing.T, r *kit.Rig) {
				c := onConn(t, r)
				require.NoError(t, kit.ExecAll(c, "BEGIN"))
				kit.Exec(t, c, "UPDATE a")
				require.NoError(t, kit.ExecAll(c, "ROLLBACK"))
			},
			out: cockroachdb.Protection{Total: 3}, cause: cockroachdb.CauseBegunAsText,
		},
		"a divergence": {
			script: kit.Script{"SELECT v WHERE k = 7": kit.IntOfEachRun(1, 2), "UPDATE b": {kit.Conflict}},
			run: func(t *testing.T, r *kit.Rig) {
				tx := r.Begin(t)
				kit.Scan[int64](t, tx, "SELECT v WHERE k = 7")
				require.Error(t, kit.ExecAll(tx, "UPDATE b"))
				require.NoError(t, tx.Rollback())
			},
			tx: ended, cause: cockroachdb.CauseDiverged, text: "SELECT v WHERE k = ?",
		},
		"a divergence, in RunTx": {
			script: kit.Script{"SELECT v WHERE k = 7": kit.IntOfEachRun(1, 2), "UPDATE b": {kit.Conflict}},
			run: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, rtx(t.Context(), r, func(tx *sql.Tx) error {
					kit.Scan[int64](t, tx, "SELECT v WHERE k = 7")
					return kit.ExecAll(tx, "UPDATE b")
				}))
			},
			tx: until,
		},
		"SET, in RunTx": {
			run: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, rtx(t.Context(), r, func(tx *sql.Tx) error { return kit.ExecAll(tx, "UPDATE a", "SET b = 7") }))
			},
			tx: until,
		},
		"DDL, in RunTx": {
			run: func(t *testing.T, r *kit.Rig) {
				require.NoError(t, rtx(t.Context(), r, func(tx *sql.Tx) error {
					return kit.ExecAll(tx, "SET b = 7", "DROP TABLE t")
				}))
			},
			tx: ended, cause: cockroachdb.CauseMayCommit, text: "DROP TABLE t",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := kit.Script{
				"SELECT v": {kit.Texts("x")}, "UPDATE a SET v = 7 RETURNING v": {kit.Texts("x")},
			}
			maps.Copy(s, c.script)
			r := kit.New(t, s, c.params)
			c.run(t, r)
			report := r.Connector.Report()
			assert.Equal(t, c.tx, report.Transactions)
			assert.Equal(t, c.out, report.Statements)
			assert.Zero(t, report.Unlisted)
			want := map[string]int64{}
			if c.cause != "" {
				want[string(c.cause)] = report.Transactions.Total - report.Transactions.UntilCommit +
					report.Statements.Total - report.Statements.UntilCommit
			}
			got := map[string]int64{}
			for _, found := range report.Causes {
				got[string(found.Cause)] = found.Count
				assert.NotEmpty(t, found.Remedy, found.Cause)
			}
			assert.Equal(t, want, got)
			if c.text == "" {
				return
			}
			require.Len(t, report.Texts, 1)
			assert.Equal(t, c.text, report.Texts[0].Text)
			assert.Equal(t, c.cause, report.Texts[0].Cause)
			assert.Len(t, report.Texts[0].Fingerprint, 16)
			assert.NotEmpty(t, report.Texts[0].Remedy)
		})
	}
}

func TestReport_Metrics_SayTheSame(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{"SELECT v": {kit.Texts("x")}})
	before := r.Counts(t)
	inTx("UPDATE a")(t, r)
	inTx("UPDATE a", "DROP TABLE t")(t, r)
	outside("UPDATE a")(t, r)
	kit.Scan[string](t, r, "SELECT v")
	moved := r.Moved(t, before)
	assert.Equal(t, 1.0, moved["protection_total transaction until_commit"], moved)
	assert.Equal(t, 1.0, moved["protection_total ended transaction"]+moved["protection_total transaction ended"], moved)
	assert.Equal(t, 1.0, moved["protection_ended_total may_commit"])
	report := r.Connector.Report()
	assert.Equal(t, cockroachdb.Protection{Total: 2, UntilCommit: 1}, report.Transactions)
	assert.Equal(t, cockroachdb.Protection{Total: 2, UntilCommit: 2, Whole: 1}, report.Statements)
	assert.InDelta(t, 0.5, report.Transactions.Share(), 1e-9)
}

// However many texts there are, the list is short, and what comes often stays on it.
func TestReport_ManyTexts_ListIsBounded(t *testing.T) {
	t.Parallel()
	r := kit.New(t, nil)
	for n := range 300 {
		outside(fmt.Sprintf("UPDATE t%d; UPDATE u", n))(t, r)
		if n < 20 || n%20 == 0 {
			outside(fmt.Sprintf("UPDATE often SET v = %d; UPDATE u", n))(t, r)
		}
	}
	report := r.Connector.Report()
	require.Len(t, report.Texts, 100)
	assert.Equal(t, "UPDATE often SET v = ?; UPDATE u", report.Texts[0].Text)
	assert.Equal(t, int64(34), report.Texts[0].Count)
	all := report.Unlisted
	for _, text := range report.Texts {
		all += text.Count
	}
	assert.Equal(t, int64(334), all)
	assert.Equal(t, all, report.Causes[0].Count)
}

func TestReportHandler_ServesTextAndJSON(t *testing.T) {
	t.Parallel()
	r := kit.New(t, nil, func(c *cockroachdb.Config) { c.DBName = "bank" })
	inTx("UPDATE a", "DROP TABLE t")(t, r)
	get := func(target, accept string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		req.Header.Set("Accept", accept)
		r.Connector.ReportHandler().ServeHTTP(w, req)
		require.Equal(t, http.StatusOK, w.Code)
		return w
	}
	text := get("/", "text/html")
	assert.Equal(t, "text/plain; charset=utf-8", text.Header().Get("Content-Type"))
	for _, part := range []string{"Protection of bank", "transactions", "0.0 %", "may_commit", "DROP TABLE t"} {
		assert.Contains(t, text.Body.String(), part)
	}
	for target, accept := range map[string]string{"/": "application/json", "/?format=json": ""} {
		w := get(target, accept)
		assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var report cockroachdb.Report
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &report))
		assert.Equal(t, "bank", report.DBName)
		assert.Equal(t, "DROP TABLE t", report.Texts[0].Text)
	}
}

// Whatever an application sends, no value of it is in the report.
func TestReport_HasNoSecret(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{"UPDATE d": {kit.Conflict}}, "retry_max_statements=3")
	for _, text := range []string{
		"CREATE USER ann WITH PASSWORD '" + planted + "'", "SET password = '" + planted + "'",
		"UPDATE a SET v = '" + planted + "'; UPDATE b -- " + planted, "UPDATE a SET v = E'\\'" + planted + "'; UPDATE b",
		"CALL pay($$" + planted + "$$)", "/* " + planted + " */ DROP TABLE t", "SET x TO '" + planted + "'",
		"UPDATE a SET v = '\\'; UPDATE b SET v = '" + planted + "'", "PREPARE p AS SELECT '" + planted + "'",
	} {
		inTx("UPDATE a", text)(t, r)
		_ = kit.ExecAll(r, text)
	}
	tx := r.Begin(t)
	for range 4 {
		kit.Exec(t, tx, "UPDATE a SET v = $1", planted)
	}
	require.NoError(t, tx.Commit())
	report := r.Connector.Report()
	require.NotEmpty(t, report.Texts)
	prints(t, report)
	encoded, err := json.Marshal(report)
	require.NoError(t, err)
	assert.False(t, shows(string(encoded)), "%s", encoded)
	assert.False(t, shows(report.String()), "%s", report)
}

// A report may be asked for while transactions run.
func TestReport_WhileOthersRun_IsWhole(t *testing.T) {
	t.Parallel()
	r := kit.New(t, nil, fakepg.Quiet())
	r.SetMaxOpenConns(4)
	done := make(chan error)
	for range 4 {
		go func() {
			var err error
			for n := 0; n < 50 && err == nil; n++ {
				err = kit.ExecAll(r, "UPDATE a; UPDATE b", "UPDATE c")
			}
			done <- err
		}()
	}
	for range 4 {
		report := r.Connector.Report()
		assert.LessOrEqual(t, report.Statements.UntilCommit, report.Statements.Total)
		require.NoError(t, <-done)
	}
	assert.Equal(t, cockroachdb.Protection{Total: 400, UntilCommit: 200}, r.Connector.Report().Statements)
}
