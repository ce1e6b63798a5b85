package fakepg_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

func connect(t testing.TB, srv *fakepg.Server, change ...func(*pgx.ConnConfig)) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(srv.DSN())
	require.NoError(t, err)
	cfg.DialFunc, cfg.LookupFunc = srv.Dial, srv.Lookup
	for _, c := range change {
		c(cfg)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func zero(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} }

func TestHandlerPlaysTheServer(t *testing.T) {
	srv := fakepg.Start(t, func(c *fakepg.Conn) {
		got := c.ReceiveUntilSync()
		if len(got) != 1 {
			c.Fatalf("got %d messages, want one Query", len(got))
		}
		c.Send(&pgproto3.CommandComplete{CommandTag: []byte("BEGIN")})
		c.Ready('T')
		c.ReceiveUntilSync()
		c.Send(&pgproto3.CommandComplete{CommandTag: []byte("COMMIT")})
		c.Ready('I')
	})
	conn := connect(t, srv)
	assert.Equal(t, "CockroachDB CCL v23.1.2 (fakepg)", conn.PgConn().ParameterStatus("crdb_version"))

	_, err := conn.PgConn().Exec(t.Context(), "BEGIN").ReadAll()
	require.NoError(t, err)
	assert.Equal(t, byte('T'), conn.PgConn().TxStatus())
	_, err = conn.PgConn().Exec(t.Context(), "COMMIT").ReadAll()
	require.NoError(t, err)
	assert.Equal(t, [][]string{{"Query BEGIN"}, {"Query COMMIT"}}, srv.Exchanges())
	assert.Equal(t, 2, srv.RoundTrips())
	assert.Equal(t, 1, srv.Connections())
}

func TestLogShowsEveryMessage(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		return fakepg.Reply{
			Columns:   []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}, {Name: "s"}},
			ParamOIDs: []uint32{pgtype.Int8OID, pgtype.TextOID, pgtype.TextOID},
			Values:    [][]any{{int64(7), "seven"}, {nil, ""}},
		}
	}))
	conn := connect(t, srv)
	_, err := conn.Prepare(t.Context(), "byname", "SELECT $1, $2, $3")
	require.NoError(t, err)
	rows, err := conn.Query(t.Context(), "byname", 5, "x", nil)
	require.NoError(t, err)
	type row struct {
		V *int64
		S *string
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	require.NoError(t, err)
	seven, name, empty := int64(7), "seven", ""
	assert.Equal(t, []row{{&seven, &name}, {nil, &empty}}, got)
	assert.Equal(t, "SELECT 2", rows.CommandTag().String())
	require.NoError(t, conn.Deallocate(t.Context(), "byname"))

	assert.Equal(t, [][]string{
		{"Parse name=byname sql=SELECT $1, $2, $3", "Describe S byname", "Sync"},
		{`Bind stmt=byname params=[x'0000000000000005' "x" NULL]`, "Execute", "Sync"},
		{"Close S byname", "Sync"},
	}, srv.Exchanges())
	assert.Equal(t, [][]string{nil, {"SELECT $1, $2, $3"}, nil}, srv.Statements())
	assert.Equal(t, srv.Exchanges(), srv.OfConn(1))
	srv.Forget()
	assert.Zero(t, srv.RoundTrips())
	assert.Empty(t, srv.Exchanges())
}

// pipeline sends statements under one Sync and gives the tag of each, or the code of its error, and the status at the
// end.
func pipeline(t *testing.T, conn *pgx.Conn, statements ...string) string {
	t.Helper()
	p := conn.PgConn().StartPipeline(t.Context())
	for _, sql := range statements {
		p.SendQueryParams(sql, nil, nil, nil, nil)
	}
	require.NoError(t, p.Sync())
	var got []string
	for {
		r, err := p.GetResults()
		if pgErr := asPgError(err); pgErr != nil {
			got = append(got, pgErr.Code)
			continue
		}
		require.NoError(t, err)
		switch r := r.(type) {
		case *pgconn.ResultReader:
			tag, err := r.Close()
			if pgErr := asPgError(err); pgErr != nil {
				got = append(got, pgErr.Code)
			} else {
				require.NoError(t, err)
				got = append(got, tag.String())
			}
		case *pgconn.PipelineSync:
			require.NoError(t, p.Close())
			return strings.Join(append(got, string(conn.PgConn().TxStatus())), " | ")
		}
	}
}

