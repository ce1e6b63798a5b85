package cost_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A wireOp is something that an application does n times.
type wireOp struct {
	name string
	do   func(t *testing.T, q kit.Querier, stmt *sql.Stmt)
}

const (
	wireQuery  = "SELECT v FROM kv WHERE k = $1"
	wireUpdate = "UPDATE kv SET v = $1"
)

var wireOps = []wireOp{
	{"Exec", func(t *testing.T, q kit.Querier, _ *sql.Stmt) { kit.Exec(t, q, wireUpdate, "1") }},
	{"Exec without arguments", func(t *testing.T, q kit.Querier, _ *sql.Stmt) { kit.Exec(t, q, "UPDATE kv SET v = 1") }},
	{"Query", func(t *testing.T, q kit.Querier, _ *sql.Stmt) {
		rows, err := q.QueryContext(t.Context(), wireQuery, "1")
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			require.NoError(t, rows.Scan(new(string)))
		}
		require.NoError(t, rows.Err())
	}},
	{"QueryRow", func(t *testing.T, q kit.Querier, _ *sql.Stmt) {
		require.NoError(t, q.QueryRowContext(t.Context(), wireQuery, "1").Scan(new(string)))
	}},
	{"Stmt", func(t *testing.T, _ kit.Querier, stmt *sql.Stmt) {
		_, err := stmt.ExecContext(t.Context(), "1")
		require.NoError(t, err)
	}},
}

// wireCount counts the round trips of n times op, after once if warm.
func wireCount(t *testing.T, driver, mode string, op wireOp, n int, inside, warm bool) int {
	t.Helper()
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		if strings.HasPrefix(s.SQL, "SELECT") {
			return kit.Texts("x")
		}
		return fakepg.Reply{}
	}))
	db := kit.OpenBy(t, driver, srv.DSN()+"&default_query_exec_mode="+mode)
	db.SetMaxOpenConns(1)
	require.NoError(t, db.PingContext(t.Context()))
	var stmt *sql.Stmt
	if op.name == "Stmt" {
		var err error
		stmt, err = db.PrepareContext(t.Context(), wireUpdate)
		require.NoError(t, err)
		defer stmt.Close()
	}
	if warm {
		op.do(t, db, stmt)
	}
	srv.Forget()
	if !inside {
		for range n {
			op.do(t, db, stmt)
		}
		return srv.RoundTrips()
	}
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	if stmt != nil {
		stmt = tx.StmtContext(t.Context(), stmt)
	}
	for range n {
		op.do(t, tx, stmt)
	}
	require.NoError(t, tx.Commit())
	return srv.RoundTrips()
}

// TestCost_RoundTrips_NoMoreThanPgx counts on the same server: warm, n statements cost n outside and n + 1 inside of a
// transaction; nothing ever costs more than through pgx.
func TestCost_RoundTrips_NoMoreThanPgx(t *testing.T) {
	t.Parallel()
	const n = 3
	for _, mode := range kit.QueryModes {
		for _, op := range wireOps {
			each := 1 // what a warm statement costs
			if mode == "describe_exec" && op.name != "Stmt" && op.name != "Exec without arguments" {
				each = 2
			}
			for _, inside := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, %t", mode, op.name, inside), func(t *testing.T) {
					t.Parallel()
					want := n * each
					if inside {
						want++ // BEGIN and the savepoint travel with the first
						if mode == "simple_protocol" && op.name != "Stmt" {
							want++ // which a Query message can't
						}
					}
					ours := wireCount(t, "cockroachdb", mode, op, n, inside, true)
					theirs := wireCount(t, "pgx", mode, op, n, inside, true)
					assert.Equal(t, want, ours, "warm")
					assert.LessOrEqual(t, ours, theirs, "warm")
					ours = wireCount(t, "cockroachdb", mode, op, n, inside, false)
					theirs = wireCount(t, "pgx", mode, op, n, inside, false)
					assert.LessOrEqual(t, ours, theirs, "cold")
				})
			}
		}
	}
}

func TestRoundTrips_ColdTransaction_PreparesBehindBegin(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT a": {kit.Texts("x")}})
	tx := st.Begin(t)
	var v string
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT a").Scan(&v))
	require.NoError(t, tx.Commit())
	var first []string
	for _, m := range st.Server.Exchanges()[0] {
		if sql, ok := strings.CutPrefix(m, "Parse name="); ok {
			_, sql, _ = strings.Cut(sql, "sql=")
			first = append(first, sql)
		}
	}
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, "SELECT a"}, first)
	assert.Equal(t, 3, st.Server.RoundTrips())
}

// A failed BEGIN must not let the statement run on its own.
func TestRestart_BeginFails_RunsNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		st := kit.New(t, kit.Script{"BEGIN": {kit.Fails("53300", "refused"), kit.OK}}, "default_query_exec_mode="+mode)
		tx := st.Begin(t)
		_, err := tx.ExecContext(t.Context(), "UPDATE kv SET v = $1", "1")
		kit.WantCode(t, err, "53300")
		assert.IsType(t, &pgconn.PgError{}, err)
		_, err = tx.ExecContext(t.Context(), "UPDATE kv SET v = $1", "1")
		require.Error(t, err)
		require.Error(t, tx.Commit())
		touched := 0
		for _, exchange := range st.Server.Statements() {
			if len(exchange) > 0 && exchange[0] != "BEGIN" { // what comes after BEGIN is skipped
				touched++
			}
		}
		assert.Zero(t, touched, "%s: %q", mode, st.Server.Statements())
		kit.Exec(t, st, kit.Update(1))
		assert.Equal(t, 1, st.Server.Connections())
	}
}

// pgconn would close the connection over it.
func TestArguments_TooMany_TouchNoConnection(t *testing.T) {
	t.Parallel()
	args := make([]any, 1<<16)
	for i := range args {
		args[i] = "x"
	}
	for _, driver := range []string{"pgx", "cockroachdb"} {
		srv := fakepg.Start(t, fakepg.Answer(kit.Script{}.Reply))
		db := kit.OpenBy(t, driver, srv.DSN()+"&default_query_exec_mode=exec")
		db.SetMaxOpenConns(1)
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		kit.Exec(t, tx, kit.Update(1))
		_, err = tx.ExecContext(context.Background(), "INSERT INTO kv VALUES ($1)", args...)
		assert.EqualError(t, err, "extended protocol limited to 65535 parameters")
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit(), driver)
		assert.Equal(t, 1, srv.Connections())
	}
}
