package prepare_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// Two prepared statements interleaved → replayed in the order they ran.
func TestStmt_TwoInterleaved_ReplayedInTheirOrder(t *testing.T) {
	t.Parallel()
	const a, b = "UPDATE a SET v = $1", "UPDATE b SET v = $1"
	oid := []fakepg.Reply{{ParamOIDs: []uint32{pgtype.Int8OID}}}
	srv := fakepg.Start(t, kit.Script{a: oid, b: oid, kit.Release: kit.ConflictOn(1)}.Handler())
	db := kit.Pool(t, srv)
	tx := kit.Begin(t, db)
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
	assert.Equal(t, slices.Concat(once, once), kit.Binds(srv))
	at := slices.IndexFunc(srv.Statements(), func(s []string) bool { return slices.Contains(s, kit.RollbackTo) })
	require.Positive(t, at)
	want := []string{kit.RollbackTo, a, b, a, a, b, kit.Release, "COMMIT"}
	assert.Equal(t, want, srv.Statements()[at], "in one round trip")
	kit.WantUsable(t, db)
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
			srv := fakepg.Start(t, kit.Script{a: oid, b: oid, kit.Release: kit.ConflictOn(1, 2)}.Handler())
			db := kit.Pool(t, srv, func(cfg *cockroachdb.Config) { cfg.ConnConfig.StatementCacheCapacity = capacity })
			stmt, err := db.PrepareContext(t.Context(), a)
			require.NoError(t, err)
			tx := kit.Begin(t, db)
			inTx := tx.StmtContext(t.Context(), stmt)
			_, err = inTx.ExecContext(t.Context(), int64(1))
			require.NoError(t, err)
			_, err = inTx.ExecContext(t.Context(), int64(2))
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{one, two, one, two, one, two}, kit.Binds(srv))
			assert.Equal(t, 1, parses(srv, a), "prepared once")
			_, err = stmt.ExecContext(t.Context(), int64(1))
			require.NoError(t, err)
			require.NoError(t, stmt.Close())
			kit.WantUsable(t, db)
		})
	}
	t.Run("closed before the replay", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, kit.Script{a: oid, kit.Release: kit.ConflictOn(1)}.Handler())
		db := kit.Pool(t, srv, func(cfg *cockroachdb.Config) { cfg.ConnConfig.StatementCacheCapacity = 0 })
		tx := kit.Begin(t, db)
		stmt, err := tx.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		_, err = stmt.ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		require.NoError(t, stmt.Close())
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{one, one}, kit.Binds(srv))
		kit.WantUsable(t, db)
	})
	t.Run("evicted before the replay", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, kit.Script{a: oid, b: oid, kit.Update(1): kit.ConflictOn(1)}.Handler())
		db, err := sql.Open("cockroachdb", srv.DSN()+"&statement_cache_capacity=1")
		require.NoError(t, err)
		defer db.Close()
		db.SetMaxOpenConns(1)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, a, int64(1))
		kit.Exec(t, tx, b, int64(2)) // takes the place of a
		kit.Exec(t, tx, kit.Update(1))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{one, two, one, two}, kit.Binds(srv))
		assert.Contains(t, srv.Statements(), []string{kit.RollbackTo, a, b, kit.Update(1)}, "in one round trip")
		assert.Equal(t, []int{1, 1}, []int{parses(srv, a), parses(srv, b)}, "what was evicted goes as text")
		closes := 0
		for _, m := range slices.Concat(srv.Exchanges()...) {
			if strings.HasPrefix(m, "Close S reprise_") {
				closes++
			}
		}
		assert.Equal(t, 1, closes)
		kit.WantUsable(t, db)
	})
	t.Run("forgotten by the server before the replay", func(t *testing.T) {
		t.Parallel()
		// It answers 26000 to the second Bind of a: a replay that finds this out is repeated with the text.
		forgotten := fakepg.Reply{Err: fakepg.Error("26000", "prepared statement does not exist"), ErrAt: fakepg.AtBind}
		p := kit.Script{a: {oid[0], forgotten}, b: oid, kit.Release: kit.ConflictOn(1)}
		srv := fakepg.Start(t, p.Handler())
		db := kit.Pool(t, srv)
		stmt, err := db.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		defer stmt.Close()
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, b, int64(2))
		_, err = tx.StmtContext(t.Context(), stmt).ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		got := kit.Binds(srv)
		assert.Equal(t, []string{two, one}, got[len(got)-2:])
		kit.WantUsable(t, db)
		_, err = stmt.ExecContext(t.Context(), int64(1))
		require.NoError(t, err, "the statement is good for more")
	})
	t.Run("outgrown by its table", func(t *testing.T) {
		t.Parallel()
		// Inside a transaction this fails the statement; what ran before it is run again, and then it, prepared anew.
		outgrown := oid[0]
		outgrown.Err = fakepg.Error("0A000", "cached plan must not change result type")
		p := kit.Script{a: {outgrown, oid[0]}}
		srv := fakepg.Start(t, p.Handler())
		db := kit.Pool(t, srv)
		stmt, err := db.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		defer stmt.Close()
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, kit.Update(1))
		_, err = tx.StmtContext(t.Context(), stmt).ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		kit.Exec(t, tx, kit.Update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, kit.Times(srv, kit.Update(1)))
		assert.Equal(t, 2, kit.Times(srv, a))
		assert.Equal(t, 1, kit.Times(srv, kit.Update(2)))
		kit.WantUsable(t, db)
	})
}