func asPgError(err error) *pgconn.PgError {
	var pgErr *pgconn.PgError
	errors.As(err, &pgErr)
	return pgErr
}

func TestTransactionsFollowTheRecordings(t *testing.T) {
	conflicts := func(s fakepg.Statement) fakepg.Reply {
		switch {
		case s.SQL == "CONFLICT", s.SQL == "RELEASE SAVEPOINT cockroach_restart" && s.Conn == 2 && s.Nth == 1:
			return fakepg.Reply{Err: fakepg.Conflict()}
		case s.SQL == "DUPLICATE":
			return fakepg.Reply{Err: fakepg.Error("23505", "duplicate key")}
		case s.SQL == "BEGIN NONSENSE":
			return fakepg.Reply{Err: fakepg.Error("42601", "syntax error"), ErrAt: fakepg.AtParse}
		}
		return fakepg.Reply{}
	}
	const (
		sp  = "SAVEPOINT cockroach_restart"
		rb  = "ROLLBACK TO SAVEPOINT cockroach_restart"
		rel = "RELEASE SAVEPOINT cockroach_restart"
	)
	for name, steps := range map[string][][2]string{
		"clean_pipeline": {
			{"BEGIN;" + sp + ";UPDATE kv", "BEGIN | SAVEPOINT | UPDATE 1 | T"}, {rel + ";COMMIT", "COMMIT | COMMIT | I"},
		},
		"retry": {
			{"BEGIN;" + sp + ";CONFLICT;UPDATE kv", "BEGIN | SAVEPOINT | 40001 | E"},
			{rb + ";UPDATE kv", "ROLLBACK | UPDATE 1 | T"},
			{rel + ";COMMIT", "COMMIT | COMMIT | I"},
		},
		"failed_then_more": {
			{"BEGIN;DUPLICATE", "BEGIN | 23505 | E"}, {"UPDATE kv", "25P02 | E"}, {"COMMIT", "ROLLBACK | I"},
		},
		"begin_fails": {{"BEGIN NONSENSE;" + sp + ";UPDATE kv", "42601 | I"}},
		"commit_wait": {
			{"BEGIN;" + sp + ";UPDATE kv;" + rel, "BEGIN | SAVEPOINT | UPDATE 1 | COMMIT | T"},
			{"SELECT 1", "25000 | T"},
			{"ROLLBACK", "COMMIT | I"},
		},
		"outside": {
			{sp, "XXUUU | I"}, {rel, "XXUUU | I"}, {rb, "3B001 | I"}, {"COMMIT", "XXUUU | I"}, {"ROLLBACK", "XXUUU | I"},
		},
		"release_unknown": {{"BEGIN", "BEGIN | T"}, {rel, "3B001 | E"}, {rb, "3B001 | E"}, {"ROLLBACK", "ROLLBACK | I"}},
		"spelling": {
			{`BEGIN;SAVEPOINT "Cockroach_restart";RELEASE "Cockroach_restart"`, "BEGIN | SAVEPOINT | RELEASE | T"},
			{"COMMIT", "COMMIT | I"},
			{"BEGIN;SAVEPOINT COCKROACH_RESTART_2;RELEASE cockroach_restart_2", "BEGIN | SAVEPOINT | COMMIT | T"},
		},
		"late":   {{"BEGIN;UPDATE kv;" + sp, "BEGIN | UPDATE 1 | 42601 | E"}},
		"nested": {{"BEGIN;SAVEPOINT app;" + sp, "BEGIN | SAVEPOINT | 42601 | E"}},
		"app_savepoint": {
			{"BEGIN;" + sp + ";SAVEPOINT app;DUPLICATE", "BEGIN | SAVEPOINT | SAVEPOINT | 23505 | E"},
			{"ROLLBACK TO SAVEPOINT app;RELEASE app", "ROLLBACK | RELEASE | T"},
			{"SAVEPOINT b;CONFLICT", "SAVEPOINT | 40001 | E"},
			{"ROLLBACK TO b", "40001 | E"},
			{rb, "ROLLBACK | T"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, fakepg.Start(t, fakepg.Answer(conflicts)))
			for _, step := range steps {
				assert.Equal(t, step[1], pipeline(t, conn, strings.Split(step[0], ";")...), step[0])
			}
		})
	}
	t.Run("plain_postgresql", func(t *testing.T) {
		conn := connect(t, fakepg.Start(t, fakepg.Answer(conflicts), fakepg.PlainPostgreSQL()))
		assert.Empty(t, conn.PgConn().ParameterStatus("crdb_version"))
		assert.Equal(t, "BEGIN | SAVEPOINT | RELEASE | 40001 | E", pipeline(t, conn, "BEGIN", sp, rel, "CONFLICT"))
		assert.Equal(t, "25P02 | E", pipeline(t, conn, "SELECT 1"))
		assert.Equal(t, "ROLLBACK | I", pipeline(t, conn, "COMMIT"))
		assert.Equal(t, "COMMIT | I", pipeline(t, conn, "COMMIT"))
	})
}

