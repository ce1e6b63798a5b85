package statement_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// With standard_conforming_strings=off a backslash escapes in '…' too, and what looks like one statement may be
// several, one of which commits before another loses.
func TestStringsWithEscapes_TextThatCommitsAndLoses_IsRunOnce(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	admin := kit.Open(t, dsn)
	kit.Exec(t, admin, "CREATE TABLE t (v TEXT)")
	kit.Exec(t, admin, `CREATE FUNCTION lose() RETURNS INT LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$`)
	text := `INSERT INTO t VALUES ('\', '); COMMIT; SELECT lose() --')`
	inside := map[string]string{
		"by the DSN":            "standard_conforming_strings=off&escape_string_warning=off",
		"by the DSN's options":  "options=-c%20standard_conforming_strings%3Doff",
		"by SET on the session": "escape_string_warning=off",
	}
	want := 0
	for name, params := range inside {
		db := kit.Open(t, dsn, params)
		db.SetMaxOpenConns(1)
		if name == "by SET on the session" {
			kit.Exec(t, db, "SET standard_conforming_strings = off")
		}
		_, err := db.ExecContext(t.Context(), text)
		require.Error(t, err, name)
		assert.NotEqual(t, "40001", kit.StateOf(err), "%s: a loop would run it again", name)
		want++
		var n int
		require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n))
		require.Equal(t, want, n, "%s: it was run more than once", name)

		tx := kit.Begin(t, db)
		require.Error(t, kit.ExecAll(tx, text), name)
		require.Error(t, tx.Rollback(), "%s: a part is committed", name)
		want++
		require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n))
		require.Equal(t, want, n, name)
	}
}
