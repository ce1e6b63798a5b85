package cost_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	tripPlain  = "UPDATE kv SET v = v + 1"
	tripUpdate = "UPDATE kv SET v = $1"
	tripSelect = "SELECT v WHERE k = $1"
)

// tripServer answers the three texts; the nth execution of them, from 1, and the first RELEASE or COMMIT if n is 0,
// lose a conflict.
func tripServer(t *testing.T, loses int) *fakepg.Server {
	return fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		r := fakepg.Reply{Tag: "UPDATE 1"}
		switch {
		case strings.HasPrefix(s.SQL, "UPDATE kv"), strings.HasPrefix(s.SQL, "SELECT v WHERE"):
		case loses == 0 && s.SQL == kit.Release && s.Nth == 1:
			return kit.Conflict
		default:
			return fakepg.Reply{}
		}
		if s.Nth == loses && !s.Describing {
			return kit.Conflict
		}
		if !strings.HasPrefix(s.SQL, tripPlain) {
			r.ParamOIDs = []uint32{pgtype.Int8OID}
		}
		if strings.HasPrefix(s.SQL, "SELECT") {
			r.Tag, r.Columns = "", []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}}
			if !s.Describing {
				r.Values = [][]any{{int64(7)}}
			}
		}
		return r
	}))
}

const noConflict = -1

// A statementCall is one way to run a statement, and what it costs the first time on a connection in the modes that
// prepare.
type statementCall struct {
	run  func(q caller) error
	cold int // round trips more for a text that is new to the connection
}

type caller interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

var statementCalls = map[string]statementCall{
	"Exec without arguments": {cold: 0, run: func(q caller) error {
		_, err := q.ExecContext(context.Background(), tripPlain)
		return err
	}},
	"Exec": {cold: 1, run: func(q caller) error {
		_, err := q.ExecContext(context.Background(), tripUpdate, 5)
		return err
	}},
	"QueryRow": {cold: 1, run: func(q caller) error {
		var v int
		return q.QueryRowContext(context.Background(), tripSelect, 5).Scan(&v)
	}},
	"Query": {cold: 1, run: func(q caller) error {
		rows, err := q.QueryContext(context.Background(), tripSelect, 5)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var v int
		for rows.Next() {
			if err := rows.Scan(&v); err != nil {
				return err
			}
		}
		return rows.Err()
	}},
}

// tripModes are pgx's: what a statement with arguments costs more each time, what only the first time on a connection,
// and what a transaction costs more.
var tripModes = map[string]struct{ each, cold, tx int }{
	"cache_statement": {0, 1, 0},
	"cache_describe":  {0, 1, 0},
	"describe_exec":   {1, 0, 0},
	"exec":            {0, 0, 0},
	"simple_protocol": {0, 0, 1},
}

// tripsOf counts the round trips of a transaction on the n-th call of which, if any, a conflict is lost; warm, after
// others of its kind.
func tripsOf(t *testing.T, driver, mode string, warm bool, loses int, transact func(db *sql.DB) error) int {
	t.Helper()
	srv := tripServer(t, loses)
	db := kit.OpenBy(t, driver, srv.DSN()+"&default_query_exec_mode="+mode)
	db.SetMaxOpenConns(1)
	// pgx's stdlib pings a connection that was idle for a second, and takes a new one for that.
	for range 2 {
		require.NoError(t, db.PingContext(t.Context()))
	}
	if warm {
		require.NoError(t, transact(db))
	}
	srv.Forget()
	require.NoError(t, transact(db), srv.Exchanges())
	return srv.RoundTrips()
}