func TestSimpleProtocol(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		if s.SQL == "SELECT ';'" {
			return fakepg.Reply{Columns: []fakepg.Column{{Name: "s"}}, Values: [][]any{{";"}}}
		}
		if s.SQL == "FAIL" {
			return fakepg.Reply{Err: fakepg.Error("XX000", "failed")}
		}
		return fakepg.Reply{}
	}))
	conn := connect(t, srv)
	const several = "BEGIN; SELECT ';' ; -- ; \n INSERT INTO kv VALUES ($$;$$); /* ; */"
	results, err := conn.PgConn().Exec(t.Context(), several).ReadAll()
	require.NoError(t, err)
	require.Len(t, results, 4, "the comment is a statement of its own to the fake")
	assert.Equal(t, "BEGIN", results[0].CommandTag.String())
	assert.Equal(t, [][][]byte{{[]byte(";")}}, results[1].Rows)
	assert.Equal(t, byte('T'), conn.PgConn().TxStatus())
	_, err = conn.PgConn().Exec(t.Context(), "FAIL; SELECT ';'").ReadAll()
	require.ErrorContains(t, err, "XX000")
	assert.Equal(t, byte('E'), conn.PgConn().TxStatus())
	_, err = conn.PgConn().Exec(t.Context(), "").ReadAll()
	require.NoError(t, err)
}

func TestErrorsAtEachStep(t *testing.T) {
	for step, want := range map[fakepg.Step]int{fakepg.AtParse: 0, fakepg.AtBind: 0, fakepg.AtExecute: 2} {
		conn := connect(t, fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
			return fakepg.Reply{
				Columns: []fakepg.Column{{Name: "v"}}, Values: [][]any{{"1"}, {"2"}, {"3"}},
				Err: fakepg.Error("22012", "division by zero"), ErrAt: step, ErrAfterRows: 2,
			}
		})))
		rr := conn.PgConn().ExecParams(t.Context(), "SELECT v", nil, nil, nil, nil)
		rows := 0
		for rr.NextRow() {
			rows++
		}
		_, err := rr.Close()
		require.ErrorContains(t, err, "22012")
		assert.Equal(t, want, rows)
		assert.Equal(t, step == fakepg.AtExecute, rr.FieldDescriptions() != nil)
	}
}

