package rows_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What has been handed over is the application's: the next row must not write into it.
func TestRows_NextRow_LeavesEarlierValues(t *testing.T) {
	t.Parallel()
	columns := []fakepg.Column{
		{Name: "b", OID: pgtype.ByteaOID}, {Name: "j", OID: pgtype.JSONBOID}, {Name: "t", OID: pgtype.TextOID},
	}
	st := kit.New(t, kit.Script{"SELECT v": {{Columns: columns, Values: [][]any{
		{[]byte("first"), `{"a":1}`, "one"}, {[]byte("SECOND"), `{"b":2}`, "two"}, {nil, nil, nil},
	}}}})
	rows, err := st.QueryContext(t.Context(), "SELECT v")
	require.NoError(t, err)
	defer rows.Close()
	var b, j, text [3]any
	for i := range b {
		require.True(t, rows.Next())
		require.NoError(t, rows.Scan(&b[i], &j[i], &text[i]))
	}
	require.False(t, rows.Next())
	require.NoError(t, rows.Err())
	assert.Equal(t, [3]any{[]byte("first"), []byte("SECOND"), nil}, b)
	assert.Equal(t, [3]any{[]byte(`{"a":1}`), []byte(`{"b":2}`), nil}, j)
	assert.Equal(t, [3]any{"one", "two", nil}, text)
}

// A value that is no value of its type is an error, the same as with pgx, and costs neither the rows' end nor the
// connection.
func TestRows_ValueThatCannotBeDecoded_IsAnError(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "SELECT v" {
			return fakepg.Reply{}
		}
		return fakepg.Reply{
			Columns: []fakepg.Column{{Name: "v", OID: pgtype.Int4OID}},
			Rows:    [][][]byte{{{0, 0, 0, 7}}, {{1, 2}}, {{0, 0, 0, 9}}},
		}
	}))
	says := map[string][]string{}
	for _, name := range []string{"pgx", "cockroachdb"} {
		db := kit.OpenBy(t, name, srv.DSN())
		db.SetMaxOpenConns(1)
		rows, err := db.QueryContext(t.Context(), "SELECT v")
		require.NoError(t, err)
		for rows.Next() {
			var v any
			err := rows.Scan(&v)
			says[name] = append(says[name], kit.Describe(err))
		}
		says[name] = append(says[name], kit.Describe(rows.Err()), kit.Describe(rows.Close()))
		kit.Exec(t, db, "UPDATE a")
	}
	for name, lines := range says { // pgx says why, and may quote the value
		for i, line := range lines {
			if strings.Contains(line, "invalid length") || strings.Contains(line, "column 1 is not as its type says") {
				says[name][i] = "not decoded"
			}
		}
	}
	assert.Equal(t, says["pgx"], says["cockroachdb"])
	assert.Equal(t, []string{"ok", "not decoded"}, says["cockroachdb"][:2])
	assert.Equal(t, 2, srv.Connections())
}

// The columns of an empty result are known, however the statement goes over the wire.
func TestRows_EmptyResult_HasItsColumns(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes {
		for _, inside := range []bool{false, true} {
			st := kit.New(t, kit.Script{"SELECT v": {kit.Texts()}}, "default_query_exec_mode="+mode)
			var q kit.Querier = st.DB
			if inside {
				tx := st.Begin(t)
				defer func() { require.NoError(t, tx.Commit()) }()
				q = tx
			}
			for range 2 { // cold, warm
				rows, err := q.QueryContext(t.Context(), "SELECT v")
				require.NoError(t, err)
				columns, err := rows.Columns()
				require.NoError(t, err)
				assert.Equal(t, []string{"v"}, columns, mode)
				types, err := rows.ColumnTypes()
				require.NoError(t, err)
				assert.Equal(t, "TEXT", types[0].DatabaseTypeName())
				require.False(t, rows.Next())
				require.NoError(t, rows.Close())
			}
		}
	}
}
