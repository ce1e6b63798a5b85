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

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A warmth is what is known of the texts of a transaction.
type warmth string

const (
	warmConn      warmth = "the connection knows them"
	coldConn      warmth = "another connection of the connector knows them"
	coldConnector warmth = "nobody knows them"
)

// preparingModes are the query modes that ask the server to describe a text, and keep what it says.
var preparingModes = []string{"cache_statement", "cache_describe"}

// coldServer answers any UPDATE and SELECT of one parameter.
func coldServer(t *testing.T) *fakepg.Server {
	return fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		switch {
		case strings.HasPrefix(s.SQL, "UPDATE"):
			return fakepg.Reply{ParamOIDs: []uint32{pgtype.Int8OID}}
		case strings.HasPrefix(s.SQL, "SELECT"):
			return fakepg.Reply{
				ParamOIDs: []uint32{pgtype.Int8OID}, Columns: []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}},
				Values: [][]any{{int64(7)}},
			}
		}
		return fakepg.Reply{}
	}))
}

// A begun is a *sql.DB or a *sql.Conn.
type begun interface {
	BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
}

// runTexts is a transaction of n statements, each of a text of its own.
func runTexts(t *testing.T, on begun, n int) {
	t.Helper()
	tx, err := on.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	for i := range n {
		if i%2 == 0 {
			kit.Exec(t, tx, fmt.Sprintf("UPDATE kv_%d SET v = $1", i), 5)
		} else {
			require.Equal(t, 7, kit.Scan[int](t, tx, fmt.Sprintf("SELECT v FROM kv_%d WHERE k = $1", i), 5))
		}
	}
	require.NoError(t, tx.Commit())
}

// tripsOfTexts counts the round trips of runTexts.
func tripsOfTexts(t *testing.T, driver, mode string, known warmth, n int) int {
	t.Helper()
	srv := coldServer(t)
	db := kit.OpenBy(t, driver, srv.DSN()+"&default_query_exec_mode="+mode)
	one, other := kit.Conn(t, db), kit.Conn(t, db)
	switch known {
	case warmConn:
		runTexts(t, one, n)
	case coldConn:
		runTexts(t, other, n)
	}
	srv.Forget()
	runTexts(t, one, n)
	return srv.RoundTrips()
}

// A transaction of N statements is N + 1 round trips on a connection that has never seen their texts too, if another
// one has. Where nobody has, it is no more than pgx takes.
func TestCost_ColdConnection_AsManyRoundTripsAsAWarmOne(t *testing.T) {
	t.Parallel()
	for _, mode := range preparingModes {
		for _, n := range []int{1, 3, 10} {
			t.Run(fmt.Sprintf("%s/%d", mode, n), func(t *testing.T) {
				t.Parallel()
				assert.Equal(t, n+1, tripsOfTexts(t, "cockroachdb", mode, warmConn, n), warmConn)
				assert.Equal(t, n+1, tripsOfTexts(t, "cockroachdb", mode, coldConn, n), coldConn)
				assert.Equal(t, n+2, tripsOfTexts(t, "pgx", mode, warmConn, n), "pgx, warm")
				assert.Equal(t, 2*n+2, tripsOfTexts(t, "pgx", mode, coldConn, n), "pgx, cold")
				nobody := tripsOfTexts(t, "cockroachdb", mode, coldConnector, n)
				assert.LessOrEqual(t, nobody, tripsOfTexts(t, "pgx", mode, coldConnector, n), coldConnector)
			})
		}
	}
}