func TestCuts(t *testing.T) {
	for cut, want := range map[fakepg.Cut]string{
		fakepg.CutBefore: "BEGIN", fakepg.CutHalf: "BEGIN", fakepg.CutAfter: "BEGIN UPDATE 1", fakepg.CutUnsent: "",
		fakepg.CutShutDown: "BEGIN UPDATE 1",
	} {
		conn := connect(t, fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
			if s.SQL == "UPDATE kv" {
				return fakepg.Reply{Cut: cut}
			}
			return fakepg.Reply{}
		})))
		p := conn.PgConn().StartPipeline(t.Context())
		p.SendQueryParams("BEGIN", nil, nil, nil, nil)
		p.SendQueryParams("UPDATE kv", nil, nil, nil, nil)
		require.NoError(t, p.Sync())
		var tags []string
		var err error
		for err == nil {
			var r any
			if r, err = p.GetResults(); err != nil {
				break
			}
			var tag pgconn.CommandTag
			if tag, err = r.(*pgconn.ResultReader).Close(); err == nil {
				tags = append(tags, tag.String())
			}
		}
		p.Close()
		assert.Equal(t, want, strings.Join(tags, " "), "cut %d", cut)
		assert.True(t, conn.IsClosed())
	}
}

func TestFatalErrorEndsTheConnection(t *testing.T) {
	conn := connect(t, fakepg.Start(t, fakepg.Answer(func(fakepg.Statement) fakepg.Reply {
		err := fakepg.Error("57P01", "server is shutting down")
		err.Severity = "FATAL"
		return fakepg.Reply{Err: err}
	})))
	_, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeExec)
	require.ErrorContains(t, err, "57P01")
	assert.True(t, conn.IsClosed())
}

func TestPreparedStatements(t *testing.T) {
	conn := connect(t, fakepg.Start(t, fakepg.Answer(zero)))
	_, err := conn.PgConn().Prepare(t.Context(), "s", "SELECT 1", nil)
	require.NoError(t, err)
	_, err = conn.PgConn().Prepare(t.Context(), "s", "SELECT 1", nil)
	require.ErrorContains(t, err, "42P05")
	_, err = conn.PgConn().ExecPrepared(t.Context(), "missing", nil, nil, nil).Close()
	require.ErrorContains(t, err, "26000")
	_, err = conn.Exec(t.Context(), "DEALLOCATE ALL")
	require.NoError(t, err)
	_, err = conn.PgConn().ExecPrepared(t.Context(), "s", nil, nil, nil).Close()
	require.ErrorContains(t, err, "26000")
}

func TestGeneratedRowsAndBigAnswers(t *testing.T) {
	const n = 20_000
	value := []byte(strings.Repeat("x", 100))
	conn := connect(t, fakepg.Start(t, fakepg.Answer(func(fakepg.Statement) fakepg.Reply {
		return fakepg.Reply{
			Columns: []fakepg.Column{{Name: "s"}},
			RowsFunc: func(yield func([][]byte) bool) {
				for range n {
					if !yield([][]byte{value}) {
						return
					}
				}
			},
		}
	})))
	rows, err := conn.Query(t.Context(), "SELECT s")
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.Len(t, got, n)
	assert.Equal(t, string(value), got[n-1])
}

func TestExecuteWithARowLimit(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(func(fakepg.Statement) fakepg.Reply {
		return fakepg.Reply{Columns: []fakepg.Column{{Name: "v"}}, Values: [][]any{{"1"}, {"2"}, {"3"}}}
	}))
	nc, err := srv.Dial(t.Context(), "", "")
	require.NoError(t, err)
	defer nc.Close()
	fe := pgproto3.NewFrontend(nc, nc)
	fe.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app"},
	})
	fe.Send(&pgproto3.Parse{Query: "SELECT v"})
	fe.Send(&pgproto3.Bind{})
	for range 3 {
		fe.Send(&pgproto3.Execute{MaxRows: 2})
	}
	fe.Send(&pgproto3.Sync{})
	require.NoError(t, fe.Flush())
	var got []string
	for ready := 0; ready < 2; {
		m, err := fe.Receive()
		require.NoError(t, err)
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			ready++
		case *pgproto3.DataRow:
			got = append(got, string(m.Values[0]))
		case *pgproto3.PortalSuspended:
			got = append(got, "suspended")
		case *pgproto3.CommandComplete:
			got = append(got, string(m.CommandTag))
		}
	}
	assert.Equal(t, []string{"1", "2", "suspended", "3", "SELECT 3"}, got[:5])
	assert.Contains(t, srv.Exchanges()[0], "Execute max=2")
}

func TestInMemoryFitsSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
			return fakepg.Reply{Delay: time.Hour}
		}), fakepg.InMemory())
		conn := connect(t, srv)
		start := time.Now()
		_, err := conn.Exec(t.Context(), "UPDATE kv", pgx.QueryExecModeExec)
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(start))
	})
}

func TestCancelRequestsAreCounted(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		return fakepg.Reply{Delay: 10 * time.Second}
	}))
	conn := connect(t, srv)
	require.NoError(t, conn.PgConn().CancelRequest(t.Context()))
	require.Eventually(t, func() bool { return srv.Cancels() == 1 }, time.Minute, time.Millisecond)
}

func TestCloseTakesTheConnectionsWithIt(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(zero))
	conn := connect(t, srv)
	srv.Close()
	_, err := conn.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)
	_, err = pgx.Connect(t.Context(), srv.DSN())
	require.Error(t, err)
}

// A failing handler must fail its test; a stand-in for it collects the failure here.
func TestHandlerFailuresReachTheTest(t *testing.T) {
	for name, handle := range map[string]func(*fakepg.Conn){
		"Fatalf":   func(c *fakepg.Conn) { c.Fatalf("not what %s wanted", "it") },
		"panic":    func(*fakepg.Conn) { panic("not what it wanted") },
		"protocol": func(c *fakepg.Conn) { c.Receive() },
	} {
		tb := &recordingTB{TB: t}
		srv := fakepg.Start(tb, handle)
		cfg, err := pgx.ParseConfig(srv.DSN())
		require.NoError(t, err)
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		require.NoError(t, err)
		if name == "protocol" {
			_, err = conn.PgConn().Conn().Write([]byte("?nonsense"))
			require.NoError(t, err)
		}
		_, _ = conn.PgConn().Conn().Read(make([]byte, 1))
		srv.Close()
		conn.Close(t.Context())
		assert.Len(t, tb.failures, 1, name)
	}
}

type recordingTB struct {
	testing.TB
	failures []string
}

func (r *recordingTB) Errorf(format string, _ ...any) { r.failures = append(r.failures, format) }

func BenchmarkStatement(b *testing.B) {
	srv := fakepg.Start(b, fakepg.Answer(zero), fakepg.Quiet())
	conn := connect(b, srv)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Exec(b.Context(), "UPDATE kv SET v = 1"); err != nil {
			b.Fatal(err)
		}
	}
}

// The default tags are what pgx needs to count rows.
func TestTagsFitTheText(t *testing.T) {
	conn := connect(t, fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		if strings.HasSuffix(s.SQL, "RETURNING k") {
			return fakepg.Reply{Columns: []fakepg.Column{{Name: "k"}}, Values: [][]any{{"1"}, {"2"}}}
		}
		if s.SQL == "UPDATE many" {
			return fakepg.Reply{Tag: "UPDATE 12"}
		}
		return fakepg.Reply{}
	}), fakepg.Quiet()))
	for sql, want := range map[string]string{
		"INSERT INTO kv": "INSERT 0 1", "INSERT INTO kv RETURNING k": "INSERT 0 2",
		"update kv": "UPDATE 1", "UPDATE many": "UPDATE 12",
		"DELETE FROM kv RETURNING k": "DELETE 2", "SELECT": "SELECT 0",
		"WITH x RETURNING k": "SELECT 2", "CREATE TABLE t": "CREATE",
	} {
		tag, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
		assert.Equal(t, want, tag.String(), sql)
	}
}

// A driver that prepares with arguments of Go types must be able to, whether or not a test says what the parameters
// are.
func TestParametersOfUnknownType(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(zero))
	conn := connect(t, srv)
	_, err := conn.Exec(t.Context(), "INSERT INTO kv VALUES ($1, $2, $3)", 1, "two", true)
	require.NoError(t, err)
	assert.Contains(t, srv.Exchanges()[1][0], `params=["1" "two" "t"]`)
	srv.Disconnect()
	_, err = conn.Exec(t.Context(), "SELECT 1")
	require.Error(t, err)
}
