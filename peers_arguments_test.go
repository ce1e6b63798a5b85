package cockroachdb_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// binds lists the Bind messages that were sent, without the names of the statements.
func binds(srv *fakepg.Server) (all []string) {
	for _, m := range slices.Concat(srv.Exchanges()...) {
		if _, params, ok := strings.Cut(m, " params="); ok && strings.HasPrefix(m, "Bind ") && params != "[]" {
			all = append(all, params)
		}
	}
	return all
}

// Case 26: []byte, map or pointer argument changed after Exec → the original bytes are replayed.
func TestPeerCase26ArgumentsByValue(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO docs VALUES ($1)"
	type document struct{ A int }
	number, text := int64(1), "before"
	raw, list := []byte("before"), []string{"a", "b"}
	dict, doc := map[string]any{"a": 1}, &document{1}
	when := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		oid    uint32
		arg    any
		change func()
	}{
		{"bytes", pgtype.ByteaOID, raw, func() { copy(raw, "AFTERW") }},
		{"bytes as JSON", pgtype.JSONBOID, raw, func() { copy(raw, "ELSEWH") }},
		{"a map", pgtype.JSONBOID, dict, func() { dict["a"] = 2 }},
		{"a pointer to a struct", pgtype.JSONBOID, doc, func() { doc.A = 2 }},
		{"a pointer to a number", pgtype.Int8OID, &number, func() { number = 2 }},
		{"a pointer to a text", pgtype.TextOID, &text, func() { text = "after" }},
		{"a slice", pgtype.TextArrayOID, list, func() { list[0] = "c" }},
		{"a pointer to a time", pgtype.TimestamptzOID, &when, func() { when = when.Add(time.Hour) }},
	} {
		for _, mode := range []string{"", "?default_query_exec_mode=exec", "?default_query_exec_mode=cache_describe"} {
			if mode == "?default_query_exec_mode=exec" && tc.oid == pgtype.JSONBOID {
				continue // which needs the type
			}
			t.Run(tc.name+mode, func(t *testing.T) {
				srv := fakepg.Start(t, plays{
					insert:    func(int) fakepg.Reply { return fakepg.Reply{ParamOIDs: []uint32{tc.oid}} },
					update(1): loses(1),
				}.handler())
				db, err := sql.Open("cockroachdb", srv.DSN()+strings.Replace(mode, "?", "&", 1))
				require.NoError(t, err)
				defer db.Close()
				db.SetMaxOpenConns(1)
				tx := begun(t, db)
				mustExec(t, tx, insert, tc.arg)
				tc.change()
				mustExec(t, tx, update(1))
				require.NoError(t, tx.Commit())
				got := binds(srv)
				require.Len(t, got, 2)
				assert.Equal(t, got[0], got[1])
				assert.NotEqual(t, "[NULL]", got[0])
				usable(t, db)
			})
		}
	}
	// What was changed is what comes next.
	t.Run("the next Exec sends what it is now", func(t *testing.T) {
		arg := []byte("one")
		srv := fakepg.Start(t, plays{
			insert:    func(int) fakepg.Reply { return fakepg.Reply{ParamOIDs: []uint32{pgtype.ByteaOID}} },
			update(1): loses(1),
		}.handler())
		db := poolOf(t, srv)
		tx := begun(t, db)
		mustExec(t, tx, insert, arg)
		copy(arg, "two")
		mustExec(t, tx, insert, arg)
		copy(arg, "xxx")
		mustExec(t, tx, update(1))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{"[x'6f6e65']", "[x'74776f']", "[x'6f6e65']", "[x'74776f']"}, binds(srv))
	})
}

// counter is a Valuer that gives another value each time.
type counter struct{ calls int }

func (c *counter) Value() (driver.Value, error) {
	c.calls++
	return fmt.Sprint("call ", c.calls), nil
}

// Case 27: a Valuer is called once.
func TestPeerCase27ValuerOnce(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO docs VALUES ($1)"
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, plays{
				insert:    func(int) fakepg.Reply { return fakepg.Reply{ParamOIDs: []uint32{pgtype.TextOID}} },
				update(1): loses(1),
				sqlFree:   loses(1),
			}.handler())
			db, err := sql.Open("cockroachdb", srv.DSN()+"&default_query_exec_mode="+mode)
			require.NoError(t, err)
			defer db.Close()
			db.SetMaxOpenConns(1)
			v := &counter{}
			tx := begun(t, db)
			mustExec(t, tx, insert, v)
			mustExec(t, tx, update(1))
			require.NoError(t, tx.Commit())
			assert.Equal(t, 1, v.calls)
			if mode == "simple_protocol" {
				assert.Equal(t, 3, times(srv, "INSERT INTO docs VALUES ( 'call 1' )"), ran(srv))
				return
			}
			assert.Equal(t, []string{`["call 1"]`, `["call 1"]`, `["call 1"]`}, binds(srv))
		})
	}
}

// Case 28: two prepared statements interleaved → replayed in the order they ran.
func TestPeerCase28PreparedInterleaved(t *testing.T) {
	t.Parallel()
	const a, b = "UPDATE a SET v = $1", "UPDATE b SET v = $1"
	oid := func(int) fakepg.Reply { return fakepg.Reply{ParamOIDs: []uint32{pgtype.Int8OID}} }
	srv := fakepg.Start(t, plays{a: oid, b: oid, sqlFree: loses(1)}.handler())
	db := poolOf(t, srv)
	tx := begun(t, db)
	stmtA, err := tx.PrepareContext(t.Context(), a)
	require.NoError(t, err)
	stmtB, err := tx.PrepareContext(t.Context(), b)
	require.NoError(t, err)
	for i, stmt := range []*sql.Stmt{stmtA, stmtB, stmtA, stmtA, stmtB} {
		_, err := stmt.ExecContext(t.Context(), int64(i+1))
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
	once := []string{"[x'0000000000000001']", "[x'0000000000000002']", "[x'0000000000000003']", "[x'0000000000000004']", "[x'0000000000000005']"}
	assert.Equal(t, slices.Concat(once, once), binds(srv))
	at := slices.IndexFunc(srv.Statements(), func(s []string) bool { return slices.Contains(s, sqlRestart) })
	require.Positive(t, at)
	assert.Equal(t, []string{sqlRestart, a, b, a, a, b}, srv.Statements()[at], "in one round trip")
	usable(t, db)
}
