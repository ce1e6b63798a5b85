package statement_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A statement that is run again, in the middle of its rows too, sends the bytes that it sent at first.
func TestStatement_Arguments_AreTakenByValue(t *testing.T) {
	t.Parallel()
	const query = "SELECT v WHERE a = $1 AND b = $2 AND c = $3"
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec"} {
		for _, inside := range []bool{false, true} {
			first, second := kit.BreakOff(kit.Texts("x", "y"), 1), kit.Texts("x", "y")
			first.ParamOIDs = []uint32{pgtype.ByteaOID, pgtype.TextOID, pgtype.TextOID}
			st := kit.New(t, kit.Script{
				query: kit.Always(first, second), "SELECT other": {kit.Texts("z")},
			}, "default_query_exec_mode="+mode)
			valuer := &counter{}
			b, word := []byte("before"), "before"
			var q kit.Querier = st.DB
			if inside {
				tx := st.Begin(t)
				defer func() { require.NoError(t, tx.Commit()) }()
				q = tx
			}
			rows, err := q.QueryContext(t.Context(), query, b, &word, valuer)
			require.NoError(t, err)
			require.True(t, rows.Next())
			copy(b, "AFTER!")
			word = "AFTER!"
			require.True(t, rows.Next(), "run again, and gone on with")
			require.False(t, rows.Next())
			require.NoError(t, rows.Err())
			require.NoError(t, rows.Close())
			params := st.Binds()
			require.Len(t, params, 2, mode)
			assert.Equal(t, params[0], params[1], mode)
			assert.Equal(t, 1, valuer.calls, mode)
		}
	}
}

// In a transaction the arguments outlive what the next statements are encoded into.
func TestStatement_ArgumentsOfEarlierStatements_Stay(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}, "default_query_exec_mode=exec")
	tx := st.Begin(t)
	for _, arg := range []string{"first", "2nd", "the third"} {
		kit.Exec(t, tx, "UPDATE a SET v = $1", arg)
	}
	kit.Exec(t, tx, "UPDATE c")
	require.NoError(t, tx.Commit())
	params := st.Binds()
	require.Len(t, params, 6)
	assert.Equal(t, []string{`["first"]`, `["2nd"]`, `["the third"]`}, params[:3])
	assert.Equal(t, params[:3], params[3:])
}

// An argument that can't be encoded, and the wrong number of them, run nothing. What was known of the statement may be
// out of date, and so the server is asked by the next use.
func TestArguments_Bad_RunNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		st := kit.New(t, kit.Script{}, "default_query_exec_mode="+mode)
		kit.Exec(t, st, "UPDATE a SET v = $1", "warm")
		st.Server.Forget()
		for _, args := range [][]any{{"a", "b"}, {struct{ c chan int }{}}} {
			if mode == "exec" && len(args) == 2 {
				continue // only the server can know
			}
			_, err := st.ExecContext(t.Context(), "UPDATE a SET v = $1", args...)
			require.Error(t, err)
		}
		asked := map[string]int{"describe_exec": 2}[mode]
		assert.Equal(t, asked, st.Server.RoundTrips(), mode)
		assert.Empty(t, st.Binds(), mode)
		tx := st.Begin(t)
		_, err := tx.ExecContext(t.Context(), "UPDATE a SET v = $1", struct{ c chan int }{})
		require.Error(t, err)
		kit.Exec(t, tx, "UPDATE a SET v = $1", "x")
		require.NoError(t, tx.Commit(), "the transaction goes on")
	}
}

func TestStatement_SimpleProtocolWithOtherSettings_IsRefused(t *testing.T) {
	t.Parallel()
	for _, change := range []string{"SET standard_conforming_strings = off", "SET client_encoding = 'LATIN1'"} {
		for _, name := range []string{"pgx", "cockroachdb"} {
			db := kit.OpenBy(t, name, enginetest.NewDirectDB(t))
			db.SetMaxOpenConns(1)
			kit.Exec(t, db, change)
			_, err := db.ExecContext(t.Context(), "SELECT $1::text", pgx.QueryExecModeSimpleProtocol, `\`)
			require.ErrorContains(t, err, "simple protocol queries must be run with", name)
		}
	}
}

// The formats of the result are by value, too.
func TestStatement_ResultFormats_AreTakenByValue(t *testing.T) {
	t.Parallel()
	var asked [][]int16
	updates := kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "SELECT v" {
			return updates.Reply(s)
		}
		if !s.Describing {
			asked = append(asked, slices.Clone(s.ResultFormats))
		}
		return kit.Texts("a")
	})
	tx := st.Begin(t)
	formats := pgx.QueryResultFormats{pgx.BinaryFormatCode}
	rows, err := tx.QueryContext(t.Context(), "SELECT v", formats)
	require.NoError(t, err)
	require.True(t, rows.Next())
	require.NoError(t, rows.Close())
	formats[0] = pgx.TextFormatCode
	require.NoError(t, kit.ExecAll(tx, "UPDATE c"))
	require.NoError(t, tx.Commit())
	assert.Equal(t, [][]int16{{1}, {1}}, asked)
}
