package prepare_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// Two prepared statements interleaved → replayed in the order they ran.
func TestStmt_TwoInterleaved_ReplayedInTheirOrder(t *testing.T) {
	t.Parallel()
	const a, b = "UPDATE a SET v = $1", "UPDATE b SET v = $1"
	oid := []fakepg.Reply{{ParamOIDs: []uint32{pgtype.Int8OID}}}
	r := kit.New(t, kit.Script{a: oid, b: oid, kit.Release: kit.ConflictOn(1)})
	tx := r.Begin(t)
	stmtA, err := tx.PrepareContext(t.Context(), a)
	require.NoError(t, err)
	stmtB, err := tx.PrepareContext(t.Context(), b)
	require.NoError(t, err)
	for i, stmt := range []*sql.Stmt{stmtA, stmtB, stmtA, stmtA, stmtB} {
		_, err := stmt.ExecContext(t.Context(), int64(i+1))
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
	once := []string{
		"[x'0000000000000001']", "[x'0000000000000002']",
		"[x'0000000000000003']", "[x'0000000000000004']", "[x'0000000000000005']",
	}
	assert.Equal(t, slices.Concat(once, once), r.Binds())
	at := slices.IndexFunc(r.Statements(), func(s []string) bool { return slices.Contains(s, kit.RollbackTo) })
	require.Positive(t, at)
	want := []string{kit.RollbackTo, a, b, a, a, b, kit.Release, "COMMIT"}
	assert.Equal(t, want, r.Statements()[at], "in one round trip")
	kit.WantUsable(t, r.DB)
}

// A statement prepared on the DB and used through tx.Stmt across a retry; and the same when the server has forgotten
// the statement in between, or the cache has.
func TestStmt_OfTheDBUsedThroughTx_SurvivesARetry(t *testing.T) {
	t.Parallel()
	const a, b = "UPDATE a SET v = $1", "UPDATE b SET v = $1"
	oid := []fakepg.Reply{{ParamOIDs: []uint32{pgtype.Int8OID}}}
	const one, two = "[x'0000000000000001']", "[x'0000000000000002']"
	parses := func(srv *fakepg.Server, sql string) (n int) { // under a name, or to be run
		for _, m := range slices.Concat(srv.Exchanges()...) {
			if strings.HasPrefix(m, "Parse name=reprise_") && strings.HasSuffix(m, " sql="+sql) {
				n++
			}
		}
		return n
	}
	for _, capacity := range []int{0, 1, 512} {
		t.Run("db.Prepare", func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{a: oid, b: oid, kit.Release: kit.ConflictOn(1, 2)},
				fmt.Sprintf("statement_cache_capacity=%d", capacity))
			stmt, err := r.PrepareContext(t.Context(), a)
			require.NoError(t, err)
			tx := r.Begin(t)
			inTx := tx.StmtContext(t.Context(), stmt)
			_, err = inTx.ExecContext(t.Context(), int64(1))
			require.NoError(t, err)
			_, err = inTx.ExecContext(t.Context(), int64(2))
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{one, two, one, two, one, two}, r.Binds())
			assert.Equal(t, 1, parses(r.Server, a), "prepared once")
			_, err = stmt.ExecContext(t.Context(), int64(1))
			require.NoError(t, err)
			require.NoError(t, stmt.Close())
			kit.WantUsable(t, r.DB)
		})
	}
	t.Run("closed before the replay", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{a: oid, kit.Release: kit.ConflictOn(1)}, "statement_cache_capacity=0")
		tx := r.Begin(t)
		stmt, err := tx.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		_, err = stmt.ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		require.NoError(t, stmt.Close())
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{one, one}, r.Binds())
		kit.WantUsable(t, r.DB)
	})
	t.Run("evicted before the replay", func(t *testing.T) {
		t.Parallel()
		r := kit.New(t, kit.Script{a: oid, b: oid, kit.Update(1): kit.ConflictOn(1)}, "statement_cache_capacity=1")
		tx := r.Begin(t)
		kit.Exec(t, tx, a, int64(1))
		kit.Exec(t, tx, b, int64(2)) // takes the place of a
		kit.Exec(t, tx, kit.Update(1))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{one, two, one, two}, r.Binds())
		assert.Contains(t, r.Statements(), []string{kit.RollbackTo, a, b, kit.Update(1)}, "in one round trip")
		assert.Equal(t, []int{1, 1}, []int{parses(r.Server, a), parses(r.Server, b)}, "what was evicted goes as text")
		closes := 0
		for _, m := range slices.Concat(r.Exchanges()...) {
			if strings.HasPrefix(m, "Close S reprise_") {
				closes++
			}
		}
		assert.Equal(t, 1, closes)
		kit.WantUsable(t, r.DB)
	})
	t.Run("forgotten by the server before the replay", func(t *testing.T) {
		t.Parallel()
		// It answers 26000 to the second Bind of a: a replay that finds this out is repeated with the text.
		forgotten := fakepg.Reply{Err: fakepg.Error("26000", "prepared statement does not exist"), ErrAt: fakepg.AtBind}
		p := kit.Script{a: {oid[0], forgotten}, b: oid, kit.Release: kit.ConflictOn(1)}
		r := kit.New(t, p)
		stmt, err := r.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		defer stmt.Close()
		tx := r.Begin(t)
		kit.Exec(t, tx, b, int64(2))
		_, err = tx.StmtContext(t.Context(), stmt).ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		got := r.Binds()
		assert.Equal(t, []string{two, one}, got[len(got)-2:])
		kit.WantUsable(t, r.DB)
		_, err = stmt.ExecContext(t.Context(), int64(1))
		require.NoError(t, err, "the statement is good for more")
	})
	t.Run("outgrown by its table", func(t *testing.T) {
		t.Parallel()
		// Inside a transaction this fails the statement; what ran before it is run again, and then it, prepared anew.
		outgrown := oid[0]
		outgrown.Err = fakepg.Error("0A000", "cached plan must not change result type")
		p := kit.Script{a: {outgrown, oid[0]}}
		r := kit.New(t, p)
		stmt, err := r.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		defer stmt.Close()
		tx := r.Begin(t)
		kit.Exec(t, tx, kit.Update(1))
		_, err = tx.StmtContext(t.Context(), stmt).ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, r.Times(kit.Update(1)))
		assert.Equal(t, 2, r.Times(a))
		assert.Equal(t, 1, r.Times(kit.Update(2)))
		kit.WantUsable(t, r.DB)
	})
}