func tripsInTx(n int, run func(caller) error) func(*sql.DB) error {
	return func(db *sql.DB) error {
		tx, err := db.BeginTx(context.Background(), nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		for range n {
			if err := run(tx); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
}

func tripsByRunTx(n int, run func(caller) error) func(*sql.DB) error {
	return func(db *sql.DB) error {
		return cockroachdb.RunTx(context.Background(), db, nil, func(tx *sql.Tx) error {
			for range n {
				if err := run(tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// The table of docs/performance.md: N + 1, in all query modes, and never more than pgx's stdlib takes for the same.
func TestCost_Transaction_RoundTripsOfEachMode(t *testing.T) {
	t.Parallel()
	for name, call := range statementCalls {
		for mode, costs := range tripModes {
			for _, n := range []int{1, 3, 10} {
				for _, warm := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/%d/warm=%t", name, mode, n, warm), func(t *testing.T) {
						t.Parallel()
						want := n + 1 + costs.tx + n*costs.each*call.cold
						if !warm {
							want += costs.cold * call.cold
						}
						mine := tripsOf(t, "cockroachdb", mode, warm, noConflict, tripsInTx(n, call.run))
						assert.Equal(t, want, mine)
						assert.Equal(t, want, tripsOf(t, "cockroachdb", mode, warm, noConflict, tripsByRunTx(n, call.run)), "RunTx")
						assert.LessOrEqual(t, mine, tripsOf(t, "pgx", mode, warm, noConflict, tripsInTx(n, call.run)))
					})
				}
			}
		}
	}
}

func TestCost_Outside_RoundTripsOfEachMode(t *testing.T) {
	t.Parallel()
	for name, call := range statementCalls {
		for mode, costs := range tripModes {
			for _, warm := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/warm=%t", name, mode, warm), func(t *testing.T) {
					t.Parallel()
					want := 1 + costs.each*call.cold
					if !warm {
						want += costs.cold * call.cold
					}
					alone := func(db *sql.DB) error { return call.run(db) }
					mine := tripsOf(t, "cockroachdb", mode, warm, noConflict, alone)
					assert.Equal(t, want, mine)
					assert.LessOrEqual(t, mine, tripsOf(t, "pgx", mode, warm, noConflict, alone))
				})
			}
		}
	}
}

// preparedInside prepares inside of the transaction, runs n times and closes.
func preparedInside(n int) func(*sql.DB) error {
	return func(db *sql.DB) error {
		return tripsInTx(1, func(q caller) error {
			stmt, err := q.(*sql.Tx).Prepare(tripUpdate)
			if err != nil {
				return err
			}
			for range n {
				if _, err := stmt.Exec(5); err != nil {
					return err
				}
			}
			return stmt.Close()
		})(db)
	}
}

// preparedBefore prepares on the pool, and uses that in the transaction.
func preparedBefore(n int) func(*sql.DB) error {
	return func(db *sql.DB) error {
		stmt, err := db.Prepare(tripUpdate)
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }()
		return tripsInTx(n, func(q caller) error {
			_, err := q.(*sql.Tx).Stmt(stmt).Exec(5)
			return err
		})(db)
	}
}

// A prepared statement costs a round trip when its text is new to the connector, and none to close.
func TestCost_PreparedStatement_RoundTripsOfEachMode(t *testing.T) {
	t.Parallel()
	for name, prepared := range map[string]func(n int) func(*sql.DB) error{
		"inside": preparedInside, "before": preparedBefore,
	} {
		for mode := range tripModes {
			for _, n := range []int{1, 10} {
				for _, warm := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/%d/warm=%t", name, mode, n, warm), func(t *testing.T) {
						t.Parallel()
						want := n + 1
						if !warm {
							want++
						}
						mine := tripsOf(t, "cockroachdb", mode, warm, noConflict, prepared(n))
						assert.Equal(t, want, mine)
						assert.LessOrEqual(t, mine, tripsOf(t, "pgx", mode, warm, noConflict, prepared(n)))
					})
				}
			}
		}
	}
}

// tripsAgain is how many round trips more it takes to call a function again that has lost at a statement, or at the
// commit, after it had run so many. Nothing but describe_exec describes a text twice.
func tripsAgain(mode string, at, ran int) int {
	if mode == "describe_exec" {
		ran *= 2
	}
	if at == 0 {
		ran++ // the commit
	}
	return ran
}

// A conflict costs one round trip more, wherever it comes; at the commit, the commit again, unless nothing of the
// answers was looked at. By the simple protocol, which can't be pipelined, the rollback and each statement are one.
func TestCost_Conflict_RoundTripsOfEachMode(t *testing.T) {
	t.Parallel()
	const n = 10
	for name, call := range statementCalls {
		for mode := range tripModes {
			for place, at := range map[string]int{"first": 1, "middle": n / 2, "last": n, "commit": 0} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, mode, place), func(t *testing.T) {
					t.Parallel()
					without := tripsOf(t, "cockroachdb", mode, false, noConflict, tripsInTx(n, call.run))
					want := without + 1
					ran := at
					if at == 0 {
						ran = n
					}
					unseen := strings.HasPrefix(name, "Exec") && mode != "simple_protocol"
					if at == 0 && !unseen {
						want++
					}
					if mode == "simple_protocol" {
						want += ran
					}
					assert.Equal(t, want, tripsOf(t, "cockroachdb", mode, false, at, tripsInTx(n, call.run)))
					shown := strings.HasPrefix(name, "Query") && at != 1
					if shown && mode != "simple_protocol" { // RunTx calls its function at once
						want = without + tripsAgain(mode, at, ran)
					}
					assert.Equal(t, want, tripsOf(t, "cockroachdb", mode, false, at, tripsByRunTx(n, call.run)), "RunTx")
				})
			}
		}
	}
}
